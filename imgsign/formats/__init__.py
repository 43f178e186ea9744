"""The signature formats, one a file: to add one, write the file and a line in :data:`FORMATS`."""

from __future__ import annotations

from imgsign.claim import Format
from imgsign.formats import bundle, simple

FORMATS: dict[str, Format] = {f.name: f for f in (bundle.FORMAT, simple.FORMAT)}
"""All formats by name; every verification looks at the places of all of them."""
