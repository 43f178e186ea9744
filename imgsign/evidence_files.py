"""Evidence as a directory: ``evidence.json`` (format 1) and ``blobs/ALGORITHM/HEX``.

The blobs are the bytes of the image's manifest and of every signature object that was opened. The document has the
name, the place, the policy and its keys as parsed (JSON of the policy's shape, keys as PEM), the limits, and in
rounds, as they were gathered, what each place had: manifest, blobs, what was missing and why, defects and
faults. No credential, header, token or URL query reaches it: messages are made without them where requests are made.

Whoever writes the directory writes the policy in it, too: judge somebody else's evidence by a policy of your own.

Reading is strict: exact keys, sizes and digests checked, no links, nothing outside of the directory, no key files.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from imgsign.claim import Defect, Place, Referrers, Tag
from imgsign.decision import Fault, Opened
from imgsign.errors import ContentMismatch, DestinationError, InvalidEvidence, Malformed
from imgsign.evidence import Saved
from imgsign.gather import Limits
from imgsign.load import load_document
from imgsign.oci import MANIFEST_LIMIT, Artifact, Blob, Descriptor, Manifest
from imgsign.policy.write import policy_value
from imgsign.reference import Digest, Reference
from imgsign.wire import Node, dump_json, format_time, load_json, quote

T = TypeVar("T")

FORMAT = 1
DOCUMENT = "evidence.json"
DOCUMENT_LIMIT = 64 * 1024 * 1024
TOTAL_LIMIT = 1024 * 1024 * 1024  # bytes of all blobs; what is gathered for one image is far below
BLOB_LIMIT = 128 * 1024 * 1024
ROUNDS_LIMIT = 1000
OPENED_LIMIT = 20_000


def save(saved: Saved, directory: Path) -> None:
    """Write a new directory, whole or not at all.

    Raises:
        DestinationError: there is something of that name already, or it cannot be written.
    """
    if os.path.lexists(directory):
        raise DestinationError(f"{quote(str(directory))} already exists", hint="choose another name")
    try:
        staged = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
        with ExitStack() as cleanup:
            cleanup.callback(shutil.rmtree, staged, ignore_errors=True)
            for digest, raw in _blobs(saved).items():
                _write(staged / "blobs" / digest.algorithm / digest.hex, raw)
            _write(staged / DOCUMENT, dump_json(_document(saved)) + b"\n")
            staged.chmod(0o755)
            os.rename(staged, directory)
    except OSError as e:
        reason = (e.strerror or str(e)).lower()
        raise DestinationError(f"cannot write {quote(str(directory))}: {reason}") from e


def _write(path: Path, raw: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as out:
        out.write(raw)
        out.flush()
        os.fsync(out.fileno())


def _blobs(saved: Saved) -> dict[Digest, bytes]:
    found = {} if saved.manifest is None else {saved.manifest.digest: saved.manifest.raw}
    for artifact in (o.artifact for r in saved.rounds for o in r if o.artifact is not None):
        found[artifact.manifest.digest] = artifact.manifest.raw
        found.update((b.descriptor.digest, b.raw) for b in artifact.blobs)
    return found


def _document(saved: Saved) -> dict[str, object]:
    pems = {n: [k.key.to_pem().decode("ascii") for k in a.keys] for n, a in saved.trust.anchors.items()}
    limits = saved.limits
    return {
        "format": FORMAT,
        "imgsign": saved.version,
        "judged_at": format_time(saved.judged_at),
        "reference": saved.reference,
        "name": None if saved.name is None else str(saved.name),
        "place": saved.place,
        "policy": policy_value(saved.policy, pems),
        "limits": {
            "referrers": limits.referrers,
            "blob": limits.blob,
            "attestation": limits.attestation,
            "total": limits.total,
        },
        "wanted": sorted(saved.wanted),
        "image": None if saved.manifest is None else _described(saved.manifest.descriptor),
        "rounds": [[_opened(o) for o in opened] for opened in saved.rounds],
        "verdict": saved.verdict,
        "checks": [list(c) for c in saved.checks],
    }


def _described(descriptor: Descriptor) -> dict[str, object]:
    return {"media_type": descriptor.media_type, "digest": str(descriptor.digest), "size": descriptor.size}


def _opened(opened: Opened) -> dict[str, object]:
    found: dict[str, object] = {"place": _place(opened.place)}
    if (artifact := opened.artifact) is not None:
        found["manifest"] = _described(artifact.manifest.descriptor)
        found["blobs"] = [{"digest": str(b.descriptor.digest), "size": b.descriptor.size} for b in artifact.blobs]
        found["missing"] = [{"digest": str(d), "why": why} for d, why in artifact.missing]
        found["too_large"] = sorted(map(str, artifact.too_large))
    if opened.defect is not None:
        found["defect"] = {"code": opened.defect.code, "reason": opened.defect.reason}
    if opened.faults:
        found["faults"] = [{"about": f.about, "message": f.message, "hint": f.hint} for f in opened.faults]
    return found


def _place(place: Place) -> dict[str, object]:
    if isinstance(place, Tag):
        return {"tag": place.name}
    return {"referrer": None if place.manifest is None else str(place.manifest)}


def load(directory: Path) -> Saved:
    """Read a directory that :func:`save` wrote.

    Raises:
        DestinationError: it cannot be read.
        InvalidEvidence: it is not what its format says.
    """
    try:
        with _Directory.opened(directory) as files:
            node = load_json(files.read(DOCUMENT, limit=DOCUMENT_LIMIT), limit=DOCUMENT_LIMIT, error=InvalidEvidence)
            return _parse(node, files)
    except OSError as e:
        raise DestinationError(f"cannot read {quote(str(directory))}: {(e.strerror or str(e)).lower()}") from e
    except InvalidEvidence as e:
        raise InvalidEvidence(f"evidence {quote(str(directory))}: {e.message}", hint=e.hint) from e
    except Malformed as e:
        raise InvalidEvidence(f"evidence {quote(str(directory))}: {e.message}") from e


@dataclass(slots=True)
class _Directory:
    """A directory below which no link is followed."""

    fd: int
    left: int = TOTAL_LIMIT

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[_Directory]:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield cls(fd)
        finally:
            os.close(fd)

    def read(self, path: str, *, limit: int) -> bytes:
        """Read a regular file of at most ``limit`` bytes; ``path`` is of our own making."""
        *folders, name = path.split("/")
        with ExitStack() as stack:
            fd = self.fd
            for folder in folders:
                fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
                stack.callback(os.close, fd)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with open(os.open(name, flags, dir_fd=fd), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise InvalidEvidence(f"{quote(path)} is not a regular file")
                raw = file.read(limit + 1)
        if len(raw) > limit:
            raise InvalidEvidence(f"{quote(path)} is longer than {limit} bytes")
        return raw

    def blob(self, descriptor: Descriptor) -> Blob:
        """Read stored bytes and compare them with their address."""
        self.left -= descriptor.size
        if self.left < 0:
            raise InvalidEvidence(f"holds more than {TOTAL_LIMIT} bytes")
        digest = descriptor.digest
        raw = self.read(f"blobs/{digest.algorithm}/{digest.hex}", limit=min(descriptor.size, BLOB_LIMIT))
        try:
            return Blob.checked(descriptor, raw)
        except ContentMismatch as e:
            raise InvalidEvidence(e.message) from e


_KEYS = (
    *("format", "imgsign", "judged_at", "reference", "name", "place", "policy", "limits", "wanted"),
    *("image", "rounds", "verdict", "checks"),
)


def _parse(node: Node, files: _Directory) -> Saved:
    found = node.fields(("format",), (), closed=False)["format"].integer()
    if found != FORMAT:
        node.refuse(f"format {found} is unknown", hint=f"this imgsign reads format {FORMAT}")
    top = node.fields(_KEYS)
    limits = top["limits"].fields(("referrers", "blob", "attestation", "total"))
    rounds = tuple(
        tuple(_parse_opened(o, files) for o in r.items(limit=OPENED_LIMIT))
        for r in top["rounds"].items(limit=ROUNDS_LIMIT)
    )
    policy, trust = load_document(top["policy"])
    return Saved(
        version=top["imgsign"].text(),
        judged_at=top["judged_at"].moment(),
        reference=top["reference"].text(),
        name=_optional(top["name"], lambda n: _text(n, Reference.parse)),
        place=top["place"].text(),
        policy=policy,
        trust=trust,
        limits=Limits(**{word: sub.integer(low=1) for word, sub in limits.items()}),
        wanted=frozenset(n.text() for n in top["wanted"].items()),
        manifest=_optional(top["image"], lambda n: _manifest(n, files)),
        rounds=rounds,
        verdict=top["verdict"].text(),
        checks=tuple(map(_parse_check, top["checks"].items())),
    )


def _parse_check(node: Node) -> tuple[str, bool, str]:
    parts = node.items()
    if len(parts) != 3:
        node.refuse("expected three values")
    return parts[0].text(), parts[1].boolean(), parts[2].text()


def _parse_opened(node: Node, files: _Directory) -> Opened:
    members = node.fields(("place",), ("manifest", "blobs", "missing", "too_large", "defect", "faults"))
    place = _parse_place(members["place"])
    artifact = defect = None
    if "manifest" in members:
        for word in ("blobs", "missing", "too_large"):
            if word not in members:
                node.refuse(f"missing key {word!r}")
        artifact = _artifact(members, files)
    if "defect" in members:
        said = members["defect"].fields(("code", "reason"))
        defect = Defect(place=place, code=said["code"].text(), reason=said["reason"].text())
    faults = tuple(map(_fault, members["faults"].items())) if "faults" in members else ()
    return Opened(place=place, artifact=artifact, defect=defect, faults=faults)


def _artifact(members: dict[str, Node], files: _Directory) -> Artifact:
    manifest = _manifest(members["manifest"], files)
    listed = {(d.digest, d.size): d for d in (*manifest.layers, *((manifest.config,) if manifest.config else ()))}
    blobs: list[Blob] = []
    for node in members["blobs"].items():
        said = node.fields(("digest", "size"))
        descriptor = listed.get((_text(said["digest"], Digest.parse), said["size"].integer(low=0, high=BLOB_LIMIT)))
        if descriptor is None:
            node.refuse("is no blob of its manifest")
        blobs.append(files.blob(descriptor))
    missing = [n.fields(("digest", "why")) for n in members["missing"].items()]
    return Artifact(
        manifest=manifest,
        blobs=tuple(blobs),
        missing=tuple((_text(m["digest"], Digest.parse), m["why"].text()) for m in missing),
        too_large=frozenset(_text(n, Digest.parse) for n in members["too_large"].items()),
    )


def _manifest(node: Node, files: _Directory) -> Manifest:
    said = node.fields(("media_type", "digest", "size"))
    digest = _text(said["digest"], Digest.parse)
    media_type = said["media_type"].text()
    size = said["size"].integer(low=0, high=MANIFEST_LIMIT)
    raw = files.blob(Descriptor(media_type=media_type, digest=digest, size=size)).raw
    return Manifest.parse(raw, media_type, algorithm=digest.algorithm)


def _parse_place(node: Node) -> Place:
    members = node.fields((), ("tag", "referrer"))
    if len(members) != 1:
        node.refuse("expected one of 'tag' and 'referrer'")
    if "tag" in members:
        return Tag(members["tag"].text())
    return Referrers(_optional(members["referrer"], lambda n: _text(n, Digest.parse)))


def _fault(node: Node) -> Fault:
    said = node.fields(("about", "message", "hint"))
    return Fault(about=said["about"].text(), message=said["message"].text(), hint=_optional(said["hint"], Node.text))


def _optional(node: Node, read: Callable[[Node], T]) -> T | None:
    return None if node.value is None else read(node)


def _text(node: Node, parse: Callable[[str], T]) -> T:
    try:
        return parse(node.text())
    except InvalidEvidence:
        raise
    except Malformed as e:
        node.refuse(e.message)
