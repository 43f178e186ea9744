"""Pinning changes the spans of images and nothing else, whatever the layout."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsign.errors import UsageError
from imgsign.images import Spot, kubernetes, pins
from imgsign.images.pins import Edit
from imgsign.reference import Digest

DIGEST = Digest("sha256", "0123456789abcdef" * 4)


@pytest.mark.parametrize(
    ("text", "pinned"),
    [
        ("nginx", f"nginx:latest@{DIGEST}"),
        ("nginx:1.25", f"nginx:1.25@{DIGEST}"),
        ("registry.example.com:5000/a/b", f"registry.example.com:5000/a/b:latest@{DIGEST}"),
        ("[::1]:5000/a:1", f"[::1]:5000/a:1@{DIGEST}"),
        (f"nginx@sha256:{'f' * 64}", f"nginx@sha256:{'f' * 64}"),
        (f"nginx:1@sha256:{'f' * 64}", f"nginx:1@sha256:{'f' * 64}"),
    ],
)
def test_a_reference_keeps_its_spelling_and_gets_the_tag_it_was_judged_by(text: str, pinned: str) -> None:
    assert pins.pinned_text(text, DIGEST) == pinned


def edit(start: int, end: int, text: str) -> Edit:
    return Edit(Spot(start, end, 1, start + 1), text)


def test_one_edit_of_two_users_of_an_anchor_is_made_once() -> None:
    assert pins.apply("0123", [edit(1, 2, "x"), edit(1, 2, "x")]) == "0x23"


@pytest.mark.parametrize("other", [edit(1, 2, "y"), edit(0, 2, "x"), edit(1, 3, "x")])
def test_edits_that_contradict_each_other_are_refused(other: Edit) -> None:
    with pytest.raises(UsageError, match="share one stretch"):
        pins.apply("0123", [edit(1, 2, "x"), other])


def test_reading_back_notices_a_text_that_says_something_else() -> None:
    before = kubernetes.scan("apiVersion: v1\nkind: Pod\nspec: {containers: [{image: a:1}]}\n")
    good = kubernetes.scan(f"apiVersion: v1\nkind: Pod\nspec: {{containers: [{{image: 'a:1@{DIGEST}'}}]}}\n")
    bad = kubernetes.scan(f"apiVersion: v1\nkind: Pod\nspec: {{containers: [{{image: 'b:1@{DIGEST}'}}]}}\n")
    assert pins.reads_back(before, good, [DIGEST])
    assert not pins.reads_back(before, bad, [DIGEST])
    assert not pins.reads_back(before, before, [DIGEST])


IMAGES = st.sampled_from(["nginx", "nginx:1", "registry.example.com:5000/a/b:v1.2_3", "localhost/x", "a/b/c:9"])
COMMENTS = st.sampled_from(["", " # c", "\t# é \U0001f600 'quoted'", "  #", " # image: no"])
STYLES = st.sampled_from(
    [
        "{i}image: {v}{c}\n",
        "{i}image:   '{v}'{c}\n",
        '{i}"image": "{v}"{c}\n',
        "{i}image: &a{n} {v}{c}\n",
        "{i}image: !!str '{v}'{c}\n",
        "{i}image:{c}\n{i}  {v}\n",
        "{i}image: >-{c}\n{i}  {v}\n",
        "{i}image: |-{c}\n{i}    {v}\n\n",
    ]
)


@given(
    containers=st.lists(st.tuples(STYLES, IMAGES, COMMENTS), min_size=1, max_size=5),
    newline=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
    documents=st.integers(1, 2),
)
def test_only_the_spans_of_images_differ(
    containers: list[tuple[str, str, str]], newline: str, bom: bool, documents: int
) -> None:
    def build(pin: bool) -> str:
        """Write the file by hand in both forms: the text around the images is the same by construction."""
        parts = ["# head é\n", "apiVersion: v1\n", "kind: Pod\n", "spec:\n", "  containers:\n"]
        for number, (style, image, comment) in enumerate(containers):
            latest = "" if ":" in image.rpartition("/")[2] else ":latest"
            value = f"{image}{latest}@{DIGEST}" if pin else image
            parts += [f"  - name: c{number}{comment}\n", style.format(i=" " * 4, v=value, c=comment, n=number)]
        one = "".join([*parts, "# tail\n"])
        text = "---\n".join([one] * documents).replace("\n", newline)
        return f"\ufeff{text}" if bom else text

    text = build(pin=False)
    scan = kubernetes.scan(text)
    assert (len(scan.found), scan.problems) == (len(containers) * documents, ())
    edits = [pins.edit_for(f, DIGEST) for f in scan.found]
    after = pins.apply(text, [e for e in edits if e is not None])
    assert after == build(pin=True)
    again = kubernetes.scan(after)
    assert pins.reads_back(scan, again, [DIGEST] * len(scan.found))
    assert [pins.edit_for(f, DIGEST) for f in again.found] == [None] * len(again.found)
