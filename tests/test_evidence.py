"""Saved evidence: it gives the decision it was saved with, byte by byte, and nothing that was tampered with is read."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import imgsign.evidence
from imgsign.cli import main
from imgsign.cli.render import decision_json
from imgsign.decision import Decision
from imgsign.demo import make_image
from imgsign.errors import DestinationError, InvalidEvidence, NotFound, Unavailable
from imgsign.evidence import Saved, collect, difference, replay
from imgsign.evidence_files import load, save
from imgsign.intoto import COSIGN_SIGN
from imgsign.oci import Artifact, Blob, Descriptor, Manifest
from imgsign.policy.model import Attested, Policy, Reject, Requirement, Rule, SignedBy, UnsafeAcceptUnsigned
from imgsign.predicates import BY_URI
from imgsign.reference import Digest, Reference
from imgsign.resolve import Target
from imgsign.stores import Edit, Piece, Room
from imgsign.trust import Keys, TrustedKey, TrustStore
from imgsign.workflow import verify
from tests.answers import error_answer
from tests.artifacts import (
    IMAGE,
    NOW,
    ed25519,
    payload,
    public,
    referrer,
    sha256,
    sig_manifest,
    sign_payload,
    sign_statement,
    statement,
    subject,
)
from tests.conftest import ROOT
from tests.simulator import Simulator

NAME = "r.example/app:1"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
VULN = "https://cosign.sigstore.dev/attestation/vuln/v1"
EVERYTHING = frozenset((COSIGN_SIGN, *BY_URI))
FULL = 12 if "IMGSIGN_E2E" in os.environ else 1


@dataclass
class Shelf:
    """A store of the image and what is attached to it; ``broken`` addresses answer with a failure."""

    manifests: dict[str, Manifest] = field(default_factory=lambda: {"1": IMAGE, str(IMAGE.digest): IMAGE})
    blobs: dict[str, bytes] = field(default_factory=dict)
    listed: list[Descriptor] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)

    def attach(self, *raw: bytes) -> str:
        """Attach bundles as one referrer; returns its digest."""
        manifest = referrer(*raw)
        self.manifests[str(manifest.digest)] = manifest
        self.blobs.update((sha256(r), r) for r in raw)
        self.listed.append(manifest.descriptor)
        return str(manifest.digest)

    def tag(self, *layers: tuple[bytes, dict[str, str]]) -> None:
        """Put simple signatures at the tag for them."""
        self.manifests[f"{IMAGE.digest.tag}.sig"] = sig_manifest(*layers)
        self.blobs.update((sha256(raw), raw) for raw, _ in layers)

    def _check(self, address: str) -> None:
        if address in self.broken:
            raise Unavailable("answers 503", status=503)

    def fetch(self, what: str | Digest) -> Manifest:
        self._check(str(what))
        if str(what) not in self.manifests:
            raise NotFound(f"{what} is not there")
        return self.manifests[str(what)]

    def blob(self, descriptor: Descriptor, *, limit: int) -> Blob:
        self._check(str(descriptor.digest))
        if str(descriptor.digest) not in self.blobs:
            raise NotFound(f"blob {descriptor.digest} is not there")
        return Blob.checked(descriptor, self.blobs[str(descriptor.digest)])

    def referrers(self, subject: Digest) -> Iterator[Descriptor]:
        yield from self.listed
        self._check("referrers")

    def stream(self, descriptor: Descriptor, *, start: int = 0, room: Room | None = None) -> Iterator[Piece]:
        raise NotImplementedError

    def has(self, descriptor: Descriptor) -> bool:
        raise NotImplementedError

    def push(self, artifact: Artifact, *, tag: str | None = None) -> Descriptor:
        raise NotImplementedError

    def rewrite(self, tag: str, edit: Edit) -> Descriptor:
        raise NotImplementedError

    def target(self, name: str | None = NAME) -> Target:
        named = None if name is None else Reference.parse(name)
        return Target(name=named, store=self, what="1", place="r.example/app")


def bundle(signer: int, name: str | None = NAME, kind: str = COSIGN_SIGN) -> bytes:
    return sign_statement(ed25519(signer), statement(subject(name), predicate_type=kind))


def rules(*require: Requirement, **more: object) -> Policy:
    sources = dict.fromkeys(("a", "b"), ())
    return Policy(
        default=Rule(scope=None, require=(Reject(),)),
        scopes={"r.example": Rule(scope="r.example", require=require)},
        anchors=sources,
        **more,  # type: ignore[arg-type]  # the tests spell them right
    )


def key(number: int, **validity: object) -> TrustedKey:
    return TrustedKey(key=public(ed25519(number)), **validity)  # type: ignore[arg-type]  # the tests spell them right


TRUST = TrustStore(
    anchors={
        "a": Keys(name="a", keys=(key(1), key(2, not_after=NOW + timedelta(days=30)))),
        "b": Keys(name="b", keys=(key(3),)),
    }
)


def with_sources(policy: Policy, trust: TrustStore = TRUST) -> Policy:
    """The policy as a file would have made it: each key with its source."""
    from imgsign.policy.model import KeySource

    anchors = {
        name: tuple(
            KeySource(
                text=k.key.to_pem().decode(),
                path=f"anchors.{name}.keys[{i}].key",
                not_before=k.not_before,
                not_after=k.not_after,
            )
            for i, k in enumerate(anchor.keys)
        )
        for name, anchor in trust.anchors.items()
    }
    return replace(policy, anchors=anchors)


def shown(reference: str, decision: Decision, trust: TrustStore) -> bytes:
    return json.dumps(decision_json(reference, decision, trust), indent=2).encode()


def round_trip(saved: Saved, at: Path) -> Saved:
    save(saved, at)
    return load(at)


SIGNED_A = SignedBy(anchors=("a",))
RULES: tuple[tuple[Requirement, ...], ...] = (
    (SIGNED_A,),
    (SignedBy(anchors=("a", "b"), threshold=2, max_age=timedelta(days=90)),),
    (SIGNED_A, Attested(anchors=("b",), types=("vuln",), uris=frozenset((VULN,)))),
    (SignedBy(anchors=("a",), formats=("simple",)),),
    (UnsafeAcceptUnsigned(),),
    (Reject(),),
)

items = st.one_of(
    st.tuples(st.just("bundle"), st.integers(1, 4), st.sampled_from((NAME, "r.example/app:2", None))),
    st.tuples(st.just("vuln"), st.integers(1, 4), st.just(NAME)),
    st.tuples(st.just("simple"), st.integers(1, 4), st.sampled_from((NAME, "r.example/other:1"))),
    st.tuples(st.sampled_from(("junk", "dangling", "gone", "broken")), st.integers(1, 4), st.just(NAME)),
    st.tuples(st.just("listing fails"), st.just(0), st.just(NAME)),
)


def fill(plan: list[tuple[str, int, str | None]]) -> Shelf:
    shelf = Shelf()
    layers: list[tuple[bytes, dict[str, str]]] = []
    for i, (what, signer, name) in enumerate(plan):
        match what:
            case "bundle":
                shelf.attach(bundle(signer, name))
            case "vuln":
                shelf.attach(bundle(signer, name, VULN))
            case "simple":
                layers.append(sign_payload(ed25519(signer), payload(name or "")))
            case "junk":
                shelf.attach(b'{"junk": %d}' % i)
            case "dangling":
                del shelf.manifests[shelf.attach(b'{"dangling": %d}' % i)]
            case "gone":
                raw = bundle(signer, f"r.example/gone:{i}")
                shelf.attach(raw)
                del shelf.blobs[sha256(raw)]
            case "broken":
                raw = bundle(signer, f"r.example/broken:{i}")
                shelf.attach(raw)
                shelf.broken.add(sha256(raw))
            case _:
                shelf.broken.add("referrers")
    if layers:
        shelf.tag(*layers)
    return shelf


verdicts: Counter[str] = Counter()


def test_replay_gives_the_same_bytes_as_the_registry_did(tmp_path: Path) -> None:
    number = iter(range(1_000_000))

    @settings(max_examples=80 * FULL)
    @given(st.lists(items, max_size=12), st.sampled_from(RULES), st.sampled_from((NAME, None)))
    def check(plan: list[tuple[str, int, str | None]], require: tuple[Requirement, ...], name: str | None) -> None:
        shelf, policy = fill(plan), with_sources(rules(*require))
        target = shelf.target(name)
        online = verify(target, policy, TRUST, now=NOW)
        saved, decision = collect(target, policy, TRUST, now=NOW)
        expected = shown(str(target), online, TRUST)
        assert shown(str(target), decision, TRUST) == expected
        found = round_trip(saved, tmp_path / str(next(number)))
        assert found.policy.scopes == policy.scopes
        assert shown(found.reference, replay(found, found.policy, found.trust, now=NOW), found.trust) == expected
        assert difference(found) is None
        verdicts[saved.verdict] += 1

    check()
    total = verdicts.total()
    assert all(verdicts[v] * 20 >= total for v in ("allowed", "denied", "undecided")), verdicts


def saved_case(tmp_path: Path, *plan: tuple[str, int, str | None], require: Requirement = SIGNED_A) -> Saved:
    saved, _ = collect(fill(list(plan)).target(), with_sources(rules(require)), TRUST, now=NOW)
    return round_trip(saved, tmp_path / "ev")


def verdict_of(decision: Decision) -> str:
    return "undecided" if decision.inconclusive else decision.verdict.value


def test_many_referrers_are_judged_in_the_rounds_they_were_gathered_in(tmp_path: Path) -> None:
    shelf = Shelf()
    for i in range(100):
        shelf.attach(bundle(4, f"r.example/x:{i}"))
    shelf.attach(bundle(1))
    policy = with_sources(rules(SIGNED_A))
    saved, _ = collect(shelf.target(), policy, TRUST, now=NOW)
    found = round_trip(saved, tmp_path / "ev")
    assert list(map(len, found.rounds)) == [8, 64, 29]
    online = verify(shelf.target(), policy, TRUST, now=NOW)
    assert shown(NAME, replay(found, policy, TRUST, now=NOW), TRUST) == shown(NAME, online, TRUST)


def test_evidence_is_judged_at_the_time_that_is_given(tmp_path: Path) -> None:
    found = saved_case(tmp_path, ("bundle", 2, NAME))
    assert verdict_of(replay(found, found.policy, found.trust, now=NOW)) == "allowed"
    late = replay(found, found.policy, found.trust, now=NOW + timedelta(days=30))
    assert (verdict_of(late), [c.code for c in late.checks]) == ("denied", ["threshold", "key-expired"])


def test_another_policy_may_judge_it_but_what_was_not_gathered_is_doubt(tmp_path: Path) -> None:
    found = saved_case(tmp_path, ("bundle", 3, NAME), ("vuln", 3, NAME))
    by_b = rules(SignedBy(anchors=("b",)))
    assert verdict_of(replay(found, by_b, TRUST, now=NOW)) == "allowed"
    attested = rules(Attested(anchors=("b",), types=("openvex",), uris=frozenset(("https://openvex.dev/ns",))))
    decision = replay(found, attested, TRUST, now=NOW)
    assert verdict_of(decision) == "undecided"
    assert [f.message for f in decision.faults] == ["nothing of type openvex was gathered"]


def test_saved_under_a_policy_that_rejects_nothing_was_gathered(tmp_path: Path) -> None:
    found = saved_case(tmp_path, ("bundle", 1, NAME), require=Reject())
    assert (found.manifest, found.verdict) == (None, "denied")
    assert verdict_of(replay(found, rules(SIGNED_A), TRUST, now=NOW)) == "undecided"


def test_everything_is_saved_when_that_is_asked_for(tmp_path: Path) -> None:
    shelf = fill([("bundle", 1, NAME), ("vuln", 3, NAME)])
    saved, _ = collect(shelf.target(), with_sources(rules(Reject())), TRUST, now=NOW, everything=EVERYTHING)
    found = round_trip(saved, tmp_path / "ev")
    attested = Attested(anchors=("b",), types=("vuln",), uris=frozenset((VULN,)))
    assert verdict_of(replay(found, rules(SIGNED_A, attested), TRUST, now=NOW)) == "allowed"


def test_a_difference_between_versions_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = saved_case(tmp_path, ("bundle", 4, NAME))
    monkeypatch.setattr(imgsign.evidence, "__version__", "9.9.9")
    assert difference(found) is None
    changed = replace(found, verdict="allowed", checks=(("signed", True, "x"),))
    assert difference(changed) == (
        "imgsign 0.1.0 said allowed, imgsign 9.9.9 says denied, first at signed-by a: threshold"
    )


def test_a_policy_with_everything_in_it_survives(tmp_path: Path) -> None:
    found = saved_case(tmp_path, ("bundle", 1, NAME))
    assert [k.not_after for k in found.trust.anchors["a"].keys] == [None, NOW + timedelta(days=30)]
    assert (found.version, found.place, found.judged_at) == ("0.1.0", "r.example/app", NOW)


def test_an_existing_directory_is_left_alone(tmp_path: Path) -> None:
    found = saved_case(tmp_path, ("bundle", 1, NAME))
    (tmp_path / "empty").mkdir()
    for name in ("ev", "empty"):
        with pytest.raises(DestinationError, match="already exists"):
            save(found, tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "ev"]


def test_nothing_is_left_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = saved_case(tmp_path, ("bundle", 1, NAME))
    monkeypatch.setattr(os, "rename", _no_space)
    with pytest.raises(DestinationError, match=r"cannot write '.*/other': no space left on device"):
        save(found, tmp_path / "other")
    assert [p.name for p in tmp_path.iterdir()] == ["ev"]


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


# Tampering


def document(base: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((base / "ev/evidence.json").read_bytes())
    return found


def rewrite(base: Path, change: Callable[[dict[str, Any]], object]) -> None:
    found = document(base)
    change(found)
    (base / "ev/evidence.json").write_text(json.dumps(found))


def blob_path(base: Path) -> Path:
    first: str = document(base)["rounds"][0][0]["blobs"][0]["digest"]
    return base / "ev/blobs" / first.replace(":", "/")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format=2), "format 2 is unknown"),
        (lambda d: d.update(more=1), "unknown key 'more'"),
        (lambda d: d.pop("rounds"), "missing key 'rounds'"),
        (lambda d: d["image"].update(digest="sha256:../../../etc/passwd"), "expected 64 lower-case hex digits"),
        (lambda d: d["image"].update(digest="sha256:" + "0" * 64), "no such file"),
        (lambda d: d["image"].update(size=3), "is longer than 3 bytes"),
        (lambda d: d["image"].update(size=100_000_000), "100000000"),
        (lambda d: d["rounds"][0][0]["blobs"][0].update(size=1), "is no blob of its manifest"),
        (lambda d: d["rounds"][0][0].update(place={"tag": "a", "referrer": None}), "expected one of 'tag'"),
        (lambda d: d["policy"]["anchors"]["a"]["keys"][0].update(key="/etc/passwd"), "expected a key as PEM text"),
        (lambda d: d["policy"]["anchors"]["a"]["keys"][0].update(key="env:HOME"), "expected a key as PEM text"),
        (lambda d: d["policy"].update(default="accept"), "unknown default 'accept'"),
        (lambda d: d.update(name="not a name"), "blanks"),
        (lambda d: d["limits"].update(blob=0), "integer 0 is out of range"),
    ],
)
def test_a_document_that_was_changed_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    saved_case(tmp_path, ("bundle", 1, NAME))
    rewrite(tmp_path, change)
    with pytest.raises((InvalidEvidence, DestinationError)) as caught:
        load(tmp_path / "ev")
    assert message in str(caught.value)
    assert "ev'" in str(caught.value)


def test_a_blob_that_was_changed_is_refused(tmp_path: Path) -> None:
    saved_case(tmp_path, ("bundle", 1, NAME))
    path = blob_path(tmp_path)
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(InvalidEvidence, match="has the digest"):
        load(tmp_path / "ev")


def test_links_are_not_followed(tmp_path: Path) -> None:
    saved_case(tmp_path, ("bundle", 1, NAME))
    path = blob_path(tmp_path)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DestinationError, match="cannot read"):
        load(tmp_path / "ev")


def test_a_linked_folder_is_not_followed(tmp_path: Path) -> None:
    saved_case(tmp_path, ("bundle", 1, NAME))
    (tmp_path / "ev/blobs").rename(tmp_path / "elsewhere")
    (tmp_path / "ev/blobs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DestinationError, match="cannot read"):
        load(tmp_path / "ev")


def test_a_pipe_in_place_of_a_blob_is_refused_at_once(tmp_path: Path) -> None:
    saved_case(tmp_path, ("bundle", 1, NAME))
    path = blob_path(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InvalidEvidence, match="is not a regular file"):
        load(tmp_path / "ev")


# The commands

KEYS = ROOT / "keys-test"
REF = "registry.example/shop/app:1"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("shop")
    make_image(base / "image", "1", "hello\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMGSIGN_PASSWORD", "test")
        signing = ["sign", f"oci:{base}/image:1", "--identity", REF, "-k", str(KEYS / "release-a.key")]
        assert main(signing) == 0
    return base


@pytest.fixture
def shop(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A signed image in oci:image, a policy for it, and evidence of it in ev."""
    shutil.copytree(made, tmp_path / "shop")
    monkeypatch.chdir(tmp_path / "shop")
    assert main(["policy", "init", "registry.example/shop", "-k", str(KEYS / "release-a.pub")]) == 0
    assert main(["evidence", "save", "oci:image:1", "ev", "--identity", REF, "-p", "policy.toml"]) == 0
    return tmp_path / "shop"


def last_command(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The command that ``evidence save`` says comes next."""
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("next   imgsign ")
    return line.split()[2:]


def test_the_command_that_save_prints_gives_the_json_of_verify(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = last_command(capsys)
    assert main(["verify", "oci:image:1", "--identity", REF, "-p", "policy.toml", "-o", "json"]) == 0
    online = capsys.readouterr().out
    (shop / "image").rename(shop / "gone")
    (shop / "policy.toml").unlink()
    assert main([*again, "-o", "json"]) == 0
    out, err = capsys.readouterr()
    assert out == online
    assert err == "note: judged by the policy that was saved with the evidence\n"


def test_a_policy_of_ones_own_judges_evidence(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = last_command(capsys)
    assert main(["policy", "init", "registry.example", "-k", str(KEYS / "release-b.pub"), "--file", "mine.toml"]) == 0
    capsys.readouterr()
    assert main([*again, "--policy", "mine.toml"]) == 1
    assert capsys.readouterr().err == ""


def test_the_environment_does_not_choose_the_policy_of_evidence(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    again = last_command(capsys)
    monkeypatch.setenv("IMGSIGN_POLICY", "/does/not/exist")
    monkeypatch.setenv("IMGSIGN_AT", "2020-01-01T00:00:00Z")
    monkeypatch.setenv("IMGSIGN_EVIDENCE", "other")
    assert main(again) == 0


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (["verify", "--evidence", "ev"], "--evidence needs a time to judge at"),
        (["verify", "--at", "2026-12-01T00:00:00Z"], "--at goes with --evidence; what is at a registry is judged now"),
        (["verify", REF, "--at", "2026-12-01T00:00:00Z"], "--at goes with --evidence;"),
        (["verify", "--evidence", "ev", "--at", "yesterday"], "--at: not an RFC 3339 time: 'yesterday'"),
        (["verify", REF, "--evidence", "ev", "--at", "2026-12-01T00:00:00Z"], "--evidence goes with --at and --policy"),
        (["verify"], "no image reference was given"),
    ],
)
def test_usage(shop: Path, capsys: pytest.CaptureFixture[str], line: list[str], error: str) -> None:
    capsys.readouterr()
    assert main(line) == 2
    assert capsys.readouterr().err.startswith(f"error: {error}")


def test_evidence_holds_no_credential_header_or_query(tmp_path: Path) -> None:
    sim = Simulator()
    manifest = sim.put_image("app", tag="1")
    signature = bundle(1)
    sim.put_blob("app", signature)
    layers = [{"mediaType": BUNDLE, "digest": sha256(signature), "size": len(signature)}]
    sim.put_referrer("app", manifest.descriptor, artifactType=BUNDLE, layers=layers)
    sim.require_token(users={"alice": "hunter2"})
    sim.redirect(r"GET .*/blobs/", "https://blobs.test/x?signature=hunter3")
    sim.site("blobs.test", lambda seen: error_answer(403, "DENIED", f"hunter4 {seen.authorization}"))
    sim.respond(r"/manifests/sha256-", lambda seen: error_answer(403, "DENIED", f"{seen.authorization} of hunter2"))
    login = base64.b64encode(b"alice:hunter2").decode()
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {sim.host: {"auth": login}}}))
    store = sim.store("app", sim.transport(environ={"DOCKER_CONFIG": str(tmp_path)}))
    target = Target(name=Reference.parse("r.example/app:1"), store=store, what="1", place="registry.test/app")
    saved, decision = collect(target, with_sources(rules(SIGNED_A)), TRUST, now=NOW)
    save(saved, tmp_path / "ev")
    raw = (tmp_path / "ev/evidence.json").read_text()
    assert len(decision.faults) == 3  # the tag, the listing, the blob
    secrets = ("hunter2", "hunter3", login, *(s.authorization.split()[1] for s in sim.requests_seen if s.authorization))
    assert len(set(secrets)) >= 4
    assert [secret for secret in secrets if secret in raw] == []
    assert "signature=" not in raw
