"""Reading an object without one member: the same answers as reading all of it, and where that member lies."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsign.errors import InvalidEnvelope, Malformed
from imgsign.intoto import Statement
from imgsign.outline import load_outline
from imgsign.wire import load_json

LIMIT = 10_000


@pytest.mark.parametrize(
    ("raw", "members", "skipped"),
    [
        (b'{"a":1,"p":{"x":[1,2]},"b":[]}', {"a": 1, "b": []}, b'{"x":[1,2]}'),
        (b' { "p" : "text" , "a" : null } ', {"a": None}, b'"text"'),
        (b'{"a":1}', {"a": 1}, None),
        (b"{}", {}, None),
        (b'{"a":{"p":1}}', {"a": {"p": 1}}, None),
        ('{"\u00fc":"\u2603","p":["\u00e4"],"b":1}'.encode(), {"\u00fc": "\u2603", "b": 1}, '["\u00e4"]'.encode()),
        (b'{"p":-1.5e3}', {}, b"-1.5e3"),
    ],
)  # fmt: skip
def test_member_is_skipped_and_its_bytes_are_known(raw: bytes, members: object, skipped: bytes | None) -> None:
    found = load_outline(raw, skip="p", limit=LIMIT)
    assert found.node.value == members
    assert (None if found.start is None else raw[found.start : found.end]) == skipped


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"[", b"{", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,', b'{"a":1,}', b'{a:1}', b'{"a":1}x',
        b'{"a":1}{}', b"nul",
        b'{"a":1,"a":2}', b'{"p":1,"p":2}', b'{"p":{"x":1,"x":2}}', b'{"p":[{"x":{"y":1,"y":2}}]}', b'{"a":NaN}',
        b'{"p":NaN}', b'{"p":1e999}', b'{"p":Infinity}', b'{"p":}', b'{"p":[}', b'{"p":{"x"}}', b'{"p":"\n"}', b"\xff",
        b"\xef\xbb\xbf{}", b'{"a":"\\ud800"}', b'{"p":' + b"[" * 100_000,
        b'{"a":' + b"[" * 70 + b"]" * 70 + b"}", b'{"p":' + b"1" * 5000 + b"}",
    ],
)  # fmt: skip
def test_what_is_refused_whole_is_refused_in_outline(raw: bytes) -> None:
    with pytest.raises(Malformed):
        load_json(raw, limit=10**6).entries()
    with pytest.raises(Malformed):
        load_outline(raw, skip="p", limit=10**6).node.entries()


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "p", "ü", ""]), _values), st.sampled_from([None, 1]), st.booleans())
def test_outline_and_member_make_the_whole(value: dict[str, object], indent: int | None, ascii: bool) -> None:
    raw = json.dumps(value, indent=indent, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    try:
        load_json(raw, limit=10**6)
    except Malformed:
        return
    found = load_outline(raw, skip="p", limit=10**6)
    whole = dict(found.node.entries())
    assert {k: n.value for k, n in whole.items()} == {k: v for k, v in value.items() if k != "p"}
    if "p" in value:
        assert json.loads(raw[found.start : found.end]) == value["p"]
    else:
        assert (found.start, found.end) == (None, None)


def test_only_the_asked_for_members_of_a_predicate_are_kept() -> None:
    raw = (
        b'{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"t","subject":[],'
        b'"predicate":{"a":[{"b":1,"c":2},{"c":3}],"d":{"b":4},"e":"x"}}'
    )
    predicate = Statement.parse(raw).predicate
    assert predicate is not None
    assert predicate.raw == b'{"a":[{"b":1,"c":2},{"c":3}],"d":{"b":4},"e":"x"}'
    assert predicate.pick(frozenset(("a", "b"))).value == {"a": [{"b": 1}, {}]}
    assert predicate.pick(frozenset()).value == {}


def test_predicate_nested_too_deeply_is_refused_when_it_is_asked_for() -> None:
    deep = b"[" * 70 + b"]" * 70
    raw = b'{"_type":"https://in-toto.io/Statement/v1","predicateType":"t","subject":[],"predicate":{"a":%b}}' % deep
    predicate = Statement.parse(raw).predicate
    assert predicate is not None
    assert predicate.pick(frozenset(("b",))).value == {}
    with pytest.raises(InvalidEnvelope, match=r"^nested deeper than 64$"):
        predicate.pick(frozenset(("a",)))
