"""Signatures made by skopeo 1.9.3 and 1.13.3: all must count, for their names and keys and nothing else."""

from __future__ import annotations

import itertools
import json

import pytest

from imgsign.claim import Candidate, Defect, Draft, Unsigned
from imgsign.formats import simple
from imgsign.keys import PublicKey
from imgsign.oci import OCI_MANIFEST, Artifact, Blob, Manifest
from imgsign.policy.model import NameRule
from imgsign.trust import TrustedKey
from tests.artifacts import (
    NOW,
    ed25519,
    failures,
    image,
    judge_by_key,
    public,
    read_simple,
    summary,
)
from tests.shared import VECTORS, read, requires_shared

pytestmark = requires_shared

EXACT, REPOSITORY, ANY = NameRule.EXACT, NameRule.REPOSITORY, NameRule.UNSAFE_ANY
SMALL = "sha256:805dda156dc3523f7d7b136584914ae2409bfc1a0308cafd6d68ce83648c920f"
IP = "upstream-1.13.3/three-signatures"
BY_DIGEST = "upstream-1.13.3/by-digest-destination"
MULTI = "upstream-1.13.3/multi-arch"


def key(name: str) -> PublicKey:
    return PublicKey.from_pem(read(f"skopeo/keys/{name}.pub"))


def payloads(folder: str) -> list[bytes]:
    return [p.read_bytes() for p in sorted((VECTORS / "skopeo" / folder).glob("payload-*.json"))]


def signed(folder: str) -> tuple[Manifest, tuple[Candidate | Defect, ...]]:
    """The image of a case and what stands at its ``.sig`` tag."""
    manifest = Manifest.parse(read(f"skopeo/{folder}/image-manifest.json"))
    signatures = Manifest.parse(read(f"skopeo/{folder}/sig-manifest.json"), OCI_MANIFEST)
    return manifest, read_simple(signatures, *payloads(folder), about=manifest.digest)


# What skopeo signed

POSITIVE = {
    "upstream-1.9.3/cosign-p256": ("127.0.0.1:5601/uv193/cosign-p256", "cosign-p256"),
    "upstream-1.9.3/cosign-p384": ("127.0.0.1:5601/uv193/cosign-p384", "cosign-p384"),
    "upstream-1.9.3/cosign-rsa2048": ("127.0.0.1:5601/uv193/cosign-rsa2048", "cosign-rsa2048"),
    "upstream-1.9.3/cosign-ed25519": ("127.0.0.1:5601/uv193/cosign-ed25519", "cosign-ed25519"),
    "upstream-1.9.3/emptypass": ("127.0.0.1:5601/uv193/emptypass", "cosign-p256-emptypass"),
    "upstream-1.13.3/cosign-p256": ("127.0.0.1:5601/uv1133/cosign-p256", "cosign-p256"),
    "upstream-1.13.3/cosign-p384": ("127.0.0.1:5601/uv1133/cosign-p384", "cosign-p384"),
    "upstream-1.13.3/cosign-rsa2048": ("127.0.0.1:5601/uv1133/cosign-rsa2048", "cosign-rsa2048"),
    "upstream-1.13.3/cosign-ed25519": ("127.0.0.1:5601/uv1133/cosign-ed25519", "cosign-ed25519"),
    "upstream-1.13.3/sigstore-p256": ("127.0.0.1:5601/uv1133/sigstore-p256", "sigstore-p256"),
    "upstream-1.13.3/emptypass": ("127.0.0.1:5601/uv1133/emptypass", "cosign-p256-emptypass"),
}


def test_the_table_of_positive_cases_is_skopeos() -> None:
    cases = json.loads(read("skopeo/positive-cases.json"))
    assert {c["digest"] for c in cases} == {SMALL}
    listed = {c["dir"]: (c["repo"], c["pub"].removeprefix("keys/").removesuffix(".pub")) for c in cases}
    assert listed == POSITIVE


@pytest.mark.parametrize("folder", POSITIVE)
@pytest.mark.parametrize(
    ("asked", "rule", "failed"),
    [
        (":1.0", EXACT, []),
        (f"@{SMALL}", EXACT, []),
        (f":1.0@{SMALL}", EXACT, []),
        (":2.0", EXACT, ["name-mismatch"]),
        (f":2.0@{SMALL}", EXACT, ["name-mismatch"]),
        (":2.0", REPOSITORY, []),
        ("/more:1.0", REPOSITORY, ["name-mismatch"]),
        ("/more:1.0", ANY, []),
    ],
)
def test_what_skopeo_signed_counts_for_its_name(folder: str, asked: str, rule: NameRule, failed: list[str]) -> None:
    repository, name = POSITIVE[folder]
    manifest, found = signed(folder)
    decision = judge_by_key(image(repository + asked, manifest), found, key(name), name=rule)
    assert (decision.allowed, failures(decision)) == (not failed, failed)


@pytest.mark.parametrize("folder", POSITIVE)
def test_what_skopeo_signed_does_not_count_for_another_key(folder: str) -> None:
    repository, name = POSITIVE[folder]
    other = key("cosign-p256" if name == "sigstore-p256" else "sigstore-p256")
    manifest, found = signed(folder)
    decision = judge_by_key(image(f"{repository}:1.0", manifest), found, other, name=ANY)
    assert (decision.allowed, failures(decision)) == (False, ["untrusted-signer"])


@pytest.mark.parametrize(("hash", "failed"), [(None, []), ("sha256", []), ("sha384", ["untrusted-signer"])])
@pytest.mark.parametrize("folder", ["upstream-1.9.3/cosign-p384", "upstream-1.13.3/cosign-p384"])
def test_p384_signature_with_sha256_counts_unless_the_policy_says_sha384(
    folder: str, hash: str | None, failed: list[str]
) -> None:
    repository, name = POSITIVE[folder]
    manifest, found = signed(folder)
    trusted = TrustedKey(key=key(name), hash=hash)
    decision = judge_by_key(image(f"{repository}:1.0", manifest), found, trusted)
    assert (decision.allowed, failures(decision)) == (not failed, failed)


@pytest.mark.parametrize(
    ("asked", "rule", "threshold", "failed", "said"),
    [
        # Two signatures by P-256 name ip/app, one by RSA names prod/app.
        ("127.0.0.1:5601/ip/app:1.0", EXACT, 1, ["name-mismatch"], "1 of 1 needed"),
        ("127.0.0.1:5601/ip/app:1.0", EXACT, 2, ["name-mismatch"], "1 of 2 needed"),
        ("127.0.0.1:5601/ip/app:2.0", EXACT, 1, ["name-mismatch"] * 3, "0 of 1 needed"),
        ("127.0.0.1:5601/ip/app:2.0", REPOSITORY, 1, ["name-mismatch"], "1 of 1 needed"),
        ("registry.example.com/prod/app:1.0", EXACT, 1, ["name-mismatch"] * 2, "1 of 1 needed"),
        ("127.0.0.1:5601/ip/app:1.0", ANY, 2, [], "2 of 2 needed"),
        ("127.0.0.1:5601/ip/app:1.0", ANY, 3, [], "2 of 3 needed"),
    ],
)
def test_three_signatures_by_two_keys(asked: str, rule: NameRule, threshold: int, failed: list[str], said: str) -> None:
    manifest, found = signed(IP)
    keys = (key("cosign-p256"), key("cosign-rsa2048"))
    decision = judge_by_key(image(asked, manifest), found, *keys, name=rule, threshold=threshold)
    have, _, want, _ = said.split()
    assert (decision.allowed, failures(decision), summary(decision)) == (int(have) >= int(want), failed, said)


def test_remap_lets_the_signature_made_for_the_production_name_count() -> None:
    manifest, found = signed(IP)
    asked = image("127.0.0.1:5601/ip/app:1.0", manifest)
    remap = {"127.0.0.1:5601/ip": "registry.example.com/prod"}
    decision = judge_by_key(asked, found, key("cosign-rsa2048"), remap=remap)
    assert (decision.allowed, failures(decision)) == (True, ["untrusted-signer"] * 2)


@pytest.mark.parametrize(
    ("asked", "rule", "last"),
    [
        (f"@{SMALL}", EXACT, None),
        (":1.0", EXACT, "name-without-tag"),
        (f":1.0@{SMALL}", EXACT, "name-without-tag"),
        (":1.0", REPOSITORY, None),
    ],
)
def test_signature_made_for_a_destination_by_digest_names_no_tag(asked: str, rule: NameRule, last: str | None) -> None:
    manifest, found = signed(BY_DIGEST)
    decision = judge_by_key(
        image(f"127.0.0.1:5601/ip/bydig{asked}", manifest), found, key("cosign-p256"), key("cosign-rsa2048"), name=rule
    )
    # The first three came along from ip/app.
    assert failures(decision) == ["name-mismatch"] * 3 + ([last] if last else [])
    assert decision.allowed is (last is None)


INSTANCES = ("index", "instance-amd64", "instance-arm64")


@pytest.mark.parametrize("instance", INSTANCES)
@pytest.mark.parametrize(
    ("tag", "rule", "failed"), [("1.0", EXACT, []), ("2.0", EXACT, ["name-mismatch"]), ("2.0", REPOSITORY, [])]
)
def test_index_and_every_instance_are_signed(instance: str, tag: str, rule: NameRule, failed: list[str]) -> None:
    manifest, found = signed(f"{MULTI}/{instance}")
    assert manifest.is_index is (instance == "index")
    asked = image(f"127.0.0.1:5601/multi/all:{tag}", manifest)
    decision = judge_by_key(asked, found, key("cosign-p256"), name=rule)
    assert (decision.allowed, failures(decision)) == (not failed, failed)


@pytest.mark.parametrize(("instance", "other"), list(itertools.permutations(INSTANCES, 2)))
def test_signature_of_one_instance_is_no_signature_of_another(instance: str, other: str) -> None:
    manifest, _ = signed(f"{MULTI}/{instance}")
    _, found = signed(f"{MULTI}/{other}")
    asked = image("127.0.0.1:5601/multi/all:1.0", manifest)
    decision = judge_by_key(asked, found, key("cosign-p256"), name=ANY)
    assert (decision.allowed, failures(decision)) == (False, ["digest-mismatch"])


def test_index_of_the_signed_instances_is_the_one_that_was_pushed() -> None:
    index = Manifest.parse(read(f"skopeo/{MULTI}/index.json"))
    assert index.raw == read(f"skopeo/{MULTI}/index/image-manifest.json")
    assert [d.digest for d in index.manifests] == [signed(f"{MULTI}/{i}")[0].digest for i in INSTANCES[1:]]


def test_attaching_to_what_skopeo_wrote_keeps_its_layers_byte_for_byte() -> None:
    manifest = Manifest.parse(read(f"skopeo/{IP}/image-manifest.json"))
    raw = read(f"skopeo/{IP}/sig-manifest.json")
    standing = Manifest.parse(raw, OCI_MANIFEST)
    blobs = tuple(Blob.checked(d, p) for d, p in zip(standing.layers, payloads(IP), strict=True))
    content = b'{"critical":{},"optional":null}'
    unsigned = Unsigned(
        format="simple",
        image=manifest.descriptor,
        key=public(ed25519(1)),
        scheme="pure",
        message=content,
        content=content,
        draft=Draft(names=(), signed_at=NOW),
    )
    previous = Artifact(manifest=standing, blobs=blobs)
    made = simple.FORMAT.attach(unsigned, b"signature", previous=previous)
    layers = raw[raw.index(b'"layers":[') : -2]
    assert made.manifest.raw.count(layers + b",{") == 1
    assert made.manifest.layers[:3] == standing.layers
    assert made.blobs[:3] == blobs
