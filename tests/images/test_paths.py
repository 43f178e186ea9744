"""Paths into parsed data."""

from __future__ import annotations

import pytest

from imgsign.errors import Malformed
from imgsign.images.paths import matches, parse_pattern, shown

DATA = {"spec": {"a": [{"image": "1"}, {"image": "2"}, 3], "bReplicaSpecs": {"x": {"image": "4"}}, "image": "5"}}


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("spec.image", ["5"]),
        ("spec.a[].image", ["1", "2"]),
        ("spec.*ReplicaSpecs.*.image", ["4"]),
        ("spec.*.image", []),
        ("spec[].image", []),
        ("spec.image.deeper", []),
        ("absent", []),
    ],
)
def test_a_pattern_finds_what_it_says(pattern: str, found: list[str]) -> None:
    assert [v for _, v in matches(DATA, pattern)] == found


@pytest.mark.parametrize("text", ["", ".", "a..b", "a.", "[]", "a[0]", "a[]b", "a b", "$.a", "a[", "a" * 513, "é"])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="not a path"):
        parse_pattern(text)


def test_many_stars_are_matched_in_linear_time() -> None:
    assert list(matches({"a" * 5000: 1}, "*a" * 20 + "b")) == []


def test_a_path_is_shown_with_odd_keys_quoted() -> None:
    assert shown(("spec", "a", 3, "image")) == "spec.a[3].image"
    assert shown(("metadata", "a.b/c\x1b")) == "metadata.'a.b/c\\x1b'"
    assert shown(()) == "$"
