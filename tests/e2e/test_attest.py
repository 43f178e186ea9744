"""An SBOM of 30 MB through a real registry: attested, judged with and without ``where``, and what memory that takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.measure import peak_memory
from tests.e2e import images, parts

SIZE = 30_000_000  # bytes, at least
MOST = 10  # times the payload that a command may take
IMGSIGN = (sys.executable, "-m", "imgsign")


@pytest.fixture(scope="module")
def sbom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CycloneDX document with as many components as fill it."""
    one = json.dumps(
        {
            "type": "library",
            "name": "name-{n}",
            "version": "1.0.{n}",
            "purl": "pkg:pypi/name-{n}@1.0.{n}",
            "licenses": [{"license": {"id": "MIT"}}],
            "hashes": [{"alg": "SHA-256", "content": "a" * 64}],
            "properties": [
                {"name": "syft:location:0:path", "value": "/usr/lib/python3/dist-packages/name-{n}/METADATA"}
            ],
        }
    )
    parts_of = ",".join(one.replace("{n}", str(n)) for n in range(SIZE // len(one) + 1))
    head = '{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"timestamp":"2026-11-24T00:00:00Z"},"components":['
    path = tmp_path_factory.mktemp("sbom") / "sbom.json"
    path.write_text(f"{head}{parts_of}]}}")
    assert path.stat().st_size >= SIZE
    return path


@pytest.mark.parametrize("format", ["bundle", "dsse"])
def test_sbom_of_30_mb_is_attested_and_judged_in_ten_times_its_size(
    format: str, sbom: Path, registry: parts.Registry, release_key: Path, tmp_path: Path
) -> None:
    name = f"{registry.host}/large/{format}:1"
    images.push(registry, f"large/{format}", "1")
    last = f'"components[].name" = "name-{SIZE // 1000 // 1000}"'
    for file, where in (
        ("whole", ""),
        ("where", f', where = {{ "metadata.timestamp" = {{ exists = true }}, {last} }}'),
    ):
        (tmp_path / f"{file}.toml").write_text(
            f'version = 1\ndefault = "reject"\n[anchors.ci]\nkeys = ["{release_key.with_suffix(".pub")}"]\n'
            f'[scopes."{registry.host}"]\nrequire = [{{ attested = "cyclonedx", by = "ci"{where} }}]\n'
        )
    attest = (*IMGSIGN, "attest", name, "--type", "cyclonedx", "--predicate", sbom, "-k", release_key, "-f", format)
    done = subprocess.run(
        [str(a) for a in attest], input=b"test", capture_output=True, check=False, timeout=300,
        env={"PATH": "/usr/bin:/bin", "IMGSIGN_PASSWORD": "test"}, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    for file in ("whole", "where"):
        used = peak_memory(*IMGSIGN, "verify", name, "-p", tmp_path / f"{file}.toml")
        assert used * 1024 * 1024 <= MOST * SIZE
    printed = parts.run(*IMGSIGN, "inspect", name, "--predicate", "cyclonedx", "-k", release_key.with_suffix(".pub"))
    assert printed.stdout.rstrip("\n") == sbom.read_text()
