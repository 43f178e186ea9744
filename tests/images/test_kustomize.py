"""Images of kustomizations, and the digest line that pins them."""

from __future__ import annotations

import pytest

from imgsign.images import kustomize, pins
from imgsign.reference import Digest

DIGEST = Digest("sha256", "ab" * 32)
HEAD = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nimages:\n"


def pinned(text: str) -> str | None:
    edits = [pins.edit_for(f, DIGEST) for f in kustomize.scan(text).found]
    return None if None in edits else pins.apply(text, [e for e in edits if e is not None])


@pytest.mark.parametrize(
    ("entry", "image"),
    [
        ("{name: app, newTag: v2}", "app:v2"),
        ("{name: app, newName: registry.example.com/app, newTag: v2}", "registry.example.com/app:v2"),
        (f"{{name: app, digest: '{DIGEST}'}}", f"app@{DIGEST}"),
        (f"{{name: app, newTag: v2, digest: '{DIGEST}'}}", f"app:v2@{DIGEST}"),
    ],
)
def test_an_entry_is_the_image_it_sets(entry: str, image: str) -> None:
    scan = kustomize.scan(f"{HEAD}- {entry}\n")
    assert ([f.text for f in scan.found], scan.problems) == ([image], ())


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ("{name: app}", "unresolved"),
        ("{name: app, newName: registry.example.com/app}", "unresolved"),
        ("{name: app, newTag: v2, tagSuffix: -x}", "unresolved"),
        ("{newTag: v2}", "image-missing"),
        ("{name: app, newTag: 1.5}", "bad-shape"),
        ("{name: app, newTag: [v1]}", "bad-shape"),
        ("app", "not-an-object"),
    ],
)
def test_an_entry_that_does_not_say_which_image_is_a_problem(entry: str, code: str) -> None:
    scan = kustomize.scan(f"{HEAD}- {entry}\n")
    assert (scan.found, [(p.code, p.spot.line) for p in scan.problems]) == ((), [(code, 4)])


def test_what_it_builds_on_is_said() -> None:
    scan = kustomize.scan("resources: [a.yaml]\nhelmCharts: []\n")
    (note,) = scan.notes
    assert note.startswith("kustomization: helmCharts, resources: not followed; ")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("- name: a\n  newTag: v1\n", f"- name: a\n  newTag: v1\n  digest: {DIGEST}\n"),
        (
            "- name: a\n  newTag: 'v1'  # why\n  other: x\n",
            f"- name: a\n  newTag: 'v1'  # why\n  digest: {DIGEST}\n  other: x\n",
        ),
        ("  - newTag: v1\n    name: a\n", f"  - newTag: v1\n    digest: {DIGEST}\n    name: a\n"),
        ("- name: a\r\n  newTag: v1\r\n", f"- name: a\r\n  newTag: v1\r\n  digest: {DIGEST}\r\n"),
        ("- name: a\n  newTag: v1", f"- name: a\n  newTag: v1\n  digest: {DIGEST}"),
    ],
)
def test_pinning_adds_a_digest_line_below_the_tag(before: str, after: str) -> None:
    assert pinned(HEAD + before) == HEAD + after


@pytest.mark.parametrize(
    "entry",
    [
        "- {name: a, newTag: v1}\n",
        "- name: a\n  newTag: |-\n    v1\n",
        "- name: a\n  digest:\n  newTag: v1\n",
        "- name: &t v1\n  newTag: *t\n",
    ],
)
def test_an_entry_without_a_line_for_the_tag_is_not_pinned(entry: str) -> None:
    (found,) = kustomize.scan(HEAD + entry).found
    assert (found.pin, found.unpinnable) == (
        None,
        "digest has to be written by hand: newTag does not stand on a line of its own",
    )
