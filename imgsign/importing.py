"""Another tool's policy file -> the text of an imgsign policy and the report of every field.

JSON is read strictly (:func:`imgsign.wire.load_json`). YAML is read by PyYAML's safe loader, made strict: duplicate
keys, aliases, merge keys and tags are refused, since readers differ on them and a bomb is made of them. What
is written is read back by the one parser of policies before anybody sees it.

Not done here: writing files, and reading the key files that a policy names.
"""

from __future__ import annotations

from collections.abc import Sequence

from imgsign import __version__
from imgsign.errors import Malformed, UsageError
from imgsign.policy.imports import IMPORTS, Row, Wanted, dialect_of
from imgsign.policy.parse import POLICY_LIMIT, parse_policy
from imgsign.record import record
from imgsign.wire import MAX_DEPTH, Node, check_value, decode_text, load_json, load_toml, printable, quote

YAML_LIMIT = 1024 * 1024  # bytes: PyYAML reads some 100 KB a second
DOCUMENTS_LIMIT = 1000


@record
class Imported:
    """A policy as text; ``complete`` if nothing had to be refused."""

    dialect: str
    text: str
    rows: tuple[Row, ...]
    complete: bool


def import_policy(raw: bytes, name: str, *, dialect: str | None, wanted: Wanted) -> Imported:
    """Convert the bytes of a file; ``name`` is for messages.

    Raises:
        Malformed: the file is no policy of that dialect.
        UsageError: it is of no known dialect.
    """
    try:
        documents = read_documents(raw)
        found = dialect or _dialect(documents, name)
        drafted = IMPORTS[found](documents, wanted)
        head = [f"Imported by imgsign {__version__} from {name} ({found}). What became of it:", ""]
        text = drafted.to_toml([*head, *map(str, drafted.rows)])
        parse_policy(load_toml(text.encode("utf-8"), limit=POLICY_LIMIT))  # what is written reads back
    except Malformed as e:
        raise Malformed(f"{quote(name)}: {e.message}", hint=e.hint) from e
    return Imported(dialect=found, text=text, rows=tuple(drafted.rows), complete=drafted.complete)


def read_documents(raw: bytes) -> tuple[Node, ...]:
    """Read one JSON document, or all documents of a YAML file.

    Raises:
        Malformed: see the module docstring.
    """
    if raw.lstrip()[:1] == b"{":
        return (load_json(raw, limit=POLICY_LIMIT),)
    text = decode_text(raw, limit=YAML_LIMIT, error=Malformed)
    values = _load_yaml(text)
    check_value(values, raw, Malformed)
    many = len(values) > 1
    found = [Node(v, f"document {i}:" if many else "$") for i, v in enumerate(values, 1) if v is not None]
    if not found:
        raise Malformed("holds no document")
    return tuple(found)


def _load_yaml(text: str) -> list[object]:
    import yaml  # only an import of YAML needs it

    class Strict(yaml.SafeLoader):
        """A safe loader that refuses what readers differ on."""

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML is half typed
            if isinstance(event, yaml.AliasEvent):
                raise Malformed(f"an alias in {_line(event)}: write out what it stands for")
            if getattr(event, "tag", None) is not None:
                raise Malformed(f"a tag in {_line(event)}: readers differ on what it means")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
            seen: set[str] = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                    raise Malformed(f"a key that is not text in line {key.start_mark.line + 1}")
                if key.value in seen:
                    raise Malformed(f"duplicate key {quote(key.value)} in line {key.start_mark.line + 1}")
                seen.add(key.value)
            return super().construct_mapping(node, deep=deep)

        def flatten_mapping(self, node: yaml.MappingNode) -> None:
            """Merge nothing: a merge key was refused as a key that is not text."""

    loader = Strict(text)
    found: list[object] = []
    try:
        while loader.check_data():  # type: ignore[no-untyped-call]  # PyYAML is half typed
            if len(found) >= DOCUMENTS_LIMIT:
                raise Malformed(f"more than {DOCUMENTS_LIMIT} documents")
            found.append(loader.get_data())
    except Malformed:
        raise
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        where = "" if mark is None else f" in line {mark.line + 1}"
        raise Malformed(f"not YAML{where}: {printable(str(getattr(e, 'problem', None) or 'cannot be read'))}") from e
    except RecursionError as e:
        raise Malformed(f"nested deeper than {MAX_DEPTH}") from e
    except ValueError as e:  # a number or a date that Python has none of
        raise Malformed("holds a number or a date that is out of range") from e
    return found


def _line(event: object) -> str:
    mark = getattr(event, "start_mark", None)
    return "an unknown line" if mark is None else f"line {mark.line + 1}"


def _dialect(documents: Sequence[Node], name: str) -> str:
    kinds = {dialect_of(d) for d in documents}
    known = ", ".join(IMPORTS)
    if len(kinds) != 1:
        raise UsageError(f"{quote(name)} holds documents of several kinds", hint=f"say which: --as {known}")
    found = kinds.pop()
    if found is None:
        raise UsageError(f"{quote(name)} is of no known kind", hint=f"say which: --as {known}")
    return found
