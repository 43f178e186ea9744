"""``imgsign demo``: the main job and four attacks on it, in a directory, without registry or network.

Every line that starts with ``$`` is really run, in this process and through the same command line a
person types, so it can be repeated by hand in the directory that the demo leaves when it is named.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from imgsign.oci import OCI_CONFIG, OCI_MANIFEST, Artifact, Blob, Manifest, Platform
from imgsign.reference import Digest
from imgsign.stores.layout import LayoutStore
from imgsign.wire import dump_json

Run = Callable[[list[str]], int]
"""The command line: arguments in, exit code out."""

NAME = "registry.example/shop/app"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
POLICY = f"""\
version = 1
default = "reject"

[anchors.release]
keys = ["release.pub", "second.pub", "third.pub"]

[scopes."registry.example"]
require = [{{ signed-by = "release" }}]

[scopes."{NAME.rpartition("/")[0]}/vault"]
require = [{{ signed-by = "release", threshold = 2 }}]
"""


class DemoFailed(Exception):
    """A step did not end as it must; carries what was expected."""


def play(run: Run, directory: Path | None) -> int:
    """Play the demo in ``directory`` (kept) or in a temporary one; returns the exit code."""
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise FileExistsError(f"{str(directory)!r} is not empty")
        _play_in(directory, run)
        say(f"\nEverything is in {directory}: cd there and repeat any line.")
        return 0
    with TemporaryDirectory(prefix="imgsign-demo-") as temporary:
        _play_in(Path(temporary), run)
    say("\n'imgsign demo DIR' keeps the files, so that you can repeat any line.")
    return 0


def _play_in(directory: Path, run: Run) -> None:
    with _working_in(directory):
        _prepare(run)
        _main_job(run)
        _attacks(run)


def _prepare(run: Run) -> None:
    say("# Two releases of an image with two layers, in an OCI layout; keys and a policy.")
    for tag, text in (("1.0", "hello from 1.0, which has a hole\n"), ("2.0", "hello from 2.0\n")):
        make_image(Path("image"), tag, text)
    for key in ("release", "second", "third", "stranger"):
        step(run, 0, "key", "generate", key, "--no-password", quiet=key != "release")
    Path("policy.toml").write_text(POLICY)
    say("$ cat policy.toml")
    say(POLICY)


def _main_job(run: Run) -> None:
    say("# Sign both releases under their names, verify, and pull what was verified.")
    for tag in ("1.0", "2.0"):
        step(run, 0, "sign", f"oci:image:{tag}", "--identity", f"{NAME}:{tag}", "-k", "release.key")
    step(run, 0, "verify", "oci:image:2.0", "--identity", f"{NAME}:2.0", "-p", "policy.toml")
    step(run, 0, "pull", "oci:image:2.0", "oci:pulled", "--identity", f"{NAME}:2.0", "-p", "policy.toml")


def _attacks(run: Run) -> None:
    say("\n# Attack 1: somebody changes one byte of a layer.")
    step(run, 0, "pull", "oci:image:2.0", "oci:flipped", "--identity", f"{NAME}:2.0", "-p", "policy.toml", quiet=True)
    store = LayoutStore(Path("flipped"))
    layer = store.fetch("2.0").layers[0]
    _flip(Path("flipped/blobs") / layer.digest.algorithm / layer.digest.hex)
    step(run, 3, "pull", "oci:flipped:2.0", "oci:victim", "--identity", f"{NAME}:2.0", "-p", "policy.toml")

    say("\n# Attack 2: the tag 2.0 is moved back to the old release, whose signature is still valid.")
    step(run, 0, "pull", "oci:image:1.0", "oci:image:2.0", "--identity", f"{NAME}:1.0", "-p", "policy.toml", quiet=True)
    step(run, 1, "verify", "oci:image:2.0", "--identity", f"{NAME}:2.0", "-p", "policy.toml")

    say("\n# Attack 3: a stranger signs an image of their own.")
    make_image(Path("image"), "3.0", "hello from a stranger\n")
    step(run, 0, "sign", "oci:image:3.0", "--identity", f"{NAME}:3.0", "-k", "stranger.key", quiet=True)
    step(run, 1, "verify", "oci:image:3.0", "--identity", f"{NAME}:3.0", "-p", "policy.toml")

    vault = f"{NAME.rpartition('/')[0]}/vault:1"
    say("\n# Attack 4: one stolen release key where the policy asks for two.")
    make_image(Path("image"), "vault", "hello from the vault\n")
    step(run, 0, "sign", "oci:image:vault", "--identity", vault, "-k", "release.key", quiet=True)
    step(run, 1, "verify", "oci:image:vault", "--identity", vault, "-p", "policy.toml")
    say("\n# The second key holder signs too.")
    step(run, 0, "sign", "oci:image:vault", "--identity", vault, "-k", "second.key", quiet=True)
    step(run, 0, "verify", "oci:image:vault", "--identity", vault, "-p", "policy.toml")


def step(run: Run, expected: int, *arguments: str, quiet: bool = False) -> None:
    """Show a command, run it, and insist on its exit code."""
    say(f"$ imgsign {' '.join(arguments)}")
    sys.stdout.flush()
    kept = sys.stdout
    if quiet:
        sys.stdout = io.StringIO()
    try:
        code = run(list(arguments))
    finally:
        sys.stdout = kept
    sys.stdout.flush()
    sys.stderr.flush()
    if code != expected:
        raise DemoFailed(f"'imgsign {' '.join(arguments)}' ended with {code}, expected {expected}")


def say(text: str) -> None:
    """Print one line of the demo."""
    print(text, flush=True)


def make_image(directory: Path, tag: str, text: str) -> Digest:
    """Make a two-layer image in an OCI layout; the same text gives the same digest."""
    layers = [_layer("etc/motd", b"imgsign demo\n"), _layer("message", text.encode())]
    platform = Platform(os="linux", architecture="amd64")
    config = Blob.of(
        dump_json(
            {
                "architecture": platform.architecture,
                "os": platform.os,
                "config": {"Cmd": ["/message"]},
                "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(tar)) for tar, _ in layers]},
            }
        ),
        OCI_CONFIG,
    )
    blobs = [Blob.of(packed, _LAYER) for _, packed in layers]
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.descriptor.to_json(),
        "layers": [b.descriptor.to_json() for b in blobs],
    }
    artifact = Artifact(manifest=Manifest.parse(dump_json(manifest), OCI_MANIFEST), blobs=(config, *blobs))
    store = LayoutStore(directory)
    store.make()
    store.push(artifact, tag=tag)
    return artifact.manifest.digest


def _layer(path: str, content: bytes) -> tuple[bytes, bytes]:
    """One file as tar, and the tar packed; times are zero, so that digests are stable."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        entry = tarfile.TarInfo(path)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue(), gzip.compress(buffer.getvalue(), mtime=0)


def _flip(path: Path) -> None:
    say(f"$ printf X | dd of={path} bs=1 seek=20 conv=notrunc status=none")
    with path.open("r+b") as file:
        file.seek(20)
        file.write(b"X")


@contextmanager
def _working_in(directory: Path) -> Iterator[None]:
    """Work in a directory, without the IMGSIGN_* variables of the shell: the demo has keys of its own."""
    before = Path.cwd()
    kept = {name: value for name, value in os.environ.items() if name.startswith("IMGSIGN_")}
    for name in kept:
        del os.environ[name]
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.update(kept)
