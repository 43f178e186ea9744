"""attest() and its judgement over a registry: what is stored, what is fetched for it, and at what size.

By the simulator, with real keys; the other side, cosign, is in tests/vectors/test_peers.py.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from imgsign.attesting import attest
from imgsign.decision import Decision, Verdict
from imgsign.errors import UsageError
from imgsign.gather import GATE_LIMITS, MIB, Limits
from imgsign.policy.match import Condition, OneOf, Path
from imgsign.policy.model import Attested, Policy, Reject, Requirement, Rule, Settings, SignedBy
from imgsign.reference import Reference
from imgsign.signing import Signed, SignOptions, sign
from imgsign.trust import Keys, TrustedKey, TrustStore
from imgsign.workflow import verify
from tests.signing_keys import public, signer
from tests.simulator import Simulator

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NAME = Reference.parse("registry.test/app:1")
URI = "https://example.com/x"
LARGE = b'{"a": 1, "packages": ["' + b"x" * (9 * MIB) + b'"]}'
WHERE = (Condition(Path("a", ("a",)), (OneOf((1,)),)),)


@pytest.fixture(params=[True, False], ids=["referrers-api", "fallback-tag"])
def sim(request: pytest.FixtureRequest) -> Simulator:
    found = Simulator(referrers_api=request.param)
    found.put_image("app", tag="1")
    return found


@pytest.fixture
def api() -> Simulator:
    """One registry is enough for what takes time."""
    found = Simulator()
    found.put_image("app", tag="1")
    return found


def attest_it(
    sim: Simulator, raw: bytes = b'{"a": 1}', *, options: SignOptions | None = None, now: datetime = NOW, uri: str = URI
) -> Signed:
    transport = sim.transport()
    (made,) = attest(
        [NAME], signer("release"), uri, raw, options, locate=lambda r: sim.store(r.path, transport), now=now
    )
    return made


def attested(where: tuple[Condition, ...] = (), uri: str = URI) -> Attested:
    return Attested(anchors=("key",), types=(uri,), uris=frozenset((uri,)), where=where)


def judge(
    sim: Simulator, *require: Requirement, limits: Limits | None = None, settings: Settings | None = None
) -> Decision:
    policy = Policy(
        default=Rule(scope=None, require=(Reject(),)),
        scopes={"*": Rule(scope="*", require=require or (attested(),))},
        settings=settings or Settings(),
    )
    trust = TrustStore(anchors={"key": Keys(name="key", keys=(TrustedKey(key=public("release")),))})
    transport = sim.transport()
    return verify(NAME, policy, trust, locate=lambda r: sim.store(r.path, transport), now=NOW, limits=limits)


def codes(decision: Decision) -> list[str]:
    return [c.code for c in decision.checks if c.about != c.group]


@pytest.mark.parametrize("format", ["bundle", "dsse"])
def test_what_was_attested_is_allowed_and_is_what_the_claim_holds(sim: Simulator, format: str) -> None:
    made = attest_it(sim, options=SignOptions(formats=(format,), lifetime=timedelta(days=1)))
    decision = judge(sim, attested(WHERE))
    assert (made.created, made.format, made.predicate_type) == (True, format, URI)
    assert decision.allowed
    assert decision.valid_until == NOW + timedelta(days=1)
    ((_, claim),) = decision.claims
    assert claim.predicate is not None
    assert claim.predicate.raw == b'{"a": 1}'


def test_predicate_is_signed_byte_for_byte(sim: Simulator) -> None:
    raw = '\n{ "ü": [1.0, 1e2], "b":"\\u00fc" }\n'.encode()
    attest_it(sim, raw)
    ((_, claim),) = judge(sim).claims
    assert claim.predicate is not None
    assert claim.predicate.raw == raw.strip()


def test_same_attestation_again_is_left_alone_and_another_is_added(sim: Simulator) -> None:
    assert attest_it(sim).created
    assert not attest_it(sim, now=NOW + timedelta(hours=1)).created
    assert attest_it(sim, b'{"a": 2}').created
    assert attest_it(sim, uri="https://example.com/y").created
    assert sorted(codes(judge(sim))) == ["attested", "attested", "other-predicate"]


def test_attestation_under_the_tag_is_one_more_layer(sim: Simulator) -> None:
    for raw in (b'{"a": 1}', b'{"a": 2}'):
        attest_it(sim, raw, options=SignOptions(formats=("dsse",)))
    content = sim.repository("app")
    (tag,) = [t for t in content.tags if t.endswith(".att")]
    manifest = json.loads(content.manifests[content.tags[tag]][1])
    assert [layer["mediaType"] for layer in manifest["layers"]] == ["application/vnd.dsse.envelope.v1+json"] * 2
    assert manifest["layers"][0]["annotations"] == {
        "predicateType": URI,
        "dev.cosignproject.cosign/signature": "",
    }


def test_signature_is_no_attestation_and_the_other_way_round(sim: Simulator) -> None:
    transport = sim.transport()
    attest_it(sim)
    assert codes(judge(sim, SignedBy(anchors=("key",)))) == ["not-a-signature"]
    sign([NAME], signer("release"), locate=lambda r: sim.store(r.path, transport), now=NOW)
    assert sorted(codes(judge(sim, attested(uri="https://example.com/y")))) == ["not-an-attestation", "other-predicate"]


def test_rule_that_wants_no_attestation_never_asks_for_their_tag(sim: Simulator) -> None:
    judge(sim, SignedBy(anchors=("key",)))
    assert sim.seen(r"\.sig$")
    assert not sim.seen(r"\.att$")


def test_rule_that_wants_no_signature_never_asks_for_their_tag(sim: Simulator) -> None:
    judge(sim, attested())
    assert sim.seen(r"\.att$")
    assert not sim.seen(r"\.sig$")


@pytest.mark.parametrize("where", [(), WHERE], ids=["whole", "where"])
@pytest.mark.parametrize("format", ["bundle", "dsse"])
def test_attestation_over_8_mib_is_judged(api: Simulator, format: str, where: tuple[Condition, ...]) -> None:
    attest_it(api, LARGE, options=SignOptions(formats=(format,)))
    assert judge(api, attested(where)).allowed


@pytest.mark.parametrize("format", ["bundle", "dsse"])
def test_gate_refuses_it_as_too_large_and_is_conclusive(api: Simulator, format: str) -> None:
    attest_it(api, LARGE, options=SignOptions(formats=(format,)))
    decision = judge(api, limits=GATE_LIMITS)
    assert codes(decision) == ["too-large"]
    assert not decision.inconclusive


def test_policy_may_allow_a_gate_more_and_anybody_less(api: Simulator) -> None:
    attest_it(api, LARGE)
    assert judge(api, limits=GATE_LIMITS, settings=Settings(attestation=16 * MIB)).allowed
    assert codes(judge(api, settings=Settings(attestation=8 * MIB))) == ["too-large"]


def test_rule_that_wants_signatures_only_fetches_no_large_attestation(api: Simulator) -> None:
    attest_it(api, LARGE)
    before = len(api.seen(r"GET .*/blobs/"))
    assert codes(judge(api, SignedBy(anchors=("key",)))) == ["too-large"]
    assert len(api.seen(r"GET .*/blobs/")) == before


def test_total_is_a_fault_and_makes_a_denial_undecided(sim: Simulator) -> None:
    attest_it(sim)
    decision = judge(sim, settings=Settings(total=100))
    assert decision.verdict is Verdict.DENY
    assert [f.message for f in decision.faults] == ["signatures are over the limit of 100 bytes; not read"]


def test_large_junk_leaves_room_for_what_is_small(api: Simulator) -> None:
    # Anybody may push what looks like an SBOM; two of them must not use up what a signature needs.
    for n in range(2):
        attest_it(api, b'{"x": "%d' % n + b"x" * (3 * MIB) + b'"}', options=SignOptions(force=True))
    exactly = sum(sorted(len(raw) for raw in api.repository("app").blobs.values())[-2:])
    attest_it(api, options=SignOptions(force=True))
    decision = judge(api, attested(WHERE), settings=Settings(total=exactly))
    assert decision.allowed
    assert len(decision.faults) == 1


def test_limit_of_referrers_is_the_policys(sim: Simulator) -> None:
    for n in range(3):
        attest_it(sim, b'{"a": %d}' % n)
    decision = judge(sim, attested(uri="https://example.com/y"), settings=Settings(referrers=2))
    assert [f.message for f in decision.faults] == ["more than 2 referrers are listed"]


@pytest.mark.parametrize(
    ("uri", "raw", "options", "message"),
    [
        (URI, b"[]", None, f"not a predicate of type {URI!r}: expected object, got list at $"),
        ("https://cyclonedx.org/bom", b"{}", None, "not a predicate of type 'cyclonedx': missing key 'bomFormat' at $"),
        (URI, b"{}", SignOptions(formats=("simple",)), "format 'simple' holds no attestations"),
    ],
)
def test_what_cannot_be_attested_is_refused_before_any_request(
    sim: Simulator, uri: str, raw: bytes, options: SignOptions | None, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        attest_it(sim, raw, uri=uri, options=options)
    assert caught.value.message == message
    assert sim.requests_seen == []


def test_tag_of_attestations_takes_no_signature(sim: Simulator) -> None:
    transport = sim.transport()
    options = replace(SignOptions(), formats=("dsse",))
    with pytest.raises(UsageError, match=r"^unknown format 'dsse'$"):
        sign([NAME], signer("release"), options, locate=lambda r: sim.store(r.path, transport), now=NOW)
