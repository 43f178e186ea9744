"""Benchmarks as ratios of medians within one run: ``python -m tests.bench [cold] [pull] [many]``.

Servers are real (docker-registry), on loopback, and stop by themselves. ``SKOPEO=path`` names a second
skopeo to time beside the one on PATH, such as one without Debian's patches. What is compared:

    cold   a whole ``imgsign verify`` process against a bare typer command (``bare.py``); ``--help`` of both
    pull   ``imgsign pull oci:`` of 1 GiB against ``skopeo copy`` into an OCI layout
    many   200 images verified in one process against a bare requests loop asking the same
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from imgsign import PublicKey, Reference, Registries, key_policy, sign, verify
from imgsign.demo import make_image
from imgsign.oci import EMPTY_CONFIG, OCI_MANIFEST, Artifact, Blob, Manifest
from imgsign.reference import Repository
from imgsign.signing import SignOptions
from imgsign.stores.layout import LayoutStore
from imgsign.stores.remote import RemoteStore
from imgsign.wire import dump_json
from tests.e2e import parts
from tests.signing_keys import signer

LAYER = "application/vnd.oci.image.layer.v1.tar"
IMAGES = 200
LAYERS, LAYER_SIZE = 8, 128 * 1024 * 1024


def timed(
    commands: dict[str, Callable[[], object]], runs: int, before: Callable[[], object] = lambda: None
) -> dict[str, float]:
    """Run all commands in turn, ``runs`` times after one warm-up; return the median seconds of each.

    ``before`` is called before every command and is not timed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(runs + 1):
        for name, command in commands.items():
            before()
            begun = time.perf_counter()
            command()
            if number:
                seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in seconds.items()}


def process(*command: str | Path, env: dict[str, str] | None = None) -> Callable[[], None]:
    """A whole process as something to time; its output is thrown away, a failure is not."""

    def call() -> None:
        done = subprocess.run([str(c) for c in command], capture_output=True, env=env, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{command}: {done.stderr.decode()[-400:]}")

    return call


def row(label: str, value: str, ratio: str = "") -> None:
    """Print one line of the table."""
    print(f"  {label:<58} {value:>12}  {ratio}", flush=True)


def push_small(host: str, path: str, base: Path) -> Reference:
    """Push a small two-layer image under tag 1 and sign it in both formats."""
    layout = base / path.replace("/", "_")
    make_image(layout, "1", path)
    source, store = LayoutStore(layout), RemoteStore(Repository(host, path), Registries({}).transport)
    manifest = source.fetch("1")
    config = () if manifest.config is None else (manifest.config,)
    blobs = tuple(source.blob(d, limit=d.size) for d in (*config, *manifest.layers))
    store.push(Artifact(manifest=manifest, blobs=blobs), tag="1")
    name = Reference.parse(f"{host}/{path}:1")
    sign([name], signer("bench"), SignOptions(formats=("bundle", "simple")), locate=Registries({}))
    return name


def cold(runs: int = 15) -> None:
    """(a) One cold verification."""
    with tempfile.TemporaryDirectory() as text, parts.registry(Path(text)) as registry:
        base = Path(text)
        name = push_small(registry.host, "cold", base)
        key = base / "key.pub"
        key.write_bytes(signer("bench").public_key.to_pem())
        script = Path(sys.executable).with_name("imgsign")
        bare = (sys.executable, "-m", "tests.bench.bare")
        commands: dict[str, Callable[[], object]] = {
            "verify": process(script, "verify", str(name), "-k", key),
            "bare": process(*bare, str(name), "-k", key),
            "help": process(script, "--help"),
            "bare help": process(*bare, "--help"),
        }
        for label, skopeo in skopeos().items():
            commands[label] = process(skopeo, "inspect", "--tls-verify=false", f"docker://{name}")
        found = timed(commands, runs)
        print("(a) cold commands, medians of whole processes")
        row("imgsign verify, small image, loopback", f"{found['verify'] * 1000:.0f} ms")
        ratio = found["verify"] / found["bare"]
        row("bare typer command, requests, one key", f"{found['bare'] * 1000:.0f} ms", f"{ratio:.2f}x (at most 1.25)")
        row("imgsign --help", f"{found['help'] * 1000:.0f} ms")
        ratio = found["help"] / found["bare help"]
        row("bare typer --help", f"{found['bare help'] * 1000:.0f} ms", f"{ratio:.2f}x (at most 0.60)")
        for label in skopeos():
            row(f"fact: {label} inspect", f"{found[label] * 1000:.0f} ms")


def skopeos() -> dict[str, str]:
    """The skopeo on PATH, and the one that SKOPEO names."""
    found = {"skopeo": shutil.which("skopeo") or "skopeo"}
    if other := os.environ.get("SKOPEO"):
        found["SKOPEO"] = other
    return found


def pull(runs: int = 5) -> None:
    """(b) A large pull."""
    parts.need("skopeo")
    with tempfile.TemporaryDirectory() as text, parts.registry(Path(text)) as registry:
        base = Path(text)
        name = push_large(registry.host)
        key = base / "key.pub"
        key.write_bytes(signer("bench").public_key.to_pem())
        script = Path(sys.executable).with_name("imgsign")
        place = base / "out"

        def empty() -> None:
            shutil.rmtree(place, ignore_errors=True)
            os.sync()  # nobody pays for the pages that the one before left to be written

        env = {**os.environ, "TMPDIR": text}
        ours = ("pull", str(name), f"oci:{place}", "-k", key)
        commands: dict[str, Callable[[], object]] = {
            "imgsign": process(script, *ours, env=env),
            "no sync": process(sys.executable, "-m", "tests.bench.nosync", *ours, env=env),
        }
        for label, skopeo in skopeos().items():
            arguments = ("--insecure-policy", "copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{place}:1")
            commands[label] = process(skopeo, *arguments, env=env)
        found = timed(commands, runs, empty)
        peak = peak_memory(script, "pull", str(name), f"oci:{base}/peak", "-k", str(key))
        size = LAYERS * LAYER_SIZE / 2**30
        print(f"(b) pull of {size:.0f} GiB in {LAYERS} layers of random data into an empty layout")
        row("imgsign pull, verified, on disk when it ends (fsync)", f"{found['imgsign']:.2f} s")
        row("imgsign pull, the same without fsync", f"{found['no sync']:.2f} s")
        for label in skopeos():
            synced, unsynced = found[label] / found["imgsign"], found[label] / found["no sync"]
            row(f"{label} copy, not verified, no fsync", f"{found[label]:.2f} s",
                f"{synced:.2f}x, {unsynced:.2f}x without fsync (at least 1.3)")  # fmt: skip
        row("imgsign, peak memory", f"{peak} MiB", "(at most 128)")


def push_large(host: str) -> Reference:
    """Push an image of LAYERS layers of random bytes, and sign it."""
    layers = []
    store = RemoteStore(Repository(host, "large"), Registries({}).transport)
    for _ in range(LAYERS):
        blob = Blob.of(os.urandom(LAYER_SIZE), LAYER)
        layers.append(blob.descriptor)
        store.push(_artifact(blob))
    raw = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": EMPTY_CONFIG.descriptor.to_json(),
        "layers": [d.to_json() for d in layers],
    }
    manifest = Manifest.parse(dump_json(raw), OCI_MANIFEST)
    store.push(Artifact(manifest=manifest, blobs=(EMPTY_CONFIG,)), tag="1")
    name = Reference.parse(f"{host}/large:1")
    sign([name], signer("bench"), locate=Registries({}))
    return name


def _artifact(blob: Blob) -> Artifact:
    """A manifest that holds one blob: the way to store it."""
    raw = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": EMPTY_CONFIG.descriptor.to_json(),
        "layers": [blob.descriptor.to_json()],
    }
    return Artifact(manifest=Manifest.parse(dump_json(raw), OCI_MANIFEST), blobs=(EMPTY_CONFIG, blob))


def peak_memory(*command: str | Path) -> int:
    """Run a process and return its peak resident memory in MiB."""
    code = (
        "import resource,subprocess,sys;subprocess.run(sys.argv[1:],check=True,capture_output=True);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, command)], capture_output=True, check=True)
    return int(done.stdout) // 1024


def many(runs: int = 5) -> None:
    """(c) Many images in one process."""
    with tempfile.TemporaryDirectory() as text, parts.registry(Path(text)) as registry:
        base = Path(text)
        with ThreadPoolExecutor(max_workers=4) as pool:
            jobs = [pool.submit(push_small, registry.host, f"many/app{n}", base) for n in range(IMAGES)]
            names = [job.result() for job in jobs]
        asked = requests_of(names[0])
        found = timed(
            {
                "imgsign": lambda: verify_all(names),
                "bare": lambda: ask_all(registry.host, [[p.replace("app0", f"app{n}") for p in asked]
                                                        for n in range(IMAGES)]),
            },
            runs,
        )  # fmt: skip
        print(f"(c) {IMAGES} images verified in one process, both formats looked at, 8 threads")
        row("imgsign verify", f"{IMAGES / found['imgsign']:.0f} images/s", "(at least 80)")
        ratio = found["bare"] / found["imgsign"]
        row("bare requests.Session loop, the same requests", f"{IMAGES / found['bare']:.0f} images/s",
            f"{ratio:.2f}x (at least 0.60)")  # fmt: skip
        row("requests an image", str(len(asked)))
        row("peak memory of this process", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


def verify_all(names: list[Reference]) -> None:
    """Verify all, as ``imgsign verify REF…`` does; every one must be allowed."""
    key = PublicKey.from_pem(signer("bench").public_key.to_pem())
    policy, trust = key_policy([key])
    locate, now = Registries({}), datetime.now(UTC)
    with ThreadPoolExecutor(max_workers=8) as pool:
        decisions = list(pool.map(lambda n: verify(n, policy, trust, locate=locate, now=now), names))
    if not all(d.allowed for d in decisions):
        raise RuntimeError("an image was not allowed")


def requests_of(name: Reference) -> list[str]:
    """The paths that one verification asks for once the host is known, as the transport sends them."""
    import requests

    seen: list[str] = []

    class Noting(requests.adapters.HTTPAdapter):
        def send(self, request: requests.PreparedRequest, *args: object, **kw: object) -> requests.Response:
            seen.append(str(request.path_url))
            return super().send(request, *args, **kw)  # type: ignore[arg-type]  # passed on as they came

    from imgsign.transport import Transport

    transport = Transport(environ={}, adapter=Noting())
    policy, trust = key_policy([signer("bench").public_key])
    for _ in range(2):  # the first learns that there is no referrers API
        seen.clear()
        decision = verify(name, policy, trust, locate=lambda r: RemoteStore(r, transport))
    if not decision.allowed:
        raise RuntimeError("the image was not allowed")
    return seen


def ask_all(host: str, paths: list[list[str]]) -> None:
    """Ask for the same documents with requests and nothing else, by as many threads.

    Signature objects have other digests in every repository; their paths are taken from the answers.
    """
    import requests

    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=8))
    accept = {"Accept": f"{OCI_MANIFEST}, application/vnd.oci.image.index.v1+json"}

    def get(path: str) -> requests.Response:
        answer = session.get(f"http://{host}{path}", headers=accept, timeout=10)
        answer.raise_for_status()
        return answer

    def ask(number: int) -> None:
        repository = f"/v2/many/app{number}"
        digest = get(f"{repository}/manifests/1").headers["Docker-Content-Digest"].replace(":", "-")
        left = len(paths[number]) - 3
        signature = get(f"{repository}/manifests/{digest}.sig").json()
        index = get(f"{repository}/manifests/{digest}").json()
        wanted = [f"{repository}/blobs/{d['digest']}" for d in signature["layers"]]
        for entry in index["manifests"]:
            found = get(f"{repository}/manifests/{entry['digest']}").json()
            left -= 1
            wanted.extend(f"{repository}/blobs/{d['digest']}" for d in found["layers"])
        if len(wanted) != left:
            raise RuntimeError("the bare loop does not ask the same")
        for path in wanted:
            get(path)

    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(ask, range(len(paths))))


BENCHMARKS = {"cold": cold, "pull": pull, "many": many}


if __name__ == "__main__":
    chosen = sys.argv[1:] or list(BENCHMARKS)
    print(f"{datetime.now(UTC):%Y-%m-%d}, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    for benchmark in chosen:
        BENCHMARKS[benchmark]()
