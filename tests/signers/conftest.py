"""Private keys of every kind, opened once a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from imgsign.signers.disk import read_path
from imgsign.signers.file import FileSigner, load_private_key

KEYS = Path(__file__).resolve().parents[2] / "keys-test"


def _open(name: str) -> FileSigner:
    return load_private_key(lambda: read_path(KEYS / f"{name}.key"), lambda _: b"test")


@pytest.fixture(scope="session")
def signers() -> dict[str, FileSigner]:
    """One signer for each kind of :class:`imgsign.signers.Kind`, from keys-test."""
    names = ("ed25519", "rsa-3072", "rsa-4096", "ecdsa-p384", "ecdsa-p521", "ml-dsa-65")
    return {"ecdsa-p256": _open("release-a")} | {name: _open(name) for name in names}


@pytest.fixture(scope="session")
def openssl() -> str:
    """The openssl command, as another reader and writer of key files."""
    found = shutil.which("openssl")
    if found is None:
        pytest.skip("no openssl command")
    return found
