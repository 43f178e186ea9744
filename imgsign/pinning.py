"""pin(): write the judged digests into the files they were judged for.

A file is written only if every image in it is allowed and nothing in it is in doubt; else it stays as it is.
The digest written is the one of the decision, so what was judged is what is pinned. The new text is read back
before it is written; the file is replaced whole, keeps its mode and owner, and only if it still is what was
read. Symbolic links are refused: what stands in a checkout must not decide what is written outside of it.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import field
from pathlib import Path

from imgsign.checking import Judged, Report
from imgsign.decision import Decision
from imgsign.errors import DestinationError, ImgsignError, UsageError
from imgsign.images import Found
from imgsign.images.pins import Edit, apply, edit_for, pinned_text, reads_back
from imgsign.images.yamltext import TEXT_LIMIT
from imgsign.record import record
from imgsign.reference import Digest
from imgsign.scanning import File, scan_file
from imgsign.signers.disk import read_file
from imgsign.wire import quote

__all__ = ["Pinned", "plan", "write"]


@record
class Pinned:
    """What pinning makes of one file.

    ``text`` is the new text, ``None`` if nothing changes; ``left`` are the images that cannot be pinned in
    place; ``error`` says why the file as a whole is not pinned.
    """

    file: File
    text: str | None = field(default=None, repr=False)
    count: int = 0
    left: tuple[Found, ...] = ()
    error: ImgsignError | None = None


def plan(report: Report) -> list[Pinned]:
    """Work out the new text of every file that was named."""
    places: dict[int, list[Judged]] = {}
    for place in report.places:
        places.setdefault(id(place.file), []).append(place)
    return [_plan(f, places.get(id(f), [])) for f in report.files if f.given]


def _plan(file: File, places: list[Judged]) -> Pinned:
    digests: list[Digest] = []
    for place in places:
        result = place.result
        if not isinstance(result, Decision) or not result.allowed or result.image.digest is None:
            return Pinned(file=file, error=UsageError("not every image in it is allowed"))
        digests.append(result.image.digest)
    if file.scan.problems:
        return Pinned(file=file, error=UsageError("not everything in it could be read"))
    edits: list[Edit] = []
    left: list[Found] = []
    written: list[Digest | None] = []
    for place, digest in zip(places, digests, strict=True):
        edit = edit_for(place.found, digest)
        written.append(None if edit is None else digest)
        if edit is not None:
            edits.append(edit)
        elif pinned_text(place.found.text, digest) != place.found.text:
            left.append(place.found)
    if not edits:
        return Pinned(file=file, left=tuple(left))
    try:
        text = apply(file.text, edits)
    except UsageError as e:
        return Pinned(file=file, error=e)
    again = scan_file(file.name, file.path, text.encode("utf-8"), file.options)
    if again.kind is not file.kind or not reads_back(file.scan, again.scan, written):
        return Pinned(file=file, error=UsageError("the pinned text would be read differently"))
    return Pinned(file=file, text=text, count=len(edits), left=tuple(left))


def write(pinned: Pinned) -> None:
    """Replace the file by its pinned text.

    Raises:
        DestinationError: it is a symbolic link, has changed since it was read, or cannot be written.
    """
    path, text = pinned.file.path, pinned.text
    if path is None or text is None:
        raise RuntimeError("only a file that changes is written")
    if path.is_symlink():
        target = quote(str(path.readlink()))
        raise DestinationError(f"{quote(str(path))} is a symbolic link", hint=f"pin what it points to: {target}")
    if read_file(path, limit=TEXT_LIMIT) != pinned.file.raw:
        raise DestinationError(f"{quote(str(path))} has changed since it was read", hint="run it again")
    try:
        _replace(path, text.encode("utf-8"))
    except OSError as e:
        raise DestinationError(f"cannot write {quote(str(path))}: {e.strerror}") from e


def _replace(path: Path, raw: bytes) -> None:
    before = path.lstat()
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}-")
    try:
        with open(fd, "wb") as out:
            out.write(raw)
            out.flush()
            with suppress(PermissionError):  # only root may give files away
                os.fchown(fd, before.st_uid, before.st_gid)
            os.fchmod(fd, stat.S_IMODE(before.st_mode))
            os.fsync(fd)
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise
