"""A registry that lies, fails and is full of junk, and the verdict it gets: by the simulator, whole flows."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from imgsign.decision import Decision, Verdict
from imgsign.dsse import Envelope, pae
from imgsign.errors import ContentMismatch, Denied, InvalidManifest, RegistryError, TooLarge, Unavailable
from imgsign.formats.bundle import MEDIA_TYPE
from imgsign.intoto import COSIGN_SIGN, PAYLOAD_TYPE, STATEMENT_V1
from imgsign.oci import EMPTY_CONFIG, OCI_INDEX, OCI_MANIFEST, Descriptor, Manifest
from imgsign.reference import Digest, Reference
from imgsign.signing import SignOptions, sign
from imgsign.stores import Store
from imgsign.workflow import Destination, key_policy, pull, verify
from tests.answers import Seen
from tests.signing_keys import public, signer
from tests.simulator import Simulator, manifest_bytes

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NAME = Reference.parse("registry.test/app:1")


@pytest.fixture(params=[True, False], ids=["referrers-api", "fallback-tag"])
def sim(request: pytest.FixtureRequest) -> Simulator:
    return Simulator(referrers_api=request.param)


@pytest.fixture
def image(sim: Simulator) -> Manifest:
    """An image, signed as registry.test/app:1 in both formats."""
    found = sim.put_image("app", tag="1")
    sign_it(sim, NAME)
    return found


def sign_it(
    sim: Simulator, name: Reference, key: str = "release", formats: tuple[str, ...] = ("bundle", "simple")
) -> None:
    transport = sim.transport()
    options = SignOptions(formats=formats)
    sign([name], signer(key), options, locate=lambda r: sim.store(r.path, transport), now=NOW)


def judge(sim: Simulator, name: Reference = NAME, *keys: str) -> Decision:
    policy, trust = key_policy([public(k) for k in keys or ("release",)])
    transport = sim.transport()
    return verify(name, policy, trust, locate=lambda r: sim.store(r.path, transport), now=NOW)


def codes(decision: Decision) -> list[str]:
    return [c.code for c in decision.checks if not c.passed and c.about != c.group]


def drop(sim: Simulator, *forms: str) -> None:
    """Take stored signatures away again."""
    content = sim.repository("app")
    if "simple" in forms:
        content.tags = {t: d for t, d in content.tags.items() if not t.endswith(".sig")}
    if "bundle" in forms:
        content.tags = {t: d for t, d in content.tags.items() if not (t.startswith("sha256-") and "." not in t)}
        content.manifests = {d: m for d, m in content.manifests.items() if b'"subject"' not in m[1]}


def bundle_over(sim: Simulator, image: Manifest, statement: bytes, key: str = "release") -> Manifest:
    """Attach a bundle over any statement at all, signed by a real key."""
    signature = signer(key).sign(pae(PAYLOAD_TYPE, statement), "sha256")
    envelope = Envelope(payload_type=PAYLOAD_TYPE, payload=statement, signature=signature)
    material = {"publicKey": {"hint": public(key).hint}}
    raw = json.dumps(
        {"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope.to_json()}
    ).encode()
    blob = sim.put_blob("app", raw)
    layers = [{"mediaType": MEDIA_TYPE, "digest": str(blob), "size": len(raw)}]
    sim.put_blob("app", EMPTY_CONFIG.raw)
    body = manifest_bytes(subject=image.descriptor, layers=layers, artifactType=MEDIA_TYPE)
    sim.put_manifest("app", body, OCI_MANIFEST)
    found = Manifest.parse(body, OCI_MANIFEST)
    if not sim.referrers_api:
        sim.put_fallback("app", image.digest, [found.descriptor.to_json()])
    return found


def statement(*subjects: dict[str, object], predicate_type: str = COSIGN_SIGN) -> bytes:
    return json.dumps(
        {"_type": STATEMENT_V1, "subject": subjects, "predicateType": predicate_type, "predicate": {}}
    ).encode()


def test_signed_image_is_allowed(sim: Simulator, image: Manifest) -> None:
    decision = judge(sim)
    assert decision.verdict is Verdict.ALLOW
    assert decision.image.digest == image.digest


def test_unsigned_image_is_denied_conclusively(sim: Simulator) -> None:
    sim.put_image("app", tag="1")
    decision = judge(sim)
    assert decision.verdict is Verdict.DENY
    assert not decision.inconclusive


def test_swapped_digest_header_is_an_error_not_a_verdict(sim: Simulator, image: Manifest) -> None:
    sim.swap_digest_header(r"GET .*/manifests/1$", Digest.of(b"another"))
    with pytest.raises(ContentMismatch):
        judge(sim)


def test_other_bytes_for_a_pinned_digest_are_refused(sim: Simulator, image: Manifest) -> None:
    sim.serve_instead(rf"/manifests/{image.digest}", manifest_bytes(annotations={"evil": "1"}))
    with pytest.raises(ContentMismatch):
        judge(sim, NAME.at(image.digest))


def test_image_retagged_to_an_older_signed_one_is_denied_by_its_name(sim: Simulator, image: Manifest) -> None:
    sim.put_image("app", tag="2", salt="newer")
    newer = Reference.parse("registry.test/app:2")
    sign_it(sim, newer)
    assert judge(sim, newer).allowed
    sim.repository("app").tags["2"] = str(image.digest)
    decision = judge(sim, newer)
    assert decision.verdict is Verdict.DENY
    assert set(codes(decision)) == {"name-mismatch"}


def test_tag_moved_after_resolving_does_not_change_what_is_judged_or_pulled(sim: Simulator, image: Manifest) -> None:
    other = sim.put_image("app", salt="unsigned")

    def retag(seen: Seen) -> None:
        if not seen.path.endswith("/manifests/1"):
            sim.repository("app").tags["1"] = str(other.digest)

    sim.before(retag)
    kept = _Memory()
    policy, trust = key_policy([public("release")])
    transport = sim.transport()
    decision = pull(NAME, policy, trust, kept, locate=lambda r: sim.store(r.path, transport), now=NOW)
    assert decision.image.digest == image.digest
    assert kept.finished == [image.digest]
    assert other.digest not in kept.put_digests


def test_manifest_is_resolved_by_one_request(sim: Simulator, image: Manifest) -> None:
    before = len(sim.seen(r"/manifests/1$"))
    judge(sim)
    assert len(sim.seen(r"/manifests/1$")) == before + 1


def test_truncated_signature_blob_is_undecided_not_unsigned(sim: Simulator, image: Manifest) -> None:
    sim.truncate(r"GET .*/blobs/", 10)
    decision = judge(sim)
    assert decision.verdict is Verdict.DENY
    assert decision.inconclusive


def test_oversized_manifest_is_refused(sim: Simulator, image: Manifest) -> None:
    sim.endless(r"GET .*/manifests/1$")
    with pytest.raises(TooLarge):
        judge(sim)


def test_oversized_signature_is_a_failed_check_of_that_signature(sim: Simulator, image: Manifest) -> None:
    drop(sim, "simple", "bundle")
    raw = manifest_bytes(
        subject=image.descriptor,
        layers=[{"mediaType": MEDIA_TYPE, "digest": str(Digest.of(b"x")), "size": 10**12}],
    )
    sim.put_manifest("app", raw, OCI_MANIFEST)
    sim.put_fallback("app", image.digest, [Manifest.parse(raw, OCI_MANIFEST).descriptor.to_json()])
    decision = judge(sim)
    assert codes(decision) == ["too-large"]
    assert "over the limit" in next(c.message for c in decision.checks if c.code == "too-large")
    assert not decision.inconclusive


def test_500_junk_referrers_do_not_hide_the_good_one(sim: Simulator, image: Manifest) -> None:
    drop(sim, "simple")
    good = _listed(sim, image)
    junk = []
    for number in range(500):
        raw = manifest_bytes(
            subject=image.descriptor,
            annotations={"n": str(number)},
            layers=[{"mediaType": MEDIA_TYPE, "digest": str(EMPTY_CONFIG.descriptor.digest), "size": 2}],
            artifactType=MEDIA_TYPE,
        )
        sim.put_manifest("app", raw, OCI_MANIFEST)
        junk.append(replace(Manifest.parse(raw, OCI_MANIFEST).descriptor, artifact_type=MEDIA_TYPE).to_json())
    _relist(sim, image, [*junk, *good])
    decision = judge(sim)
    assert decision.verdict is Verdict.ALLOW
    drop(sim, "bundle")
    _relist(sim, image, junk)
    for entry in junk:
        digest = str(entry["digest"])
        sim.repository("app").manifests.setdefault(digest, (OCI_MANIFEST, b"{}"))
    assert judge(sim).verdict is Verdict.DENY


def _listed(sim: Simulator, image: Manifest) -> list[dict[str, object]]:
    transport = sim.transport()
    return [d.to_json() for d in sim.store("app", transport).referrers(image.digest)]


def _relist(sim: Simulator, image: Manifest, entries: list[dict[str, object]]) -> None:
    """Make the fallback tag and, where there is one, the API list these first."""
    sim.put_fallback("app", image.digest, list(entries))
    if sim.referrers_api:
        body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
        sim.serve_instead(r"/referrers/", body)


def test_dangling_referrer_is_a_failed_check_and_stays_conclusive(sim: Simulator) -> None:
    image = sim.put_image("app", tag="1")
    gone = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"gone"), size=4, artifact_type=MEDIA_TYPE)
    _relist(sim, image, [gone.to_json()])
    decision = judge(sim)
    assert codes(decision) == ["dangling"]
    assert not decision.inconclusive


def test_dangling_referrer_does_not_block_a_good_one(sim: Simulator, image: Manifest) -> None:
    gone = Descriptor(media_type=OCI_MANIFEST, digest=Digest.of(b"gone"), size=4, artifact_type=MEDIA_TYPE)
    _relist(sim, image, [gone.to_json(), *_listed(sim, image)])
    assert judge(sim).allowed


@pytest.mark.parametrize("status", [429, 500, 502, 503, 401, 403])
def test_failing_listing_is_undecided_never_unsigned(sim: Simulator, image: Manifest, status: int) -> None:
    drop(sim, "simple")
    sim.fail(r"GET .*(/referrers/|/manifests/sha256-[0-9a-f]{64}$)", status)
    decision = judge(sim)
    assert decision.verdict is Verdict.DENY
    assert decision.inconclusive


@pytest.mark.parametrize("status", [429, 503])
def test_failing_sig_tag_is_undecided_never_unsigned(sim: Simulator, image: Manifest, status: int) -> None:
    drop(sim, "bundle")
    sim.fail(r"GET .*\.sig$", status)
    assert judge(sim).inconclusive


def test_one_failing_place_does_not_block_a_good_signature_in_another(sim: Simulator, image: Manifest) -> None:
    sim.fail(r"GET .*\.sig$", 503)
    decision = judge(sim)
    assert decision.verdict is Verdict.ALLOW
    assert [f.about for f in decision.faults] == [f"{image.digest.tag}.sig"]


def test_endless_pages_of_referrers_end_in_doubt() -> None:
    sim = Simulator()
    sim.put_image("app", tag="1")
    sim.endless_pages = True
    decision = judge(sim)
    assert decision.inconclusive
    assert decision.faults[0].about == "referrers"
    assert len(sim.requests_seen) < 200


def test_duplicated_json_keys_in_an_image_manifest_are_refused(sim: Simulator) -> None:
    raw = manifest_bytes().replace(b'"schemaVersion"', b'"layers": [], "schemaVersion"', 1)
    assert raw.count(b'"layers"') == 2
    sim.put_manifest("app", raw, OCI_MANIFEST, tag="1")
    with pytest.raises(InvalidManifest, match="duplicate key 'layers'"):
        judge(sim)


def test_duplicated_json_keys_in_a_bundle_are_a_failed_check(sim: Simulator) -> None:
    image = sim.put_image("app", tag="1")
    found = bundle_over(sim, image, statement({"name": str(NAME), "digest": {"sha256": image.digest.hex}}))
    assert judge(sim).allowed
    blob = str(found.layers[0].digest)
    raw = sim.repository("app").blobs[blob].replace(b'"mediaType"', b'"mediaType": "x", "mediaType"', 1)
    again = sim.put_blob("app", raw)
    body = found.raw.replace(blob.encode(), str(again).encode()).replace(
        f'"size": {found.layers[0].size}'.encode(), f'"size": {len(raw)}'.encode()
    )
    drop(sim, "bundle")
    sim.put_manifest("app", body, OCI_MANIFEST)
    changed = Manifest.parse(body, OCI_MANIFEST)
    if not sim.referrers_api:
        sim.put_fallback("app", image.digest, [changed.descriptor.to_json()])
    decision = judge(sim)
    assert codes(decision) == ["malformed"]
    assert "duplicate key 'mediaType'" in next(c.message for c in decision.checks if c.code == "malformed")


def test_name_of_one_subject_and_digest_of_another_do_not_add_up(sim: Simulator) -> None:
    image = sim.put_image("app", tag="1")
    other = Digest.of(b"other").hex
    mixed = statement(
        {"name": str(NAME), "digest": {"sha256": other}},
        {"name": "registry.test/app:0", "digest": {"sha256": image.digest.hex}},
    )
    bundle_over(sim, image, mixed)
    assert codes(judge(sim)) == ["name-mismatch"]


def test_an_attestation_by_the_right_key_is_not_a_signature(sim: Simulator) -> None:
    image = sim.put_image("app", tag="1")
    subject: dict[str, object] = {"name": str(NAME), "digest": {"sha256": image.digest.hex}}
    bundle_over(sim, image, statement(subject, predicate_type="https://spdx.dev/Document"))
    assert codes(judge(sim)) == ["not-a-signature"]


def test_signature_of_another_image_is_about_another_digest(sim: Simulator) -> None:
    image = sim.put_image("app", tag="1")
    bundle_over(sim, image, statement({"name": str(NAME), "digest": {"sha256": Digest.of(b"other").hex}}))
    assert codes(judge(sim)) == ["digest-mismatch"]


def test_rejected_scope_makes_no_request(sim: Simulator) -> None:
    policy, trust = key_policy([public("release")])
    closed = replace(policy, scopes={})
    decision = verify(NAME, closed, trust, locate=lambda r: sim.store(r.path), now=NOW)
    assert decision.verdict is Verdict.DENY
    assert [c.code for c in decision.checks] == ["no-scope"]
    assert sim.requests_seen == []


def test_denied_pull_writes_nothing(sim: Simulator) -> None:
    sim.put_image("app", tag="1")
    policy, trust = key_policy([public("release")])
    kept = _Memory()
    with pytest.raises(Denied):
        pull(NAME, policy, trust, kept, locate=lambda r: sim.store(r.path), now=NOW)
    assert not kept.opened


def test_unreachable_registry_is_an_error(sim: Simulator) -> None:
    sim.disconnect(r".", times=None)
    with pytest.raises(Unavailable):
        judge(sim)


class _Memory(Destination):
    """A destination that only remembers."""

    keeps_signatures = False
    notes = ()

    def __init__(self) -> None:
        self.opened = False
        self.put_digests: list[Digest] = []
        self.finished: list[Digest] = []

    def choose(self, index: Manifest) -> Descriptor | None:
        return None

    def open(self) -> None:
        self.opened = True

    def put(self, source: Store, manifest: Manifest, pool: object) -> None:
        for descriptor in manifest.layers:
            assert b"".join(source.stream(descriptor))
        self.put_digests.append(manifest.digest)

    def keep(self, signature: object, tag: str | None) -> None:
        raise AssertionError("not asked for")

    def finish(self, manifest: Manifest) -> None:
        self.finished.append(manifest.digest)


# Signing


def test_second_run_leaves_the_registry_as_it_is(sim: Simulator, image: Manifest) -> None:
    tags = dict(sim.repository("app").tags)
    sign_it(sim, NAME)
    assert sim.repository("app").tags == tags


def test_two_names_of_one_digest_share_a_bundle(sim: Simulator) -> None:
    image = sim.put_image("app", tag="1")
    sim.repository("app").tags["latest"] = str(image.digest)
    names = [NAME, Reference.parse("registry.test/app:latest")]
    transport = sim.transport()
    results = sign(names, signer("release"), locate=lambda r: sim.store(r.path, transport), now=NOW)
    assert [[str(n) for n in r.names] for r in results] == [["registry.test/app:1", "registry.test/app:latest"]]
    assert len(_listed(sim, image)) == 1
    assert all(judge(sim, n).allowed for n in names)


def test_moved_tag_is_not_signed_when_a_digest_is_expected(sim: Simulator) -> None:
    sim.put_image("app", tag="1")
    options = SignOptions(expect=Digest.of(b"what was built"))
    with pytest.raises(ContentMismatch, match="the tag has moved, or was never this"):
        sign([NAME], signer("release"), options, locate=lambda r: sim.store(r.path), now=NOW)
    assert not sim.seen("^(PUT|POST)")


def test_dry_run_stores_nothing(sim: Simulator) -> None:
    sim.put_image("app", tag="1")
    options = SignOptions(dry_run=True)
    (result,) = sign([NAME], signer("release"), options, locate=lambda r: sim.store(r.path), now=NOW)
    assert result.created
    assert not sim.seen("^(PUT|POST)")


def test_listing_that_fails_while_signing_is_an_error_not_a_duplicate(sim: Simulator, image: Manifest) -> None:
    sim.fail(r"GET .*(/referrers/|/manifests/sha256-)", 503)
    with pytest.raises(RegistryError, match="cannot see which signatures stand already"):
        sign_it(sim, NAME)


def test_signature_that_does_not_read_back_is_not_reported(sim: Simulator) -> None:
    sim.put_image("app", tag="1")
    sim.serve_instead(r"GET .*/blobs/", b"x")
    with pytest.raises(Unavailable, match="does not read back"):
        sign_it(sim, NAME, formats=("bundle",))
