"""``imgsign admission review``: a saved review or a plain object, and what the webhook would say."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from imgsign.cli import main
from tests.admission.cluster import D
from tests.admission.objects import UID, make, pod_spec, review, to_bytes

POLICY = """
version = 1
default = "reject"
[scopes."registry.test/open"]
require = [{ unsafe-accept-unsigned = true }]
[anchors.release]
keys = ["key.pub"]
[scopes."registry.test"]
require = [{ signed-by = "release" }]
"""
OPEN = f"registry.test/open/app:1@{D}"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Types ``imgsign admission review`` in a directory with a policy, offline."""
    monkeypatch.chdir(tmp_path)
    keys = Path(__file__).resolve().parents[2] / "keys-test"
    Path("key.pub").write_bytes((keys / "release-a.pub").read_bytes())
    Path("policy.toml").write_text(POLICY)

    def run(document: object, *options: str, raw: bytes | None = None) -> tuple[int, str, str]:
        Path("file").write_bytes(to_bytes(document) if raw is None else raw)
        given = options if "--settings" in options else ("--policy", "policy.toml", *options)
        code = main(["admission", "review", "file", "--offline", *given])
        return code, *capsys.readouterr()

    return run


def test_an_allowed_pod_is_one_line_a_gate(run: Run) -> None:
    assert run(make("Pod", pod_spec([OPEN, OPEN]))) == (
        0,
        "mutate: 0 of 2 images pinned\nvalidate: allowed: Pod shop/web, 2 images judged\n",
        "",
    )


def test_a_denied_pod_says_why_and_exits_1(run: Run) -> None:
    code, out, err = run(make("Pod", pod_spec(["elsewhere.example/app:1"])))
    assert (code, err) == (1, "")
    assert out == (
        "mutate: denied\n"
        "image elsewhere.example/app:1 (container c0) is denied: "
        "reject: no scope of the policy covers it, and the default rejects [no-scope]\n"
        "  Pod shop/web, policy policy.toml, scope (default)\n"
        "hint: add a scope for it to the policy\n"
    )


def test_what_needs_a_request_is_undecided_offline_and_exits_3(run: Run) -> None:
    code, out, _ = run(make("Pod", pod_spec([f"registry.test/app:1@{D}"])))
    assert code == 3
    assert "could not be judged: needs a request, and --offline allows none [offline]" in out


def test_a_template_that_needs_a_request_is_warned_about(run: Run) -> None:
    code, out, err = run(make("Deployment", pod_spec(["registry.test/app:1"])))
    assert code == 0
    assert "validate: allowed with warnings: Deployment shop/web, 1 image judged\n" in out
    assert err == (
        "warning: imgsign: not judged: registry.test/app:1: needs a request, and --offline allows none [offline]\n"
    )


def test_a_saved_review_is_answered_as_the_webhook_would(run: Run) -> None:
    old = make("Pod", pod_spec([OPEN]))
    code, out, _ = run(review("Pod", old, old=old), "--gate", "validate", "--output", "json")
    assert code == 0
    assert json.loads(out) == {
        "format": 1,
        "validate": {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": {
                "uid": UID,
                "allowed": True,
                "auditAnnotations": {"verdict": "allowed", "unchanged": "c0"},
            },
        },
    }


@pytest.mark.parametrize("form", ["pod", "review"])
def test_yaml_is_read_as_json_is(run: Run, form: str) -> None:
    pod = make("Pod", pod_spec(["registry.test/x/shut"], [OPEN]))
    document = pod if form == "pod" else review("Pod", pod)
    assert run(None, raw=yaml.safe_dump(document).encode()) == run(document)


def test_standard_input_is_read(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(make("Pod", pod_spec([OPEN])))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("file").read_bytes())))
    assert main(["admission", "review", "-", "--offline", "--policy", "policy.toml"]) == 0
    assert "validate: allowed" in capsys.readouterr().out


def test_settings_choose_policy_and_mode_by_namespace(run: Run) -> None:
    Path("settings.toml").write_text(
        'version = 1\npolicy = "policy.toml"\n'
        '[namespaces.soft]\nmode = "warn"\n[namespaces.kube-system]\nexempt = true\n'
    )
    bad = make("Pod", pod_spec(["elsewhere.example/app:1"]))
    del bad["metadata"]["namespace"]
    assert run(bad, "--settings", "settings.toml")[0] == 1
    code, out, err = run(bad, "--settings", "settings.toml", "--namespace", "soft")
    assert (code, err.partition(": ")[0]) == (0, "warning")
    assert "validate: allowed with warnings: Pod soft/web" in out
    assert (
        "validate: allowed, the namespace is exempt: Pod kube-system/web"
        in run(bad, "--settings", "settings.toml", "-n", "kube-system")[1]
    )


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"a: 1\na: 2\n", "error: 'file': not YAML: a key twice, or one that is not text at line 1\n"),
        (b"a: [\n", "error: 'file': not YAML: "),
        (b"kind: Pod\n---\nkind: Pod\n", "error: 'file': 2 documents, where one object is asked for\n"),
        (b"", "error: 'file': 0 documents, where one object is asked for\n"),
        (b"text", "error: 'file': neither an AdmissionReview nor an object of Kubernetes\n"),
        (b'{"a":1,"a":2}', "error: 'file': duplicate key 'a'\n"),
        (b"apiVersion: v1\nkind: Secret\n", "error: 'file': the webhook judges nothing of kind 'Secret'\n"),
        (b"!!python/object/apply:os.system ['true']", "error: 'file': not YAML: "),
        (b"\xff\xfe\x00", "error: 'file': not YAML: cannot be read\n"),
    ],
)
def test_a_file_that_is_no_object_is_refused(run: Run, raw: bytes, message: str) -> None:
    code, out, err = run(None, raw=raw)
    assert (code, out) == (3, "")
    assert err.startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--gate", "all"), "error: unknown gate 'all'"),
        (("--output", "xml"), "error: unknown output 'xml'"),
        (("--namespace", "other"), "error: the object is of namespace 'shop', not 'other'"),
        (("--policy", "none.toml"), "error: cannot read 'none.toml'"),
    ],
)
def test_options_that_make_no_sense_are_refused(run: Run, options: tuple[str, ...], message: str) -> None:
    code, out, err = run(make("Pod", pod_spec([OPEN])), *options)
    assert code in (2, 3)
    assert out == ""
    assert err.startswith(message)
