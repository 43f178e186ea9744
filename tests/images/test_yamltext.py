"""YAML with places: what is refused because two readers could take it differently, and where values stand."""

from __future__ import annotations

import pytest

from imgsign.images import yamltext
from imgsign.images.yamltext import Scalar, Step


def codes(text: str) -> list[tuple[str, int]]:
    return [(p.code, p.spot.line) for p in yamltext.read(text).problems]


def at(text: str, *path: Step) -> str | None:
    """The stretch that could be replaced, for the first document."""
    found = yamltext.find(yamltext.read(text).roots[0], path)
    assert found is not None
    node, _ = found
    assert isinstance(node, Scalar)
    stretch = yamltext.content(text, node)
    return None if stretch is None else text[stretch[0] : stretch[1]]


@pytest.mark.parametrize(
    "text",
    [
        "a: img:1",
        "a: 'img:1'",
        'a: "img:1"',
        "a: &anchor img:1",
        "a: !!str img:1",
        "a: &anchor !!str 'img:1'",
        "a: !!str &anchor # why\n  img:1",
        "a: |-\n  img:1\n",
        "a: >\n  img:1\n",
        "a: |2-\n  img:1\n",
        '{"a": "img:1"}',
        "{a: img:1, b: 2}",
        "\ufeffa: img:1",
        "# é\U0001f600\r\na: img:1\r\n",
        "a:\n    img:1   # trailing",
    ],
)
def test_the_content_of_every_style_is_found_without_its_quotes(text: str) -> None:
    assert codes(text) == []
    assert at(text, "a") == "img:1"


@pytest.mark.parametrize("text", ["a: |\n  img:1\n  img:1\n", "a: >\n  x\n  y\n", "a: ''''"])
def test_a_value_that_holds_blanks_has_no_wrong_place(text: str) -> None:
    found = at(text, "a")
    assert found is None or found == "''"


def test_places_count_line_feeds_and_code_points() -> None:
    reading = yamltext.read("x: é\u2028\r\n\U0001f600: {a: img}\r\n")
    spot = reading.lines.spot(14, 17)
    assert (spot.line, spot.column) == (2, 8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", [("duplicate-key", 3)]),
        ('a: 1\n"a": 3\n', [("duplicate-key", 2)]),
        ('{"a": 1, "a": 2}', [("duplicate-key", 1)]),
        ("x: &x {a: 1}\ny:\n  <<: *x\n  <<: *x\n", [("duplicate-key", 4)]),
        ("x: &x {a: 1}\ny:\n  a: 2\n  <<: *x\n", [("merge-order", 3)]),
        ("y:\n  <<: text\n", [("merge", 2)]),
        ("a: *b\n", [("alias", 1)]),
        ("a: &a [*a]\n", [("alias", 1)]),
        ("a: !foo [x]\n", [("tag", 1)]),
        ("a: !!set {x}\n", [("tag", 1)]),
        ("!!binary YQ==: x\n", [("tag", 1)]),
        ("? [a]\n: b\n", [("key", 1)]),
        ("a: {{ .Values.image }}\n", [("template", 1)]),
        ("{{- if .x }}\na: b\n{{- end }}\n", [("template", 1)]),
        ("a: b: c\n", [("not-yaml", 1)]),
        ("a: \x00\n", [("not-yaml", 1)]),
        ("a: 'open\n", [("not-yaml", 2)]),
        ("a: 1\n---b: |\n  kind: Pod\n", [("separator", 2)]),
        ("a: 1\n--- |\n  kind: Pod\n", [("separator", 2)]),
        ("a: 1\n--- {kind: Pod}\n", [("separator", 2)]),
    ],
)
def test_what_readers_take_differently_is_refused(text: str, expected: list[tuple[str, int]]) -> None:
    assert codes(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "---\na: 1\n---\nb: 2\n...\n",
        "--- # comment\na: 1\n",
        "---   \na: 1\n",
        "---\r\na: 1\r\n---\r\n",
        "a: |\n  -----BEGIN\n  ---\n",
        "x: &x {a: 1}\ny:\n  <<: *x\n  a: 2\n",
        "x: &x {a: 1}\nz: &z {b: 1}\ny:\n  <<: [*x, *z]\n",
        'a: "{{inputs.parameters.x}}"\n',
        "%YAML 1.1\n---\na: 1\n",
        "a: !!str 1\nb: !!map {}\nc: !!seq []\n",
        "",
        "# only a comment\n",
    ],
)
def test_ordinary_files_are_read(text: str) -> None:
    assert codes(text) == []


def test_documents_before_a_fault_are_kept() -> None:
    reading = yamltext.read("a: 1\n---\nb: 2\n---\nc: [\n")
    assert [list(r.entries) for r in reading.roots if isinstance(r, yamltext.Table)] == [["a"], ["b"]]
    assert [p.code for p in reading.problems] == ["not-yaml"]


def test_ten_lines_do_not_become_a_billion() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    assert [p.code for p in yamltext.read("\n".join(lines)).problems] == ["too-large"]


def test_merges_of_merges_are_bounded() -> None:
    wide = ", ".join(f"k{i}: 1" for i in range(2000))
    lines = [f"m0: &m0 {{{wide}}}"] + [f"m{i}: &m{i} {{<<: *m0}}" for i in range(1, 1001)]
    assert [p.code for p in yamltext.read("\n".join(lines)).problems] == ["too-large"]


@pytest.mark.parametrize("text", ["[" * 5000, "[\n" * 5000, "{a: " * 5000, "- " * 5000, "? " * 5000])
def test_deep_nesting_ends_early(text: str) -> None:
    assert [p.code for p in yamltext.read(text).problems] == ["too-deep"]


def test_a_text_that_is_too_long_is_not_parsed() -> None:
    assert [p.code for p in yamltext.read("#" * (yamltext.TEXT_LIMIT + 1)).problems] == ["too-large"]


def test_the_problems_of_one_file_are_bounded() -> None:
    text = "a: 1\n" * 5000
    found = yamltext.read(text).problems
    assert (len(found), found[-1].code) == (yamltext.MAX_PROBLEMS + 1, "too-many")


def test_what_stands_behind_an_alias_is_the_anchored_value_and_says_so() -> None:
    text = "x: &img img:1\na: {image: *img}\nb:\n  <<: &m {image: img:2}\nc:\n  <<: *m\n"
    root = yamltext.read(text).roots[0]
    shared = {path: (yamltext.find(root, path) or (None, None))[1] for path in [("a", "image"), ("c", "image")]}
    assert shared == {("a", "image"): "img", ("c", "image"): "m"}
    assert at(text, "a", "image") == "img:1"
    assert at(text, "c", "image") == "img:2"


@pytest.mark.parametrize("text", ["1", "1.5", "true", "yes", "~", "null", "", "2026-01-01", "0x1f"])
def test_plain_scalars_that_are_no_strings_are_told_apart(text: str) -> None:
    (root,) = yamltext.read(f"a: {text}\n").roots
    assert isinstance(root, yamltext.Table)
    node = root.entries["a"]
    assert isinstance(node, Scalar)
    assert node.kind not in ("str", "other")


def test_a_binary_tag_is_not_taken_for_its_text() -> None:
    (root,) = yamltext.read("a: !!binary bmdpbng=\n").roots
    assert isinstance(root, yamltext.Table)
    node = root.entries["a"]
    assert isinstance(node, Scalar)
    assert node.kind == "other"
