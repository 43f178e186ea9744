"""Strict readers: one document has one reading, and nothing foreign reaches a terminal raw."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsign.errors import InvalidEnvelope, InvalidPolicy, Malformed
from imgsign.wire import (
    MAX_DEPTH,
    Node,
    b64decode,
    b64encode,
    dump_json,
    format_time,
    load_json,
    load_toml,
    parse_duration,
    parse_time,
    printable,
    quote,
    redact,
)


def read(text: str) -> Node:
    return load_json(text.encode("utf-8", "surrogatepass"), limit=1_000_000)


def message_of(act: Callable[[], object]) -> str:
    """The message of the Malformed that an act raises."""
    with pytest.raises(Malformed) as caught:
        act()
    return caught.value.message


# JSON documents.


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}", {}),
        (" \t\r\n{} \n", {}),
        ("[]", []),
        ('"é\\u00e9\\n"', "éé\n"),
        ('"\\ud83d\\ude00"', "😀"),
        ("-0", 0),
        ("9007199254740993", 9007199254740993),  # not a float's worth
        ("1.5e3", 1500.0),
        ("null", None),
        ('{"a": {"b": [true, false]}, "A-b": 1}', {"a": {"b": [True, False]}, "A-b": 1}),
    ],
)
def test_json_is_read(text: str, value: object) -> None:
    assert read(text).value == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON: expecting value at line 1 column 1"),
        ("{", "not JSON: expecting property name enclosed in double quotes at line 1 column 2"),
        ("{}{}", "not JSON: extra data at line 1 column 3"),
        ("{} x", "not JSON: extra data at line 1 column 4"),
        ("{}\x00", "not JSON: extra data at line 1 column 3"),
        ("[1,]", "not JSON: expecting value at line 1 column 4"),
        ("{'a': 1}", "not JSON: expecting property name enclosed in double quotes at line 1 column 2"),
        ("01", "not JSON: extra data at line 1 column 2"),
        ("+1", "not JSON: expecting value at line 1 column 1"),
        ("0x10", "not JSON: extra data at line 1 column 2"),
        ("// x\n{}", "not JSON: expecting value at line 1 column 1"),
        ('"a\nb"', "not JSON: invalid control character at at line 1 column 3"),
        ('"\\x41"', "not JSON: invalid \\escape at line 1 column 2"),
        ("\ufeff{}", "starts with a byte order mark"),
        ("NaN", "NaN is not JSON"),
        ("[Infinity]", "Infinity is not JSON"),
        ('{"a": -Infinity}', "-Infinity is not JSON"),
        ('{"a": 1, "a": 1}', "duplicate key 'a'"),
        ('{"a": 1, "b": 2, "\\u0061": 3}', "duplicate key 'a'"),
        ('[{"x": {"k": 1, "k": 2}}]', "duplicate key 'k'"),
        ('{"\\u001b[2J": 1, "\\u001b[2J": 2}', r"duplicate key '\x1b[2J'"),
        ("9" * 5000, "holds a number that is too long"),
        ("-" + "9" * 5000, "holds a number that is too long"),
    ],
)
def test_text_that_is_not_one_json_document_is_refused(text: str, message: str) -> None:
    assert message_of(lambda: read(text)) == message


@pytest.mark.parametrize(
    "text",
    ["1e999", "-1e999", '{"a": [1E+400]}', '"\\ud800"', '{"\\ud800": 1}', '{"a": {"x\\udfff": "y"}}'],
)
def test_what_cannot_be_written_back_is_not_read(text: str) -> None:
    # Infinity by overflow and lone surrogates have no JSON bytes in UTF-8. One of them in an unknown member
    # of a signature manifest must not stop the next signer, who appends to it, with a crash.
    try:
        found = read(text)
    except Malformed:
        return
    assert load_json(dump_json(found.value), limit=1000).value == found.value


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b'"\xc0\xaf"', "not UTF-8 at byte 1"),  # an overlong slash
        (b'"\xed\xa0\x80"', "not UTF-8 at byte 1"),  # a surrogate, encoded
        ('{"a": 1}'.encode("utf-16"), "not UTF-8 at byte 0"),
        ('{"a": "é"}'.encode("latin-1"), "not UTF-8 at byte 7"),
    ],
)
def test_bytes_that_are_not_utf8_are_refused(raw: bytes, message: str) -> None:
    assert message_of(lambda: load_json(raw, limit=100)) == message


def test_json_of_exactly_the_limit_is_read_and_one_byte_more_is_refused() -> None:
    assert load_json(b"[1, 2]", limit=6).value == [1, 2]
    assert message_of(lambda: load_json(b"[1, 2]", limit=5)) == "6 bytes are more than the limit of 5"


def test_nesting_of_the_limit_is_read_and_one_more_is_refused() -> None:
    deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert read(deepest).items()
    assert message_of(lambda: read(f"[{deepest}]")) == "nested deeper than 64"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000])
def test_nesting_that_would_overflow_the_stack_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        read(text)


def test_error_class_of_the_caller_is_raised() -> None:
    with pytest.raises(InvalidEnvelope):
        load_json(b"{", limit=10, error=InvalidEnvelope)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
        ),
        max_leaves=20,
    )
)
def test_dump_then_load_is_the_identity(value: object) -> None:
    assert load_json(dump_json(value), limit=1_000_000).value == value


@given(st.binary(max_size=200) | st.text('{}[]",:\\ud800eE+-.019 ntf').map(str.encode))
def test_any_bytes_are_refused_or_are_what_the_standard_reader_sees(raw: bytes) -> None:
    with suppress(Malformed):
        found = load_json(raw, limit=1000)
        assert found.value == json.loads(raw)


def test_dumped_json_is_compact_and_keeps_order_and_letters() -> None:
    assert dump_json({"b": [1, None], "a": "é"}) == '{"b":[1,null],"a":"é"}'.encode()


# Accessors.


def node(value: object, path: str = "$") -> Node:
    return Node(value, path)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: node([]).fields(), "expected object, got list at $"),
        (lambda: node({}).items(), "expected list, got object at $"),
        (lambda: node(1).text(), "expected string, got integer at $"),
        (lambda: node(True).text(), "expected string, got boolean at $"),
        (lambda: node(None).text(), "expected string, got null at $"),
        (lambda: node("1").integer(), "expected integer, got string at $"),
        (lambda: node(1.0).integer(), "expected integer, got number at $"),
        (lambda: node(True).integer(), "expected integer, got boolean at $"),
        (lambda: node(-1).integer(low=0), "integer -1 is out of range at $"),
        (lambda: node(8).integer(high=7), "integer 8 is out of range at $"),
        (lambda: node(1).boolean(), "expected boolean, got integer at $"),
        (lambda: node("true").boolean(), "expected boolean, got string at $"),
        (lambda: node([1, 2]).items(limit=1), "expected at most 1 elements, got 2 at $"),
        (lambda: node("\ud800").text(), "string holds a lone surrogate at $"),
        (lambda: node("a\udfffb").text(), "string holds a lone surrogate at $"),
        (lambda: node({"a": 1}).fields(), "unknown key 'a' at $"),
        (lambda: node({}).fields(["a"]), "missing key 'a' at $"),
        (lambda: node({"A": 1}).fields(["a"]), "key 'A' differs from 'a' only by case at $"),
        (
            lambda: node({"a": 1, "A": 1}).fields(["a"], closed=False),
            "key 'A' differs from 'a' only by case at $",
        ),
        (lambda: node({"a": 1}).text_map(), "expected string, got integer at $.a"),
        (lambda: node({"a": {"b": [1, {"c": 2}]}}).entries()["a"].text(), "expected string, got object at $.a"),
        (
            lambda: node({"b": [1, {"c": 2}]}).entries()["b"].items()[1].fields(["c"])["c"].text(),
            "expected string, got integer at $.b[1].c",
        ),
        (lambda: node({"x y.z": 1}).entries()["x y.z"].text(), "expected string, got integer at $.'x y.z'"),
        (lambda: node({"\x1b[2J": 1}).entries()["\x1b[2J"].text(), r"expected string, got integer at $.'\x1b[2J'"),
    ],
)
def test_accessor_refuses_another_type_with_the_path(act: Callable[[], object], message: str) -> None:
    assert message_of(act) == message


@pytest.mark.parametrize("twin", ["Layers", "LAYERS", "layerS", "layer\u017f"])
def test_key_that_go_would_take_for_a_known_one_is_refused(twin: str) -> None:
    # Go's encoding/json folds case as Unicode does: U+017F (long s) is an s, U+212A (kelvin) a k. It takes
    # the last of such keys, so "layers" and "layer\u017f" in one manifest are two images to two readers.
    document = node({"layers": [], twin: []})
    assert "only by case" in message_of(lambda: document.fields(("layers",), closed=False))


def test_kelvin_sign_is_a_k_too() -> None:
    document = node({"key": 1, "\u212aey": 2})
    assert "only by case" in message_of(lambda: document.fields(("key",), closed=False))


def test_unknown_key_gets_the_key_that_was_probably_meant() -> None:
    with pytest.raises(Malformed) as caught:
        node({"treshold": 2}).fields((), ("threshold", "name"))
    assert caught.value.hint == "did you mean 'threshold'?"


def test_open_object_keeps_unknown_keys() -> None:
    assert set(node({"a": 1, "zzz": 2}).fields(("a",), closed=False)) == {"a", "zzz"}


@pytest.mark.parametrize("value", [0, 7])
def test_integer_range_is_closed(value: int) -> None:
    assert node(value).integer(low=0, high=7) == value


# TOML documents.


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a = 1\na = 2", "not TOML: Cannot overwrite a value"),
        ("[a]\n[a]", "not TOML: Cannot declare ('a',) twice"),
        ("a = ", "not TOML: Invalid value"),
        ("a = 1e", "not TOML: "),
        ("\ufeffa = 1", "not TOML: Invalid statement"),
        ("a = '\x1b'", "not TOML: Found invalid character"),
    ],
)
def test_text_that_is_not_toml_is_refused(text: str, start: str) -> None:
    with pytest.raises(InvalidPolicy) as caught:
        load_toml(text.encode(), limit=1000)
    assert caught.value.message.startswith(start)
    assert caught.value.message.isprintable()


def test_toml_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(InvalidPolicy, match=r"^not UTF-8 at byte 5$"):
        load_toml(b"a = '\xff'", limit=1000)


def test_toml_over_the_limit_is_refused() -> None:
    with pytest.raises(InvalidPolicy, match=r"^5 bytes are more than the limit of 4$"):
        load_toml(b"a = 1", limit=4)


def test_toml_nested_too_deeply_is_refused() -> None:
    with pytest.raises(InvalidPolicy, match=r"^nested too deeply$"):
        load_toml(b"a = " + b"[" * 10_000, limit=100_000)


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000])
def test_toml_number_that_is_too_long_is_refused(number: str) -> None:
    # CPython converts at most 4,300 digits and raises a bare ValueError beyond.
    with pytest.raises(InvalidPolicy):
        load_toml(f"a = {number}".encode(), limit=100_000)


def test_integer_out_of_range_is_refused_whatever_its_length() -> None:
    # 0x… may be of any length, but cannot be printed as a decimal then.
    document = load_toml(b"a = 0x" + b"f" * 10_000, limit=100_000)
    with pytest.raises(InvalidPolicy):
        document.entries()["a"].integer(low=0, high=100)


# Times.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23T12:00:00Z", "2026-11-23T12:00:00Z"),
        ("2026-11-23t12:00:00z", "2026-11-23T12:00:00Z"),
        ("2026-11-23T12:00:00+00:00", "2026-11-23T12:00:00Z"),
        ("2026-11-23T12:00:00-00:00", "2026-11-23T12:00:00Z"),
        ("2026-11-23T12:00:00+02:30", "2026-11-23T09:30:00Z"),
        ("2026-11-23T12:00:00-02:30", "2026-11-23T14:30:00Z"),
        ("2026-12-31T23:59:59-23:59", "2027-01-01T23:58:59Z"),
        ("2026-11-23T12:00:00.1Z", "2026-11-23T12:00:00Z"),
        ("2026-11-23T12:00:00.999999999Z", "2026-11-23T12:00:00Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
    ],
)
def test_rfc3339_time_is_read_into_utc_seconds(text: str, expected: str) -> None:
    found = parse_time(text)
    assert found.tzinfo is UTC
    assert format_time(found) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-23",
        "2026-11-23T12:00:00",  # no offset: whose midnight?
        "2026-11-23 12:00:00Z",
        "2026-11-23T12:00Z",
        "2026-11-23T12:00:00 Z",
        "2026-11-23T12:00:00.Z",
        "2026-11-23T12:00:00.1234567890Z",
        "2026-11-23T12:00:00,5Z",
        "2026-11-23T12:00:00+0200",
        "2026-11-23T12:00:00+2:00",
        "2026-11-23T12:00:00+24:00",
        "2026-11-23T12:00:00+00:60",
        "2026-11-23T24:00:00Z",
        "2026-11-23T12:60:00Z",
        "2016-12-31T23:59:60Z",  # a real leap second, which datetime cannot hold
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "10000-01-01T00:00:00Z",
        "-2026-11-23T12:00:00Z",
        "2026-11-23T12:00:00Z\n",
        " 2026-11-23T12:00:00Z",
        "\u0662026-11-23T12:00:00Z",
        "2026-11-23T12:00:0\u0660Z",
    ],
)
def test_text_that_is_no_rfc3339_time_is_refused(text: str) -> None:
    assert message_of(lambda: parse_time(text, path="$.t")) == f"not an RFC 3339 time: {quote(text)} at $.t"


@given(st.datetimes(timezones=st.just(UTC)).map(lambda t: t.replace(microsecond=0)))
def test_parse_after_format_of_a_time_is_the_identity(moment: datetime) -> None:
    assert parse_time(format_time(moment)) == moment


def test_time_of_another_zone_is_written_in_utc() -> None:
    assert format_time(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))) == "2025-12-31T23:00:00Z"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2027-06-30T00:00:00Z", datetime(2027, 6, 30, tzinfo=UTC)),
        ("2027-06-30T00:00:00.75+02:00", datetime(2027, 6, 29, 22, tzinfo=UTC)),
        ("'2027-06-30T00:00:00Z'", datetime(2027, 6, 30, tzinfo=UTC)),
    ],
)
def test_toml_time_is_read_written_bare_or_as_text(written: str, expected: datetime) -> None:
    assert Node(tomllib.loads(f"t = {written}")["t"]).moment() == expected


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("2027-06-30T00:00:00", "time without an offset at $"),
        ("2027-06-30", "expected string, got date at $"),
        ("00:00:00", "expected string, got time at $"),
        ("1", "expected string, got integer at $"),
    ],
)
def test_toml_time_without_an_offset_is_refused(written: str, message: str) -> None:
    assert message_of(Node(tomllib.loads(f"t = {written}")["t"]).moment) == message


@pytest.mark.parametrize("written", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"])
def test_toml_time_beyond_what_can_be_held_in_utc_is_refused(written: str) -> None:
    with pytest.raises(Malformed):
        Node(tomllib.loads(f"t = {written}")["t"]).moment()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1s", timedelta(seconds=1)),
        ("90m", timedelta(minutes=90)),
        ("36h", timedelta(hours=36)),
        ("90d", timedelta(days=90)),
        ("2w", timedelta(days=14)),
        ("1y", timedelta(days=365)),
        ("100y", timedelta(days=36500)),
        ("9999999s", timedelta(seconds=9999999)),
    ],
)
def test_duration_is_read(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a duration like '90d': ''"),
        ("90", "not a duration like '90d': '90'"),
        ("d", "not a duration like '90d': 'd'"),
        ("0d", "not a duration like '90d': '0d'"),
        ("-1d", "not a duration like '90d': '-1d'"),
        ("+1d", "not a duration like '90d': '+1d'"),
        ("1.5d", "not a duration like '90d': '1.5d'"),
        ("090d", "not a duration like '90d': '090d'"),
        ("90 d", "not a duration like '90d': '90 d'"),
        ("90D", "not a duration like '90d': '90D'"),
        ("1d12h", "not a duration like '90d': '1d12h'"),
        ("1M", "not a duration like '90d': '1M'"),
        ("90d\n", r"not a duration like '90d': '90d\n'"),
        ("\u0669d", "not a duration like '90d': '\u0669d'"),
        ("10000000s", "not a duration like '90d': '10000000s'"),
        ("101y", "duration '101y' is longer than 100 years"),
        ("9999999d", "duration '9999999d' is longer than 100 years"),
    ],
)
def test_text_that_is_no_duration_is_refused(text: str, message: str) -> None:
    assert message_of(lambda: parse_duration(text)) == message


# base64.


@pytest.mark.parametrize(
    ("text", "raw"),
    [("", b""), ("QQ==", b"A"), ("QUI=", b"AB"), ("QUJD", b"ABC"), ("+/+/", b"\xfb\xff\xbf"), ("AA==", b"\x00")],
)
def test_canonical_base64_is_read(text: str, raw: bytes) -> None:
    assert b64decode(text) == raw
    assert b64encode(raw) == text


@pytest.mark.parametrize(
    "text",
    [
        "QR==",  # the same byte as QQ==, with other trailing bits
        "QUJ=",  # the same two bytes as QUI=
        "Qf==",
        "AAB=",
        "QQ",
        "QQ=",
        "QQ===",
        "QQ==QQ==",
        "=QQ=",
        "Q",
        "QQ==\n",
        "\nQQ==",
        "QU JD",
        "QUJD\r\nQUJD",
        "-_-_",
        "QUJD====",
        "====",
        "QQ\u003d\uff1d",
        "ＱＱ==",
        "QQ==\x00",
        "Q*Q=",
    ],
)
def test_base64_with_a_second_spelling_is_refused(text: str) -> None:
    # Two texts for one signature would be two signatures to whoever compares texts.
    assert message_of(lambda: b64decode(text)) in ("not standard base64", "not canonical base64")


@given(st.binary(max_size=100))
def test_base64_round_trip(raw: bytes) -> None:
    assert b64decode(b64encode(raw)) == raw


@given(st.text("QRAab+/=", max_size=12))
def test_no_two_texts_are_the_same_bytes(text: str) -> None:
    with suppress(Malformed):
        assert b64encode(b64decode(text)) == text


# Text for terminals.


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain text", "plain text"),
        ("é日本😀", "é日本😀"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),  # the one-byte form of ESC [
        ("a\nallowed b", r"a\x0aallowed b"),
        ("a\r\tb", r"a\x0d\x09b"),
        ("a\x00b\x7f", r"a\x00b\x7f"),
        ("app\u202egpj.exe", r"app\u202egpj.exe"),  # right-to-left override
        ("\u2066x\u2069", r"\u2066x\u2069"),  # isolates
        ("a\u200bb\u200db", r"a\u200bb\u200db"),  # zero width
        ("a\u2028b\u2029", r"a\u2028b\u2029"),  # line and paragraph separators
        ("a\u00a0b\u3000", r"a\xa0b\u3000"),  # blanks that are not the blank
        ("\ufeffx", r"\ufeffx"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),  # an invisible tag letter
        ("\ue000", r"\ue000"),  # private use
    ],
)
def test_foreign_text_is_made_printable(text: str, safe: str) -> None:
    assert printable(text) == safe


@given(st.text())
def test_printable_text_is_one_printable_line(text: str) -> None:
    safe = printable(text)
    assert safe.isprintable()
    safe.encode("utf-8")


def test_long_text_is_cut() -> None:
    assert printable("x" * 11, limit=10) == "x" * 10 + "…"
    assert printable("x" * 10, limit=10) == "x" * 10


def test_quote_cuts_long_text_and_escapes() -> None:
    assert quote("a'b\x1b") == '"a\'b\\x1b"'
    assert quote("y" * 121) == "'" + "y" * 120 + "…'"


@given(st.text())
def test_quoted_text_is_one_short_printable_line(text: str) -> None:
    assert quote(text).isprintable()
    assert len(quote(text)) <= 241


# URLs.


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://registry.example.com/v2/app/manifests/1", "https://registry.example.com/v2/app/manifests/1"),
        ("https://user:pa55@registry.example.com:5000/v2/", "https://registry.example.com:5000/v2/"),
        ("https://pa55@registry.example.com/v2/", "https://registry.example.com/v2/"),
        ("https://s3.example.com/blob?X-Amz-Signature=pa55&x=1", "https://s3.example.com/blob"),
        ("https://s3.example.com/blob#pa55", "https://s3.example.com/blob"),
        ("https://[::1]:5000/v2/?pa55", "https://[::1]:5000/v2/"),
        ("HTTPS://REGISTRY.example.com/V2/", "https://registry.example.com/V2/"),
        ("https://registry.example.com/\x1b[2J", "https://registry.example.com/\\x1b[2J"),
        ("https://registry.example.com:port/?pa55", "(unreadable url)"),
        ("https://registry.example.com:99999/?pa55", "(unreadable url)"),
        ("https://[::1/?pa55", "(unreadable url)"),
    ],
)
def test_url_is_shown_as_origin_and_path(url: str, shown: str) -> None:
    assert redact(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "user:pa55@proxy.example.com:3128",  # as people write proxies: no scheme
        "user:pa55@proxy.example.com/path",
        "https:user:pa55@proxy.example.com/",
        "https:/user:pa55@proxy.example.com/",
        "https:///user:pa55@proxy.example.com/",
    ],
)
def test_url_without_a_host_shows_nothing_that_may_be_a_password(url: str) -> None:
    # Law 11: redact is the only way a URL reaches text, whatever was written where a URL should be.
    assert "pa55" not in redact(url)


@given(st.text(st.characters(codec="ascii")))
def test_redacted_text_is_printable_and_has_no_query(text: str) -> None:
    shown = redact(f"https://user:pa55@example.com/?{text}")
    assert shown == "https://example.com/"
