"""Images in Kubernetes manifests: YAML or JSON text, as ``kubectl apply`` and ``helm template`` handle it.

Looked at: every document; ``List`` and typed lists; the built-in kinds (:mod:`imgsign.images.workloads`); the
custom resources of :mod:`imgsign.images.crds`; anything else that has containers (role ``by shape``); and what
``image_paths`` names. A kustomization goes to :mod:`imgsign.images.kustomize`.

A :class:`Problem`, never a pass: an image that is empty, not a string, or made at run time (``{{…}}``,
``$(…)``); an object without a kind; a manifest inside a text; with ``strict`` a key ``image`` in a kind that is
not known. Noted only: such keys without ``strict``, and that the data of ConfigMaps is not searched.

Pinning writes the reference between the quotes it stands in. A value that aliases share is pinned for all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from imgsign.images import Found, Problem, Scan, Spot, crds, kustomize, workloads, yamltext
from imgsign.images.crds import What
from imgsign.images.paths import Path, matches, shown
from imgsign.images.yamltext import Node, Reading, Scalar, Table
from imgsign.wire import printable, quote

__all__ = ["scan"]

_MADE_LATER = re.compile(r"\{\{|\$\(|\$\{|\}\}")
_PATCH = "if this is only a patch of it: kustomize build | imgsign check -"
_SCHEME = re.compile(r"(docker|oci)://")


def scan(text: str, *, image_paths: Mapping[str, Sequence[str]] | None = None, strict: bool = False) -> Scan:
    """Find the images of a manifest file.

    ``image_paths``: patterns (:mod:`imgsign.images.paths`) by kind, or by ``Kind.group``.
    """
    reading = yamltext.read(text)
    scanner = _Scanner(text, reading, image_paths or {}, strict)
    for root in reading.roots:
        if not (isinstance(root, Scalar) and root.kind == "null"):
            scanner.document(root)
    if not scanner.documents and not reading.problems:
        hint = "if this is the output of a program, it may have failed before it printed anything"
        empty = Problem(code="empty", message="nothing to check: no document", spot=Spot(0, 0, 1, 1), hint=hint)
        return Scan(problems=(empty,))
    return Scan(
        found=tuple(scanner.found),
        problems=tuple(sorted((*reading.problems, *scanner.problems), key=lambda p: p.spot)),
        notes=tuple(dict.fromkeys(scanner.notes)),
    )


class _Scanner:
    """What was found in one file so far; a document at a time."""

    def __init__(self, text: str, reading: Reading, image_paths: Mapping[str, Sequence[str]], strict: bool) -> None:
        self.found: list[Found] = []
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.documents = 0
        self._text, self._reading = text, reading
        self._image_paths, self._strict = image_paths, strict

    def document(self, root: Node) -> None:
        """Look at one document."""
        self.documents += 1
        if not isinstance(root, Table):
            self.problems.append(
                Problem(
                    code="not-an-object", message="not a Kubernetes object", spot=self._reading.lines.spot(root.start)
                )
            )
            return
        data = yamltext.plain(root)
        if isinstance(data, dict):
            self._object(root, data, (), "", "")

    def _object(self, root: Table, data: dict[str, object], at: Path, kind: str, group: str) -> None:
        """Look at an object; ``kind`` and ``group`` are what a typed list says of its items."""
        kind = _text(data.get("kind")) or kind
        version = _text(data.get("apiVersion"))
        group = version.rpartition("/")[0] if version else group
        if group == kustomize.GROUP:
            part = kustomize.scan_root(self._text, self._reading, root)
            self.found += part.found
            self.problems += part.problems
            self.notes += part.notes
            return
        if kind.endswith("List") and isinstance(items := data.get("items"), list):
            below = kind.removesuffix("List")
            for number, item in enumerate(items):
                where: Path = (*at, "items", number)
                if isinstance(item, dict):
                    self._object(root, item, where, below, group if below else "")
                else:
                    self._refuse(root, where, "not-an-object", "not a Kubernetes object", None)
            return
        if not kind:
            hint = "the values of a Helm chart cannot be checked: helm template … | imgsign check -"
            self._refuse(root, at, "no-kind", "not a Kubernetes object: it has no kind", None, hint)
            return
        _Object(self, root, data, at, kind, group).look()

    def _refuse(
        self, root: Node, path: Path, code: str, message: str, subject: str | None, hint: str | None = None
    ) -> None:
        spot = self._nearest(root, path)
        self.problems.append(
            Problem(code=code, message=message, spot=spot, path=shown(path), hint=hint, subject=subject)
        )

    def _nearest(self, root: Node, path: Path) -> Spot:
        """Where a person looks for a path: the value, or what is nearest to where it should be."""
        for size in range(len(path), -1, -1):
            found = yamltext.find(root, path[:size])
            if found is None:
                continue
            node = found[0]
            stretch = yamltext.content(self._text, node) if isinstance(node, Scalar) else None
            if stretch is not None:
                return self._reading.lines.spot(*stretch)
            return self._reading.lines.spot(node.start)
        raise RuntimeError("a root is always there")


class _Object:
    """One object of a document."""

    def __init__(
        self, scanner: _Scanner, root: Table, data: dict[str, object], at: Path, kind: str, group: str
    ) -> None:
        self._scanner, self._root, self._data, self._at = scanner, root, data, at
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
                hint = _PATCH if place.code in ("bad-shape", "image-missing") else None
                self._problem(place.path, place.code, place.message, hint)

    def _paths(self) -> None:
        """Look where the user said."""
        for name in (self._kind, f"{self._kind}.{self._group}"):
            for pattern in self._scanner._image_paths.get(name, ()):
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
        elif node.kind != "str":
            self._problem(path, "bad-shape", f"the image is not a string: {quote(node.text)}", "put it into quotes")
        elif _MADE_LATER.search(node.text) is not None:
            late = self._group in ("argoproj.io", "tekton.dev")  # made by the controller: no rendering shows it
            hint = None if late else "render it first: helm template … | imgsign check -"
            self._problem(path, "template", f"the image is made later: {quote(node.text)}", hint)
        else:
            self._report(path, role, node, shared, scheme)

    def _report(self, path: Path, role: str, node: Scalar, shared: str | None, scheme: str) -> None:
        text, lines = self._scanner._text, self._scanner._reading.lines
        stretch = yamltext.content(text, node)
        pin = None if stretch is None else lines.spot(*stretch)
        if shared is not None:
            line = lines.spot(node.start).line
            note = f"{self._subject}: the image in line {line} is shared by anchor &{printable(shared)}"
            self._scanner.notes.append(f"{note}: --pin changes every use of it")
        self._scanner.found.append(
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
        self._scanner.found.append(
            Found(
                text=f"{repository}{f':{tag}' if tag else ''}{f'@{digest}' if digest else ''}",
                path=shown(full),
                role="artifact",
                spot=self._scanner._nearest(self._root, full),
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
            if self._strict and not known:
                self._problem(where, "unknown-image", f"a key 'image' in the unknown kind {quote(self._kind)}", option)
            else:
                line = self._scanner._nearest(self._root, (*self._at, *where)).line
                note = f"{self._subject}: {shown((*self._at, *where))} in line {line} was not looked at"
                self._scanner.notes.append(f"{note}; if it is an image: {option}")

    @property
    def _strict(self) -> bool:
        return self._scanner._strict

    def _note_configuration(self) -> None:
        data = self._data.get("data")
        if self._kind != "ConfigMap" or not isinstance(data, dict):
            return
        if any(isinstance(v, str) and re.search(r"\bimage\b", v) for v in data.values()):
            self._scanner.notes.append(f"{self._subject}: the texts in its data are not searched for images")

    def _problem(self, path: Path, code: str, message: str, hint: str | None = None) -> None:
        self._seen.add(path)
        self._scanner._refuse(self._root, (*self._at, *path), code, message, self._subject, hint)


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
