"""Finds the test vectors that lie beside the checkout, in ``../shared/vectors``.

They are other tools' output and too large to be kept here. Without them the tests that need them are
skipped, and the reason shown says what is missing.
"""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
VECTORS = ROOT.parent / "shared" / "vectors"

requires_shared = pytest.mark.skipif(
    not VECTORS.is_dir(), reason="the test vectors are absent: ../shared/vectors beside the checkout"
)


def read(path: str) -> bytes:
    """Read one file of the vectors by its path below them."""
    return (VECTORS / path).read_bytes()
