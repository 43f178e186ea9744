"""Reading foreign bytes strictly: JSON, TOML, base64, times, and text that is safe to print.

Sources: RFC 8259 (JSON), RFC 4648 §4 (base64), RFC 3339 §5.6 (times), TOML v1.0.0.

Refused in JSON: more than ``limit`` bytes, a byte order mark, bytes that are not UTF-8, duplicate keys,
``NaN`` and ``Infinity``, numbers that become them, lone surrogates, nesting deeper than
:data:`MAX_DEPTH`, trailing data. Go's decoder, which registries and runtimes use, takes the last of
duplicate keys and ignores the case of keys; a document that two readers understand differently is an
attack (CVE-2021-41190), so :meth:`Node.fields` also refuses keys that differ from a known one only by
case.

Not done here: any meaning. Callers turn :class:`Node` values into their own types at once.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn, TypeVar
from urllib.parse import urlsplit

from imgsign.errors import InvalidPolicy, Malformed

T = TypeVar("T")

MAX_DEPTH = 64
"""Deepest nesting of a JSON document; real manifests, bundles and predicates stay under 20."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")  # an escape that may be half of a pair, or alone
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_QUOTED = 120  # characters of foreign text quoted in a message


_KNOWN: dict[tuple[tuple[str, ...], tuple[str, ...]], frozenset[str]] = {}
"""The names that calls of ``fields`` ask for, put together once: as many as there are such calls in the code."""


@dataclass(slots=True)
class Node:
    """One JSON or TOML value with the path that leads to it; every accessor checks the type.

    ``error`` is the class raised, so that a bad policy is an ``InvalidPolicy`` and a bad bundle an
    ``InvalidEnvelope``. ``place`` is the path, or the parent and the key or number in it: a path is
    written out only for an error. Not frozen, since large documents make many; nobody writes to one.
    """

    value: object
    place: str | tuple[Node, str | int] = "$"
    error: type[Malformed] = Malformed

    @property
    def path(self) -> str:
        """Where this is, such as ``$.config.size``."""
        if isinstance(self.place, str):
            return self.place
        parent, key = self.place
        before = parent.path
        if isinstance(key, int):
            return f"{before}[{key}]"
        shown = key if _PLAIN_KEY.fullmatch(key) else quote(key)
        return f"{before}.{shown}" if before else shown

    def refuse(self, message: str, *, hint: str | None = None) -> NoReturn:
        """Raise ``self.error`` with this node's path."""
        raise self.error(message, path=self.path, hint=hint)

    def fields(
        self, required: Iterable[str] = (), optional: Iterable[str] = (), *, closed: bool = True
    ) -> dict[str, Node]:
        """Return the members of an object by name; ``closed`` refuses any key that was not named.

        A key that equals a named one but for case is refused even when the object is open.
        """
        members = self._object()
        required, optional = tuple(required), tuple(optional)
        known = _KNOWN.get((required, optional))
        if known is None:
            known = _KNOWN.setdefault((required, optional), frozenset((*required, *optional)))
        if not members.keys() <= known:
            self._refuse_unknown(members, known, closed)
        for name in required:
            if name not in members:
                self.refuse(f"missing key {name!r}")
        error = self.error
        return {key: Node(value, (self, key), error) for key, value in members.items()}

    def _refuse_unknown(self, members: dict[str, object], known: frozenset[str], closed: bool) -> None:
        # Go compares keys by Unicode simple folding: a long s (U+017F) or a Kelvin sign matches as well.
        folded = {name.casefold(): name for name in known}
        for key in members:
            if key in known:
                continue
            if (twin := folded.get(key.casefold())) is not None:
                self.refuse(f"key {quote(key)} differs from {twin!r} only by case")
            if closed:
                self.refuse(f"unknown key {quote(key)}", hint=_did_you_mean(key, known))

    def entries(self) -> dict[str, Node]:
        """Return all members of an object whose keys are free."""
        error = self.error
        return {key: Node(value, (self, key), error) for key, value in self._object().items()}

    def names(self) -> Iterable[str]:
        """Return the names of an object's members."""
        return self._object().keys()

    def items(self, *, limit: int | None = None) -> tuple[Node, ...]:
        """Return the elements of a list of at most ``limit`` elements."""
        if not isinstance(self.value, list):
            self.refuse(f"expected list, got {_kind(self.value)}")
        if limit is not None and len(self.value) > limit:
            self.refuse(f"expected at most {limit} elements, got {len(self.value)}")
        return tuple([Node(v, (self, i), self.error) for i, v in enumerate(self.value)])

    def text(self) -> str:
        """Return a string; a lone surrogate, which no UTF-8 encoder can write back, is refused."""
        if not isinstance(self.value, str):
            self.refuse(f"expected string, got {_kind(self.value)}")
        if not self.value.isascii() and any("\ud800" <= c <= "\udfff" for c in self.value):
            self.refuse("string holds a lone surrogate")
        return self.value

    def integer(self, *, low: int | None = None, high: int | None = None) -> int:
        """Return an integer (never a boolean or a float) within the closed range."""
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            self.refuse(f"expected integer, got {_kind(self.value)}")
        if (low is not None and self.value < low) or (high is not None and self.value > high):
            shown = f" {self.value}" if abs(self.value) < 2**64 else ""
            self.refuse(f"integer{shown} is out of range")
        return self.value

    def boolean(self) -> bool:
        """Return a boolean."""
        if not isinstance(self.value, bool):
            self.refuse(f"expected boolean, got {_kind(self.value)}")
        return self.value

    def moment(self) -> datetime:
        """Return a time with an offset, as aware UTC: a TOML date-time or an RFC 3339 string."""
        if isinstance(self.value, datetime):
            if self.value.tzinfo is None:
                self.refuse("time without an offset", hint="write it with Z, such as 2027-06-30T00:00:00Z")
            try:
                return self.value.astimezone(UTC).replace(microsecond=0)
            except OverflowError:
                self.refuse("time is out of range")
        text = self.text()
        try:
            return parse_time(text)
        except Malformed as e:
            self.refuse(e.message)

    def text_map(self) -> dict[str, str]:
        """Return an object whose values are all strings."""
        return {key: node.text() for key, node in self.entries().items()}

    def _object(self) -> dict[str, object]:
        if not isinstance(self.value, dict):
            self.refuse(f"expected object, got {_kind(self.value)}")
        return self.value


def load_json(
    raw: bytes | memoryview,
    *,
    limit: int,
    error: type[Malformed] = Malformed,
    keep: frozenset[str] | None = None,
) -> Node:
    """Parse one JSON document of at most ``limit`` bytes.

    With ``keep`` only the members of these names are kept, at any depth, so that a few values of a large
    document cost little memory; the whole of it is still checked.

    Raises:
        Malformed: (as ``error``) on anything the module docstring lists.
    """
    text = decode_text(raw, limit=limit, error=error)
    value = decoded(error, lambda: strict_decoder(error, keep).decode(text))
    check_value(value, raw, error)
    return Node(value, "$", error)


def decode_text(raw: bytes | memoryview, *, limit: int, error: type[Malformed]) -> str:
    """Decode the bytes of a JSON document: at most ``limit`` of them, UTF-8, no byte order mark."""
    if len(raw) > limit:
        raise error(f"{len(raw)} bytes are more than the limit of {limit}")
    try:
        text = str(raw, "utf-8")
    except UnicodeDecodeError as e:
        raise error(f"not UTF-8 at byte {e.start}") from e
    if text.startswith("\ufeff"):
        raise error("starts with a byte order mark")
    return text


def decoded(error: type[Malformed], decode: Callable[[], T]) -> T:
    """Call a decoder of JSON and turn what it raises into ``error``."""
    try:
        return decode()
    except json.JSONDecodeError as e:
        raise error(f"not JSON: {e.msg.lower()} at line {e.lineno} column {e.colno}") from e
    except RecursionError as e:
        raise error("nested too deeply") from e
    except Malformed:
        raise
    except ValueError as e:  # an integer of more digits than CPython converts
        raise error("holds a number that is too long") from e


def strict_decoder(error: type[Malformed], keep: frozenset[str] | None) -> json.JSONDecoder:
    """A decoder that refuses duplicate keys, NaN, Infinity and numbers that become them; ``keep`` as above."""
    if keep:
        return _make_decoder(error, keep)
    if (error, keep) not in _DECODERS:
        _DECODERS[error, keep] = _make_decoder(error, keep)
    return _DECODERS[error, keep]


_DECODERS: dict[tuple[type[Malformed], frozenset[str] | None], json.JSONDecoder] = {}
"""The decoders that keep everything or nothing, by error: making one costs more than reading a signature."""


_NOTHING: dict[str, object] = {}
"""Stands for every object of which nothing is kept."""


def check_few_values(raw: bytes, most: int, *, error: type[Malformed] = Malformed) -> None:
    """Refuse a document of more than ``most`` values before it is parsed.

    For containers that are large for one long base64 text alone: a list of ten million empty lists is as long
    as an SBOM, and takes twenty times its length in memory.
    """
    found = raw.count(b",") + raw.count(b"[") + raw.count(b"{")
    if found > most:
        raise error(f"holds more than {most} values")


def _make_decoder(error: type[Malformed], keep: frozenset[str] | None) -> json.JSONDecoder:
    def pairs(members: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(members)
        if len(found) != len(members):
            seen: set[str] = set()
            twice = next(k for k, _ in members if k in seen or seen.add(k))  # type: ignore[func-returns-value]  # set.add returns None on purpose
            raise error(f"duplicate key {quote(twice)}")
        if keep is None:
            return found
        return {key: value for key, value in members if key in keep} if keep else _NOTHING

    def constant(name: str) -> NoReturn:
        raise error(f"{name} is not JSON")

    def number(digits: str) -> float:
        if math.isinf(found := float(digits)):
            raise error("holds a number that is too large")
        return found

    return json.JSONDecoder(object_pairs_hook=pairs, parse_constant=constant, parse_float=number)


def check_value(value: object, raw: bytes | memoryview, error: type[Malformed]) -> None:
    """Refuse a decoded value that is nested too deeply, or that no UTF-8 encoder can write back."""
    if _deeper_than(value, MAX_DEPTH):
        raise error(f"nested deeper than {MAX_DEPTH}")
    if _SURROGATE.search(raw) is not None:
        try:
            dump_json(value)
        except UnicodeEncodeError as e:
            raise error("holds a lone surrogate") from e


def load_toml(raw: bytes, *, limit: int) -> Node:
    """Parse a TOML document (duplicate keys are errors by its own rules).

    Raises:
        InvalidPolicy: if it is not TOML, not UTF-8 or longer than ``limit`` bytes.
    """
    import tomllib  # only a policy needs it, and a cold command waits for every import

    if len(raw) > limit:
        raise InvalidPolicy(f"{len(raw)} bytes are more than the limit of {limit}")
    try:
        return Node(tomllib.loads(raw.decode("utf-8")), "$", InvalidPolicy)
    except UnicodeDecodeError as e:
        raise InvalidPolicy(f"not UTF-8 at byte {e.start}") from e
    except tomllib.TOMLDecodeError as e:
        raise InvalidPolicy(f"not TOML: {printable(str(e))}") from e
    except RecursionError as e:
        raise InvalidPolicy("nested too deeply") from e
    except ValueError as e:  # an integer of more digits than CPython converts
        raise InvalidPolicy("holds a number that is too long") from e


def dump_json(value: object) -> bytes:
    """Write compact JSON, keys in the given order, non-ASCII kept, as cosign and skopeo read it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")


def b64encode(raw: bytes) -> str:
    """Standard base64 with padding (RFC 4648 §4)."""
    return base64.b64encode(raw).decode("ascii")


def b64decode(text: str, *, error: type[Malformed] = Malformed, path: str | None = None) -> bytes:
    """Decode standard base64 with padding; only the one canonical spelling is accepted.

    Blanks, line breaks, the URL alphabet, missing padding and non-zero trailing bits are refused, so
    that no two texts stand for one signature.
    """
    try:
        raw = binascii.a2b_base64(text, strict_mode=True)
    except ValueError as e:  # binascii.Error, and plain ValueError for what is not ASCII
        raise error("not standard base64", path=path) from e
    # Every group of four is full but the last, so only the length and the last group can be spelt otherwise.
    last = len(raw) - ((len(raw) - 1) % 3 + 1) if raw else 0
    if len(text) != (len(raw) + 2) // 3 * 4 or b64encode(raw[last:]) != text[-4:]:
        raise error("not canonical base64", path=path)
    return raw


_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def parse_time(text: str, *, error: type[Malformed] = Malformed, path: str | None = None) -> datetime:
    """Parse an RFC 3339 §5.6 time into aware UTC with whole seconds (fractions are cut off)."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise error(f"not an RFC 3339 time: {quote(text)}", path=path)
    *parts, zone = match.groups()
    offset = timedelta()
    if zone not in "Zz":
        hours, minutes = int(zone[1:3]), int(zone[4:6])
        if hours > 23 or minutes > 59:
            raise error(f"not an RFC 3339 time: {quote(text)}", path=path)
        offset = timedelta(hours=hours, minutes=minutes) * (-1 if zone[0] == "-" else 1)
    try:
        return datetime(*(int(p) for p in parts), tzinfo=UTC) - offset  # type: ignore[arg-type,misc]  # exactly six parts
    except (ValueError, OverflowError) as e:
        raise error(f"not an RFC 3339 time: {quote(text)}", path=path) from e


def format_time(moment: datetime) -> str:
    """Write a time as RFC 3339 in UTC with seconds and ``Z``."""
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


_DURATION = re.compile(r"([1-9][0-9]{0,6})([smhdwy])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}


def parse_duration(text: str, *, error: type[Malformed] = Malformed, path: str | None = None) -> timedelta:
    """Parse ``90d``: a positive number and one of s, m, h, d, w, y (365 days)."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise error(f"not a duration like '90d': {quote(text)}", path=path, hint="use s, m, h, d, w or y")
    span = timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
    if span > timedelta(days=36500):
        raise error(f"duration {text!r} is longer than 100 years", path=path)
    return span


def printable(text: str, *, limit: int = 1024) -> str:
    """Make foreign text safe for a terminal and a log line: one line, no control or format characters.

    Escape sequences, line breaks, bidirectional overrides and lone surrogates become ``\\xNN`` forms;
    more than ``limit`` characters are cut with ``…``.
    """
    cut = text[:limit]
    if cut.isascii() and cut.isprintable():
        safe = cut
    else:
        import unicodedata

        safe = "".join(
            c if c == " " or (c.isprintable() and unicodedata.category(c)[0] != "C") else _escape(c) for c in cut
        )
    return safe if len(text) <= limit else safe + "…"


def quote(text: str) -> str:
    """Quote foreign text for a message: like ``repr``, safe to print, cut after 120 characters."""
    cut = text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + "…"
    return printable(repr(cut), limit=2 * _MAX_QUOTED)


def redact(url: str) -> str:
    """Reduce a URL to origin and path: user info, query and fragment may hold secrets (presigned URLs).

    This is the only way a URL reaches text.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return "(unreadable url)"
    if not host:  # without a host the user info is in the path
        return "(unreadable url)"
    if ":" in host:
        host = f"[{host}]"
    return printable(f"{parts.scheme}://{host}{port}{parts.path}", limit=300)


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def _kind(value: object) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "boolean", int: "integer", float: "number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _did_you_mean(key: str, known: Iterable[str]) -> str | None:
    import difflib  # only on the way to an error

    close = difflib.get_close_matches(key, sorted(known), n=1)
    return f"did you mean {close[0]!r}?" if close else None


def _deeper_than(value: object, depth: int) -> bool:
    layer: list[object] = [value]
    for _ in range(depth):
        below: list[object] = []
        for item in layer:
            if isinstance(item, dict):
                below.extend([v for v in item.values() if isinstance(v, (dict, list))])
            elif isinstance(item, list):
                below.extend([v for v in item if isinstance(v, (dict, list))])
        if not below:
            return False
        layer = below
    return True
