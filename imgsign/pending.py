"""Signatures that were stored but perhaps not listed: remembered until they are.

On a registry without the referrers API a signature is found only through an index under a tag, which
other signers rewrite too. When a signer gives up (or is killed) between storing its signature and seeing
it listed, the next run finds the digest here and lists it again, instead of leaving an orphan.

One empty file per signature: ``<directory>/<sha256 of place@image>/<algorithm>-<hex>``. A convenience and
nothing more: a directory that cannot be written is not an error, and what is read is verified anew.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from imgsign.errors import InvalidDigest
from imgsign.reference import Digest

_LIMIT = 100  # files read for one image


class PendingFiles:
    """See the module; ``directory`` is made when first needed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, place: str, image: Digest, stored: Digest) -> None:
        """Remember a signature that is about to be stored."""
        directory = self._directory_of(place, image)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / f"{stored.algorithm}-{stored.hex}").touch()
        except OSError:
            return

    def remove(self, place: str, image: Digest, stored: Digest) -> None:
        """Forget a signature that is listed now, or gone."""
        directory = self._directory_of(place, image)
        try:
            (directory / f"{stored.algorithm}-{stored.hex}").unlink(missing_ok=True)
            directory.rmdir()  # succeeds when it was the last
        except OSError:
            return

    def find(self, place: str, image: Digest) -> tuple[Digest, ...]:
        """List what is remembered for an image."""
        try:
            names = sorted(p.name for p in self._directory_of(place, image).iterdir())[:_LIMIT]
        except OSError:
            return ()
        found = []
        for name in names:
            try:
                found.append(Digest.parse(name.replace("-", ":", 1)))
            except InvalidDigest:
                continue
        return tuple(found)

    def _directory_of(self, place: str, image: Digest) -> Path:
        return self._directory / hashlib.sha256(f"{place}@{image}".encode()).hexdigest()
