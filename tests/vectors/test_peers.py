"""What imgsign made and its peers accepted, and what cosign 3 made, judged from the kept bytes.

How they were made and which versions accepted them stands in the README of this directory.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from imgsign.decision import Decision, Verdict
from imgsign.keys import PublicKey
from imgsign.policy.model import NameRule
from imgsign.predicates import PREDICATES
from imgsign.reference import Reference
from imgsign.resolve import Target
from imgsign.stores.layout import LayoutStore
from imgsign.workflow import judge_all, key_policy

HERE = Path(__file__).parent
NOW = datetime(2027, 1, 1, tzinfo=UTC)
IMAGE = "sha256:805dda156dc3523f7d7b136584914ae2409bfc1a0308cafd6d68ce83648c920f"


def _judge(directory: Path, name: str, rule: NameRule, key: Path | None = None) -> Decision:
    policy, trust = key_policy([PublicKey.from_pem((key or directory / "key.pub").read_bytes())], rule)
    store = LayoutStore(directory / "layout")
    target = Target(name=Reference.parse(name), store=store, what="1.0", place=str(store))
    return judge_all(target, policy, trust, now=NOW)


def _codes(decision: Decision) -> dict[str, str]:
    """The code of each signature's check, by format."""
    return {c.about.rpartition("(")[2].rstrip(")"): c.code for c in decision.checks if c.about != c.group}


@pytest.mark.parametrize(
    ("kind", "formats"),
    [
        ("ecdsa-p256", {"bundle", "simple"}),
        ("ed25519", {"bundle", "simple"}),
        ("rsa-3072", {"bundle", "simple"}),
        ("rsa-4096", {"bundle", "simple"}),
        ("ecdsa-p384", {"bundle"}),
        ("ecdsa-p521", {"bundle"}),
    ],
)
def test_what_peers_accepted_is_allowed_under_its_exact_name(kind: str, formats: set[str]) -> None:
    decision = _judge(HERE / "accepted" / kind, f"127.0.0.1:5999/w{kind}/app:1.0", NameRule.EXACT)
    assert decision.verdict is Verdict.ALLOW
    assert str(decision.image.digest) == IMAGE
    assert _codes(decision) == dict.fromkeys(formats, "signed")


@pytest.mark.parametrize("kind", ["ecdsa-p256", "ed25519", "rsa-3072", "ecdsa-p384"])
def test_what_peers_accepted_is_denied_under_another_tag(kind: str) -> None:
    decision = _judge(HERE / "accepted" / kind, f"127.0.0.1:5999/w{kind}/app:2.0", NameRule.EXACT)
    assert decision.verdict is Verdict.DENY
    assert set(_codes(decision).values()) == {"name-mismatch"}


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa3072"])
def test_cosign_3_signatures_are_allowed_when_any_name_is(kind: str) -> None:
    decision = _judge(HERE / "cosign3" / kind, "127.0.0.1:5731/app:1.0", NameRule.UNSAFE_ANY)
    assert decision.verdict is Verdict.ALLOW
    assert _codes(decision) == {"bundle": "signed", "simple": "signed"}


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa3072"])
def test_cosign_3_signatures_are_denied_under_exact_for_want_of_a_name(kind: str) -> None:
    decision = _judge(HERE / "cosign3" / kind, f"127.0.0.1:5731/{kind}-legacy:1.0", NameRule.EXACT)
    assert decision.verdict is Verdict.DENY
    assert _codes(decision) == {"bundle": "name-missing", "simple": "name-without-tag"}


@pytest.mark.parametrize("kind", ["p256", "rsa3072"])
def test_cosign_3_signatures_do_not_verify_with_another_key(kind: str) -> None:
    other = HERE / "cosign3" / "p521" / "key.pub"
    decision = _judge(HERE / "cosign3" / kind, "127.0.0.1:5731/app:1.0", NameRule.UNSAFE_ANY, other)
    assert decision.verdict is Verdict.DENY
    assert _codes(decision) == {"bundle": "untrusted-signer", "simple": "untrusted-signer"}


ATTESTED = ["slsa-provenance", "vuln", "openvex"]


def _judge_attested(directory: Path, name: str, alias: str, rule: NameRule, key: Path | None = None) -> Decision:
    public = PublicKey.from_pem((key or directory / "key.pub").read_bytes())
    policy, trust = key_policy([public], rule, attested=PREDICATES[alias].uri)
    store = LayoutStore(directory / "layout")
    target = Target(name=Reference.parse(name), store=store, what="1.0", place=str(store))
    return judge_all(target, policy, trust, now=NOW)


def _by_format(decision: Decision) -> list[tuple[str, str]]:
    """Format and code of each attestation's check."""
    found = [(c.about.rpartition("(")[2].rstrip(")"), c.code) for c in decision.checks if c.about != c.group]
    return sorted(found)


@pytest.mark.parametrize("alias", ATTESTED)
def test_attestations_that_cosign_accepted_are_allowed_under_their_exact_name(alias: str) -> None:
    decision = _judge_attested(HERE / "attest-accepted", "127.0.0.1:5977/attest/accepted:1.0", alias, NameRule.EXACT)
    assert decision.verdict is Verdict.ALLOW
    other = [("bundle", "other-predicate")] * 2
    assert _by_format(decision) == [
        ("bundle", "attested"),
        *other,
        ("dsse", "attested"),
        *[("dsse", c) for _, c in other],
    ]


@pytest.mark.parametrize("alias", ATTESTED)
def test_attestations_of_cosign_are_allowed_for_their_repository(alias: str) -> None:
    decision = _judge_attested(HERE / "attest-cosign3", "127.0.0.1:5977/attest/cosign3:1.0", alias, NameRule.REPOSITORY)
    assert decision.verdict is Verdict.ALLOW
    assert [f for f, code in _by_format(decision) if code == "attested"] == ["bundle", "dsse"]


def test_attestations_of_cosign_are_denied_under_exact_for_want_of_a_tag() -> None:
    decision = _judge_attested(HERE / "attest-cosign3", "127.0.0.1:5977/attest/cosign3:1.0", "vuln", NameRule.EXACT)
    assert decision.verdict is Verdict.DENY
    assert {code for _, code in _by_format(decision)} == {"name-without-tag", "other-predicate"}


@pytest.mark.parametrize("directory", ["attest-cosign3", "attest-accepted"])
def test_attestations_are_no_signatures_and_no_other_type(directory: str) -> None:
    name = f"127.0.0.1:5977/{directory.replace('-', '/')}:1.0"
    assert set(_codes(_judge(HERE / directory, name, NameRule.UNSAFE_ANY)).values()) == {"not-a-signature"}
    decision = _judge_attested(HERE / directory, name, "spdx", NameRule.UNSAFE_ANY)
    assert {code for _, code in _by_format(decision)} == {"other-predicate"}


def test_attestations_of_cosign_do_not_verify_with_another_key() -> None:
    other = HERE / "attest-accepted" / "key.pub"
    name = "127.0.0.1:5977/attest/cosign3:1.0"
    decision = _judge_attested(HERE / "attest-cosign3", name, "vuln", NameRule.REPOSITORY, other)
    assert {code for _, code in _by_format(decision)} == {"untrusted-signer"}
