"""Simple signatures made by cosign and skopeo: the test data of containers/image and of connaisseur.

Expected verdicts are those of the vectors' index, written down by hand. Each signature is judged by the name
rule its producer needs and by ``exact``; what needs a certificate must be denied with its code.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import NamedTuple

import pytest
from cryptography import x509

from imgsign.claim import Candidate, Defect, Draft, Tag, Unsigned
from imgsign.errors import InvalidManifest
from imgsign.formats import simple
from imgsign.keys import PublicKey
from imgsign.oci import OCI_MANIFEST, Artifact, Manifest
from imgsign.policy.model import NameRule
from imgsign.reference import Digest
from imgsign.tagged import SIGNATURE_KEY
from tests.artifacts import (
    NOW,
    ed25519,
    failures,
    image,
    judge_by_key,
    public,
    read_simple,
    sig_manifest,
    summary,
)
from tests.shared import VECTORS, read, requires_shared

pytestmark = requires_shared

LEGACY = "sigstore/legacy-image-sig/containers-image"
CONNAISSEUR = "sigstore/legacy-image-sig/connaisseur"
TESTIMAGE = f"{CONNAISSEUR}/securesystemsengineering/testimage"

EXACT, REPOSITORY, ANY = NameRule.EXACT, NameRule.REPOSITORY, NameRule.UNSAFE_ANY


def key(path: str) -> PublicKey:
    return PublicKey.from_pem(read(path))


# Legacy image signatures, containers/image's test data


def dir_signatures(*paths: str, about: Digest) -> tuple[Candidate | Defect, ...]:
    """Read signatures in the layout of ``dir:``: a magic line, then JSON with payload and annotations."""
    layers: list[tuple[bytes, Mapping[str, str]]] = []
    for path in paths:
        magic, _, body = read(f"{LEGACY}/{path}").partition(b"\n")
        assert magic == b"\0sigstore-json"
        value = json.loads(body)
        assert value["mimeType"] == simple.LAYER_TYPE
        layers.append((base64.b64decode(value["payload"]), value["annotations"]))
    return read_simple(sig_manifest(*layers), *(raw for raw, _ in layers), about=about)


class Legacy(NamedTuple):
    """One run: the case, the key of the policy, the name asked for, the name rule, what must come out."""

    case: str
    key: str
    asked: str
    rule: NameRule
    failed: list[str]
    allowed: bool = True


SINGLE = "192.168.64.2:5000/cosign-signed-single-sample"
SINGLE_DIGEST = "sha256:634a8f35b5f16dcf4aaa0822adc0b1964bb786fca12f6831de8ddc45e5986a00"
TAGGED = "192.168.64.2:5000/skopeo-signed"
KEY_REKOR = "192.168.64.2:5000/cosign-signed/key-1"
FULCIO = "192.168.64.2:5000/cosign-signed/fulcio-rekor-1"

LEGACY_RUNS = [
    Legacy("dir-img-cosign-valid", "cosign.pub", f"{SINGLE}:latest", REPOSITORY, []),
    Legacy("dir-img-cosign-valid", "cosign.pub", f"{SINGLE}:latest", EXACT, ["name-without-tag"], allowed=False),
    Legacy("dir-img-cosign-valid", "cosign.pub", f"{SINGLE}@{SINGLE_DIGEST}", EXACT, []),
    Legacy("dir-img-cosign-valid", "cosign.pub", f"{TAGGED}:latest", REPOSITORY, ["name-mismatch"], allowed=False),
    Legacy("dir-img-cosign-valid", "cosign2.pub", f"{SINGLE}:latest", ANY, ["untrusted-signer"], allowed=False),
    Legacy("dir-img-cosign-valid-2", "cosign.pub", f"{SINGLE}:latest", REPOSITORY, []),
    Legacy("dir-img-cosign-valid-2", "cosign.pub", f"{SINGLE}:latest", EXACT, ["name-without-tag"] * 2, allowed=False),
    Legacy("dir-img-cosign-valid-with-tag", "cosign.pub", f"{TAGGED}:tag", EXACT, []),
    Legacy(
        "dir-img-cosign-valid-with-tag", "cosign.pub", f"{TAGGED}:othertag", EXACT, ["name-mismatch"], allowed=False
    ),
    Legacy("dir-img-cosign-valid-with-tag", "cosign.pub", f"{TAGGED}:othertag", REPOSITORY, []),
    Legacy(
        "dir-img-cosign-modified-manifest", "cosign.pub", f"{SINGLE}:latest", REPOSITORY, ["digest-mismatch"], False
    ),
    Legacy("dir-img-cosign-modified-manifest", "cosign.pub", f"{SINGLE}:latest", EXACT, ["digest-mismatch"], False),
    Legacy("dir-img-cosign-modified-manifest", "cosign.pub", f"{SINGLE}:latest", ANY, ["digest-mismatch"], False),
    Legacy("dir-img-cosign-key-rekor-valid", "cosign2.pub", f"{KEY_REKOR}:1", REPOSITORY, []),
    Legacy("dir-img-cosign-key-rekor-valid", "cosign2.pub", f"{KEY_REKOR}:1", EXACT, ["name-without-tag"], False),
    Legacy("dir-img-cosign-key-rekor-valid", "cosign.pub", f"{KEY_REKOR}:1", REPOSITORY, ["untrusted-signer"], False),
    Legacy("dir-img-cosign-fulcio-rekor-valid", "cosign.pub", f"{FULCIO}:1", REPOSITORY, ["untrusted-signer"], False),
    Legacy("dir-img-cosign-fulcio-rekor-valid", "cosign.pub", f"{FULCIO}:1", EXACT, ["untrusted-signer"], False),
    # Its signature is base64 with line breaks, as openssl writes it: not canonical, so not even a candidate.
    Legacy("dir-img-cosign-pki-valid", "cosign.pub", "localhost:5000/test:1", REPOSITORY, ["malformed"], False),
    Legacy("dir-img-cosign-pki-valid", "cosign.pub", "localhost:5000/test:1", EXACT, ["malformed"], False),
]
SIGNATURES = {"dir-img-cosign-valid-2": ("signature-1", "signature-2")}


@pytest.mark.parametrize("run", LEGACY_RUNS, ids=lambda r: f"{r.case}-{r.key}-{r.rule.value}")
def test_containers_image_signature_is_judged_as_containers_image_does(run: Legacy) -> None:
    manifest = Manifest.parse(read(f"{LEGACY}/{run.case}/manifest.json"))
    names = SIGNATURES.get(run.case, ("signature-1",))
    found = dir_signatures(*(f"{run.case}/{n}" for n in names), about=manifest.digest)
    decision = judge_by_key(image(run.asked, manifest), found, key(f"{LEGACY}/{run.key}"), name=run.rule)
    assert failures(decision) == run.failed
    assert decision.allowed is run.allowed


def test_every_directory_of_containers_image_has_a_verdict() -> None:
    done = {r.case for r in LEGACY_RUNS}
    other = {"dir-img-cosign-no-manifest", "dir-img-cosign-manifest-digest-error"}
    assert {p.name for p in (VECTORS / LEGACY).glob("dir-img-*")} == done | other


def test_two_signatures_of_one_key_are_one_signer() -> None:
    manifest = Manifest.parse(read(f"{LEGACY}/dir-img-cosign-valid-2/manifest.json"))
    paths = [f"dir-img-cosign-valid-2/signature-{n}" for n in (1, 2)]
    found = dir_signatures(*paths, about=manifest.digest)
    asked = image(f"{SINGLE}:latest", manifest)
    decision = judge_by_key(asked, found, key(f"{LEGACY}/cosign.pub"), name=REPOSITORY, threshold=2)
    assert (decision.allowed, summary(decision)) == (False, "1 of 2 needed")


@pytest.mark.parametrize("rule", [REPOSITORY, EXACT])
def test_signature_by_a_key_nobody_trusts_is_denied(rule: NameRule) -> None:
    manifest = Manifest.parse(read(f"{LEGACY}/dir-img-cosign-valid/manifest.json"))
    found = dir_signatures("unknown-cosign-key.signature", about=manifest.digest)
    decision = judge_by_key(image(f"{SINGLE}:latest", manifest), found, key(f"{LEGACY}/cosign.pub"), name=rule)
    assert (decision.allowed, failures(decision)) == (False, ["untrusted-signer"])


@pytest.mark.parametrize("rule", [REPOSITORY, EXACT, ANY])
@pytest.mark.parametrize("case", ["dir-img-cosign-no-manifest", "dir-img-cosign-manifest-digest-error"])
def test_valid_signature_without_a_readable_manifest_allows_nothing(case: str, rule: NameRule) -> None:
    found = dir_signatures(f"{case}/signature-1", about=Digest.parse(SINGLE_DIGEST))
    decision = judge_by_key(image(f"{SINGLE}:latest", None), found, key(f"{LEGACY}/cosign.pub"), name=rule)
    assert (decision.allowed, failures(decision)) == (False, ["digest-mismatch"])


def test_schema_1_manifest_is_refused_since_its_digest_is_not_of_its_bytes() -> None:
    with pytest.raises(InvalidManifest) as e:
        Manifest.parse(read(f"{LEGACY}/dir-img-cosign-manifest-digest-error/manifest.json"))
    assert e.value.message == "image manifest schema 1 is not supported: its digest is not the digest of its bytes"


# A whole repository signed by cosign, from connaisseur's tests

ALICE = "071bf7a986f1ca9cb2a1f0bc8392822a7777f90d58f2d2c6f271913e08de7c81"
ALL = "bfec161fecb0a887df7cb85e4da327c65986ccda7060cf3cd92171c6c90d7533"
KEYLESS = "31dc72a13a0c34b40eb95419d2b2fd67320c856baf3b72da518023ee8d370aee"
TRIO = ("alice", "bob", "charlie")


def blobs() -> list[bytes]:
    return [p.read_bytes() for p in sorted((VECTORS / TESTIMAGE / "blobs").iterdir())]


def signed_image(tag: str, hexdigits: str) -> tuple[Manifest, Manifest, tuple[Candidate | Defect, ...]]:
    """The image, its signature manifest, and what was read from it."""
    manifest = Manifest.parse(read(f"{TESTIMAGE}/manifests/{tag}.json"))
    assert str(manifest.digest) == f"sha256:{hexdigits}"
    signatures = Manifest.parse(read(f"{TESTIMAGE}/manifests/sha256-{hexdigits}.sig.json"), OCI_MANIFEST)
    return manifest, signatures, read_simple(signatures, *blobs(), about=manifest.digest)


def trio(*names: str) -> list[PublicKey]:
    return [key(f"{CONNAISSEUR}/{n}.key") for n in names]


@pytest.mark.parametrize(
    ("tag", "hexdigits", "threshold", "allowed", "said"),
    [
        ("multi-cosigned-alice", ALICE, 1, True, "1 of 1 needed"),
        ("multi-cosigned-alice", ALICE, 2, False, "1 of 2 needed"),
        ("multi-cosigned-alice", ALICE, 3, False, "1 of 3 needed"),
        ("multi-cosigned-alice-bob-charlie", ALL, 1, True, "3 of 1 needed"),
        ("multi-cosigned-alice-bob-charlie", ALL, 2, True, "3 of 2 needed"),
        ("multi-cosigned-alice-bob-charlie", ALL, 3, True, "3 of 3 needed"),
    ],
)
def test_threshold_counts_distinct_keys(tag: str, hexdigits: str, threshold: int, allowed: bool, said: str) -> None:
    manifest, _, found = signed_image(tag, hexdigits)
    asked = image(f"securesystemsengineering/testimage:{tag}", manifest)
    decision = judge_by_key(asked, found, *trio(*TRIO), name=REPOSITORY, threshold=threshold)
    assert (decision.allowed, summary(decision), failures(decision)) == (allowed, said, [])


@pytest.mark.parametrize(
    ("tag", "hexdigits", "count"), [("multi-cosigned-alice", ALICE, 1), ("multi-cosigned-alice-bob-charlie", ALL, 3)]
)
def test_cosign_names_no_tag_so_exact_denies_a_tag(tag: str, hexdigits: str, count: int) -> None:
    manifest, _, found = signed_image(tag, hexdigits)
    asked = image(f"securesystemsengineering/testimage:{tag}", manifest)
    decision = judge_by_key(asked, found, *trio(*TRIO))
    assert (decision.allowed, failures(decision)) == (False, ["name-without-tag"] * count)


@pytest.mark.parametrize("name", TRIO)
def test_each_of_three_layers_with_one_digest_is_its_own_signature(name: str) -> None:
    manifest, signatures, found = signed_image("multi-cosigned-alice-bob-charlie", ALL)
    assert len({d.digest for d in signatures.layers}) == 1
    assert [f.place for f in found] == [Tag(f"sha256-{ALL}.sig", n) for n in range(3)]
    asked = image(f"securesystemsengineering/testimage@sha256:{ALL}", manifest)
    decision = judge_by_key(asked, found, *trio(name))
    assert (decision.allowed, failures(decision)) == (True, ["untrusted-signer"] * 2)


def test_two_of_three_needed_keys_do_not_make_three() -> None:
    manifest, _, found = signed_image("multi-cosigned-alice-bob-charlie", ALL)
    asked = image(f"securesystemsengineering/testimage@sha256:{ALL}", manifest)
    decision = judge_by_key(asked, found, *trio("alice", "bob", "default"), threshold=3)
    assert (decision.allowed, summary(decision), failures(decision)) == (False, "2 of 3 needed", ["untrusted-signer"])


def test_keyless_signature_is_denied_where_keys_are_asked_for() -> None:
    manifest, _, found = signed_image("keyless", KEYLESS)
    asked = image("securesystemsengineering/testimage:keyless", manifest)
    decision = judge_by_key(asked, found, *trio(*TRIO), name=ANY)
    assert (decision.allowed, failures(decision)) == (False, ["untrusted-signer"])


@pytest.mark.parametrize(("rule", "failed"), [(ANY, []), (REPOSITORY, ["name-mismatch"]), (EXACT, ["name-mismatch"])])
def test_signature_of_another_repository_over_the_same_digest(rule: NameRule, failed: list[str]) -> None:
    """Its certificate's key taken as a plain key: then only the signed name stands in the way."""
    manifest, signatures, found = signed_image("keyless", KEYLESS)
    pem = signatures.layers[0].annotations["dev.sigstore.cosign/certificate"]
    leaf = PublicKey.from_crypto(x509.load_pem_x509_certificate(pem.encode()).public_key())
    asked = image("securesystemsengineering/testimage:keyless", manifest)
    decision = judge_by_key(asked, found, leaf, name=rule)
    assert (decision.allowed, failures(decision)) == (not failed, failed)


def test_body_of_an_unsigned_tag_is_not_a_manifest() -> None:
    with pytest.raises(InvalidManifest, match=r"^missing key 'schemaVersion' at \$$"):
        Manifest.parse(read(f"{TESTIMAGE}/manifests/co-unsigned.json"), OCI_MANIFEST)


def test_image_without_any_signature_is_denied() -> None:
    decision = judge_by_key(image("securesystemsengineering/testimage:co-unsigned"), (), *trio(*TRIO), name=ANY)
    assert (decision.allowed, summary(decision), failures(decision)) == (False, "0 of 1 needed", [])


@pytest.mark.parametrize(
    ("tag", "hexdigits", "config"),
    [
        ("multi-cosigned-alice", ALICE, "a0b0cbfeefd8a1d546d9759f06eee4e013259575abb768b8f593e553da2ece4a"),
        ("multi-cosigned-alice-bob-charlie", ALL, "4f3f54134335a9734c5685d2648387ecaf6339d9cc9ae6dc62d82fba971f889f"),
        ("keyless", KEYLESS, "143de7881d07c46cbcbc8521cf2b6fc90caf6b0ec1db354d1621b081d4d53d05"),
    ],
)
def test_attaching_the_same_signatures_writes_cosigns_config_byte_for_byte(
    tag: str, hexdigits: str, config: str
) -> None:
    manifest, signatures, _ = signed_image(tag, hexdigits)
    made: Artifact | None = None
    for layer in signatures.layers:
        unsigned = Unsigned(
            format="simple",
            image=manifest.descriptor,
            key=public(ed25519(1)),
            scheme="pure",
            message=b"",
            content=read(f"{TESTIMAGE}/blobs/sha256_{layer.digest.hex}.json"),
            draft=Draft(names=(), signed_at=NOW),
        )
        signature = base64.b64decode(layer.annotations[SIGNATURE_KEY])
        made = simple.FORMAT.attach(unsigned, signature, previous=made)
    assert made is not None
    assert made.manifest.config is not None
    written = made.blob(made.manifest.config.digest)
    assert written is not None
    assert written.raw == read(f"{TESTIMAGE}/blobs/sha256_{config}.json")
    assert [d.digest for d in made.manifest.layers] == [d.digest for d in signatures.layers]
