"""What skopeo 1.9.3 and 1.13.3 accept and refuse, and which names containers/image lets count.

Where imgsign differs on purpose the difference stands in a dictionary with its reason; everything else must be
judged as skopeo judged it.
"""

from __future__ import annotations

import json

import pytest

from imgsign.claim import Candidate, Defect
from imgsign.keys import PublicKey
from imgsign.oci import OCI_MANIFEST, Manifest
from imgsign.policy.model import NameRule
from imgsign.reference import Digest
from tests.artifacts import (
    IMAGE,
    ed25519,
    failures,
    image,
    judge_by_key,
    messages,
    payload,
    public,
    read_simple,
    sig_manifest,
    sign_payload,
    summary,
)
from tests.shared import VECTORS, read, requires_shared

pytestmark = requires_shared

EXACT, REPOSITORY = NameRule.EXACT, NameRule.REPOSITORY


def key(name: str) -> PublicKey:
    return PublicKey.from_pem(read(f"skopeo/keys/{name}.pub"))


# What skopeo accepts and refuses: the code and message of imgsign, or None where it is accepted

STRICTNESS: dict[str, tuple[str, str] | None] = {
    "c001-control": None,
    "c002-optional": None,
    "c003-optional-with-unknown-keys": None,
    "c004-optional-missing": ("bad-claim", "missing key 'optional' at $"),
    "c005-optional-is-string": ("bad-claim", "expected object, got string at $.optional"),
    "c006-optional-timestamp-1-5": ("bad-claim", "expected integer, got number at $.optional.timestamp"),
    "c008-optional-creator-int": ("bad-claim", "expected string, got integer at $.optional.creator"),
    "c009-extra-key-in-critical": ("bad-claim", "unknown key 'x' at $.critical"),
    "c010-extra-key-in-critical-image": ("bad-claim", "unknown key 'x' at $.critical.image"),
    "c012-extra-top-level-key": ("bad-claim", "unknown key 'x' at $"),
    "c013-type-atomic-container-signature": (
        "bad-claim",
        "unknown payload type 'atomic container signature' at $.critical.type",
    ),
    "c014-type-upper-case": (
        "bad-claim",
        "unknown payload type 'Cosign Container Image Signature' at $.critical.type",
    ),
    "c016-duplicate-key-in-optional": ("bad-claim", "duplicate key 'a'"),
    "c018-trailing-garbage": ("bad-claim", "not JSON: extra data at line 1 column 252"),
    "c019-pretty-printed": None,
    "c020-case-variant-key-critical": ("bad-claim", "key 'Critical' differs from 'critical' only by case at $"),
    "c022-sha512-manifest-digest": (
        "digest-mismatch",
        "is about sha512:6c335c270794c02a7750258107300e1ce739bf7c3f8d8b6eda0ee668a4e5c8d9"
        "e8a89747a54efe6f25c1db9d1dacbb04003a4a1c3000dc17934c13eda6a6a617",
    ),
    "c023-upper-case-hex-digest": (
        "bad-claim",
        "expected 64 lower-case hex digits after 'sha256:' at $.critical.image.docker-manifest-digest",
    ),
    "c024-short-name-reference": None,
    "c025-empty-docker-reference": ("name-missing", "signs no name"),
    "c028-no-signature-annotation": (
        "malformed",
        "malformed, missing annotation 'dev.cosignproject.cosign/signature'",
    ),
    "c029-bad-sig-first-good-second": None,
    "c032-signature-urlsafe-b64": ("malformed", "malformed, signature is not standard base64"),
    "c033-layer-size-wrong-1": (
        "blob-missing",
        "blob sha256:74accd1bc61dab1ee8ec869a3e5b6f6b5547ced0755fbe20eafe53f47c49b1b5 has 241 bytes, "
        "its descriptor says 242",
    ),
    "c035-attachment-w-o-mediatype-field": None,
    "c036-config-mediatype-empty-v1-artifacttype": None,
    "c038-extra-attestation-layer-dsse": None,
    "c101-signature-b64-newline-inside-same-sig": ("malformed", "malformed, signature is not standard base64"),
    "c102-signature-b64-space-inside": ("malformed", "malformed, signature is not standard base64"),
    "c103-signature-b64-without-padding": ("malformed", "malformed, signature is not standard base64"),
    "c104-many-layers-60-bad-1-good": None,
    "c106-timestamp-as-1e3": None,
    "c107-timestamp-2-53": (
        "bad-claim",
        "integer 9223372036854775808 is out of range at $.optional.timestamp",
    ),
    "c108-non-utf8-in-optional": ("bad-claim", "not UTF-8 at byte 253"),
    "c110-reference-with-uppercase-repo": (
        "name-invalid",
        "signs '127.0.0.1:5601/ST/X:1.0', which is not an image name",
    ),
    "c111-docker-reference-with-whitespace": (
        "name-invalid",
        "signs '127.0.0.1:5601/st/c111:1.0 ', which is not an image name",
    ),
}

STRICTER = {
    "c033-layer-size-wrong-1": "the size is a part of the address: content of another length is other content",
    "c101-signature-b64-newline-inside-same-sig": "one signature has one spelling; Go skips line breaks",
    "c108-non-utf8-in-optional": "what is signed must read the same everywhere; Go replaces what is not UTF-8",
}
"""Accepted by skopeo, refused here on purpose. The rest must agree."""

NO_SIGNATURE = "c027-layer-mediatype-octet-stream"  # a layer of another type is not a signature: nothing to fail

ASKED = {"c024-short-name-reference": "docker.io/library/app:1.0"}
"""Judged by skopeo under a policy of its own, which asked for this name."""


def strict_case(case: str) -> tuple[Manifest, tuple[Candidate | Defect, ...]]:
    manifest = Manifest.parse(read("skopeo/upstream-1.13.3/cosign-p256/image-manifest.json"))
    layers = [p.read_bytes() for p in (VECTORS / "skopeo/strictness" / case).glob("layer-*.bin")]
    signatures = Manifest.parse(read(f"skopeo/strictness/{case}/sig-manifest.json"), OCI_MANIFEST)
    return manifest, read_simple(signatures, *layers, about=manifest.digest)


def strict_name(case: str) -> str:
    """``<repo>:<tag>`` of a case: the number of the case without leading zeros."""
    return ASKED.get(case, f"127.0.0.1:5601/st/c{int(case[1:4])}:1.0")


@pytest.mark.parametrize("case", [c for c, failed in STRICTNESS.items() if failed])
def test_refused_signature_is_refused_for_its_fault(case: str) -> None:
    manifest, found = strict_case(case)
    decision = judge_by_key(image(strict_name(case), manifest), found, key("cosign-p256"))
    assert not decision.allowed
    assert list(zip(failures(decision), messages(decision), strict=True)) == [STRICTNESS[case]]


JUNK = {"c029-bad-sig-first-good-second": 1, "c104-many-layers-60-bad-1-good": 60}


@pytest.mark.parametrize("case", [c for c, failed in STRICTNESS.items() if not failed])
def test_accepted_signature_counts_whatever_stands_beside_it(case: str) -> None:
    manifest, found = strict_case(case)
    decision = judge_by_key(image(strict_name(case), manifest), found, key("cosign-p256"))
    assert decision.allowed
    assert failures(decision) == ["untrusted-signer"] * JUNK.get(case, 0)


def test_layer_of_another_type_is_no_signature() -> None:
    manifest, found = strict_case(NO_SIGNATURE)
    decision = judge_by_key(image(strict_name(NO_SIGNATURE), manifest), found, key("cosign-p256"))
    assert (decision.allowed, found, summary(decision)) == (False, (), "0 of 1 needed")


def test_the_verdicts_are_skopeos_but_for_the_listed_ones() -> None:
    accepted = {c for c, failed in STRICTNESS.items() if not failed}
    listed = {c["id"]: c["skopeo"] for c in json.loads(read("skopeo/strictness/cases.json"))}
    assert set(listed) == {*STRICTNESS, NO_SIGNATURE}
    assert {c for c, verdict in listed.items() if verdict == "accept"} == accepted | set(STRICTER)
    assert accepted.isdisjoint(STRICTER)


# The name rules, beside containers/image's signedIdentity

REPO = "registry.example.com/team/app"
NAMES = {
    "exact-tag": f"{REPO}:1.0",
    "repo-only(cosign)": REPO,
    "other-tag": f"{REPO}:2.0",
    "digest-ref": f"{REPO}@{IMAGE.digest}",
    "other-repo": "registry.example.com/other/app:1.0",
}
PULLS = {"by tag": f"{REPO}:1.0", "by digest": f"{REPO}@{IMAGE.digest}"}
RULES = {"(default)": EXACT, "matchRepoDigestOrExact": EXACT, "matchRepository": REPOSITORY}
NO_EQUAL = {
    "matchExact": "refuses a pull by digest of what was signed by tag; 'exact' compares the digest instead",
    "exactReference": "asks for one fixed name whatever was pulled; 'remap' asks for a mapped one",
    "exactRepository": "asks for one fixed repository whatever was pulled; 'remap' asks for a mapped one",
}
DIFFERENT = {
    ("repo-only(cosign)", "by digest", "matchRepoDigestOrExact"): (
        "a name without tag, asked for by digest: repository and digest are what was signed (design §7)"
    ),
}
"""Refused by containers/image, accepted here on purpose. The rest must agree."""

CODES = {
    ("exact-tag", "by tag", EXACT): [],
    ("exact-tag", "by digest", EXACT): [],
    ("exact-tag", "by tag", REPOSITORY): [],
    ("exact-tag", "by digest", REPOSITORY): [],
    ("repo-only(cosign)", "by tag", EXACT): ["name-without-tag"],
    ("repo-only(cosign)", "by digest", EXACT): [],
    ("repo-only(cosign)", "by tag", REPOSITORY): [],
    ("repo-only(cosign)", "by digest", REPOSITORY): [],
    ("other-tag", "by tag", EXACT): ["name-mismatch"],
    ("other-tag", "by digest", EXACT): [],
    ("other-tag", "by tag", REPOSITORY): [],
    ("other-tag", "by digest", REPOSITORY): [],
    ("digest-ref", "by tag", EXACT): ["name-without-tag"],
    ("digest-ref", "by digest", EXACT): [],
    ("digest-ref", "by tag", REPOSITORY): [],
    ("digest-ref", "by digest", REPOSITORY): [],
    ("other-repo", "by tag", EXACT): ["name-mismatch"],
    ("other-repo", "by digest", EXACT): ["name-mismatch"],
    ("other-repo", "by tag", REPOSITORY): ["name-mismatch"],
    ("other-repo", "by digest", REPOSITORY): ["name-mismatch"],
}


def named_signature(reference: str) -> tuple[Candidate | Defect, ...]:
    layer = sign_payload(ed25519(1), payload(reference))
    return read_simple(sig_manifest(layer), layer[0])


@pytest.mark.parametrize(("signs", "pull", "rule"), CODES)
def test_name_rule_against_a_signed_name(signs: str, pull: str, rule: NameRule) -> None:
    failed = CODES[signs, pull, rule]
    found = named_signature(NAMES[signs])
    decision = judge_by_key(image(PULLS[pull]), found, public(ed25519(1)), name=rule)
    assert (decision.allowed, failures(decision)) == (not failed, failed)


def test_name_rules_are_containers_images_but_for_the_listed_differences() -> None:
    rows = json.loads(read("skopeo/identity-matrix.json"))
    assert {r["signedIdentity"] for r in rows} == {*RULES, *NO_EQUAL}
    compared = [r for r in rows if r["signedIdentity"] in RULES]
    assert len(compared) == len(CODES)
    for row in compared:
        case = (row["signature_reference"], row["pull"], row["signedIdentity"])
        accepted = not CODES[case[0], case[1], RULES[case[2]]]
        assert accepted is (row["result"] == "accept" or case in DIFFERENT), case
    assert all(not CODES[signs, pull, RULES[identity]] for signs, pull, identity in DIFFERENT)
    refused = {(r["signature_reference"], r["pull"], r["signedIdentity"]) for r in rows if r["result"] == "reject"}
    assert set(DIFFERENT) <= refused


def test_digest_in_a_signed_name_must_be_the_signed_one() -> None:
    other = Digest("sha256", "d" * 64)
    decision = judge_by_key(
        image(PULLS["by digest"]), named_signature(f"{REPO}@{other}"), public(ed25519(1)), name=REPOSITORY
    )
    assert (decision.allowed, failures(decision)) == (False, ["name-mismatch"])
