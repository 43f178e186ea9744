"""Trust material as pure data: which keys stand behind which anchor name.

A :class:`TrustStore` is made by :mod:`imgsign.load` from a policy and the files it names. Revocation is
removal from it, or a ``not_after``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime

from imgsign.keys import PublicKey
from imgsign.record import record


@record
class TrustedKey:
    """A public key with the time it may be trusted for.

    ``not_before`` is inclusive, ``not_after`` exclusive, both aware UTC. ``hash`` (``sha256``,
    ``sha384``, ``sha512``) replaces the hashes the key's kind accepts, for odd old data.
    """

    key: PublicKey
    not_before: datetime | None = None
    not_after: datetime | None = None
    hash: str | None = None


@record
class Keys:
    """An anchor of plain public keys: any one of them may sign."""

    name: str
    keys: tuple[TrustedKey, ...]


# A closed union in the making: certificate authorities join here, and mypy shows every place.
Anchor = Keys


@record
class TrustStore:
    """All anchors of a policy by name."""

    anchors: Mapping[str, Anchor] = field(hash=False)
