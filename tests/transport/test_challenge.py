"""WWW-Authenticate by its grammar, not by commas."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsign.transport.challenge import CHALLENGES_LIMIT, Challenge, parse_challenges


def _c(scheme: str, **parameters: str) -> Challenge:
    return Challenge(scheme=scheme, parameters=parameters)


@pytest.mark.parametrize(
    ("text", "challenges"),
    [
        (
            'Bearer realm="https://auth.test/token",service="registry.test",scope="repository:a/b:pull,push"',
            (_c("bearer", realm="https://auth.test/token", service="registry.test", scope="repository:a/b:pull,push"),),
        ),
        ("BASIC REALM=registry", (_c("basic", realm="registry"),)),
        ('Basic realm = "a \\"b\\" \\\\ c"', (_c("basic", realm='a "b" \\ c'),)),
        (
            'Negotiate, Basic realm="x", Bearer realm="y" , service=z',
            (_c("negotiate"), _c("basic", realm="x"), _c("bearer", realm="y", service="z")),
        ),
        ('Negotiate YII+/=, Basic realm="x"', (_c("negotiate"), _c("basic", realm="x"))),
        ('Basic realm="a", Basic realm="b"', (_c("basic", realm="a"), _c("basic", realm="b"))),
        ('Bearer realm="a",realm="b"', (_c("bearer", realm="a"),)),
        (', ,Basic\trealm="x",,', (_c("basic", realm="x"),)),
        ('Bearer scope="aws",realm="https://public.test/"', (_c("bearer", scope="aws", realm="https://public.test/"),)),
        ("Basic", (_c("basic"),)),
        ("", ()),
        ('realm="x"', ()),
        ('Bearer realm="unterminated, Basic realm=x', (_c("bearer"), _c("basic", realm="x"))),
        ('Bearer realm=https://a/b, Basic realm="x"', (_c("bearer"), _c("basic", realm="x"))),
    ],
)
def test_challenges(text: str, challenges: tuple[Challenge, ...]) -> None:
    assert parse_challenges(text) == challenges


def test_endless_challenges_are_cut() -> None:
    assert len(parse_challenges("Basic," * 5000)) == CHALLENGES_LIMIT


_token = st.text("abcXYZ019-_.", min_size=1, max_size=8).filter(lambda s: s[0].isalpha())
_value = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12)


@given(st.lists(st.tuples(_token, st.dictionaries(_token.map(str.lower), _value, min_size=1, max_size=3)), max_size=4))
def test_what_is_written_as_quoted_strings_is_read_back(written: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    text = ", ".join(f"{scheme} " + ", ".join(f"{k}={quoted(v)}" for k, v in p.items()) for scheme, p in written)
    assert parse_challenges(text) == tuple(Challenge(scheme=s.lower(), parameters=p) for s, p in written)


@given(st.text("aB =\",\\\t;'~/+", max_size=60))
def test_nothing_a_server_sends_raises(text: str) -> None:
    for challenge in parse_challenges(text):
        assert challenge.scheme == challenge.scheme.lower()
