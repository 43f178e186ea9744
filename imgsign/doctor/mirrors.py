"""What each mirror has of an image, compared with what the registry says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from imgsign.doctor.finding import Finding, State
from imgsign.doctor.registry import Examined, ping
from imgsign.doctor.tls import tls_files
from imgsign.errors import ImgsignError, NotFound
from imgsign.reference import Digest
from imgsign.stores.remote import RemoteStore
from imgsign.wire import printable

if TYPE_CHECKING:
    from imgsign.transport import Transport
    from imgsign.transport.places import Place, Places


def mirrors(places: Places, registry: Examined, environ: Mapping[str, str], transport: Transport) -> list[Finding]:
    """Ask each mirror in order what it has; one that fails is passed over, so it is no fault."""
    found = [Finding(label="hosts", text=printable(note), state=State.NOTE) for note in places.notes]
    for number, place in enumerate(places.mirrors, 1):
        label, named, there = f"mirror {number}", f"{place} (from {printable(place.source)})", transport.at(place)
        try:
            answer = there.call(ping(place))
            said, hint = _has(place, there, registry)
            state = State.OK if hint is None else State.NOTE
            text = f"{named} answers {answer.status}, {said}"
        except ImgsignError as e:
            hint = "it is passed over, which takes time" if e.hint is None else e.hint
            text, state = f"{named}: {printable(e.message)}", State.NOTE
        found.append(Finding(label=label, text=text, state=state, hint=hint))
        found += tls_files(f"{label} tls", place, there, environ)
    return found or [Finding(label="mirrors", text="none")]


def _has(place: Place, there: Transport, registry: Examined) -> tuple[str, str | None]:
    """What a mirror has of the image, in words, and a hint if a person should know.

    Raises:
        ImgsignError: it fails, or lies.
    """
    name, known = registry.name, registry.digest
    what = name.digest or (name.tag if place.by_tag else known)
    if what is None or (isinstance(what, Digest) and not place.by_digest):
        return "is not asked what tags mean" if what is None else "is asked what tags mean only", None
    try:
        found = RemoteStore(place.repository, there).fetch(what).digest
    except NotFound:
        return f"lacks {what}", "it is passed over: the registry is asked instead"
    if isinstance(what, Digest):
        return f"has {what}", None
    if known is None or found == known:
        return f"resolves {what} to {found}", None
    return f"resolves {what} to {found}, the registry to {known}", (
        "it is asked first: it lags behind, or somebody else answers"
    )
