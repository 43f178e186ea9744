"""The policy at scale: loading a large one, finding a rule, and judging many signatures against many keys.

What each figure stands beside does the least there is to do: ``tomllib`` reads the same text, ``cryptography``
makes the same verifications with keys that are loaded already.
"""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from imgsign.claim import Candidate, Draft, Referrers
from imgsign.decision import Decision, Evidence
from imgsign.dsse import pae
from imgsign.evaluate import evaluate
from imgsign.formats import bundle
from imgsign.formats.bundle import BundleCandidate
from imgsign.intoto import PAYLOAD_TYPE
from imgsign.keys import PublicKey
from imgsign.load import load_policy
from imgsign.oci import OCI_MANIFEST, Image, Manifest
from imgsign.policy.model import Policy, Reject, Rule, SignedBy
from imgsign.reference import Digest, Reference, Repository
from imgsign.trust import Keys, TrustedKey, TrustStore
from tests.bench.measure import Row, medians, ratio

NOW = datetime(2026, 11, 24, tzinfo=UTC)
SCOPES, KEYS, ANCHORS = 10_000, 2_000, 200
LOOKUPS = 10_000
CANDIDATES, TRUSTED = 100, 20

MANIFEST = Manifest.parse(
    b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"x",'
    b'"digest":"sha256:' + b"c" * 64 + b'","size":2},"layers":[]}',
    OCI_MANIFEST,
)
NAME = Reference.parse("registry.example.com/team/app:1.0")


def policy(runs: int, base: Path | None) -> list[Row]:
    """All figures of this page."""
    return [*_loading(runs, base), _finding(), *_judging(runs)]


# Loading and finding


def _text() -> str:
    """A policy of 10,000 scopes and 2,000 keys inline, ten an anchor; requirements of the usual kinds."""
    lines = ['version = 1\ndefault = "reject"\n']
    each = KEYS // ANCHORS
    for anchor in range(ANCHORS):
        pems = [_public(anchor * each + n).to_pem().decode() for n in range(each)]
        written = ",\n".join(f'"""{pem}"""' for pem in pems)
        lines.append(f"[anchors.team-{anchor}]\nkeys = [{written}]\n")
    for n in range(SCOPES):
        more = ('threshold = 2, max-age = "90d"', 'name = "repository"', "min-sequence = 41")[n % 3]
        lines.append(
            f'[scopes."registry.example.com/team-{n % ANCHORS}/app-{n}"]\n'
            f'require = [{{ signed-by = "team-{n % ANCHORS}", {more} }}]\n'
        )
    return "\n".join(lines)


def _public(number: int) -> PublicKey:
    return PublicKey.from_crypto(ec.derive_private_key(number + 1000, ec.SECP256R1()).public_key())


def _loading(runs: int, base: Path | None) -> list[Row]:
    text = _text()
    with TemporaryDirectory(dir=base) as directory:
        file = Path(directory) / "policy.toml"
        file.write_text(text, "utf-8")
        seconds = medians({"load": lambda: load_policy(file, environ={}), "tomllib": lambda: tomllib.loads(text)}, runs)
    shown, target, met = ratio(seconds["load"] / seconds["tomllib"], at_most=1.5)
    return [
        Row(f"load {SCOPES:,} scopes and {KEYS:,} inline keys", f"{seconds['load'] * 1000:.0f} ms", shown, target, met),
        Row(f"tomllib.loads of the same {len(text) / 1e6:.1f} MB", f"{seconds['tomllib'] * 1000:.0f} ms"),
    ]


def _finding() -> Row:
    with TemporaryDirectory() as directory:
        file = Path(directory) / "policy.toml"
        file.write_text(_text(), "utf-8")
        found, _ = load_policy(file, environ={})
    asked = [Repository("registry.example.com", f"team-{n % ANCHORS}/app-{n}/deep/er") for n in range(LOOKUPS)]
    began = time.perf_counter()
    rules = [found.rule_for(repository) for repository in asked]
    took = (time.perf_counter() - began) / LOOKUPS
    if any(rule.scope is None for rule in rules):
        raise RuntimeError("a rule was not found")
    return Row(
        f"find one of {SCOPES:,} rules, from two levels below", f"{took * 1e6:.1f} µs", "", "under 20 µs", took < 20e-6
    )


# Judging


def _judging(runs: int) -> list[Row]:
    secrets = [ec.derive_private_key(n + 1, ec.SECP256R1()) for n in range(TRUSTED)]
    keys = [PublicKey.from_crypto(s.public_key()) for s in secrets]
    hinted = tuple(_candidate(secrets[n % TRUSTED], n) for n in range(CANDIDATES))
    strangers = tuple(
        replace(_candidate(ec.derive_private_key(500 + n, ec.SECP256R1()), n), key_hint=None) for n in range(CANDIDATES)
    )
    found = SignedBy(anchors=("release",), threshold=TRUSTED)
    rule = Rule(scope="*", require=(found,))
    judged = Policy(default=Rule(scope=None, require=(Reject(),)), scopes={"*": rule})
    trust = TrustStore(anchors={"release": Keys(name="release", keys=tuple(TrustedKey(key=k) for k in keys))})
    bare = [s.public_key() for s in secrets]

    def judge(candidates: tuple[Candidate, ...]) -> Decision:
        return evaluate(judged, trust, Image(name=NAME, manifest=MANIFEST), Evidence(candidates=candidates), now=NOW)

    if not judge(hinted).allowed or judge(strangers).allowed:
        raise RuntimeError("the wrong verdict is quick to find")
    return [
        *_row(
            f"{CANDIDATES} hinted bundles, {TRUSTED} keys", lambda: judge(hinted), _bare_hinted(hinted, bare), 2.0, runs
        ),
        *_row(
            f"{CANDIDATES} strangers' bundles without hints, {TRUSTED} keys",
            lambda: judge(strangers),
            _bare_all(strangers, bare),
            1.2,
            runs,
        ),
    ]


def _row(what: str, work: Callable[[], object], bare: Callable[[], int], most: float, runs: int) -> list[Row]:
    count = bare()
    seconds = medians({"ours": work, "bare": bare}, runs)
    shown, target, met = ratio(seconds["ours"] / seconds["bare"], at_most=most)
    return [
        Row(f"evaluate {what}", f"{seconds['ours'] * 1000:.1f} ms", shown, target, met),
        Row(f"{count:,} bare verifications", f"{seconds['bare'] * 1000:.1f} ms"),
    ]


def _candidate(secret: ec.EllipticCurvePrivateKey, number: int) -> BundleCandidate:
    """A real bundle, at a place of its own."""
    key = PublicKey.from_crypto(secret.public_key())
    (unsigned,) = bundle.FORMAT.draft(MANIFEST.descriptor, Draft(names=(NAME,), signed_at=NOW, sequence=number), key)
    signature = secret.sign(unsigned.message, ec.ECDSA(hashes.SHA256()))
    made = bundle.FORMAT.attach(unsigned, signature, previous=None)
    (found,) = bundle.FORMAT.read(made, Referrers(), MANIFEST.digest)
    if not isinstance(found, BundleCandidate):
        raise RuntimeError(found)
    return replace(found, place=Referrers(Digest.of(b"%d" % number)))


def _bare_hinted(candidates: tuple[BundleCandidate, ...], keys: list[ec.EllipticCurvePublicKey]) -> Callable[[], int]:
    pairs = [(c.envelope.signature, pae(PAYLOAD_TYPE, c.envelope.payload)) for c in candidates]

    def work() -> int:
        for n, (signature, message) in enumerate(pairs):
            keys[n % len(keys)].verify(signature, message, ec.ECDSA(hashes.SHA256()))
        return len(pairs)

    return work


def _bare_all(candidates: tuple[BundleCandidate, ...], keys: list[ec.EllipticCurvePublicKey]) -> Callable[[], int]:
    pairs = [(c.envelope.signature, pae(PAYLOAD_TYPE, c.envelope.payload)) for c in candidates]

    def work() -> int:
        for signature, message in pairs:
            for key in keys:
                try:
                    key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
                except InvalidSignature:
                    continue
                raise RuntimeError("a stranger's signature verifies")
        return len(pairs) * len(keys)

    return work
