"""The signature formats, one a file: to add one, write the file and a line in :data:`FORMATS`."""

from __future__ import annotations

from imgsign.claim import Format
from imgsign.formats import bundle, dsse, simple
from imgsign.intoto import COSIGN_SIGN

FORMATS: dict[str, Format] = {f.name: f for f in (bundle.FORMAT, simple.FORMAT, dsse.FORMAT)}
"""All formats by name; a verification looks at the places of those that can hold what the rule asks for."""


def formats_for(wanted: frozenset[str]) -> tuple[Format, ...]:
    """The formats that can hold one of these predicate types; that of a signature is ``COSIGN_SIGN``."""
    signs, attests = COSIGN_SIGN in wanted, bool(wanted - {COSIGN_SIGN})
    return tuple(f for f in FORMATS.values() if (signs and f.signs) or (attests and f.attests))
