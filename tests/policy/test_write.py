"""What is written of a policy reads back as the same policy, as TOML and as JSON; and where its lines are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsign.errors import InvalidPolicy
from imgsign.policy.lines import line_of, lines_of
from imgsign.policy.model import Policy
from imgsign.policy.parse import parse_policy
from imgsign.policy.write import policy_value, toml_policy
from imgsign.wire import Node, load_json, load_toml
from tests.conftest import ROOT

FULL = 12 if "IMGSIGN_E2E" in os.environ else 1

text = st.text(st.characters(codec="utf-8"), max_size=8)
times = st.sampled_from(("2026-01-01T00:00:00Z", "2027-06-30T12:34:56+02:00", "2030-12-31T23:59:59Z"))
durations = st.builds(lambda n, u: f"{n}{u}", st.integers(1, 5000), st.sampled_from("smhdw"))
scalars = st.one_of(
    text, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)
)
prefixes = text.map(lambda t: f"{t}/")
some = st.lists(text, min_size=1, max_size=3)
annotation = st.one_of(text, some, st.builds(lambda p: {"prefix": p}, prefixes), st.just({"exists": True}))
paths = st.sampled_from(("a", "a.b", "a[].b", "a[0]", r"x\.y.z[][3]", "ü"))
numbers = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False))


def where(depth: int) -> st.SearchStrategy[dict[str, object]]:
    tests = {
        "one-of": st.lists(scalars, min_size=1, max_size=3),
        "prefix": prefixes,
        "exists": st.just(True),
        **dict.fromkeys(("at-least", "at-most", "above", "below"), numbers),
        "after": times,
        "before": times,
        "max-age": durations,
    }
    if depth < 4:
        tests["where"] = where(depth + 1)
    table = st.fixed_dictionaries({}, optional=tests).filter(bool)
    return st.dictionaries(
        paths, st.one_of(scalars, st.lists(scalars, min_size=1, max_size=3), table), min_size=1, max_size=2
    )


def terms(formats: tuple[str, ...]) -> dict[str, st.SearchStrategy[object]]:
    return {
        "threshold": st.integers(1, 2),
        "name": st.sampled_from(("exact", "exact-tagged", "identical", "repository", "unsafe-any")),
        "max-age": durations,
        "signed-after": times,
        "min-sequence": st.integers(0, 2**63 - 1),
        "annotations": st.dictionaries(text, annotation, max_size=2),
        "formats": st.lists(st.sampled_from(formats), min_size=1, max_size=2, unique=True),
    }


who = st.sampled_from(("a", "b", ["a", "b"], ["b", "a"]))
named: st.SearchStrategy[dict[str, object]] = st.one_of(
    st.just({}),
    st.just({"remap": {"mirror.example/hub": "docker.io"}}),
    st.just({"unsafe-signed-name": "r.example/app:1"}),
)
signed = st.builds(
    lambda a, b: {**a, **b},
    st.fixed_dictionaries({"signed-by": who}, optional=terms(("bundle", "simple"))),
    named,
)
types = st.sampled_from(("vuln", ["spdx", "cyclonedx"], "https://example.com/x"))
attested = st.builds(
    lambda a, b: {**a, **b},
    st.fixed_dictionaries({"attested": types, "by": who}, optional={**terms(("bundle", "dsse")), "where": where(1)}),
    named,
)
requirements = st.one_of(signed, attested, st.just({"reject": True}), st.just({"unsafe-accept-unsigned": True}))
keys = st.one_of(
    text.filter(lambda t: bool(t.strip())),
    st.fixed_dictionaries(
        {"key": st.just("k.pub")}, optional={"not-before": st.just("2020-01-01T00:00:00Z"), "hash": st.just("sha384")}
    ),
)
anchor = st.fixed_dictionaries({"keys": st.lists(keys, min_size=2, max_size=3)}, optional={"not-after": times})
rule = st.fixed_dictionaries(
    {"require": st.lists(requirements, min_size=1, max_size=3)}, optional={"unsafe-shared-key": st.booleans()}
)
sizes = st.sampled_from((1024, "64MiB", "3KiB"))
policies = st.fixed_dictionaries(
    {
        "version": st.just(1),
        "default": st.sampled_from(("reject", "unsafe-accept-unsigned")),
        "anchors": st.fixed_dictionaries({"a": anchor, "b": anchor}),
        "scopes": st.dictionaries(
            st.sampled_from(("*", "*.example", "r.example", "r.example:5000/a/b", "docker.io/library")),
            rule,
            max_size=3,
        ),
    },
    optional={
        "settings": st.fixed_dictionaries({}, optional={"verifications": st.integers(1, 100), "total-size": sizes})
    },
)


def pathless(policy: Policy) -> Policy:
    """Without where each key was written, which is the one thing that may differ."""
    anchors = {n: tuple(replace(s, path="") for s in sources) for n, sources in policy.anchors.items()}
    return replace(policy, anchors=anchors)


def parse_json(value: object) -> Policy:
    return parse_policy(load_json(json.dumps(value).encode(), limit=1_000_000, error=InvalidPolicy))


def parse_toml(source: str) -> Policy:
    return parse_policy(load_toml(source.encode(), limit=1_000_000))


@settings(max_examples=80 * FULL)
@given(policies)
def test_what_is_written_reads_back_as_the_same_policy(value: dict[str, object]) -> None:
    policy = parse_policy(Node(value, "", InvalidPolicy))
    written = policy_value(policy)
    for again in (parse_json(written), parse_toml(toml_policy(written))):
        assert pathless(again) == pathless(policy)
        assert policy_value(again) == written


@pytest.mark.parametrize("path", sorted(ROOT.glob("policies/*.toml")), ids=lambda p: p.name)
def test_every_example_policy_reads_back(path: Path) -> None:
    policy = parse_toml(path.read_text("utf-8"))
    assert pathless(parse_toml(toml_policy(policy_value(policy)))) == pathless(policy)


POLICY = '''\
# [anchors.fake]
version = 1
default = "reject"   # [x]

[anchors.'rel ease']
keys = [
  """
-----BEGIN [anchors.b]
""",
  { key = "k.pub", not-after = 2027-01-01T00:00:00Z },
]

[scopes."r.example/a"]
require = [
  { reject = true },
  { attested = "vuln", by = ["a",
    "b"], where = { "a[].b" = { at-least = 1.5 } } },
]
scopes.x = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("version", 2),
        ("default", 3),
        ("anchors.'rel ease'", 5),
        ("anchors.'rel ease'.keys[0]", 7),
        ("anchors.'rel ease'.keys[1].not-after", 10),
        ("scopes.'r.example/a'", 13),
        ("scopes.'r.example/a'.require[0].reject", 15),
        ("scopes.'r.example/a'.require[1].by[1]", 17),
        ("scopes.'r.example/a'.require[1].where.'a[].b'.at-least", 17),
        ("scopes.'r.example/a'.require[1].threshold", 16),
        ("nothing", None),
    ],
)
def test_line_of_a_path(path: str, line: int | None) -> None:
    assert line_of(lines_of(POLICY), path) == line


def test_line_of_a_path_in_json() -> None:
    source = '{\n "scopes": {\n  "r.example/a": {\n   "require": [\n    {"reject": 1}\n]}}}'
    assert line_of(lines_of(source, json=True), "scopes.'r.example/a'.require[0].reject") == 5


@settings(max_examples=60 * FULL)
@given(policies)
def test_every_path_of_a_written_policy_has_a_line(value: dict[str, object]) -> None:
    source = toml_policy(policy_value(parse_policy(Node(value, "", InvalidPolicy))))
    lines = lines_of(source)

    def check(node: Node) -> None:
        if node.path:
            assert node.path in lines
        below: Callable[[], object] = node.entries if isinstance(node.value, dict) else node.items
        if isinstance(node.value, (dict, list)):
            found = below()
            for sub in found.values() if isinstance(found, dict) else found:  # type: ignore[attr-defined]  # a tuple
                check(sub)

    root = load_toml(source.encode(), limit=1_000_000)
    check(Node(root.value, "", InvalidPolicy))
