"""YAML text with the place of every value: what a scanner needs to find an image and to pin it.

Sources: YAML 1.1 (what kubectl's and Compose's parsers and PyYAML read); PyYAML does the parsing. JSON is read
as the YAML it is. Kubernetes' readers cut a file at ``---`` lines before they parse it
(k8s.io/apimachinery/pkg/util/yaml), so a text that two readers could cut differently is refused.

Refused, each as a :class:`Problem`: text that is not YAML; duplicate keys (kubectl silently takes the last);
a key before ``<<`` that the merge sets too (go-yaml's releases differ on who wins); ``---`` with content on
its line; aliases to what is not complete; tags beyond YAML's own, which readers take differently; and more
text, depth, nodes (aliases expanded, so that ten lines cannot become a billion) than the limits below.

Not done here: any meaning of keys. A value reached by an alias is the anchored node itself, so its place is
where its text stands.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from imgsign.images import Problem, Spot
from imgsign.record import record
from imgsign.wire import printable, quote

if TYPE_CHECKING:
    import yaml

TEXT_LIMIT = 16 * 1024 * 1024  # characters: all of kube-prometheus-stack with its CRDs rendered is about 5 million
MAX_DEPTH = 200  # OpenAPI schemas in CRDs reach about 70
MAX_NODES = 1_000_000  # of one document, every alias counted as the text it stands for
MAX_PROBLEMS = 100  # of one file; the next one ends the reading

_CORE = "tag:yaml.org,2002:"
_PLAIN_TAGS = {f"{_CORE}{t}": t for t in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value")}
_PROPERTIES = re.compile(r"(?:[&!][^\s]*(?:[ \t\r\n]+|\#[^\n]*\n)+)*")
_BAD_SEPARATOR = re.compile(r"^---(?![ \t\r]*(?:[ \t]\#[^\n]*)?(?:\n|\Z))", re.MULTILINE)
_MARKER = re.compile(r"\{\{")


class Lines:
    """Turns offsets in a text into spots; only ``\\n`` ends a line, as editors and code hosts count."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(m.end() for m in re.finditer("\n", text))]
        self._size = len(text)

    def spot(self, start: int, end: int | None = None) -> Spot:
        """Make the spot from ``start`` to ``end`` (``start`` if left out)."""
        start = min(start, self._size)
        line = bisect_right(self._starts, start)
        stop = start if end is None else max(start, min(end, self._size))
        return Spot(start, stop, line, start - self._starts[line - 1] + 1)


@dataclass(slots=True, eq=False)
class Scalar:
    """A value that is text. ``kind`` is what YAML takes it for: str, int, bool, null, … or ``other`` (a tag)."""

    text: str
    kind: str
    style: str  # "" plain, ' and " quoted, | and > blocks
    start: int
    end: int
    anchor: str | None = None
    aliases: int = 0
    size: int = 1


@dataclass(slots=True, eq=False)
class Row:
    """A sequence."""

    start: int
    end: int = 0
    anchor: str | None = None
    aliases: int = 0
    size: int = 1
    items: list[Node] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Table:
    """A mapping: ``entries`` by key, merged ones (``<<``) filled in; ``keys`` are the scalars of its own keys.

    ``shared`` has the anchor that a merged entry is from.
    """

    start: int
    end: int = 0
    anchor: str | None = None
    aliases: int = 0
    size: int = 1
    entries: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Scalar] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)
    merged: bool = False


Node = Scalar | Row | Table
Step = str | int


@record
class Reading:
    """The roots of all documents that hold anything, and what was refused."""

    lines: Lines
    roots: tuple[Node, ...]
    problems: tuple[Problem, ...]


class _RefusedError(Exception):
    """Ends the reading of a file."""

    def __init__(self, code: str, message: str, at: int, hint: str | None = None) -> None:
        super().__init__(message)
        self.problem = (code, message, at, hint)


@lru_cache(maxsize=1)  # the kind of a file is found by what it holds, and then it is scanned
def read(text: str) -> Reading:
    """Read all documents of a text; after a refusal that ends the reading, those before it are returned.

    Nodes are not to be changed.
    """
    import yaml  # not before a file is read: `imgsign verify` does without

    lines = Lines(text)
    reader = _Reader(text, lines)
    try:
        reader.check_text()
        # NOTE: the byte order mark is kept in the text, so that offsets are those of the file.
        bom = 1 if text.startswith("\ufeff") else 0
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        reader.consume(yaml.parse(text[bom:], Loader=loader), bom)
    except _RefusedError as e:
        reader.note(*e.problem)
    except yaml.YAMLError as e:
        reader.note(*_syntax(text, e))
    except RecursionError:
        reader.note("too-deep", "nested too deeply", 0)
    return Reading(lines=lines, roots=tuple(reader.finished), problems=tuple(reader.problems))


class _Reader:
    """Builds nodes from PyYAML's events, without recursion and within the limits."""

    def __init__(self, text: str, lines: Lines) -> None:
        self.problems: list[Problem] = []
        self.finished: list[Node] = []
        self._text, self._lines = text, lines
        self._anchors: dict[str, Node] = {}
        self._open: set[int] = set()
        self._work = 0

    def note(self, code: str, message: str, at: int, hint: str | None = None) -> None:
        """Record a problem."""
        self.problems.append(Problem(code=code, message=message, spot=self._lines.spot(at), hint=hint))

    def check_text(self) -> None:
        """Refuse what is too long, and separators that readers cut at differently."""
        if len(self._text) > TEXT_LIMIT:
            raise _RefusedError("too-large", f"more than {TEXT_LIMIT} characters", 0)
        for found in _BAD_SEPARATOR.finditer(self._text):
            hint = "put '---' alone on its line"
            raise _RefusedError(
                "separator", "'---' with content on its line: readers differ on it", found.start(), hint
            )

    def consume(self, events: Iterator[yaml.Event], shift: int) -> None:
        """Build all documents; every complete one is in :attr:`finished`, also when this raises."""
        import yaml

        stack: list[tuple[Row | Table, list[Scalar]]] = []
        for event in events:
            if event.start_mark is None or event.end_mark is None:
                raise RuntimeError("every event of a parser has its place")
            at, end = event.start_mark.index + shift, event.end_mark.index + shift
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors, self._work = {}, 0
            elif isinstance(event, yaml.AliasEvent):
                self._put(stack, self._alias(event.anchor, at), at)
            elif isinstance(event, yaml.ScalarEvent):
                self._put(stack, self._scalar(event, at, end), at)
            elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
                node = (Row if isinstance(event, yaml.SequenceStartEvent) else Table)(at, anchor=event.anchor)
                self._collection(event, node, at)
                if len(stack) >= MAX_DEPTH:
                    raise _RefusedError("too-deep", f"nested deeper than {MAX_DEPTH}", at)
                stack.append((node, []))
            elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
                node, _ = stack.pop()
                node.end = end
                self._open.discard(id(node))
                self._put(stack, node, node.start)

    def _collection(self, event: yaml.CollectionStartEvent, node: Row | Table, at: int) -> None:
        expected = "seq" if isinstance(node, Row) else "map"
        if event.tag not in (None, "!", f"{_CORE}{expected}"):
            self._problem("tag", f"tag {quote(str(event.tag))}: readers differ on what it makes of the value", at)
        self._open.add(id(node))
        if node.anchor is not None:
            self._anchors[node.anchor] = node

    def _scalar(self, event: yaml.ScalarEvent, at: int, end: int) -> Scalar:
        node = Scalar(event.value, _kind(event), event.style or "", at, end, event.anchor)
        if node.anchor is not None:
            self._anchors[node.anchor] = node
        return node

    def _alias(self, name: str | None, at: int) -> Node:
        node = self._anchors.get(name or "")
        if node is None or id(node) in self._open:
            raise _RefusedError("alias", f"alias {quote(name or '')} names nothing that is complete here", at)
        node.aliases += 1
        return node

    def _put(self, stack: list[tuple[Row | Table, list[Scalar]]], node: Node, at: int) -> None:
        """Add a complete node to the collection it stands in, or finish the document."""
        if not stack:
            self.finished.append(node)
            return
        parent, waiting = stack[-1]
        parent.size += node.size
        if parent.size > MAX_NODES:
            raise _RefusedError(
                "too-large", f"more than {MAX_NODES} values, aliases counted as what they stand for", at
            )
        if isinstance(parent, Row):
            parent.items.append(node)
        elif not waiting:
            waiting.append(self._key(node, at))
        else:
            self._enter(parent, waiting.pop(), node, at)

    def _key(self, node: Node, at: int) -> Scalar:
        if not isinstance(node, Scalar):
            hint = _render_hint if _MARKER.search(self._text[max(0, at - 1) : at + 2]) else None
            code = "template" if hint else "key"
            raise _RefusedError(code, "a key that is not text", at, hint)
        if node.kind == "other":
            raise _RefusedError("tag", "a key with a tag: readers differ on what it is", at)
        return node

    def _enter(self, table: Table, key: Scalar, value: Node, at: int) -> None:
        if key.kind == "merge":
            self._merge(table, value, at)
            return
        if key.text in table.keys:
            first = self._lines.spot(table.keys[key.text].start).line
            message = f"key {quote(key.text)} stands twice in one mapping (first in line {first})"
            self._problem("duplicate-key", message, key.start)
        table.keys[key.text] = key
        table.entries[key.text] = value
        table.shared.pop(key.text, None)

    def _merge(self, table: Table, value: Node, at: int) -> None:
        sources = value.items if isinstance(value, Row) else [value]
        if table.merged:
            self._problem("duplicate-key", "key '<<' stands twice in one mapping", at)
        table.merged = True
        for source in sources:
            if not isinstance(source, Table):
                raise _RefusedError("merge", "'<<' wants a mapping, or a list of them", at)
            self._work += len(source.entries)
            if self._work > MAX_NODES:
                raise _RefusedError("too-large", f"'<<' merges more than {MAX_NODES} entries", at)
            for name, node in source.entries.items():
                if name in table.keys:
                    message = f"key {quote(name)} stands before '<<', which sets it too: readers differ on who wins"
                    self._problem("merge-order", message, table.keys[name].start, hint="put '<<' first")
                if name not in table.entries:
                    table.entries[name] = node
                    if source.anchor is not None:
                        table.shared[name] = source.anchor

    def _problem(self, code: str, message: str, at: int, hint: str | None = None) -> None:
        if len(self.problems) >= MAX_PROBLEMS:
            raise _RefusedError("too-many", f"more than {MAX_PROBLEMS} problems: the rest was not looked at", at)
        self.note(code, message, at, hint)


_render_hint = "render it first: helm template … | imgsign check -"


def _kind(event: yaml.ScalarEvent) -> str:
    import yaml

    if event.tag is not None and event.tag != "!":
        return _PLAIN_TAGS.get(event.tag, "other") if event.tag == f"{_CORE}str" else "other"
    if event.style or event.tag == "!":
        return "str"
    # The resolver wants an instance for its state of paths only, which no loader here uses.
    for pattern_tag, pattern in yaml.SafeLoader.yaml_implicit_resolvers.get(event.value[:1], ()):
        if pattern.match(event.value):
            return _PLAIN_TAGS.get(pattern_tag, "other")
    return "str"


def _syntax(text: str, error: Exception) -> tuple[str, str, int, str | None]:
    mark = getattr(error, "problem_mark", None)
    at = mark.index if mark is not None else getattr(error, "position", 0)
    at = at if isinstance(at, int) else 0
    message = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
    if _MARKER.search(text):
        return "template", f"not YAML but a template of it: {printable(str(message))}", at, _render_hint
    return "not-yaml", f"not YAML: {printable(str(message))}", at, None


def content(text: str, node: Scalar) -> tuple[int, int] | None:
    """The stretch that can be replaced by text without blanks or quotes; ``None`` if there is no such stretch.

    Quotes, tags, anchors and block indicators stay outside of it.
    """
    raw = text[node.start : node.end]
    found = _PROPERTIES.match(raw)
    begin = found.end() if found is not None else 0
    if not node.style:
        start = node.end - len(node.text)
        return (start, node.end) if node.text and text[start : node.end] == node.text else None
    if node.style in "'\"":
        if raw[begin : begin + 1] != node.style or raw[-1:] != node.style or len(raw) - begin < 2:
            return None
        return node.start + begin + 1, node.end - 1
    bare = node.text.strip()
    if not bare or any(c.isspace() for c in bare) or raw.count(bare, begin) != 1:
        return None
    start = node.start + raw.index(bare, begin)
    return start, start + len(bare)


def find(root: Node, path: Sequence[Step]) -> tuple[Node, str | None] | None:
    """Walk to a node; with it the anchor of the last thing on the way that an alias or merge shares."""
    node, shared = root, root.anchor if root.aliases else None
    for step in path:
        below: Node | None = None
        if isinstance(node, Table) and isinstance(step, str):
            below = node.entries.get(step)
            shared = node.shared.get(step, shared)
        elif isinstance(node, Row) and isinstance(step, int) and 0 <= step < len(node.items):
            below = node.items[step]
        if below is None:
            return None
        node = below
        if node.aliases:
            shared = node.anchor
    return node, shared


_STAND_INS: dict[str, object] = {"null": None, "bool": False}
"""For scalars that are no text: their values do not matter here, only that they are none."""


def plain(node: Node) -> object:
    """Turn a node into dict, list and str; a scalar that is no string becomes None, False or 0."""
    return _plain(node, {})


def _plain(node: Node, done: dict[int, object]) -> object:
    if isinstance(node, Scalar):
        return node.text if node.kind == "str" else _STAND_INS.get(node.kind, 0)
    if id(node) in done:  # aliases share one value, as they do in the text
        return done[id(node)]
    value: object
    if isinstance(node, Row):
        value = [_plain(item, done) for item in node.items]
    else:
        value = {key: _plain(item, done) for key, item in node.entries.items()}
    done[id(node)] = value
    return value
