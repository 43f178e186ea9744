"""Images in a ``kustomization.yaml``: what its ``images`` transformer sets; pure.

Source: kustomize api/types/image.go and api/filters/imagetag: an entry has ``name`` (what is replaced),
``newName``, ``newTag``, ``tagSuffix`` and ``digest``; with ``newTag`` and ``digest`` both stay.

A :class:`Problem`: an entry without tag and digest (the tag comes from the manifests), and ``tagSuffix``. Noted:
everything the kustomization builds on, since that is in other files: what is deployed is the output of
``kustomize build``, and that is what to check.

Pinning writes ``digest``: into the value that is there, or as a line after ``newTag``.
"""

from __future__ import annotations

import re

from imgsign.images import Found, Problem, Scan, Spot, yamltext
from imgsign.images.yamltext import Node, Reading, Row, Scalar, Table
from imgsign.wire import quote

__all__ = ["GROUP", "scan", "scan_root"]

GROUP = "kustomize.config.k8s.io"
_FOLLOWED_BY_BUILD = (
    "bases",
    "components",
    "configMapGenerator",
    "crds",
    "generators",
    "helmChartInflationGenerator",
    "helmCharts",
    "patches",
    "patchesJson6902",
    "patchesStrategicMerge",
    "replacements",
    "resources",
    "secretGenerator",
    "transformers",
)
_COMMENT = re.compile(r"[ \t]*(?:#[^\n]*)?\r?")
_HINT = "kustomize build | imgsign check -"


def scan(text: str) -> Scan:
    """Find the images of a kustomization file."""
    reading = yamltext.read(text)
    found: list[Found] = []
    problems = list(reading.problems)
    notes: list[str] = []
    roots = [r for r in reading.roots if not (isinstance(r, Scalar) and r.kind == "null")]
    for root in roots:
        if not isinstance(root, Table):
            spot = reading.lines.spot(root.start)
            problems.append(Problem(code="not-an-object", message="not a kustomization", spot=spot))
            continue
        part = scan_root(text, reading, root)
        found += part.found
        problems += part.problems
        notes += part.notes
    if not roots and not reading.problems:
        problems.append(Problem(code="empty", message="nothing to check: no document", spot=reading.lines.spot(0)))
    return Scan(found=tuple(found), problems=tuple(problems), notes=tuple(notes))


def scan_root(text: str, reading: Reading, root: Table) -> Scan:
    """Find the images of one document that is a kustomization."""
    found: list[Found] = []
    problems: list[Problem] = []
    images = root.entries.get("images")
    entries = images.items if isinstance(images, Row) else []
    if images is not None and not isinstance(images, Row) and not _is_null(images):
        spot = reading.lines.spot(images.start)
        problems.append(Problem(code="bad-shape", message="images is not a list", spot=spot, path="images"))
    for number, entry in enumerate(entries):
        image = _Entry(text, reading, entry, f"images[{number}]").read()
        if isinstance(image, Found):
            found.append(image)
        else:
            problems.append(image)
    used = [name for name in _FOLLOWED_BY_BUILD if name in root.entries]
    note = f"kustomization: {', '.join(used)}: not followed; what is deployed is checked by {_HINT}"
    return Scan(found=tuple(found), problems=tuple(problems), notes=(note,) if used else ())


class _Entry:
    """One entry of ``images``."""

    def __init__(self, text: str, reading: Reading, node: Node, path: str) -> None:
        self._text, self._reading, self._node, self._path = text, reading, node, path

    def read(self) -> Found | Problem:
        """Read the reference it sets."""
        if not isinstance(self._node, Table):
            return self._problem("not-an-object", "not an entry with name and newTag")
        values: dict[str, str] = {}
        for key in ("name", "newName", "newTag", "digest", "tagSuffix"):
            node = self._node.entries.get(key)
            if node is None or _is_null(node):
                continue
            if not isinstance(node, Scalar) or node.kind != "str":
                hint = "put it into quotes" if isinstance(node, Scalar) else None
                return self._problem("bad-shape", f"{key} is not a string", hint)
            values[key] = node.text
        name = values.get("newName") or values.get("name", "")
        tag, digest = values.get("newTag", ""), values.get("digest", "")
        if not name:
            return self._problem("image-missing", "an entry without a name")
        if values.get("tagSuffix") and not digest:
            return self._problem("unresolved", "tagSuffix is added to tags of other files", _HINT)
        if not tag and not digest:
            message = f"the tag of {quote(name)} is not set here: it comes from the manifests"
            return self._problem("unresolved", message, _HINT)
        return self._found(f"{name}{f':{tag}' if tag else ''}{f'@{digest}' if digest else ''}", has_digest=bool(digest))

    def _found(self, image: str, *, has_digest: bool) -> Found:
        table = self._node
        if not isinstance(table, Table):
            raise RuntimeError("only a mapping has come this far")
        key = next(k for k in ("digest", "newTag", "newName", "name") if k in table.entries)
        node = table.entries[key]
        stretch = yamltext.content(self._text, node) if isinstance(node, Scalar) else None
        lines = self._reading.lines
        spot = lines.spot(*stretch) if stretch is not None else lines.spot(node.start)
        pin, replacement, reason = None, "{reference}", None
        if has_digest:
            pin, replacement = spot, "{digest}"
        else:
            pin, replacement, reason = self._new_line(table)
        return Found(
            text=image,
            path=self._path,
            role="image",
            spot=spot,
            pin=pin,
            unpinnable=reason,
            replacement=replacement,
            subject="kustomization",
        )

    def _new_line(self, table: Table) -> tuple[Spot | None, str, str | None]:
        """Where ``digest: …`` goes: a line of its own below ``newTag``, indented like it."""
        by_hand = "digest has to be written by hand: newTag does not stand on a line of its own"
        key, value = table.keys.get("newTag"), table.entries.get("newTag")
        if key is None or not isinstance(value, Scalar) or "digest" in table.entries:
            return None, "{reference}", by_hand
        begin = self._text.rfind("\n", 0, key.start) + 1
        end = self._text.find("\n", value.end)
        before, after = self._text[begin : key.start], self._text[value.end : end if end >= 0 else None]
        # A value from elsewhere (an alias), a block, a flow mapping: there is no line to write below.
        own_line = value.start > key.start and "\n" not in self._text[key.start : value.end]
        if not own_line or before.replace("-", " ", 1).strip(" ") or not _COMMENT.fullmatch(after):
            return None, "{reference}", by_hand
        ending = "\r\n" if after.endswith("\r") else "\n"
        stop = value.end + len(after.removesuffix("\r"))
        indent = before.replace("-", " ", 1)
        return self._reading.lines.spot(stop, stop), f"{ending}{indent}digest: {{digest}}", None

    def _problem(self, code: str, message: str, hint: str | None = None) -> Problem:
        spot = self._reading.lines.spot(self._node.start)
        return Problem(code=code, message=message, spot=spot, path=self._path, hint=hint, subject="kustomization")


def _is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.kind == "null"
