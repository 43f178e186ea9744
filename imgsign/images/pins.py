"""Writing pinned references into a text, everything else byte for byte; pure.

What is written is ``text@digest`` with the text as its author spelled it; a reference without a tag gets the
``:latest`` it was judged as, so that the pinned file is judged as the unpinned one was.

The new text is read again by whoever asked (:func:`reads_back`): a replacement that the file's own reader would
understand differently is refused and nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterable

from imgsign.errors import UsageError
from imgsign.images import Found, Scan, Spot
from imgsign.record import record
from imgsign.reference import Digest, Reference

__all__ = ["Edit", "apply", "edit_for", "pinned_text", "reads_back"]


@record(kw_only=False)
class Edit:
    """``text`` in place of what stands at ``spot``."""

    spot: Spot
    text: str


def pinned_text(text: str, digest: Digest) -> str:
    """Add the digest to a reference; one that has a digest stays as it is.

    Raises:
        InvalidReference: the text is not a reference.
    """
    reference = Reference.parse(text)
    if reference.digest is not None:
        return text
    return f"{text}{'' if reference.tag is not None else ':latest'}@{digest}"


def edit_for(found: Found, digest: Digest) -> Edit | None:
    """Make the edit that pins one image; ``None`` if it is pinned already, or cannot be pinned in place."""
    pinned = pinned_text(found.text, digest)
    if pinned == found.text or found.pin is None:
        return None
    return Edit(found.pin, found.replacement.replace("{digest}", str(digest)).replace("{reference}", pinned))


def apply(text: str, edits: Iterable[Edit]) -> str:
    """Make all edits; two that are the same are one.

    Raises:
        UsageError: two edits want different things of one stretch.
    """
    parts: list[str] = []
    done = 0
    for edit in sorted(set(edits), key=lambda e: (e.spot.start, e.spot.end)):
        if edit.spot.start < done:
            raise UsageError(f"line {edit.spot.line}: two images share one stretch of text and cannot both be pinned")
        parts += (text[done : edit.spot.start], edit.text)
        done = edit.spot.end
    return "".join((*parts, text[done:]))


def reads_back(before: Scan, after: Scan, digests: Iterable[Digest | None]) -> bool:
    """Whether the new text holds the same images, each with its digest where it was to be pinned (not ``None``)."""
    expected = [
        (f.path, f.role, f.text if d is None else pinned_text(f.text, d))
        for f, d in zip(before.found, digests, strict=True)
    ]
    same_doubts = len(before.problems) == len(after.problems) and len(before.builds) == len(after.builds)
    return same_doubts and expected == [(f.path, f.role, f.text) for f in after.found]
