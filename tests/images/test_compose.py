"""Compose files: which images they name, as Compose reads them; expected values are written by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsign.images import Scan
from imgsign.images.compose import parse_env_file, scan
from imgsign.images.compose.interpolate import InvalidTemplate, interpolate


def places(result: Scan) -> list[tuple[str, str, str, int, int]]:
    """Role, text, path, line and column of each image."""
    return [(f.role, f.text, f.path, f.spot.line, f.spot.column) for f in result.found]


def faults(result: Scan) -> list[tuple[str, int, int]]:
    return [(p.code, p.spot.line, p.spot.column) for p in result.problems]


def pinned(text: str, result: Scan) -> list[str | None]:
    """What would be replaced, for each image."""
    return [None if f.pin is None else text[f.pin.start : f.pin.end] for f in result.found]


PLACES = {
    "image": ("services:\n  a:\n    image: x:1\n", [("container", "x:1", "services.a.image", 3, 12)]),
    "quoted": ("services:\n  a:\n    image: 'x:1'\n", [("container", "x:1", "services.a.image", 3, 13)]),
    "JSON": ('{"services": {"a": {"image": "x:1"}}}', [("container", "x:1", "services.a.image", 1, 31)]),
    "flow": ("services: {a: {image: x}}\n", [("container", "x", "services.a.image", 1, 23)]),
    "a profile hides nothing": (
        "services:\n  a:\n    profiles: [debug]\n    image: x\n",
        [("container", "x", "services.a.image", 4, 12)],
    ),
    "build and image: pulled first": (
        "services:\n  a:\n    image: x\n    build: .\n",
        [("container", "x", "services.a.image", 3, 12)],
    ),
    "build and image, never pulled": ("services:\n  a:\n    image: x\n    build: .\n    pull_policy: build\n", []),
    "pull_policy without build": (
        "services:\n  a:\n    image: x\n    pull_policy: never\n",
        [("container", "x", "services.a.image", 3, 12)],
    ),
    "pre_start": (
        "services:\n  a:\n    image: x\n    pre_start:\n      - command: [a]\n      - image: y\n",
        [("container", "x", "services.a.image", 3, 12), ("hook", "y", "services.a.pre_start[1].image", 6, 16)],
    ),
    "image volume": (
        "services:\n  a:\n    image: x\n    volumes:\n      - a:/b\n      - {type: image, source: y, target: /z}\n",
        [("container", "x", "services.a.image", 3, 12), ("volume", "y", "services.a.volumes[1].source", 6, 31)],
    ),
    "other volumes": ("services:\n  a:\n    image: x\n    volumes: [{type: bind, source: y}]\n", 1),
    "model": ("models:\n  m:\n    model: ai/x\n", [("model", "ai/x", "models.m.model", 3, 12)]),
    "model of a provider": (
        "services:\n  m:\n    provider:\n      type: model\n      options:\n        model: ai/x\n",
        [("model", "ai/x", "services.m.provider.options.model", 6, 16)],
    ),
    "extensions are not services": ("x-a:\n  image: no\nservices:\n  a:\n    image: x\n", 1),
    "an alias counts where its text stands": (
        "x-a: &a y:1\nservices:\n  a:\n    image: *a\n",
        [("container", "y:1", "services.a.image", 1, 9)],
    ),
    "a merge": (
        "x-a: &a\n  image: y\nservices:\n  a:\n    <<: *a\n    ports: []\n",
        [("container", "y", "services.a.image", 2, 10)],
    ),
    "a merge that is overridden": (
        "x-a: &a\n  image: y\nservices:\n  a:\n    <<: *a\n    image: z\n",
        [("container", "z", "services.a.image", 6, 12)],
    ),
    "cache_from": (
        "services:\n  a:\n    build:\n      context: .\n      cache_from: [x:c, 'type=registry,ref=y', type=gha]\n",
        [
            ("cache", "x:c", "services.a.build.cache_from[0]", 5, 20),
            ("cache", "y", "services.a.build.cache_from[1]", 5, 26),
        ],
    ),
    "contexts": (
        "services:\n  a:\n    build:\n      additional_contexts:\n        b: docker-image://x:1\n        c: service:d\n"
        "        e: docker-image://scratch\n        f: ../g\n",
        [("context", "x:1", "services.a.build.additional_contexts.b", 5, 12)],
    ),
    "contexts in a list": (
        "services:\n  a:\n    build:\n      additional_contexts:\n        - b=docker-image://x:1\n",
        [("context", "x:1", "services.a.build.additional_contexts.b", 5, 11)],
    ),
    "sbom": (
        "services:\n  a:\n    build:\n      sbom: generator=x/y:1\n",
        [("sbom", "x/y:1", "services.a.build.sbom", 4, 13)],
    ),
    "sbom, the usual scanner": (
        "services:\n  a:\n    build:\n      sbom: true\n",
        [("sbom", "docker/buildkit-syft-scanner:stable-1", "services.a.build.sbom", 4, 13)],
    ),
}


@pytest.mark.parametrize("case", PLACES)
def test_images_stand_where_they_are_written(case: str) -> None:
    text, expected = PLACES[case]
    result = scan(text, environment={})
    assert faults(result) == []
    if isinstance(expected, int):
        assert len(result.found) == expected
    else:
        assert places(result) == expected


REFUSED: dict[str, tuple[str, list[tuple[str, int, int]]]] = {
    "unset variable": ("services:\n  a:\n    image: x:$V\n", [("unset-variable", 3, 12)]),
    "unset in a default": ("services:\n  a:\n    image: ${A:-x:${B}}\n", [("unset-variable", 3, 12)]),
    "required variable": ("services:\n  a:\n    image: ${A:?no}\n", [("bad-interpolation", 3, 12)]),
    "unsupported substitution": ("services:\n  a:\n    image: ${A/b/c}\n", [("bad-interpolation", 3, 12)]),
    "no text": ("services:\n  a:\n    image: [x]\n", [("not-text", 3, 12)]),
    "a number": ("services:\n  a:\n    image: 15\n", [("not-text", 3, 12)]),
    "null": ("services:\n  a:\n    image:\n", [("not-text", 3, 11)]),
    "blank": ("services:\n  a:\n    image: ''\n", [("no-image", 3, 13)]),
    "blank by a variable": ("services:\n  a:\n    image: ${A-}\n", [("no-image", 3, 12)]),
    "a volume of an image without source": (
        "services:\n  a:\n    image: x\n    volumes:\n      - type: image\n",
        [("no-image", 5, 9)],
    ),
    "include": (
        "include:\n  - ../b.yaml\n  - path: [c.yaml, d.yaml]\n",
        [("other-file", 2, 5), ("other-file", 3, 12), ("other-file", 3, 20)],
    ),
    "extends of another file": (
        "services:\n  a:\n    extends: {file: b.yaml, service: c}\n",
        [("other-file", 3, 21)],
    ),
    "a context behind a URL": ("services:\n  a:\n    build: https://x/y.git\n", [("remote-context", 3, 12)]),
    "a context behind ssh": ("services:\n  a:\n    build: git@x:y.git\n", [("remote-context", 3, 12)]),
    "two Dockerfiles": (
        "services:\n  a:\n    build:\n      dockerfile: a\n      dockerfile_inline: FROM b\n",
        [("bad-build", 4, 7)],
    ),
    "a cache without a name": ("services:\n  a:\n    build: {cache_from: [type=registry]}\n", [("bad-cache", 3, 26)]),
    "services as a list": ("services: [a]\n", [("not-compose", 1, 11)]),
    "a service as text": ("services:\n  a: b\n", [("not-compose", 2, 6)]),
    "Compose 1": ("web:\n  image: x\n", [("not-compose", 1, 1)]),
    "no mapping": ("- a\n", [("not-compose", 1, 1)]),
    "duplicate key": ("services:\n  a:\n    image: x\n    image: y\n", [("duplicate-key", 4, 5)]),
    "reset": ("services:\n  a:\n    image: !reset x\n", [("not-text", 3, 19)]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_hides_an_image_is_a_problem(case: str) -> None:
    text, expected = REFUSED[case]
    result = scan(text, environment={})
    assert faults(result) == expected
    if case != "duplicate key":
        assert [f.text for f in result.found if f.path.endswith("a.image")] in ([], ["x"])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (
            "x: &a {image: '${B:-" + "y" * 10_000 + "}'}\nservices:\n" + "".join(f"  s{i}: *a\n" for i in range(500)),
            "too-many",
        ),
        ("services:\n  a: {image: '" + "y" * 5_000 + "'}\n", "no-image"),
        ("services:\n" + "".join(f"  s{i}: {{image: x}}\n" for i in range(5_001)), "too-many"),
        ("services:\n" + "".join(f"  s{i}: {{image: $U}}\n" for i in range(501)), "too-many"),
    ],
    ids=["aliases", "one value", "images", "problems"],
)
def test_what_is_too_much_is_a_problem(text: str, code: str) -> None:
    result = scan(text, environment={})
    assert code in {p.code for p in result.problems}
    assert len(result.found) <= 5_000
    assert len(result.problems) <= 501


def test_half_a_character_is_a_problem_and_no_crash() -> None:
    assert faults(scan("services:\n  a:\n    image: \udc80\n", environment={})) == [("not-yaml", 3, 12)]


def test_a_variable_that_is_set_to_something_unknown_is_a_problem() -> None:
    [problem] = scan("services:\n  a:\n    image: ${A:-x}\n", environment={"A": None}).problems
    assert (problem.code, problem.message) == ("unset-variable", "services.a.image: no value for A")
    assert problem.hint == "set A in the environment or in .env"


def test_files_that_are_checked_too_are_no_problem() -> None:
    text = "include: [b.yaml]\nservices:\n  a:\n    extends: {file: c.yaml, service: d}\n"
    assert [p.message for p in scan(text, environment={}, is_checked={"b.yaml"}.__contains__).problems] == [
        "images in 'c.yaml' were not looked at"
    ]


def test_a_build_is_handed_on_with_what_it_needs() -> None:
    text = (
        "services:\n  a:\n    build:\n      context: ${DIR}/a\n      dockerfile: D\n      target: t\n"
        "      args: {A: '1', B: , C: $U, D: 2, E: }\n      additional_contexts: [x=docker-image://y]\n"
    )
    [build] = scan(text, environment={"DIR": "..", "B": "b"}).builds
    assert (build.context, build.dockerfile, build.target, build.inline) == ("../a", "D", "t", None)
    assert dict(build.arguments) == {"A": "1", "B": "b", "C": None, "D": "2"}
    assert dict(build.contexts) == {"x": "docker-image://y"}
    assert (build.spot.line, build.spot.column, build.subject) == (5, 19, "service a")


def test_a_build_may_be_one_word_or_inline() -> None:
    text = "services:\n  a:\n    build: ./a\n  b:\n    build:\n      dockerfile_inline: |\n        FROM x$$y\n"
    one, two = scan(text, environment={}).builds
    assert (one.context, one.dockerfile, one.spot.line) == ("./a", None, 3)
    assert (two.context, two.inline) == (".", "FROM x$y\n")


def test_an_inline_dockerfile_needs_no_context_that_can_be_read() -> None:
    text = "services:\n  a:\n    build: {context: https://x/y.git, dockerfile_inline: FROM z}\n"
    result = scan(text, environment={})
    assert faults(result) == []
    assert [b.inline for b in result.builds] == ["FROM z"]


EXTENDS = """services:
  a:
    build: {context: ./x, dockerfile: D, target: t, args: {A: "1", B: "2"}}
  b:
    extends: a
    build: {target: u, args: {B: "3"}}
  c:
    extends: {service: b}
    build: {dockerfile: E}
  d:
    extends: c
"""


def test_a_build_is_completed_by_the_services_that_it_extends() -> None:
    builds = scan(EXTENDS, environment={}).builds
    assert [(b.subject, b.context, b.dockerfile, b.target, dict(b.arguments)) for b in builds] == [
        ("service a", "./x", "D", "t", {"A": "1", "B": "2"}),
        ("service b", "./x", "D", "u", {"A": "1", "B": "3"}),
        ("service c", "./x", "E", "u", {"A": "1", "B": "3"}),
    ]


def test_a_build_that_is_partly_in_another_file_is_a_problem() -> None:
    text = "services:\n  a:\n    extends: {file: b.yaml, service: c}\n    build: {target: t}\n"
    result = scan(text, environment={}, is_checked=lambda name: True)
    assert faults(result) == [("partial-build", 4, 12)]
    assert result.builds == ()


def test_services_that_extend_each_other_in_a_circle_end() -> None:
    text = "services:\n  a: {extends: b, build: x}\n  b: {extends: a, build: y}\n"
    assert [p.code for p in scan(text, environment={}).problems] == ["extends", "extends"]


def test_only_a_reference_that_stands_as_it_reads_can_be_pinned() -> None:
    text = (
        "services:\n  a: {image: x:1}\n  b: {image: 'y:1'}\n  c: {image: $A}\n  d: {image: \"z\\x3a1\"}\n"
        "  e:\n    image: >-\n      w:1\n"
    )
    result = scan(text, environment={"A": "v:1"})
    assert [f.text for f in result.found] == ["x:1", "y:1", "v:1", "z:1", "w:1"]
    assert pinned(text, result) == ["x:1", "y:1", None, None, "w:1"]
    assert [f.unpinnable for f in result.found] == [
        None,
        None,
        "it is interpolated",
        "it is written with escapes or over several lines",
        None,
    ]


def test_pinning_a_shared_value_is_said_to_pin_all_of_them() -> None:
    text = "x-i: &i x:1\nservices:\n  a: {image: *i}\n  b: {image: *i}\n"
    result = scan(text, environment={})
    assert pinned(text, result) == ["x:1", "x:1"]
    assert result.found[0].pin == result.found[1].pin
    assert result.notes == ("the value in line 1 has an anchor: pinning it pins every alias of it",)


def test_the_reference_of_a_context_can_be_pinned_without_its_scheme() -> None:
    text = "services:\n  a:\n    build:\n      additional_contexts: {b: 'docker-image://x:1'}\n"
    assert pinned(text, scan(text, environment={})) == ["x:1"]


def test_notes_say_what_may_surprise() -> None:
    text = "services:\n  a: {image: x, build: .}\n  b: {ports: []}\n"
    assert scan(text, environment={}).notes == (
        "service a: Compose pulls the image before it builds; pull_policy: build changes that",
        "service b: no image in this file",
    )


VALUES: Mapping[str, str | None] = {"A": "a", "EMPTY": "", "HIDDEN": None}
INTERPOLATED = {
    "$A": "a",
    "${A}": "a",
    "x${A}y$A": "xaya",
    "$$A": "$A",
    "$${A}": "${A}",
    "a $ b": "a $ b",
    "$1": "$1",
    "$": "$",
    "$}": "$}",
    "${U-d}": "d",
    "${U:-d}": "d",
    "${EMPTY-d}": "",
    "${EMPTY:-d}": "d",
    "${A:-d}": "a",
    "${U:-${V:-e}}": "e",
    "${U:-$A:1}": "a:1",
    "${U:-x}:${V:-y}": "x:y",
    "${U-}": "",
    "${A+r}": "r",
    "${A:+r}": "r",
    "${EMPTY+r}": "r",
    "${EMPTY:+r}": "",
    "${U+r}": "",
    "${U:+$V}": "",
    "${A:-$V}": "a",
    "${A?no}": "a",
    "${EMPTY?no}": "",
    "${U:-a:b-c+d?e}": "a:b-c+d?e",
    "${U:-{}}": "{}",
}


@pytest.mark.parametrize("text", INTERPOLATED)
def test_variables_are_replaced_as_compose_does(text: str) -> None:
    found = interpolate(text, VALUES)
    assert (found.text, found.missing) == (INTERPOLATED[text], ())


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("$U", ("U",)),
        ("${U}x$V$U", ("U", "V")),
        ("${U:-$V}", ("V",)),
        ("${HIDDEN:-d}", ("HIDDEN",)),
        ("$HIDDEN", ("HIDDEN",)),
    ],
)
def test_missing_variables_are_named(text: str, missing: tuple[str, ...]) -> None:
    assert interpolate(text, VALUES).missing == missing


@pytest.mark.parametrize(
    "text",
    [
        "${}",
        "${",
        "${A",
        "${1}",
        "${A/b/c}",
        "${A:x}",
        "${A:=x}",
        "${A#b}",
        "${U?}",
        "${U:?no}",
        "${EMPTY:?}",
        "${{A}}",
    ],
)
def test_what_compose_refuses_is_refused(text: str) -> None:
    with pytest.raises(InvalidTemplate):
        interpolate(text, VALUES)


def test_nesting_and_growth_have_bounds() -> None:
    with pytest.raises(InvalidTemplate, match="more than 32 nested"):
        interpolate("${U:-" * 40 + "x" + "}" * 40, {})
    with pytest.raises(InvalidTemplate, match="longer than 1048576"):
        interpolate("$A" * 20_000, {"A": "a" * 100})
    assert interpolate("${A:-x}" * 50_000 + "y" * 500_000, {}).text == "x" * 50_000 + "y" * 500_000


ENV_FILES = {
    "A=b\n": {"A": "b"},
    "A=b": {"A": "b"},
    "A: b\n": {"A": "b"},
    "export A=b\n": {"A": "b"},
    "A = b \r\n": {"A": "b"},
    "# c\n\nA=b # c\n": {"A": "b"},
    "A=b#c\n": {"A": "b#c"},
    "A='b # $c'\n": {"A": "b # $c"},
    "A='it\\'s'\n": {"A": "it's"},
    'A="b\\nc"\n': {"A": "b\nc"},
    'A="\\$b"\n': {"A": "$b"},
    'A="\\0101"\n': {"A": "A"},
    "A='b\nc' # d\nB=e\n": {"A": "b\nc", "B": "e"},
    "A=b\nB=${A}c\n": {"A": "b", "B": "bc"},
    "A=b\nA=c\n": {"A": "c"},
    "A=\n": {"A": ""},
    "A=${U:-d}\n": {"A": "d"},
    "A=$U\n": {"A": None},
    "A=$U\nB=${A:-c}\n": {"A": None, "B": None},
    "IN\n": {"IN": "from outside"},
    "A=$IN\nIN=x\nB=$IN\n": {"A": "from outside", "IN": "x", "B": "from outside"},
    "NOT\n": {},
    "\ufeffA=b\n": {"A": "b"},
    "A.b-c[0]=d\n": {"A.b-c[0]": "d"},
}


@pytest.mark.parametrize("text", ENV_FILES)
def test_env_files_are_read_as_compose_does(text: str) -> None:
    found = parse_env_file(text, environment={"IN": "from outside"})
    assert dict(found.values) == ENV_FILES[text]
    assert found.problems == ()


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("A=b\nC D=e\n", "a name cannot contain a space", 2),
        ("A=b\n\nC!=d\n", "unexpected character '!' in a variable's name", 3),
        ("A='b\n", "unterminated quoted value", 1),
        ("A=${b\n", "'${b' is not followed by }, :-, -, :+, +, :? or ?", 2),
        ("export ", "export without a name", 1),
    ],
)
def test_an_env_file_that_cannot_be_read_is_a_problem(text: str, message: str, line: int) -> None:
    [problem] = parse_env_file(text).problems
    assert (problem.code, problem.message, problem.spot.line) == ("env-file", message, line)


_KEYS = ("services:", "include:", "models:", "a:", "image:", "build:", "volumes:", "type: image", "<<: ", ": ", "- ")
_OTHER = (
    "\n",
    "  ",
    "    ",
    "x",
    "y:1",
    "${A:-b}",
    "$",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "'",
    '"',
    "|\n",
    "!t ",
    "#",
    ",",
)
YAML_TEXT = st.lists(st.sampled_from((*_KEYS, *_OTHER)), max_size=30).map("".join)


@given(YAML_TEXT)
def test_any_text_is_read_without_a_crash_and_pins_stand_in_the_text(text: str) -> None:
    result = scan(text, environment={"A": "c"})
    for found in result.found:
        assert 0 <= found.spot.start <= found.spot.end <= len(text)
        if found.pin is not None:
            assert text[found.pin.start : found.pin.end] == found.text


@given(st.text(max_size=60))
def test_any_env_file_is_read_without_a_crash(text: str) -> None:
    found = parse_env_file(text)
    assert all(0 <= p.spot.start <= len(text) and p.spot.line >= 1 for p in found.problems)


@given(st.text(alphabet="$AB{}:-+? x\n", max_size=40))
def test_interpolation_never_crashes(text: str) -> None:
    with contextlib.suppress(InvalidTemplate):
        assert set(interpolate(text, VALUES).missing).isdisjoint({"A", "EMPTY"})
