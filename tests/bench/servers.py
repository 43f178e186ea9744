"""A registry with signed images for the benchmarks, on loopback, gone when its ``with`` block ends."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imgsign import Reference, Registries, SignOptions, sign
from imgsign.demo import make_image
from imgsign.oci import Artifact
from imgsign.reference import Repository
from imgsign.stores.layout import LayoutStore
from imgsign.stores.remote import RemoteStore
from tests.e2e import large, parts
from tests.signing_keys import signer

BOTH = SignOptions(formats=("bundle", "simple"))


@dataclass(frozen=True, slots=True)
class Bench:
    """A running registry, a directory to work in, and the public key of what is signed."""

    host: str
    base: Path
    key: Path

    def push_small(self, path: str) -> Reference:
        """Push a two-layer image of a few hundred bytes under tag 1, signed in both formats."""
        layout = LayoutStore(self.base / "layouts" / path)
        make_image(layout.directory, "1", path)
        manifest = layout.fetch("1")
        config = () if manifest.config is None else (manifest.config,)
        blobs = tuple(layout.blob(d, limit=d.size) for d in (*config, *manifest.layers))
        locate = Registries({})
        RemoteStore(Repository(self.host, path), locate.transport).push(
            Artifact(manifest=manifest, blobs=blobs), tag="1"
        )
        return self._sign(path)

    def push_many(self, count: int) -> list[Reference]:
        """Push so many small images; most of the time is spent waiting until signatures are listed for good."""
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(lambda n: self.push_small(f"many/app{n}"), range(count)))

    def push_large(self, layers: int, size: int) -> Reference:
        """Push gzip layers of random data, which no tool packs again."""
        large.push_random(self.host, "large", "1", layers=layers, size=size, base=self.base)
        return self._sign("large")

    def skopeo_policy(self, name: Reference) -> tuple[str, ...]:
        """Options that let an unpatched skopeo accept an image only if our key signed it under this name."""
        required = {"type": "sigstoreSigned", "keyPath": str(self.key), "signedIdentity": {"type": "matchExact"}}
        policy = {"default": [{"type": "reject"}], "transports": {"docker": {str(name.repository): [required]}}}
        (self.base / "policy.json").write_text(json.dumps(policy))
        directory = self.base / "registries.d"
        directory.mkdir(exist_ok=True)
        (directory / "bench.yaml").write_text(f"docker:\n  {self.host}:\n    use-sigstore-attachments: true\n")
        return "--policy", str(self.base / "policy.json"), "--registries.d", str(directory)

    def _sign(self, path: str) -> Reference:
        name = Reference.parse(f"{self.host}/{path}:1")
        sign([name], signer("bench"), BOTH, locate=Registries({}))
        return name


@contextmanager
def running(directory: Path | None) -> Iterator[Bench]:
    """Start a registry with its storage and all else in a temporary directory below ``directory``."""
    with tempfile.TemporaryDirectory(prefix="imgsign-bench-", dir=directory) as text:
        base = Path(text)
        key = base / "bench.pub"
        key.write_bytes(signer("bench").public_key.to_pem())
        with parts.registry(base) as registry:
            yield Bench(registry.host, base, key)


def skopeos() -> dict[str, str]:
    """The skopeo on PATH, and the one that ``SKOPEO`` names, by what they say they are."""
    found = {}
    for command in (shutil.which("skopeo"), unpatched_skopeo()):
        if command is not None:
            found[parts.run(command, "--version").stdout.strip().replace(" version", "")] = command
    return found


def unpatched_skopeo() -> str | None:
    """A skopeo without Debian's patches, which can verify these signatures: only where ``SKOPEO`` names one."""
    return os.environ.get("SKOPEO") or None
