"""Bodies that a real API server posted (tests/vectors/admission) are read as what kubectl was told to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgsign.admission.review import parse_review

VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "admission"
HOST = "127.0.0.1:15000/shop"
PINNED = "@sha256:be80a9ba8b7ce40245bb3918b3ced20a05fab95bd2fa8a909ee4f72382f3e0f6"

EXPECTED = {
    # file: (subject, subresource, dry run, changed images, unchanged images)
    "create-pods-signed": ("Pod default/signed", "", False, [f"{HOST}/signed:1{PINNED}"], []),
    "create-pods-dry": ("Pod default/dry", "", True, [f"{HOST}/signed:1{PINNED}"], []),
    "update-pods-ephemeralcontainers-signed": (
        "Pod default/signed",
        "ephemeralcontainers",
        False,
        [f"{HOST}/debug:1{PINNED}"],
        [f"{HOST}/signed:1{PINNED}"],
    ),
    "update-pods-signed": (
        "Pod default/signed",
        "",
        False,
        [],
        [f"{HOST}/debug:1{PINNED}", f"{HOST}/signed:1{PINNED}"],
    ),
    "create-deployments-web": ("Deployment default/web", "", False, [f"{HOST}/signed:1"], []),
    "create-deployments-unsigned": ("Deployment default/unsigned", "", False, [f"{HOST}/unsigned:1"], []),
    "update-deployments-web-scaled": ("Deployment default/web", "", False, [], [f"{HOST}/signed:1"]),
    "update-deployments-web-annotated": ("Deployment default/web", "", False, [], [f"{HOST}/signed:1"]),
    "create-jobs-j": ("Job default/j", "", False, [f"{HOST}/unsigned:1"], []),
    "create-cronjobs-c": ("CronJob default/c", "", False, [f"{HOST}/signed:1"], []),
}


def test_every_recorded_body_has_an_expectation() -> None:
    assert {p.stem for p in VECTORS.glob("*.json")} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_real_body_is_read(name: str) -> None:
    subject, subresource, dry_run, changed, unchanged = EXPECTED[name]
    review = parse_review((VECTORS / f"{name}.json").read_bytes())
    assert (review.subject, review.subresource, review.dry_run, review.user) == (subject, subresource, dry_run, "admin")
    assert sorted(i.text for i in review.images if i.path not in review.unchanged) == changed
    assert sorted(i.text for i in review.images if i.path in review.unchanged) == unchanged
    assert review.problems == ()
