"""Many signers at once on a registry that keeps referrers in a tag: who is told "signed" must be found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imgsign import PublicKey, Reference, Registries, key_policy, verify
from tests.e2e import images, parts

SIGNERS = 16
RUNS = 10
LEAST_SUCCEEDED = 150  # of SIGNERS * RUNS


def _sign_together(name: str, keys: list[Path], base: Path, *options: str) -> list[int]:
    """Start one process a key with HOME and TMPDIR of its own; return their exit codes."""
    processes = []
    for key in keys:
        own = base / key.stem
        (own / "home").mkdir(parents=True, exist_ok=True)
        (own / "tmp").mkdir(exist_ok=True)
        env = {**os.environ, "HOME": str(own / "home"), "TMPDIR": str(own / "tmp"), "IMGSIGN_PASSWORD": "test"}
        command = [sys.executable, "-m", "imgsign", "sign", name, "-k", str(key), *options]
        processes.append(subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
    return [p.wait(timeout=180) for p in processes]


def _is_signed_by(name: str, key: Path) -> bool:
    policy, trust = key_policy([PublicKey.from_pem(key.with_suffix(".pub").read_bytes())])
    return verify(Reference.parse(name), policy, trust, locate=Registries({})).allowed


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    base = tmp_path_factory.mktemp("race-keys")
    found = []
    for number in range(SIGNERS):
        # Unencrypted: sixteen key derivations at once would only spread the signers out.
        parts.imgsign("key", "generate", base / f"k{number}", "--no-password")
        found.append(base / f"k{number}.key")
    return found


@pytest.mark.parametrize("form", ["bundle", "simple"])
def test_no_signer_that_was_told_signed_is_missing(
    registry: parts.Registry, keys: list[Path], tmp_path: Path, form: str
) -> None:
    runs = RUNS if form == "bundle" else 2
    succeeded = 0
    for number in range(runs):
        name = f"{registry.host}/race/{form}:{number}"
        images.push_small(tmp_path, name, f"{form} {number}")
        codes = _sign_together(name, keys, tmp_path / f"{form}{number}", "-f", form)
        assert set(codes) <= {0, 3}
        succeeded += codes.count(0)
        for key, code in zip(keys, codes, strict=True):
            if code == 0:
                assert _is_signed_by(name, key), f"run {number}: {key.stem} was told 'signed' and is missing"
    print(f"{form}: {succeeded} of {runs * SIGNERS} signers succeeded, none of them is missing")
    assert succeeded >= LEAST_SUCCEEDED * runs // RUNS
