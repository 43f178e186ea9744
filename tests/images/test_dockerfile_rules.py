"""Dockerfiles: arguments, targets, named contexts, pins, refusals and bounds; expected values are written by hand."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsign.errors import InvalidReference
from imgsign.images.dockerfile import scan
from imgsign.images.dockerfile.contexts import familiar_name
from imgsign.images.dockerfile.shell import Shell
from imgsign.images.dockerfile.words import ExpansionFault
from imgsign.reference import Reference

REFUSED: dict[str, tuple[str, list[tuple[str, str, int, int]]]] = {
    "empty": ("", [("no-stage", "file with no instructions", 1, 1)]),
    "comments only": ("# a\n", [("no-stage", "file with no instructions", 1, 1)]),
    "arguments only": ("ARG A=b\n", [("no-stage", "no FROM: the file builds nothing", 1, 1)]),
    "RUN first": ("RUN x\nFROM a\n", [("no-stage", "RUN before the first FROM", 1, 1)]),
    "unknown instruction": ("FROM a\n INCLUDE b\n", [("unknown-instruction", "unknown instruction 'INCLUDE'", 2, 2)]),
    "a no-break space is no blank": (
        "FROM\u00a0a\n",
        [("unknown-instruction", "unknown instruction 'FROM\\xa0A'", 1, 1)],
    ),
    "an empty instruction": ("FROM a\n\\\n", [("unknown-instruction", "unknown instruction ''", 2, 1)]),
    "FROM without a word": ("FROM\n", [("bad-from", "FROM requires either one or three words", 1, 1)]),
    "FROM with two words": ("FROM a b\n", [("bad-from", "FROM requires either one or three words", 1, 1)]),
    "FROM without AS": ("FROM a is b\n", [("bad-from", "FROM requires either one or three words", 1, 1)]),
    "stage named by a number": ("FROM a AS 0\n", [("bad-from", "invalid name for a build stage", 1, 11)]),
    "unset argument": ("ARG A\nFROM $A\n", [("unset-argument", "FROM $A: A has no value", 2, 6)]),
    "undeclared argument": ("FROM a:$B\n", [("unset-argument", "FROM a:$B: B has no value", 1, 6)]),
    "argument of a stage": ("FROM a\nARG B=c\nFROM $B\n", [("unset-argument", "FROM $B: B has no value", 3, 6)]),
    "unset through another": (
        "ARG A\nARG B=x$A\nFROM $B\n",
        [("unset-argument", "FROM $B: B cannot be made: A has no value", 3, 6)],
    ),
    "platform of the machine": (
        "FROM a-$TARGETARCH\n",
        [("unset-argument", "FROM a-$TARGETARCH: TARGETARCH depends on the platform", 1, 6)],
    ),
    "blank base": ("FROM ''\n", [("bad-from", "base name ('') should not be blank", 1, 6)]),
    "required argument": ("FROM ${A:?no}\n", [("bad-expansion", "A: no", 1, 6)]),
    "open brace": ("FROM ${A\n", [("bad-expansion", "syntax error: missing '}'", 1, 6)]),
    "open quote": (
        "FROM 'a\n",
        [("bad-expansion", "unexpected end of statement while looking for matching single-quote", 1, 6)],
    ),
    "bad default, not even used": (
        "ARG A=${B!}\nFROM a\n",
        [("bad-expansion", "unsupported modifier (!) in substitution", 1, 5)],
    ),
    "blank argument name": ("ARG =b\nFROM a\n", [("bad-argument", "ARG names can not be blank", 1, 5)]),
    "unknown FROM flag": ("FROM --x=1 a\n", [("bad-flag", "FROM has no flag '--x'", 1, 6)]),
    "unknown COPY flag": ("FROM a\nCOPY --image=b c d\n", [("bad-flag", "COPY has no flag '--image'", 2, 6)]),
    "ADD takes nothing from": ("FROM a\nADD --from=b c d\n", [("bad-flag", "ADD has no flag '--from'", 2, 5)]),
    "two --from": ("FROM a\nCOPY --from=b --from=c d e\n", [("bad-flag", "duplicate flag --from", 2, 15)]),
    "--from without a value": ("FROM a\nCOPY --from b c\n", [("bad-flag", "missing a value on flag --from", 2, 6)]),
    "flag outside ASCII": (
        "FROM a\nCOPY --from=\u00e9 b c\n",
        [("bad-flag", "a flag with characters outside ASCII", 2, 13)],
    ),
    "variable in COPY --from": (
        "ARG A=b\nFROM a\nCOPY --from=$A c d\n",
        [("bad-copy-from", "--from=$A: variables, quotes and escapes are not supported here", 3, 13)],
    ),
    "escaped dollar in COPY --from": (
        "FROM a\nCOPY --from='b\\\\c' d e\n",
        [("bad-copy-from", "--from=b\\c: variables, quotes and escapes are not supported here", 2, 14)],
    ),
    "variable in a mount": (
        "FROM a\nRUN --mount=from=$A,target=/b x\n",
        [("bad-mount", "'from' of a mount does not support variable expansion", 2, 18)],
    ),
    "no such stage": (
        "FROM a\nCOPY --from=1 b c\n",
        [("bad-stage-index", "--from=1: no stage has this number", 2, 13)],
    ),
    "negative stage": (
        "FROM a\nCOPY --from=-1 b c\n",
        [("bad-stage-index", "--from=-1: no stage has this number", 2, 13)],
    ),
    "mount that is no CSV": ("FROM a\nRUN --mount='from=\"b' x\n", [("bad-mount", "a bare quote in a mount", 2, 14)]),
    "mount with an open quote": (
        "FROM a\nRUN --mount='\"from=b' x\n",
        [("bad-mount", "an unterminated quote in a mount", 2, 14)],
    ),
    "heredoc without an end": ("FROM a\nRUN <<EOF\nFROM b\n", [("bad-heredoc", "unterminated heredoc", 2, 1)]),
    "a list that is not of text": (
        'FROM a\nRUN ["b<<", 1]\n',
        [("bad-instruction", "when using JSON array syntax, arrays must be comprised of strings only", 2, 5)],
    ),
    "ONBUILD FROM": ("FROM a\nONBUILD FROM b\n", [("bad-onbuild", "FROM isn't allowed as an ONBUILD trigger", 2, 1)]),
    "ONBUILD ONBUILD": (
        "FROM a\nONBUILD ONBUILD RUN b\n",
        [("bad-onbuild", "ONBUILD isn't allowed as an ONBUILD trigger", 2, 1)],
    ),
    "ONBUILD of nothing": ("FROM a\nONBUILD\n", [("bad-onbuild", "ONBUILD requires an instruction", 2, 1)]),
    "ONBUILD of something unknown": (
        "FROM a\nONBUILD INCLUDE b\n",
        [("unknown-instruction", "unknown instruction 'INCLUDE'", 2, 1)],
    ),
    "escape of another character": (
        "# escape=x\nFROM a\n",
        [("bad-directive", "the escape token is neither \\ nor `", 1, 10)],
    ),
    "two escapes": (
        "# escape=`\n# escape=`\nFROM a\n",
        [("bad-directive", "only one escape directive can be used", 2, 1)],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_resolved_is_a_problem(case: str) -> None:
    text, expected = REFUSED[case]
    assert [(p.code, p.message, p.spot.line, p.spot.column) for p in scan(text).problems] == expected


def test_a_fault_does_not_hide_what_stands_after_it() -> None:
    result = scan("FROM a b\nFROM c\nCOPY --x=1 d e\nCOPY --from=f g h\n")
    assert [f.text for f in result.found] == ["c", "f"]
    assert [p.code for p in result.problems] == ["bad-from", "bad-flag"]


ARGUMENTS: dict[str, tuple[str, dict[str, str | None], list[str]]] = {
    "default": ("ARG A=b\nFROM $A\n", {}, ["b"]),
    "given": ("ARG A=b\nFROM $A\n", {"A": "c"}, ["c"]),
    "given without default": ("ARG A\nFROM x:$A\n", {"A": "c"}, ["x:c"]),
    "given but not declared": ("FROM ${A:-b}\n", {"A": "c"}, ["b"]),
    "given and blank": ("ARG A=b\nFROM x$A\n", {"A": ""}, ["x"]),
    "predefined, given": ("FROM a-$TARGETARCH\n", {"TARGETARCH": "arm64"}, ["a-arm64"]),
    "predefined, with a default": ("ARG TARGETARCH=arm64\nFROM a-$TARGETARCH\n", {}, ["a-arm64"]),
    "the last declaration counts": ("ARG A=b\nARG A=c\nFROM $A\n", {}, ["c"]),
    "a declaration without default changes nothing": ("ARG A=b\nARG A\nFROM $A\n", {}, ["b"]),
    "several in a line": ("ARG A=b B=\"c\" C='d'\nFROM $A/$B:$C\n", {}, ["b/c:d"]),
    "a default uses earlier ones": ("ARG A=b\nARG B=${A}c\nFROM $B\n", {}, ["bc"]),
    "a given one replaces the default, also in others": ("ARG A=b\nARG B=${A}c\nFROM $B\n", {"A": "x"}, ["xc"]),
    "single quotes keep the dollar": ("ARG A='$B'\nFROM x:${A#?}\n", {}, ["x:B"]),
    "target": ("FROM a AS b\nFROM c-$TARGETSTAGE\n", {}, ["a", "c-default"]),
    "an unused unset one is no problem": ("ARG A\nFROM b\n", {}, ["b"]),
    "a variable in the platform is no problem": ("FROM --platform=$X a\n", {}, ["a"]),
    "a default that needs what is unset, not used": ("ARG A=$B\nFROM c\n", {}, ["c"]),
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments_count_as_in_buildkit(case: str) -> None:
    text, given_arguments, expected = ARGUMENTS[case]
    result = scan(text, arguments=given_arguments)
    assert result.problems == ()
    assert [f.text for f in result.found] == expected


def test_an_argument_with_a_value_that_is_not_known_is_a_problem() -> None:
    result = scan("ARG A=b\nFROM c:${A:-d}\n", arguments={"A": None})
    assert [p.message for p in result.problems] == ["FROM c:${A:-d}: A is given a value that is not known here"]
    assert result.found == ()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("ARG A\nFROM $A\n", "give --build-arg A=…"),
        ("ARG A\nARG B\nFROM $A/$B\n", "give --build-arg A=… --build-arg B=…"),
        ("FROM a-$TARGETARCH\n", "give --build-arg TARGETARCH=…"),
        ("FROM $A\n", "declare ARG A before the first FROM"),
    ],
)
def test_the_hint_says_what_to_type(text: str, hint: str) -> None:
    assert [p.hint for p in scan(text).problems] == [hint]


TARGETS = "FROM a AS one\nFROM one AS two\nCOPY --from=b x y\nFROM c AS three\nFROM d AS four\nCOPY --from=two x y\n"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (None, ["a", "b", "c", "d"]),
        ("one", ["a"]),
        ("TWO", ["a", "b"]),
        ("three", ["c"]),
        ("four", ["a", "b", "d"]),
    ],
)
def test_a_target_narrows_to_what_it_needs(target: str | None, expected: list[str]) -> None:
    result = scan(TARGETS, target=target)
    assert [f.text for f in result.found] == expected
    assert result.problems == ()


def test_a_target_that_is_not_there_is_a_problem_and_narrows_nothing() -> None:
    result = scan(TARGETS, target="five")
    assert [(p.code, p.hint) for p in result.problems] == [("no-such-target", "stages are: one, two, three, four")]
    assert len(result.found) == 4


def test_a_target_keeps_mounts_and_numbers() -> None:
    text = "FROM a\nFROM b AS two\nFROM c AS three\nRUN --mount=from=two,target=/x y\nCOPY --from=0 p q\n"
    assert [f.text for f in scan(text, target="three").found] == ["a", "b", "c"]


CONTEXTS: dict[str, tuple[str, dict[str, str], list[str]]] = {
    "an image for an image": ("FROM golang\n", {"golang": "docker-image://x:1"}, ["x:1"]),
    "known by its familiar name": ("FROM docker.io/library/golang:latest\n", {"golang": "docker-image://x:1"}, ["x:1"]),
    "key in full": ("FROM golang\n", {"docker.io/library/golang:latest": "docker-image://x:1"}, ["x:1"]),
    "another tag is another name": ("FROM golang:1\n", {"golang": "docker-image://x:1"}, ["golang:1"]),
    "a directory for an image": ("FROM golang\n", {"golang": "../golang"}, []),
    "another build": ("FROM base\n", {"base": "service:base"}, []),
    "a stage": ("FROM a AS b\nFROM b\n", {"b": "docker-image://x:1"}, ["x:1"]),
    "a source": ("FROM a\nCOPY --from=b c d\n", {"b": "docker-image://x:1"}, ["a", "x:1"]),
    "a mount": ("FROM a\nRUN --mount=from=b,target=/x c\n", {"b": "docker-image://x:1"}, ["a", "x:1"]),
    "nothing": ("FROM a\nCOPY --from=b c d\n", {"b": "docker-image://scratch"}, ["a"]),
    "one platform only": ("FROM a\n", {"a::linux/amd64": "docker-image://x:1"}, ["x:1", "a"]),
    "scratch is never replaced": ("FROM scratch\n", {"scratch": "docker-image://x:1"}, []),
    "the build program": ("# syntax=x/y\nFROM a\n", {"x/y": "docker-image://z"}, ["z", "a"]),
}


@pytest.mark.parametrize("case", CONTEXTS)
def test_named_contexts_stand_in_for_names(case: str) -> None:
    text, contexts, expected = CONTEXTS[case]
    result = scan(text, contexts=contexts)
    assert [f.text for f in result.found] == expected
    assert result.problems == ()
    assert all(f.pin is None for f in result.found if f.text in ("x:1", "z"))


@pytest.mark.parametrize("value", ["oci-layout://dir@sha256:abc", "input:x"])
def test_a_context_whose_image_has_no_name_is_a_problem(value: str) -> None:
    [problem] = scan("FROM a\n", contexts={"a": value}).problems
    assert (problem.code, problem.spot.column) == ("unread-context", 6)


PINS = {
    "plain": ("FROM a:1\n", "a:1", "{reference}"),
    "in quotes": ("FROM 'a:1'\n", "a:1", "{reference}"),
    "with a digest": (f"FROM a:1@sha256:{'0' * 64}\n", f"a:1@sha256:{'0' * 64}", "{reference}"),
    "copy": ('FROM scratch\nCOPY --from="a" b c\n', "a", "{reference}"),
    "mount": ("FROM scratch\nRUN --mount=type=bind,from=a,target=/x b\n", "a", "{reference}"),
    "syntax": ("# syntax=a:1 b\nFROM scratch\n", "a:1", "{reference}"),
    "on the next line": ("FROM \\\n  a:1\n", "a:1", "{reference}"),
    "whole by an argument": ("ARG A=a:1\nFROM $A\n", "a:1", "{reference}"),
    "whole by a quoted default": ('ARG A="a:1"\nFROM ${A} AS b\n', "a:1", "{reference}"),
    "tag by an argument": ("ARG V=1.2\nFROM a/b:$V\n", "1.2", "1.2@{digest}"),
    "tag and digest by an argument": ("ARG V=1.2@sha256:ab\nFROM a:${V}\n", "1.2@sha256:ab", "1.2@{digest}"),
}


@pytest.mark.parametrize("case", PINS)
def test_a_pin_goes_where_the_reference_is_written(case: str) -> None:
    text, expected, replacement = PINS[case]
    [found] = scan(text).found
    assert found.pin is not None
    assert text[found.pin.start : found.pin.end] == expected
    assert (found.replacement, found.unpinnable) == (replacement, None)


UNPINNABLE = {
    "over two lines": ("FROM a:\\\n1\n", "it is written over several lines or with escapes"),
    "escaped": ("FROM a\\:1\n", "it is written with quotes or escapes inside"),
    "quotes inside": ("FROM a':'1\n", "it is written with quotes or escapes inside"),
    "part of the tag": ("ARG V=1\nFROM a:$V-slim\n", "only a part of it comes from an argument"),
    "default in FROM": ("ARG V=1\nFROM ${V:-a}\n", "only a part of it comes from an argument"),
    "given": ("ARG A=b\nFROM $A\n", "the value of A is not in the file"),
    "the repository": ("ARG A=b\nFROM x/$A\n", "A is neither the whole reference nor its tag"),
    "a port": ("ARG A=5000/b\nFROM localhost:$A\n", "A is neither the whole reference nor its tag"),
    "a digest": ("ARG A=ab\nFROM a@sha256:$A\n", "A is neither the whole reference nor its tag"),
    "used twice": ("ARG A=b\nFROM $A\nFROM x:$A\n", "A is used at more places than this one"),
    "used by another default": ("ARG A=b\nARG B=$A\nFROM $A\n", "A is used at more places than this one"),
    "used in a stage": ("ARG A=b\nFROM $A\nARG A\n", "A is used at more places than this one"),
    "used for the platform": ("ARG A=b\nFROM --platform=$A $A\n", "A is used at more places than this one"),
    "a default that is expanded": ("ARG B=c\nARG A=x:$B\nFROM $A\n", "it is written with quotes or escapes inside"),
}


@pytest.mark.parametrize("case", UNPINNABLE)
def test_where_no_pin_would_do_it_is_said_why(case: str) -> None:
    text, why = UNPINNABLE[case]
    found = scan(text, arguments={"A": "z"} if case == "given" else {}).found[0]
    assert (found.pin, found.unpinnable) == (None, why)


NAMES = {
    "alpine": "docker.io/library/alpine:latest",
    "0": "docker.io/library/0:latest",
    "library/alpine": "docker.io/library/alpine:latest",
    "a/b": "docker.io/a/b:latest",
    "index.docker.io/a": "docker.io/library/a:latest",
    "localhost/a": "localhost/a:latest",
    "a.b/c": "a.b/c:latest",
    "a:5000/b:1": "a:5000/b:1",
}


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_in_from_is_normalised_as_docker_does(name: str) -> None:
    [found] = scan(f"FROM {name}\n").found
    assert str(Reference.parse(found.text).tag_or_latest()) == NAMES[name]


@pytest.mark.parametrize("name", ["Builder", "Scratch", "a/B", "a//b", "a:", "a@b", "-a", "a b".replace(" ", "\u00a0")])
def test_a_name_that_is_no_reference_is_handed_on_for_refusal(name: str) -> None:
    [found] = scan(f"FROM b AS builder\nFROM {name}\n").found[1:]
    with pytest.raises(InvalidReference):
        Reference.parse(found.text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("docker.io/library/a:latest", "a"),
        ("docker.io/x/a:1", "x/a:1"),
        ("r.io/a:latest", "r.io/a"),
        ("a:1", "a:1"),
        (f"a@sha256:{'0' * 64}", f"a@sha256:{'0' * 64}"),
        ("A", None),
    ],
)
def test_familiar_names(text: str, name: str | None) -> None:
    assert familiar_name(text) == name


EXPANSIONS = {
    "a": "a",
    "$V": "value",
    "${V}": "value",
    "x${V}y": "xvaluey",
    "$V.1": "value.1",
    "$.": "$.",
    "\\$V": "$V",
    "'$V'": "$V",
    '"$V"': "value",
    '"\\$V \\x"': "$V \\x",
    "a'b\"c'd": 'ab"cd',
    "a\\": "a",
    "${V:-x}": "value",
    "${E:-x}": "x",
    "${E-x}": "",
    "${U-x}": "x",
    "${U:-$V}": "value",
    "${U:-${W:-x}}": "x",
    "${V:+x}": "x",
    "${E:+x}": "",
    "${E+x}": "x",
    "${U+x}": "",
    "${V?no}": "value",
    "${P#*/}": "b/c.d.e",
    "${P##*/}": "c.d.e",
    "${P%.*}": "a/b/c.d",
    "${P%%.*}": "a/b/c",
    "${P%x}": "a/b/c.d.e",
    "${P#a?b}": "/c.d.e",
    "${P/\\//-}": "a-b/c.d.e",
    "${P//\\//-}": "a-b-c.d.e",
    "${P/b*d/x}": "a/x.e",
    "${P//?/x}": "xxxxxxxxx",
    "${P//z/x}": "a/b/c.d.e",
    "${U:-\\}}": "}",
    "$1": None,
}
VALUES = {"V": "value", "E": "", "P": "a/b/c.d.e"}


@pytest.mark.parametrize("text", EXPANSIONS)
def test_words_expand_as_in_buildkit(text: str) -> None:
    found = Shell("\\", VALUES).word(text)
    expected = EXPANSIONS[text]
    assert (found.text, found.missing) == ((expected, ()) if expected is not None else ("", ("1 has no value",)))


UNEXPANDABLE = (
    "${",
    "${}",
    "${V",
    "${V:",
    "${V:=x}",
    "${V:#x}",
    "${V!}",
    "${{V}}",
    "${:-x}",
    "${U:?}",
    "${E:?x}",
    "'a",
)


@pytest.mark.parametrize("text", [*UNEXPANDABLE, '"a', "${V/a}", "${V#\\x}", "${V/\\/x}"])
def test_what_buildkit_refuses_to_expand_is_refused(text: str) -> None:
    with pytest.raises(ExpansionFault):
        Shell("\\", VALUES).word(text)


HOSTILE = {
    "nested braces": "FROM " + "${a:-" * 12_000 + "\n",
    "many variables": "FROM " + "$A" * 32_000 + "\n",
    "heredoc marks": "FROM a\nRUN " + "<<" * 32_000 + "\n",
    "heredocs": "FROM a\nRUN " + "<<A " * 16_000 + "\n",
    "blanks before a heredoc's word": "FROM a\nRUN x <<" + " " * 65_000 + "<\n",
    "blanks before =": "#" + " " * 30_000 + "syntax" + " " * 30_000 + "!\nFROM a\n",
    "quoted fields": "FROM a\nRUN --mount=" + ',""' * 21_000 + "\n",
    "doubling": "ARG A=aaaaaaaa\n" + "ARG A=$A$A\n" * 50 + "FROM $A\n",
    "stars": "ARG A=" + "a" * 30_000 + "\nFROM ${A##" + "*a" * 15_000 + "b}\n",
    "replacements": "ARG A=" + "a" * 60_000 + "\n" + "ARG B=${A//a/b}\n" * 2_000 + "FROM a\n",
    "continued lines": "FROM a\nRUN x \\\n" + "y \\\n" * 50_000,
    "stages": "FROM a\n" * 100_000,
    "sources": "FROM a\n" + "COPY --from=b c d\n" * 50_000,
    "faults": "FROM a\n" + "X\n" * 400_000,
    "a chain of unset ones": "ARG A0\n" + "".join(f"ARG A{i}=$A{i - 1}\n" for i in range(1, 5_000)) + "FROM $A4999\n",
    "long words": f"FROM {'a' * 60_000}$B\n",
    "JSON": '{"a":' + "[" * 200_000,
}
HARMLESS = ("heredoc marks", "blanks before a heredoc's word", "blanks before =", "quoted fields", "continued lines")


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_answered_within_the_bounds(case: str) -> None:
    result = scan(HOSTILE[case])
    assert len(result.found) <= 2_001
    assert len(result.problems) <= 202
    assert all(len(p.message) <= 241 and len(p.hint or "") <= 241 for p in result.problems)
    assert bool(result.problems) is (case not in HARMLESS)


def test_foreign_text_in_a_message_cannot_reach_a_terminal() -> None:
    [problem] = scan("FROM \x1b[31m$A\n").problems
    assert problem.message == "FROM \\x1b[31m$A: A has no value"


def test_a_file_or_line_that_is_too_long_is_refused() -> None:
    assert [p.code for p in scan("FROM a\n" + "#" * 65_536 + "\nFROM b\n").problems] == ["too-large"]
    assert [f.text for f in scan("FROM a\n" + "#" * 65_535 + "\nFROM b\n").found] == ["a", "b"]
    assert [p.code for p in scan("#\n" * 600_000).problems] == ["too-large"]


WORDS = (
    "FROM ",
    "COPY --from=",
    "RUN --mount=from=",
    "ARG ",
    "ONBUILD ",
    "# syntax=",
    "# escape=`",
    " AS ",
    "<<EOF",
    "EOF",
)
OTHER = (
    "\n",
    " ",
    "\\\n",
    "`\n",
    "a",
    "b:1",
    "$A",
    "${A:-b}",
    "A=",
    "'",
    '"',
    "\\",
    "#",
    ",",
    "--platform=x ",
    "0",
    "\u00e9",
)
TEXTS = st.lists(st.sampled_from((*WORDS, *OTHER)), max_size=24).map("".join)


@given(TEXTS | st.text(max_size=80))
def test_any_text_is_scanned_without_a_crash_and_places_are_in_it(text: str) -> None:
    result = scan(text)
    for spot in [f.spot for f in result.found] + [p.spot for p in result.problems]:
        assert 0 <= spot.start <= spot.end <= len(text)
        assert spot.line == text.count("\n", 0, spot.start) + 1
    for found in result.found:
        written = text[found.spot.start : found.spot.end]
        if re.fullmatch(r"[a-z0-9:]+", written):  # no expansion took place
            assert written == found.text
        if found.pin is not None and found.replacement == "{reference}":
            assert text[found.pin.start : found.pin.end] == found.text


NAME = st.sampled_from(("a", "b", "c:1", "d/e", "0"))
LINE = st.one_of(
    st.builds("FROM {}\n".format, NAME),
    st.builds("FROM {} AS {}\n".format, NAME, st.sampled_from(("a", "b", "s"))),
    st.builds("FROM \\\n  {}\n".format, NAME),
    st.builds('COPY --link --from="{}" x y\n'.format, NAME.filter(lambda n: n != "0")),
    st.builds("RUN --mount=type=bind,from={},target=/x y\n".format, NAME),
    st.just("RUN <<EOF\nFROM no\nEOF\n"),
)


@given(st.lists(LINE, max_size=6))
def test_pinning_what_was_found_leaves_a_file_with_the_same_images_but_pinned(lines: list[str]) -> None:
    text = "# syntax=q\nARG A=z:1\nFROM $A\n" + "".join(lines)
    result = scan(text)
    assert result.problems == ()
    pins = {found.pin: found.text for found in result.found if found.pin is not None}
    assert len(pins) == len(result.found)
    pinned = text
    for pin in sorted(pins, reverse=True):
        pinned = f"{pinned[: pin.start]}r.io/{pins[pin]}{pinned[pin.end :]}"
    assert [f.text for f in scan(pinned).found] == [f"r.io/{f.text}" for f in result.found]
