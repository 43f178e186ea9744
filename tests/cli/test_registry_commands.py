"""Commands against a simulated registry: what reaches the terminal of what a registry says, and deadlines."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from requests.adapters import HTTPAdapter

from imgsign.cli import COMMANDS, main
from imgsign.oci import OCI_INDEX, Descriptor
from imgsign.reference import Digest, Reference
from imgsign.signing import sign
from tests.answers import Answer, error_answer
from tests.conftest import ROOT
from tests.signing_keys import signer
from tests.simulator import Simulator
from tests.test_attacks import bundle_over, statement

NAME = "registry.test/app:1"
KEYS = ROOT / "keys-test"
EVIL = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe\r\nallowed registry.test/app:1\x9b31m"
Run = Callable[..., tuple[int, str, str]]

LINES = {
    "sign": "sign NAME -k KEYS/release-a.key",
    "attest": "attest NAME --type https://example.com/x --predicate predicate -k KEYS/release-a.key",
    "verify": "verify NAME -k KEYS/release-a.pub",
    "verify many": "verify NAME NAME -k KEYS/release-a.pub",
    "verify json": "verify NAME -k KEYS/release-a.pub -o json",
    "verify mirrored": "verify NAME -k KEYS/release-a.pub --mirror mirror.test/hub",
    "check": "check pod.yaml -k KEYS/release-a.pub",
    "check github": "check pod.yaml -k KEYS/release-a.pub -o github",
    "pull": "pull NAME oci:layout -k KEYS/release-a.pub",
    "copy": "copy NAME oci:copied -k KEYS/release-a.pub",
    "copy to a registry": "copy NAME registry.test/other:1",
    "clean": "clean NAME -k KEYS/release-a.pub --yes",
    "audit": "audit NAME -k KEYS/release-a.pub",
    "audit jsonl": "audit NAME -k KEYS/release-a.pub -o jsonl --html report.html",
    "audit tags": "audit registry.test/app -k KEYS/release-a.pub",
    "audit catalog": "audit registry.test/ -k KEYS/release-a.pub",
    "tree": "tree NAME",
    "inspect": "inspect NAME",
    "inspect predicate": "inspect NAME --predicate spdx -k KEYS/release-a.pub",
    "attach": "attach NAME --signature signature --payload payload -k KEYS/release-a.pub",
    "login": "login registry.test -u alice --password-stdin",
    "doctor": "doctor NAME",
    "doctor mirrored": "doctor NAME --mirror mirror.test/hub",
    "doctor json": "doctor NAME -o json",
    "admission": "admission review pod.json --policy policy.toml",
    "evidence": "evidence save NAME ev --policy policy.toml",
    "policy explain": "policy explain NAME --policy policy.toml",
    "policy advance": "policy advance policy.toml NAME",
    "policy diff": "policy diff policy.toml policy.toml --against list",
}
OFFLINE = {"completion", "demo", "key", "logout"}


@pytest.fixture
def sim() -> Simulator:
    found = Simulator()
    found.put_image("app", tag="1")
    return found


@pytest.fixture
def run(sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line whose network is the simulator."""

    def send(self: HTTPAdapter, request: requests.PreparedRequest, **more: object) -> requests.Response:
        return sim.send(request)

    monkeypatch.setattr(HTTPAdapter, "send", send)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMGSIGN_PASSWORD", "test")
    for name in ("signature", "payload"):
        Path(name).write_bytes(b"c2lnbmVk")
    Path("pod.yaml").write_text(f'{{apiVersion: v1, kind: Pod, spec: {{containers: [{{image: "{NAME}"}}]}}}}')
    spec = {"containers": [{"name": "a", "image": NAME}]}
    Path("pod.json").write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", "spec": spec}))
    Path("predicate").write_bytes(b"{}")
    Path("policy.toml").write_text(
        f'version = 1\ndefault = "reject"\n[anchors.a]\nkeys = ["{KEYS}/release-a.pub"]\n'
        '[scopes."registry.test"]\nrequire = [{ signed-by = "a" }]\n'
    )
    Path("list").write_text(f"{NAME}\n")

    def call(line: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"password\n")))
        code = main(shlex.split(line.replace("NAME", NAME).replace("KEYS", str(KEYS))))
        return code, *capsys.readouterr()

    return call


def check_clean(*texts: str) -> None:
    """Only line breaks of ours, no other control or format character."""
    for text in texts:
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
        assert not re.search(r"^allowed ", text, re.MULTILINE)


def test_every_command_that_asks_a_registry_is_covered() -> None:
    assert {line.split()[0] for line in LINES.values()} | OFFLINE == set(COMMANDS)


@pytest.mark.parametrize("status", [400, 403, 404])
@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_escape_sequences_in_errors_do_not_reach_the_terminal(run: Run, sim: Simulator, line: str, status: int) -> None:
    sim.respond(".", lambda s: error_answer(status, f"DENIED{EVIL}", EVIL))
    code, out, err = run(line)
    assert code in (2, 3)
    check_clean(out, err)
    assert "\\x1b]0;owned\\x07\\x1b[2J\\u202egnp.exe\\x0d\\x0aallowed" in (out + err).replace("\\\\", "\\")


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_escape_sequences_in_headers_do_not_reach_the_terminal(run: Run, sim: Simulator, line: str) -> None:
    evil = EVIL.replace("\r\n", "")
    headers = (("WWW-Authenticate", f'{evil} realm="{evil}"'), ("Content-Type", evil), ("Date", evil))
    sim.respond(".", lambda s: Answer(status=401, headers=headers))
    code, out, err = run(line)
    assert code in (2, 3)
    check_clean(out, err)


@pytest.mark.parametrize("member", ["artifactType", "mediaType", "annotation", "platform"])
@pytest.mark.parametrize(
    "line", ["tree NAME", "tree NAME -o json", "inspect NAME", "verify NAME -k KEYS/release-a.pub"]
)
def test_escape_sequences_in_listings_do_not_reach_the_terminal(
    run: Run, sim: Simulator, line: str, member: str
) -> None:
    image = sim.put_image("app", tag="1")
    entry = Descriptor(media_type="application/vnd.oci.image.manifest.v1+json", digest=Digest.of(b"x"), size=1)
    listed: dict[str, object] = {**entry.to_json(), "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json"}
    if member == "annotation":
        listed["annotations"] = {"dev.sigstore.bundle.predicateType": EVIL, EVIL: EVIL}
    elif member == "platform":
        listed["platform"] = {"os": EVIL, "architecture": EVIL}
    else:
        listed[member] = EVIL
    sim.list_for("app", image.digest, listed)
    code, out, err = run(line)
    assert code in (0, 1, 3)
    check_clean(out, err)


@pytest.mark.parametrize("line", ["inspect NAME", "inspect NAME -o json", "verify NAME -k KEYS/release-a.pub"])
def test_escape_sequences_in_unverified_statements_do_not_reach_the_terminal(
    run: Run, sim: Simulator, line: str
) -> None:
    image = sim.put_image("app", tag="1")
    subject: dict[str, object] = {"name": EVIL, "digest": {"sha256": image.digest.hex}, "annotations": {EVIL: EVIL}}
    bundle_over(sim, image, statement(subject))
    bundle_over(sim, image, statement(subject, predicate_type=EVIL), key="other")
    code, out, err = run(line)
    assert code in (0, 1)
    check_clean(out, err)


def test_escape_sequences_in_a_platform_of_an_index_do_not_reach_the_terminal(run: Run, sim: Simulator) -> None:
    image = sim.put_image("app")
    child = {**image.descriptor.to_json(), "platform": {"os": EVIL, "architecture": "amd64"}}
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]}).encode()
    sim.put_manifest("app", raw, OCI_INDEX, tag="1")
    for line in (
        "tree NAME",
        "sign NAME -k KEYS/release-a.key",
        "pull NAME docker-archive:x.tar -k KEYS/release-a.pub",
    ):
        _, out, err = run(line)
        check_clean(out, err)


# Deadlines


@pytest.mark.parametrize("line", [LINES[c] for c in ("sign", "verify", "check", "pull", "inspect", "tree", "doctor")])
def test_a_command_ends_at_its_deadline_and_says_so(run: Run, sim: Simulator, line: str) -> None:
    sim.fail(".", 503, Retry_After="50")
    began = time.monotonic()
    code, out, err = run(f"{line} --timeout 40s")
    assert time.monotonic() - began < 40  # it does not begin to wait for what comes too late
    assert code == 3
    assert "asks to wait 50 s, tried once until the deadline" in out + err


def test_the_deadline_is_one_for_all_images_of_a_command(run: Run, sim: Simulator) -> None:
    sim.fail(".", 503, Retry_After="50")
    began = time.monotonic()
    assert run("verify " + "NAME " * 50 + "-k KEYS/release-a.pub --timeout 40s")[0] == 3
    assert time.monotonic() - began < 40


def test_the_environment_sets_the_deadline_too(run: Run, sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMGSIGN_TIMEOUT", "40s")
    sim.fail(".", 503, Retry_After="50")
    assert "until the deadline" in run(LINES["verify"])[2]


@pytest.mark.parametrize("text", ["0s", "5", "soon", "-1m", "1h30m"])
def test_a_deadline_that_is_no_duration_is_a_usage_error(run: Run, sim: Simulator, text: str) -> None:
    code, out, err = run(f"verify NAME -k KEYS/release-a.pub --timeout={text}")
    assert (code, out) == (2, "")
    assert err == f"error: --timeout: not a duration like '90d': '{text}'\nhint: a number and a unit: 30s, 5m, 1h\n"
    assert sim.requests_seen == []


def test_a_verdict_within_the_deadline_is_what_it_was_without(run: Run, sim: Simulator) -> None:
    reference = Reference.parse(NAME)
    sign([reference], signer("release"), locate=lambda r: sim.store(r.path))
    assert run("verify NAME -k KEYS/release-a.pub --timeout 30s")[0] == 1


# doctor


def test_doctor_exits_3_where_something_needed_is_broken(run: Run, sim: Simulator) -> None:
    assert run("doctor NAME")[0] == 0
    sim.fail("/manifests/1$", 403)
    code, out, err = run("doctor NAME")
    assert (code, err) == (3, "")
    assert "! pull         registry.test answered 403 to GET manifest 1 of app" in out


def test_doctor_prints_json(run: Run, sim: Simulator) -> None:
    code, out, _ = run("doctor NAME -o json")
    assert code == 0
    assert json.loads(out)["healthy"] is True


def test_doctor_refuses_what_is_no_reference(run: Run) -> None:
    assert run("doctor https://registry.test/app")[0] == 2
