"""Conditions on predicates, each with predicates that meet it and some that do not, by hand and on the boundary."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from imgsign.policy.match import (
    After,
    Any,
    Before,
    Compared,
    Condition,
    Exists,
    MaxAge,
    OneOf,
    Path,
    Prefix,
    Relation,
    Step,
    Test,
    Within,
)

TYPES = ("https://slsa.dev/provenance/v1", "https://cosign.sigstore.dev/attestation/vuln/v1")
OTHER_TYPE = "https://spdx.dev/Document"


@dataclass(frozen=True)
class Where:
    """Conditions, with predicates as JSON text that meet all of them (at NOW) and that miss one."""

    conditions: tuple[Condition, ...]
    good: tuple[str, ...]
    bad: tuple[str, ...]


def at_path(*steps: Step, tests: tuple[Test, ...]) -> Condition:
    return Condition(Path("/".join(map(str, steps)), steps), tests)


EACH = Any.ELEMENT
BUILDER = at_path("runDetails", "builder", "id", tests=(Prefix("https://ci.example/"),))

WHERES = (
    Where(
        (at_path("buildType", tests=(OneOf(("a", "b")),)),),
        ('{"buildType": "a"}', '{"x": {"buildType": "c"}, "buildType": "b"}'),
        ('{"buildType": "A"}', '{"buildType": ["a"]}', '{"build": {"buildType": "a"}}', '{"buildType": null}', "{}"),
    ),
    Where(
        (BUILDER,),
        ('{"runDetails": {"builder": {"id": "https://ci.example/x"}}}',),
        (
            '{"runDetails": {"builder": {"id": "https://ci.example"}}}',
            '{"runDetails": {"builder": {"id": "https://ci.example.evil/"}}}',
            '{"runDetails": {"builder": ["https://ci.example/x"]}}',
            '{"builder": {"id": "https://ci.example/x"}}',
            '"https://ci.example/x"',
        ),
    ),
    Where(
        (at_path("score", tests=(Compared(Relation.BELOW, 7), Compared(Relation.AT_LEAST, 0))),),
        ('{"score": 6.9}', '{"score": 0}', '{"score": 0.0}'),
        ('{"score": 7}', '{"score": -0.1}', '{"score": "5"}', '{"score": true}', '{"score": [5]}'),
    ),
    Where(
        (at_path("metadata", "scanFinishedOn", tests=(MaxAge(timedelta(hours=1)),)),),
        (
            '{"metadata": {"scanFinishedOn": "2026-11-23T11:00:01Z"}}',
            '{"metadata": {"scanFinishedOn": "2026-11-23T12:05:00Z"}}',
            '{"metadata": {"scanFinishedOn": "2026-11-23T13:30:00+02:00"}}',
        ),
        (
            '{"metadata": {"scanFinishedOn": "2026-11-23T11:00:00Z"}}',
            '{"metadata": {"scanFinishedOn": "2026-11-23T12:05:01Z"}}',
            '{"metadata": {"scanFinishedOn": 1795435200}}',
            '{"metadata": {"scanFinishedOn": "yesterday"}}',
        ),
    ),
    Where(
        (
            at_path("started", tests=(After(datetime(2026, 1, 1, tzinfo=UTC)),)),
            at_path("ended", tests=(Before(datetime(2026, 2, 1, tzinfo=UTC)), Exists())),
        ),
        ('{"started": "2026-01-01T00:00:01Z", "ended": "2026-01-31T23:59:59Z"}',),
        (
            '{"started": "2026-01-01T00:00:00Z", "ended": "2026-01-31T23:59:59Z"}',
            '{"started": "2026-01-01T00:00:01Z", "ended": "2026-02-01T00:00:00Z"}',
            '{"started": "2026-01-01T00:00:01Z"}',
        ),
    ),
    Where(
        (
            at_path(
                "materials",
                EACH,
                tests=(
                    Within(
                        (
                            at_path("uri", tests=(OneOf(("git+https://x",)),)),
                            at_path("sha", tests=(OneOf(("1", 2, True)),)),
                        )
                    ),
                ),
            ),
        ),
        (
            '{"materials": [{"uri": "y", "sha": "1"}, {"uri": "git+https://x", "sha": "1"}]}',
            '{"materials": [{"uri": "git+https://x", "sha": 2.0}]}',
            '{"materials": [[], {"uri": "git+https://x", "sha": true}]}',
        ),
        (
            # Mix and match: one element has the one, another the other.
            '{"materials": [{"uri": "git+https://x", "sha": "3"}, {"uri": "y", "sha": "1"}]}',
            '{"materials": {"uri": "git+https://x", "sha": "1"}}',
            '{"materials": [{"uri": "git+https://x", "sha": 1}]}',
            '{"materials": []}',
        ),
    ),
    Where(
        (at_path("list", 1, EACH, tests=(OneOf((False,)),)),),
        ('{"list": [0, [false]]}', '{"list": [[], [true, false], 1]}'),
        ('{"list": [[false], []]}', '{"list": [false, false]}', '{"list": [0, [0]]}', '{"list": [[false]]}'),
    ),
)
