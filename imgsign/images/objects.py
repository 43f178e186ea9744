"""Images in one Kubernetes object: built-in kinds, custom resources, by shape, and where the user says.

See :mod:`imgsign.images.kubernetes`, which takes files apart into objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from imgsign.images import Found, Problem, Spot, crds, workloads, yamltext
from imgsign.images.crds import What
from imgsign.images.paths import Path, matches, shown
from imgsign.images.yamltext import Node, Reading, Scalar, Table
from imgsign.wire import printable, quote

__all__ = ["Collected", "look"]

_MADE_LATER = re.compile(r"\{\{|\$\(|\$\{|\}\}")
_PATCH = "if this is only a patch of it: kustomize build | imgsign check -"
_SCHEME = re.compile(r"(docker|oci)://")


class Collected:
    """What was found in one file so far, and what the finding needs to know."""

    def __init__(self, text: str, reading: Reading, image_paths: Mapping[str, Sequence[str]], *, strict: bool) -> None:
        self.found: list[Found] = []
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.text, self.reading = text, reading
        self.image_paths, self.strict = image_paths, strict

    def refuse(
        self, root: Node, path: Path, code: str, message: str, subject: str | None, hint: str | None = None
    ) -> None:
        """Record a problem at a path, or as near to it as there is anything."""
        spot = self.nearest(root, path)
        self.problems.append(
            Problem(code=code, message=message, spot=spot, path=shown(path), hint=hint, subject=subject)
        )

    def nearest(self, root: Node, path: Path) -> Spot:
        """Where a person looks for a path: the value, or what is nearest to where it should be."""
        for size in range(len(path), -1, -1):
            found = yamltext.find(root, path[:size])
            if found is None:
                continue
            node = found[0]
            stretch = yamltext.content(self.text, node) if isinstance(node, Scalar) else None
            if stretch is not None:
                return self.reading.lines.spot(*stretch)
            return self.reading.lines.spot(node.start)
        raise RuntimeError("a root is always there")


def look(into: Collected, root: Table, data: dict[str, object], at: Path, kind: str, group: str) -> None:
    """Find all images of one object, which stands at ``at`` below the document ``root``; ``data`` is its value."""
    _Looker(into, root, data, at, kind, group).look()


class _Looker:
    """One object of a document."""

    def __init__(self, into: Collected, root: Table, data: dict[str, object], at: Path, kind: str, group: str) -> None:
        self._into, self._root, self._data, self._at = into, root, data, at
        self._kind, self._group = kind, group
        self._subject = _subject(kind, data.get("metadata"))
        self._seen: set[Path] = set()

    def look(self) -> None:
        """Find all images of the object."""
        if (self._group, self._kind) in workloads.WORKLOADS:
            self._walked(workloads.images_of_workload(self._data, self._group, self._kind))
            self._paths()
            return
        if self._group in crds.BARE_GROUPS or (not self._group and self._kind in crds.BARE_KINDS):
            self._paths()
            self._note_configuration()
            return
        row = crds.row_for(self._group, self._kind)
        for what, pattern in row.places if row is not None else ():
            for path, value in matches(self._data, pattern):
                self._place(what, path, value)
        if self._group == "tekton.dev":
            self._bundles()
        self._paths()
        for path in crds.shaped(self._data):
            self._image(path, "by shape")
        self._others(known=row is not None)

    def _place(self, what: What, path: Path, value: object) -> None:
        match what:
            case What.POD:
                self._walked(workloads.images_of_pod_spec(value, path))
            case What.CONTAINERS:
                for number in range(len(value)) if isinstance(value, list) else ():
                    self._image((*path, number, "image"), "container")
            case What.IMAGE:
                self._image(path, "image")
            case What.URL:
                self._url(path, value)
            case What.FROM:
                self._object_reference(path, value)
            case What.MANIFEST:
                if isinstance(value, str) and "image" in value:
                    self._problem(path, "embedded", "a manifest inside a text is not searched for images")

    def _walked(self, walked: workloads.Walked) -> None:
        for place in walked:
            if isinstance(place, workloads.ImagePlace):
                self._image(place.path, place.role)
            elif place.path not in self._seen:
                found = yamltext.find(self._root, (*self._at, *place.path))
                if place.code == "bad-shape" and found is not None and isinstance(found[0], Scalar):
                    self._image(place.path, "image")  # says what is wrong with the text itself
                    continue
                hint = _PATCH if place.code in ("bad-shape", "image-missing") else None
                self._problem(place.path, place.code, place.message, hint)

    def _paths(self) -> None:
        """Look where the user said."""
        for name in (self._kind, f"{self._kind}.{self._group}"):
            for pattern in self._into.image_paths.get(name, ()):
                for path, value in matches(self._data, pattern):
                    if isinstance(value, dict):
                        self._walked(workloads.images_of_pod_spec(value, path))
                    else:
                        self._image(path, "image")

    def _image(self, path: Path, role: str, *, scheme: str = "") -> None:
        """Report the image at a path, or why it is none; each path once."""
        if path in self._seen:
            return
        self._seen.add(path)
        found = yamltext.find(self._root, (*self._at, *path))
        node, shared = found if found is not None else (None, None)
        if not isinstance(node, Scalar):
            if node is None:
                self._problem(path, "image-missing", "there is no image")
            else:
                self._problem(path, "bad-shape", "the image is not a string")
            return
        if node.kind == "null" or not node.text.strip():
            self._problem(path, "image-missing", "the image is empty")
        elif node.kind == "other":
            self._problem(path, "bad-shape", "the image has a YAML tag: readers differ on what it makes of it")
        elif node.kind != "str":
            self._problem(path, "bad-shape", f"the image is not a string: {quote(node.text)}", "put it into quotes")
        elif _MADE_LATER.search(node.text) is not None:
            late = self._group in ("argoproj.io", "tekton.dev")  # made by the controller: no rendering shows it
            hint = None if late else "render it first: helm template … | imgsign check -"
            self._problem(path, "template", f"the image is made later: {quote(node.text)}", hint)
        else:
            self._report(path, role, node, shared, scheme)

    def _report(self, path: Path, role: str, node: Scalar, shared: str | None, scheme: str) -> None:
        text, lines = self._into.text, self._into.reading.lines
        stretch = yamltext.content(text, node)
        pin = None if stretch is None else lines.spot(*stretch)
        if shared is not None:
            line = lines.spot(node.start).line
            note = f"{self._subject}: the image in line {line} is shared by anchor &{printable(shared)}"
            self._into.notes.append(f"{note}: --pin changes every use of it")
        self._into.found.append(
            Found(
                text=node.text.removeprefix(scheme),
                path=shown((*self._at, *path)),
                role=role,
                spot=pin or lines.spot(node.start),
                pin=pin,
                unpinnable=None if pin is not None else "it is written over several lines",
                replacement=f"{scheme}{{reference}}",
                subject=self._subject,
            )
        )

    def _url(self, path: Path, value: object) -> None:
        match = _SCHEME.match(value) if isinstance(value, str) else None
        if match is None:
            self._problem(path, "unresolved", "not the URL of an image", "it starts with docker:// or oci://")
        elif self._kind == "OCIRepository":
            self._artifact(path, str(value).removeprefix(match[0]))
        else:
            self._image(path, "disk", scheme=match[0])

    def _artifact(self, path: Path, repository: str) -> None:
        """Flux keeps the tag or digest of an OCIRepository beside its URL."""
        wanted = self._data.get("spec")
        where = wanted.get("ref") if isinstance(wanted, dict) else None
        parts = where if isinstance(where, dict) else {"tag": "latest"}
        tag, digest = _text(parts.get("tag")), _text(parts.get("digest"))
        if not (tag or digest) or "semver" in parts:
            self._problem(
                path, "unresolved", "which tag is chosen is decided later", "set spec.ref.digest or spec.ref.tag"
            )
            return
        self._seen.add(path)
        full = (*self._at, *path)
        self._into.found.append(
            Found(
                text=f"{repository}{f':{tag}' if tag else ''}{f'@{digest}' if digest else ''}",
                path=shown(full),
                role="artifact",
                spot=self._into.nearest(self._root, full),
                unpinnable="its digest stands in spec.ref.digest",
                subject=self._subject,
            )
        )

    def _object_reference(self, path: Path, value: object) -> None:
        kind = value.get("kind") if isinstance(value, dict) else None
        if kind == "DockerImage":
            self._image((*path, "name"), "base")
        elif kind is not None:
            self._problem(path, "unresolved", f"which image {quote(str(kind))} means is decided in the cluster")

    def _bundles(self) -> None:
        """Tekton's bundle resolver: the task itself comes from an image."""
        for path, value in _mappings(self._data):
            if value.get("resolver") == "bundles":
                for below, param in matches(value, "params[]"):
                    if isinstance(param, dict) and param.get("name") == "bundle":
                        self._image((*path, *below, "value"), "bundle")

    def _others(self, *, known: bool) -> None:
        """Say which keys ``image`` were not looked at."""
        for path, value in _mappings(self._data):
            where = (*path, "image")
            if where in self._seen or not isinstance(value.get("image"), str):
                continue
            pattern = re.sub(r"\[[0-9]+\]", "[]", shown(where))
            option = f"--image-path '{self._kind}={pattern}'"
            if self._into.strict and not known:
                self._problem(where, "unknown-image", f"a key 'image' in the unknown kind {quote(self._kind)}", option)
            else:
                line = self._into.nearest(self._root, (*self._at, *where)).line
                note = f"{self._subject}: {shown((*self._at, *where))} in line {line} was not looked at"
                self._into.notes.append(f"{note}; if it is an image: {option}")

    def _note_configuration(self) -> None:
        data = self._data.get("data")
        if self._kind != "ConfigMap" or not isinstance(data, dict):
            return
        if any(isinstance(v, str) and re.search(r"\bimage\b", v) for v in data.values()):
            self._into.notes.append(f"{self._subject}: the texts in its data are not searched for images")

    def _problem(self, path: Path, code: str, message: str, hint: str | None = None) -> None:
        self._seen.add(path)
        self._into.refuse(self._root, (*self._at, *path), code, message, self._subject, hint)


def _mappings(data: object, path: Path = ()) -> Iterator[tuple[Path, dict[str, object]]]:
    if isinstance(data, dict):
        yield path, data
        for key, value in data.items():
            yield from _mappings(value, (*path, key))
    elif isinstance(data, list):
        for number, item in enumerate(data):
            yield from _mappings(item, (*path, number))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _subject(kind: str, metadata: object) -> str:
    names = metadata if isinstance(metadata, dict) else {}
    name = _text(names.get("name")) or (f"{_text(names.get('generateName'))}…" if names.get("generateName") else "")
    namespace = _text(names.get("namespace"))
    full = f"{namespace}/{name}" if namespace and name else name
    return printable(f"{kind} {full}".strip(), limit=200)
