"""Dockerfiles: which images they name, as BuildKit reads them; expected values are written by hand from its source."""

from __future__ import annotations

import pytest

from imgsign.images import Found, Scan
from imgsign.images.dockerfile import scan

D = "sha256:" + "ab" * 32


def places(result: Scan) -> list[tuple[str, str, int, int]]:
    """Role, text, line and column of each image."""
    return [(f.role, f.text, f.spot.line, f.spot.column) for f in result.found]


def codes(result: Scan) -> list[str]:
    return [p.code for p in result.problems]


def only(result: Scan) -> Found:
    assert result.problems == ()
    [found] = result.found
    return found


ACCEPTED = {
    "one stage": ("FROM alpine:3\n", [("base", "alpine:3", 1, 6)]),
    "any case, tabs, indented": ("\t from\talpine\n", [("base", "alpine", 1, 8)]),
    "no line break at the end": ("FROM alpine", [("base", "alpine", 1, 6)]),
    "CRLF": ("FROM alpine\r\nRUN x\r\n", [("base", "alpine", 1, 6)]),
    "byte order mark": ("\ufeffFROM alpine\n", [("base", "alpine", 1, 7)]),
    "platform flag": ("FROM --platform=$BUILDPLATFORM go AS x\n", [("base", "go", 1, 32)]),
    "digest": (f"FROM a/b:1@{D}\n", [("base", f"a/b:1@{D}", 1, 6)]),
    "stage is no image": ("FROM a AS b\nFROM b\n", [("base", "a", 1, 6)]),
    "stage name is lower-cased": ("FROM a AS Build\nFROM build\n", [("base", "a", 1, 6)]),
    "base is not lower-cased": ("FROM a AS build\nFROM Build\n", [("base", "a", 1, 6), ("base", "Build", 2, 6)]),
    "later stage does not count": ("FROM b\nFROM a AS b\n", [("base", "b", 1, 6), ("base", "a", 2, 6)]),
    "own name does not count": ("FROM node AS node\n", [("base", "node", 1, 6)]),
    "FROM 0 is an image": ("FROM a\nFROM 0\n", [("base", "a", 1, 6), ("base", "0", 2, 6)]),
    "scratch": ("FROM scratch\nCOPY --from=scratch a b\n", []),
    "Scratch is an image": ("FROM Scratch\n", [("base", "Scratch", 1, 6)]),
    "a stage called scratch": ("FROM a AS scratch\nFROM scratch\n", [("base", "a", 1, 6)]),
    "copy from an image": ("FROM a\nCOPY --from=b:1 x y\n", [("base", "a", 1, 6), ("copy", "b:1", 2, 13)]),
    "copy from a number": ("FROM a\nFROM b\nCOPY --from=0 x y\n", [("base", "a", 1, 6), ("base", "b", 2, 6)]),
    "copy from a stage, any case": (
        "FROM a AS b\nFROM c\nCOPY --from=B x y\n",
        [("base", "a", 1, 6), ("base", "c", 2, 6)],
    ),
    "copy, other flags first": (
        "FROM a\nCOPY --link --chown=1 --from=b x y\n",
        [("base", "a", 1, 6), ("copy", "b", 2, 30)],
    ),
    "copy, quotes": ('FROM a\nCOPY --from="b" x y\n', [("base", "a", 1, 6), ("copy", "b", 2, 14)]),
    "copy, huge number is a name": (
        "FROM a\nCOPY --from=99999999999999999999 x y\n",
        [("base", "a", 1, 6), ("copy", "99999999999999999999", 2, 13)],
    ),
    "from= after the flags is a file": ("FROM a\nCOPY x --from=b y\n", [("base", "a", 1, 6)]),
    "blank --from": ("FROM a\nCOPY --from= x y\n", [("base", "a", 1, 6)]),
    "mount from": ("FROM a\nRUN --mount=from=b,target=/x make\n", [("base", "a", 1, 6), ("mount", "b", 2, 18)]),
    "mount from a number is an image": (
        "FROM a\nRUN --mount=type=bind,from=0,target=/x make\n",
        [("base", "a", 1, 6), ("mount", "0", 2, 28)],
    ),
    "mount key in any case, last one counts": (
        "FROM a\nRUN --mount=from=b,FROM=c,target=/x make\n",
        [("base", "a", 1, 6), ("mount", "c", 2, 25)],
    ),
    "several mounts": (
        "FROM a\nRUN --mount=from=b,target=/x --network=none --mount=type=cache,from=c,target=/y make\n",
        [("base", "a", 1, 6), ("mount", "b", 2, 18), ("mount", "c", 2, 69)],
    ),
    "mount from a stage": ("FROM a AS s\nRUN --mount=from=S,target=/x make\n", [("base", "a", 1, 6)]),
    "mount after the command is text": ("FROM a\nRUN make --mount=from=b\n", [("base", "a", 1, 6)]),
    "mount without from": ("FROM a\nRUN --mount=type=secret,id=x make\n", [("base", "a", 1, 6)]),
    "continued line": ("FROM \\\n  alpine \\\n  AS x\n", [("base", "alpine", 2, 3)]),
    "comment and empty line inside": ("FROM \\\n# FROM b\n\n  alpine\n", [("base", "alpine", 4, 3)]),
    "blanks after the escape": ("FROM \\ \t\n alpine\n", [("base", "alpine", 2, 2)]),
    "instruction over two lines": ("FR\\\nOM alpine\n", [("base", "alpine", 2, 4)]),
    "two escapes do not continue": ("FROM a\nRUN x \\\\\nFROM b\n", [("base", "a", 1, 6), ("base", "b", 3, 6)]),
    "comment ends with an escape": ("FROM a\n# x \\\nFROM b\n", [("base", "a", 1, 6), ("base", "b", 3, 6)]),
    "FROM in a continued RUN is text": ("FROM a\nRUN echo \\\nFROM b\n", [("base", "a", 1, 6)]),
    "escape directive": ("# escape=`\nFROM a\nRUN x \\\nFROM `\n  b\n", [("base", "a", 2, 6), ("base", "b", 5, 3)]),
    "escape after a comment is a comment": ("# hi\n# escape=`\nFROM a\\\nb\n", [("base", "ab", 3, 6)]),
    "heredoc hides FROM": ("FROM a\nRUN <<EOF\nFROM b\nEOF\nFROM c\n", [("base", "a", 1, 6), ("base", "c", 5, 6)]),
    "heredoc in COPY, quoted, with tabs cut": (
        "FROM a\nCOPY <<-'X Y' /f\nFROM b\n\tX Y\nFROM c\n",
        [("base", "a", 1, 6), ("base", "c", 5, 6)],
    ),
    "two heredocs": ("FROM a\nRUN <<A <<B\nB\nA\nFROM x\nB\nFROM c\n", [("base", "a", 1, 6), ("base", "c", 7, 6)]),
    "heredoc in ONBUILD": ("FROM a\nONBUILD RUN <<A\nFROM b\nA\nFROM c\n", [("base", "a", 1, 6), ("base", "c", 5, 6)]),
    "no heredoc in JSON": ('FROM a\nRUN ["x", "<<A"]\nFROM b\n', [("base", "a", 1, 6), ("base", "b", 3, 6)]),
    "no heredoc in CMD": ("FROM a\nCMD x <<A\nFROM b\n", [("base", "a", 1, 6), ("base", "b", 3, 6)]),
    "no heredoc in quotes": ('FROM a\nRUN x "<<A"\nFROM b\n', [("base", "a", 1, 6), ("base", "b", 3, 6)]),
    "no heredoc in a line that does not lex": (
        "FROM a\nRUN echo it's <<A\nFROM b\n",
        [("base", "a", 1, 6), ("base", "b", 3, 6)],
    ),
    "a here-string is no heredoc": ("FROM a\nRUN cat <<< x\nFROM b\n", [("base", "a", 1, 6), ("base", "b", 3, 6)]),
    "onbuild": (
        "FROM a\nONBUILD COPY --from=b x y\nONBUILD RUN --mount=from=1,target=/z x\n",
        [("base", "a", 1, 6), ("copy", "b", 2, 21), ("mount", "1", 3, 26)],
    ),
    "onbuild numbers are stages of the later build": ("FROM a\nONBUILD COPY --from=7 x y\n", [("base", "a", 1, 6)]),
    "onbuild of the last stage knows no stage": (
        "FROM a AS b\nFROM c\nONBUILD COPY --from=b x y\n",
        [("base", "a", 1, 6), ("base", "c", 2, 6), ("copy", "b", 3, 21)],
    ),
    "onbuild of a stage used here": (
        "FROM a AS b\nONBUILD COPY --from=c x y\nFROM d AS c\nFROM b\n",
        [("base", "a", 1, 6), ("base", "d", 3, 6)],
    ),
    "quoted base": ('FROM "alpine"\n', [("base", "alpine", 1, 6)]),
    "escaped base": ("FROM al\\pine\n", [("base", "alpine", 1, 6)]),
    "byte order mark in a word": ("FROM \ufeffalpine\n", [("base", "alpine", 1, 6)]),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_images_stand_where_they_are_written(case: str) -> None:
    text, expected = ACCEPTED[case]
    result = scan(text)
    assert places(result) == expected
    assert codes(result) == []


SYNTAX = {
    "plain": ("# syntax=docker/dockerfile:1\nFROM a\n", "docker/dockerfile:1", 1, 10),
    "spaced, any case": ("#  SynTax =  x/y:1  \nFROM a\n", "x/y:1", 1, 14),
    "up to the first space": ("# syntax=x/y:1 more words\nFROM a\n", "x/y:1", 1, 10),
    "after another directive": ("# check=skip=all\n# syntax=x\nFROM a\n", "x", 2, 10),
    "after a byte order mark": ("\ufeff# syntax=x\nFROM a\n", "x", 1, 11),
    "after a shebang": ("#!/usr/bin/env x\n# syntax=x\nFROM a\n", "x", 2, 10),
    "after both": ("\ufeff#!/x\n#syntax=x\nFROM a\n", "x", 2, 9),
    "CRLF": ("# syntax=x\r\nFROM a\r\n", "x", 1, 10),
    "slashes": ("// syntax=x\nanything\n", "x", 1, 11),
    "slashes after a shebang": ("#!/bin/sh\n//syntax=x", "x", 2, 10),
    "JSON": ('{"targets": [1], "syntax": "x"}', "x", 1, 1),
    "JSON after a shebang": ('#!/x\n {"syntax": "x"}', "x", 1, 1),
    "JSON, the last of two": ('{"syntax": "y", "syntax": "x"}', "x", 1, 1),
}


@pytest.mark.parametrize("case", SYNTAX)
def test_the_build_program_is_found_in_every_spelling(case: str) -> None:
    text, reference, line, column = SYNTAX[case]
    assert places(scan(text))[0] == ("syntax", reference, line, column)


@pytest.mark.parametrize(
    "text",
    [
        "# a comment\n# syntax=x\nFROM a\n",
        "\n# syntax=x\nFROM a\n",
        " # syntax=x\nFROM a\n",
        "# unknown=1\n# syntax=x\nFROM a\n",
        "#!/bin/sh\n\n# syntax=x\nFROM a\n",
        "# syntax=\nFROM a\n",
        "# syn tax=x\nFROM a\n",
        "FROM a\n# syntax=x\n",
    ],
)
def test_a_comment_is_no_build_program(text: str) -> None:
    assert [f.role for f in scan(text).found] == ["base"]


@pytest.mark.parametrize("text", ["// syntax=x\nFROM a\n", '{"syntax": "x"}'])
def test_a_file_in_another_language_hides_its_images(text: str) -> None:
    assert codes(scan(text)) == ["foreign-frontend"]


def test_another_build_program_is_said_to_read_the_file_its_own_way() -> None:
    [note] = scan("# syntax=ghcr.io/x/y\nFROM a\n").notes
    assert note == "read as a Dockerfile; the build program that it names may read it otherwise"
    assert scan("# syntax=docker/dockerfile-upstream:master\nFROM a\n").notes == ()


def test_the_build_argument_overrides_the_build_program_of_the_file() -> None:
    result = scan("# syntax=x\nFROM a\n", arguments={"BUILDKIT_SYNTAX": " y:1 opt "})
    assert [(f.role, f.text, f.unpinnable) for f in result.found] == [
        ("syntax", "y:1", "it is a build argument, not in the file"),
        ("base", "a", None),
    ]


def test_the_build_argument_can_turn_the_build_program_off() -> None:
    assert places(scan("# syntax=x\nFROM a\n", arguments={"BUILDKIT_SYNTAX": "dockerfile.v0"})) == [("base", "a", 2, 6)]


def test_the_build_argument_for_an_sbom_runs_a_scanner() -> None:
    one = scan("FROM a\n", arguments={"BUILDKIT_ATTEST_SBOM": "generator=x/y:1"})
    two = scan("FROM a\n", arguments={"BUILDKIT_ATTEST_SBOM": ""})
    assert places(one)[0] == ("sbom", "x/y:1", 1, 1)
    assert places(two)[0] == ("sbom", "docker/buildkit-syft-scanner:stable-1", 1, 1)
