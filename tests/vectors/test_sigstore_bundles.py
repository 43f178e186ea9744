"""Sigstore bundles made by model-signing, npm and the sigstore clients, and the conformance suite's.

Expected verdicts are those of the vectors' index, written down by hand. What is signed with a plain key is
verified and then found to be no image signature; what carries a certificate or signs a file must be a defect
that says so, never a pass and never a crash.
"""

from __future__ import annotations

import base64
import json

import pytest

from imgsign.claim import Defect
from imgsign.errors import InvalidKey, UntrustedSigner
from imgsign.intoto import COSIGN_SIGN
from imgsign.keys import PublicKey
from imgsign.policy.model import NameRule
from tests.artifacts import (
    IMAGE,
    compact,
    ed25519,
    failures,
    image,
    judge_by_key,
    messages,
    public,
    read_bundles,
    sign,
)
from tests.shared import VECTORS, read, requires_shared

pytestmark = requires_shared

KEYED = "sigstore/bundles-key"
MODEL = f"{KEYED}/model-transparency"
CERTIFIED = "sigstore/bundles-cert"
CONFORMANCE = "sigstore/conformance"

EXACT, ANY = NameRule.EXACT, NameRule.UNSAFE_ANY


def key(path: str) -> PublicKey:
    """Read the PEM block of a key file; one has a description before it."""
    raw = read(path)
    return PublicKey.from_pem(raw[raw.index(b"-----BEGIN ") :])


# Signed with a plain key

KEY_BUNDLES = {
    f"{MODEL}/v0.3.1-elliptic-key.model.sig": f"{MODEL}/signing-key-pub.pem",
    f"{MODEL}/v1.0.0-elliptic-key.model.sig": f"{MODEL}/signing-key-pub.pem",
    f"{MODEL}/v1.0.1-elliptic-key.model.sig": f"{MODEL}/signing-key-pub.pem",
    f"{MODEL}/v1.1.0-elliptic-key.model.sig": f"{MODEL}/signing-key-pub.pem",
    f"{KEYED}/sigstore-go.bundle-publish.json": f"{KEYED}/sigstore-go.publish_key.pub",
}
MODEL_KEY_BUNDLES = [path for path in KEY_BUNDLES if path.startswith(MODEL)]


def short(path: str) -> str:
    return path.rpartition("/")[2]


@pytest.mark.parametrize("rule", [ANY, EXACT])
@pytest.mark.parametrize("path", KEY_BUNDLES, ids=short)
def test_verified_attestation_is_not_an_image_signature(path: str, rule: NameRule) -> None:
    decision = judge_by_key(image("example.com/app:1"), read_bundles(read(path)), key(KEY_BUNDLES[path]), name=rule)
    assert (decision.allowed, failures(decision)) == (False, ["not-a-signature"])


@pytest.mark.parametrize("path", KEY_BUNDLES, ids=short)
def test_attestation_by_another_key_is_untrusted_whatever_key_it_carries(path: str) -> None:
    """Three of them carry the very key they verify with as ``publicKey.rawBytes`` (GHSA-fx35-mq7g-6g98)."""
    decision = judge_by_key(image("example.com/app:1"), read_bundles(read(path)), public(ed25519(1)), name=ANY)
    assert (decision.allowed, failures(decision)) == (False, ["untrusted-signer"])


def test_bundle_that_brings_the_attackers_key_along_is_untrusted() -> None:
    value = json.loads(read(f"{MODEL}/v1.0.0-elliptic-key.model.sig"))
    attacker = ed25519(66)
    statement = compact(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "example.com/app:1", "digest": {"sha256": IMAGE.digest.hex}}],
            "predicateType": COSIGN_SIGN,
            "predicate": {},
        }
    )
    message = b"DSSEv1 28 application/vnd.in-toto+json %d %b" % (len(statement), statement)
    value["verificationMaterial"]["publicKey"]["rawBytes"] = base64.b64encode(public(attacker).to_pem()).decode()
    value["dsseEnvelope"]["payload"] = base64.b64encode(statement).decode()
    value["dsseEnvelope"]["signatures"] = [{"sig": base64.b64encode(sign(attacker, message)).decode()}]
    found = read_bundles(compact(value))
    trusted = judge_by_key(image("example.com/app:1"), found, key(f"{MODEL}/signing-key-pub.pem"))
    assert (trusted.allowed, failures(trusted)) == (False, ["untrusted-signer"])
    # The same bytes are good for whoever lists that key: nothing but the key was in the way.
    assert judge_by_key(image("example.com/app:1"), found, public(attacker)).allowed


@pytest.mark.parametrize("path", MODEL_KEY_BUNDLES, ids=short)
def test_p384_bundle_verifies_with_sha384_alone(path: str) -> None:
    envelope = json.loads(read(path))["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    message = b"DSSEv1 28 application/vnd.in-toto+json %d %b" % (len(payload), payload)
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    signer = key(KEY_BUNDLES[path])
    signer.verify(signature, message)
    signer.verify(signature, message, hash="sha384")
    with pytest.raises(UntrustedSigner):
        signer.verify(signature, message, hash="sha256")


def test_signature_over_a_file_is_unsupported_even_if_it_verifies() -> None:
    path = f"{KEYED}/sigstore-go.public-key-validity.sigstore.json"
    value = json.loads(read(path))
    signer = key(f"{KEYED}/sigstore-go.public-key-validity.pem")
    signer.verify(base64.b64decode(value["messageSignature"]["signature"]), b"test content")
    assert value["verificationMaterial"]["publicKey"]["hint"] == signer.hint
    decision = judge_by_key(image("example.com/app:1"), read_bundles(read(path)), signer, name=ANY)
    assert (decision.allowed, failures(decision)) == (False, ["unsupported"])
    assert messages(decision) == ["signs a file, not an image: no DSSE envelope"]


# Signed with a certificate

CERTIFICATE = "signed with a certificate; only signatures by plain keys are judged"
FILE = "signs a file, not an image: no DSSE envelope"
TWO_SIGNATURES = "malformed, expected exactly one signature, got 2 at $.dsseEnvelope.signatures"

CERTIFICATE_BUNDLES = {
    f"{MODEL}/v0.2.0-certificate.model.sig": ("unsupported", CERTIFICATE),
    f"{MODEL}/v0.3.1-certificate.model.sig": ("unsupported", CERTIFICATE),
    f"{MODEL}/v1.0.0-certificate.model.sig": ("unsupported", CERTIFICATE),
    f"{MODEL}/v1.0.1-certificate.model.sig": ("unsupported", CERTIFICATE),
    f"{MODEL}/v1.1.0-certificate.model.sig": ("unsupported", CERTIFICATE),
    f"{MODEL}/v1.0.0-sigstore.model.sig": ("unsupported", CERTIFICATE),
    f"{MODEL}/v1.0.1-sigstore.model.sig": ("unsupported", CERTIFICATE),
    f"{MODEL}/v1.1.0-sigstore.model.sig": ("unsupported", CERTIFICATE),
    f"{CERTIFIED}/cosign.oci-attestation.sigstore.json": ("unsupported", CERTIFICATE),
    f"{CERTIFIED}/sigstore-rust.cosign-v3-blob.sigstore.json": ("unsupported", CERTIFICATE),
    f"{CERTIFIED}/sigstore-rust.conda-attestation.sigstore.json": ("unsupported", CERTIFICATE),
    f"{CERTIFIED}/sigstore-rust.conda-attestation-rekor2.sigstore.json": ("unsupported", CERTIFICATE),
    f"{CERTIFIED}/sigstore-rust.sct-multi-intermediate.sigstore.json": ("unsupported", CERTIFICATE),
    f"{CERTIFIED}/sigstore-rust.github-private-attestation.sigstore.json": ("unsupported", CERTIFICATE),
    f"{CERTIFIED}/sigstore-rust.cosign_v3_missing_fields.json": ("unsupported", CERTIFICATE),
    f"{CERTIFIED}/sigstore-go.dsse-2sigs.sigstore.json": ("malformed", TWO_SIGNATURES),
    f"{CERTIFIED}/sigstore-go.dsse.sigstore.json": ("unsupported", CERTIFICATE),
    f"{CERTIFIED}/sigstore-go.sigstore.js@2.0.0-provenance.sigstore.json": ("unsupported", CERTIFICATE),
    f"{CERTIFIED}/sigstore-go.othername.sigstore.json": ("unsupported", CERTIFICATE),
}


def only_defect(raw: bytes) -> tuple[str, str]:
    """Read one bundle and return what is wrong with it."""
    (found,) = read_bundles(raw)
    assert isinstance(found, Defect)
    return found.code, found.reason


@pytest.mark.parametrize("path", CERTIFICATE_BUNDLES, ids=short)
def test_bundle_signed_with_a_certificate_is_a_defect(path: str) -> None:
    assert only_defect(read(path)) == CERTIFICATE_BUNDLES[path]


def test_every_bundle_file_has_a_verdict() -> None:
    files = [
        p for folder in (KEYED, CERTIFIED) for p in (VECTORS / folder).rglob("*.*") if p.suffix in (".sig", ".json")
    ]
    other = {f"{KEYED}/sigstore-go.public-key-validity.{n}.json" for n in ("sigstore", "trusted_root")}
    assert {str(p.relative_to(VECTORS)) for p in files} == {*KEY_BUNDLES, *CERTIFICATE_BUNDLES, *other}


def test_two_signatures_in_one_envelope_are_malformed_with_a_plain_key_too() -> None:
    value = json.loads(read(f"{CERTIFIED}/sigstore-go.dsse-2sigs.sigstore.json"))
    value["verificationMaterial"] = {"publicKey": {"hint": "x"}}
    assert only_defect(compact(value)) == ("malformed", TWO_SIGNATURES)


# The conformance suite: nothing in it is an image signature by a plain key

CONFORMANCE_CERTIFIED = [
    "bundle-empty-certificate-chain_fail",
    "bundle-from-wrong-instance_fail",
    "bundle-negative-log-index_fail",
    "bundle-with-root-cert_fail",
    "checkpoint-bad-keyhint_fail",
    "checkpoint-wrong-roothash_fail",
    "dsse-invalid-sig_fail",
    "dsse-mismatch-envelope_fail",
    "happy-path-intoto-in-dsse-v3",
    "happy-path-v0.1",
    "happy-path-v0.2",
    "happy-path-v0.3",
    "inclusion-proof-corrupted-hash_fail",
    "incorrect-public-key_fail",
    "integrated-time-in-future_fail",
    "intoto-expired-certificate_fail",
    "intoto-missing-inclusion-proof_fail",
    "intoto-set-outside-signing-cert-validity_fail",
    "intoto-tsa-timestamp-outside-cert-validity_fail",
    "intoto-with-custom-trust-root",
    "invalid-ct-key_fail",
    "invalid-inclusion-proof_fail",
    "message-digest-mismatch_fail",
    "rekor2-checkpoint-cosigned",
    "rekor2-checkpoint-missing-log-signature_fail",
    "rekor2-checkpoint-missing-root-hash_fail",
    "rekor2-checkpoint-missing-size_fail",
    "rekor2-checkpoint-multiple-cosigs",
    "rekor2-checkpoint-no-matching-signature_fail",
    "rekor2-checkpoint-two-sigs-cosigned",
    "rekor2-checkpoint-two-sigs-from-origin",
    "rekor2-dsse-happy-path",
    "rekor2-dsse-invalid-sig_fail",
    "rekor2-dsse-mismatch-sig_fail",
    "rekor2-happy-path",
    "rekor2-no-inclusion-proof_fail",
    "rekor2-no-timestamp_fail",
    "rekor2-timestamp-outside-tsa-cert-validity_fail",
    "rekor2-timestamp-payload-mismatch_fail",
    "rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail",
    "rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail",
    "rekor2-timestamp-with-expired-cert-chain",
    "rekor2-timestamp-with-incorrect-time_fail",
    "rekor2-timestamp-without-embedded-cert",
    "set-invalid-signature_fail",
    "trust-root-tlog-missing-validity-start_fail",
    "trust-root-tlog-validity-end-inclusive",
    "trust-root-tsa-validity-end-inclusive",
    "wrong-hashedrekord-artifact_fail",
    "wrong-hashedrekord-entry_fail",
    "wrong-material_fail",
]
MANAGED = ["managed-key-and-trusted-root", "managed-key-happy-path", "managed-key-wrong-key_fail"]

CONFORMANCE_CASES = {
    **dict.fromkeys(CONFORMANCE_CERTIFIED, ("unsupported", CERTIFICATE)),
    **dict.fromkeys(MANAGED, ("unsupported", FILE)),
    "bundle-malformed-json_fail": ("malformed", "malformed, not JSON: unterminated string starting at"),
    "bundle-unknown-version_fail": ("malformed", "malformed, unknown bundle version"),
}


@pytest.mark.parametrize("case", sorted(CONFORMANCE_CASES))
def test_conformance_bundle_is_a_defect(case: str) -> None:
    code, reason = CONFORMANCE_CASES[case]
    found = only_defect(read(f"{CONFORMANCE}/bundle-verify/{case}/bundle.sigstore.json"))
    assert (found[0], found[1][: len(reason)]) == (code, reason)


def test_every_conformance_case_has_a_verdict() -> None:
    assert {c["name"] for c in json.loads(read(f"{CONFORMANCE}/expected.json"))["cases"]} == set(CONFORMANCE_CASES)


# So that none of the refusals above passes only because nothing of it could ever verify.


def managed_signature(case: str) -> bytes:
    value = json.loads(read(f"{CONFORMANCE}/bundle-verify/{case}/bundle.sigstore.json"))
    return base64.b64decode(value["messageSignature"]["signature"])


@pytest.mark.parametrize("case", ["managed-key-happy-path", "managed-key-and-trusted-root"])
def test_managed_key_signs_the_file(case: str) -> None:
    signer = key(f"{CONFORMANCE}/bundle-verify/{case}/key.pub")
    signer.verify(managed_signature(case), read(f"{CONFORMANCE}/a.txt"))


def test_managed_key_does_not_sign_another_file() -> None:
    signer = key(f"{CONFORMANCE}/bundle-verify/managed-key-happy-path/key.pub")
    with pytest.raises(UntrustedSigner):
        signer.verify(managed_signature("managed-key-happy-path"), read(f"{CONFORMANCE}/a.txt") + b"\n")


def test_managed_key_case_with_the_wrong_key_does_not_verify_with_another_key() -> None:
    with pytest.raises(UntrustedSigner):
        key(f"{KEYED}/sigstore-go.public-key-validity.pem").verify(
            managed_signature("managed-key-wrong-key_fail"), read(f"{CONFORMANCE}/a.txt")
        )


def test_wrong_key_of_the_managed_key_case_is_no_point_on_its_curve() -> None:
    with pytest.raises(InvalidKey, match=r"^damaged or unsupported PEM public key$"):
        key(f"{CONFORMANCE}/bundle-verify/managed-key-wrong-key_fail/key.pub")
