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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn
from urllib.parse import urlsplit

from imgsign.errors import InvalidPolicy, Malformed

MAX_DEPTH = 64
"""Deepest nesting of a JSON document; real manifests, bundles and predicates stay under 20."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")  # an escape that may be half of a pair, or alone
_MAX_QUOTED = 120  # characters of foreign text quoted in a message


@dataclass(frozen=True, slots=True)
class Node:
    """One JSON or TOML value with the path that leads to it; every accessor checks the type.

    ``error`` is the class raised, so that a bad policy is an ``InvalidPolicy`` and a bad bundle an
    ``InvalidEnvelope``.
    """

    value: object
    path: str = "$"
    error: type[Malformed] = Malformed

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
        required = tuple(required)
        known = {*required, *optional}
        # Go compares keys by Unicode simple folding: a long s (U+017F) or a Kelvin sign matches as well.
        folded = {name.casefold(): name for name in known}
        for key in members:
            if key in known:
                continue
            if (twin := folded.get(key.casefold())) is not None:
                self.refuse(f"key {quote(key)} differs from {twin!r} only by case")
            if closed:
                self.refuse(f"unknown key {quote(key)}", hint=_did_you_mean(key, known))
        for name in required:
            if name not in members:
                self.refuse(f"missing key {name!r}")
        return {key: self._child(key, value) for key, value in members.items()}

    def entries(self) -> dict[str, Node]:
        """Return all members of an object whose keys are free."""
        return {key: self._child(key, value) for key, value in self._object().items()}

    def items(self, *, limit: int | None = None) -> tuple[Node, ...]:
        """Return the elements of a list of at most ``limit`` elements."""
        if not isinstance(self.value, list):
            self.refuse(f"expected list, got {_kind(self.value)}")
        if limit is not None and len(self.value) > limit:
            self.refuse(f"expected at most {limit} elements, got {len(self.value)}")
        return tuple(Node(v, f"{self.path}[{i}]", self.error) for i, v in enumerate(self.value))

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
        return parse_time(self.text(), error=self.error, path=self.path)

    def text_map(self) -> dict[str, str]:
        """Return an object whose values are all strings."""
        return {key: node.text() for key, node in self.entries().items()}

    def _object(self) -> dict[str, object]:
        if not isinstance(self.value, dict):
            self.refuse(f"expected object, got {_kind(self.value)}")
        return self.value

    def _child(self, key: str, value: object) -> Node:
        shown = key if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", key) else quote(key)
        return Node(value, f"{self.path}.{shown}", self.error)


_DECODERS: dict[type[Malformed], json.JSONDecoder] = {}


def load_json(raw: bytes, *, limit: int, error: type[Malformed] = Malformed, any_depth: bool = False) -> Node:
    """Parse one JSON document of at most ``limit`` bytes.

    ``any_depth`` leaves the nesting to the interpreter's own limit (still an error, never a crash), for who reads
    known places of a large document only: the look at every value takes as long as the parsing.

    Raises:
        Malformed: (as ``error``) on anything the module docstring lists.
    """
    if len(raw) > limit:
        raise error(f"{len(raw)} bytes are more than the limit of {limit}")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as e:
        raise error(f"not UTF-8 at byte {e.start}") from e
    if text.startswith("\ufeff"):
        raise error("starts with a byte order mark")

    try:
        value = _decoder(error).decode(text)
    except json.JSONDecodeError as e:
        raise error(f"not JSON: {e.msg.lower()} at line {e.lineno} column {e.colno}") from e
    except RecursionError as e:
        raise error("nested too deeply") from e
    except Malformed:
        raise
    except ValueError as e:  # an integer of more digits than CPython converts
        raise error("holds a number that is too long") from e
    if not any_depth and _deeper_than(value, MAX_DEPTH):
        raise error(f"nested deeper than {MAX_DEPTH}")
    if _SURROGATE.search(raw) is not None:
        try:
            dump_json(value)
        except UnicodeEncodeError as e:
            raise error("holds a lone surrogate") from e
        except RecursionError as e:
            raise error("nested too deeply") from e
    return Node(value, "$", error)


def _decoder(error: type[Malformed]) -> json.JSONDecoder:
    """Return the decoder that refuses what JSON allows or Python adds, with errors of a class; made once for each."""
    if (known := _DECODERS.get(error)) is not None:
        return known

    def pairs(members: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(members)
        if len(found) != len(members):
            seen: set[str] = set()
            twice = next(k for k, _ in members if k in seen or seen.add(k))  # type: ignore[func-returns-value]  # set.add returns None on purpose
            raise error(f"duplicate key {quote(twice)}")
        return found

    def constant(name: str) -> NoReturn:
        raise error(f"{name} is not JSON")

    def number(digits: str) -> float:
        if math.isinf(found := float(digits)):
            raise error("holds a number that is too large")
        return found

    made = json.JSONDecoder(object_pairs_hook=pairs, parse_constant=constant, parse_float=number)
    return _DECODERS.setdefault(error, made)


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
        raw = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as e:
        raise error("not standard base64", path=path) from e
    if b64encode(raw) != text:
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
        layer = [child for item in layer for child in _children(item)]
        if not layer:
            return False
    return True


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from (v for v in value.values() if isinstance(v, (dict, list)))
    elif isinstance(value, list):
        yield from (v for v in value if isinstance(v, (dict, list)))
