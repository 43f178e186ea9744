"""The printed objects: what Kubernetes' models say of them, and each choice that security rests on."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from imgsign.admission.manifests import Options, Parts, SelfMade, manifests
from imgsign.admission.manifests.deployment import arguments
from imgsign.admission.manifests.text import block, quoted
from imgsign.cli import main
from imgsign.errors import InvalidReference, UsageError
from tests.admission.models import problems

ROOT = Path(__file__).resolve().parent.parent.parent
IMAGE = "registry.example.com/imgsign@sha256:" + "a" * 64
PARTS = Parts(settings='version = 1\npolicy = "policy.toml"\n', policies={"policy.toml": "version = 1\n"})
MADE = SelfMade(authority="CA\n", certificate="LEAF\n", key="KEY\n")
MODELS = {
    "Namespace": "V1Namespace",
    "ServiceAccount": "V1ServiceAccount",
    "Role": "V1Role",
    "RoleBinding": "V1RoleBinding",
    "PriorityClass": "V1PriorityClass",
    "ConfigMap": "V1ConfigMap",
    "Deployment": "V1Deployment",
    "PodDisruptionBudget": "V1PodDisruptionBudget",
    "HorizontalPodAutoscaler": "V2HorizontalPodAutoscaler",
    "Service": "V1Service",
    "NetworkPolicy": "V1NetworkPolicy",
    "Secret": "V1Secret",
    "MutatingWebhookConfiguration": "V1MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration": "V1ValidatingWebhookConfiguration",
}
Document = Any  # a YAML document


def printed(parts: Parts = PARTS, **chosen: Any) -> dict[tuple[str, str], Document]:
    """All documents by kind and name."""
    documents = list(yaml.safe_load_all(manifests(Options(image=IMAGE, **chosen), parts)))
    places = {(d["kind"], d["metadata"]["name"], d["metadata"].get("namespace")) for d in documents}
    assert len(places) == len(documents)
    return {(d["kind"], d["metadata"]["name"]): d for d in documents}


def webhook(kind: str, **chosen: Any) -> Document:
    (found,) = printed(**chosen)[f"{kind}WebhookConfiguration", "imgsign"]["webhooks"]
    return found


def pod(**chosen: Any) -> Document:
    return printed(**chosen)["Deployment", "imgsign"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("made", [None, MADE])
@pytest.mark.parametrize("chosen", [{}, {"pull_secrets": ("shop", "1e3"), "mutate_workloads": True, "exempt": ("no",)}])
def test_every_object_fits_kubernetes_own_models(made: SelfMade | None, chosen: dict[str, Any]) -> None:
    parts = Parts(settings=PARTS.settings, policies=PARTS.policies, self_made=made)
    for (kind, _), document in printed(parts, **chosen).items():
        if kind in ("Certificate", "Issuer"):  # cert-manager's own
            assert document["apiVersion"] == "cert-manager.io/v1"
        else:
            assert problems(document, MODELS[kind]) == [], kind


def test_the_schema_notices_a_misspelt_member() -> None:
    document = printed()["Deployment", "imgsign"]
    document["spec"]["template"]["spec"]["hostNetwrk"] = True
    assert problems(document, "V1Deployment")[:1] == ["$.spec.template.spec: unknown member 'hostNetwrk'"]


RULES = [
    ([""], ["pods"], ["CREATE", "UPDATE"]),
    ([""], ["pods/ephemeralcontainers"], ["UPDATE"]),
    ([""], ["replicationcontrollers", "podtemplates"], ["CREATE", "UPDATE"]),
    (["apps"], ["deployments", "statefulsets", "daemonsets", "replicasets"], ["CREATE", "UPDATE"]),
    (["batch"], ["jobs", "cronjobs"], ["CREATE", "UPDATE"]),
]


def rules_of(found: Document) -> list[tuple[list[str], list[str], list[str]]]:
    assert all((r["apiVersions"], r["scope"]) == (["v1"], "Namespaced") for r in found["rules"])
    return [(r["apiGroups"], r["resources"], r["operations"]) for r in found["rules"]]


def test_validate_is_asked_wherever_an_image_can_come_in_and_nowhere_else() -> None:
    assert rules_of(webhook("Validating")) == RULES


def test_mutate_is_asked_about_pods_alone() -> None:
    assert rules_of(webhook("Mutating")) == RULES[:2]


def test_mutate_is_asked_about_templates_where_that_was_opted_in_to() -> None:
    assert rules_of(webhook("Mutating", mutate_workloads=True)) == RULES


@pytest.mark.parametrize(("kind", "path"), [("Validating", "/validate"), ("Mutating", "/mutate")])
def test_both_webhooks_fail_closed(kind: str, path: str) -> None:
    found = webhook(kind, exempt=("cert-manager",))
    assert found["failurePolicy"] == "Fail"
    assert found["matchPolicy"] == "Equivalent"
    assert found["sideEffects"] == "None"
    assert found["admissionReviewVersions"] == ["v1"]
    assert found["timeoutSeconds"] == 10
    assert found["clientConfig"]["service"] == {
        "namespace": "imgsign", "name": "imgsign", "path": path, "port": 443,
    }  # fmt: skip
    assert "objectSelector" not in found
    assert found["namespaceSelector"] == {
        "matchExpressions": [
            {
                "key": "kubernetes.io/metadata.name",
                "operator": "NotIn",
                "values": ["imgsign", "kube-system", "cert-manager"],
            }
        ]
    }


def test_a_sidecar_of_a_later_webhook_is_pinned_too() -> None:
    assert webhook("Mutating")["reinvocationPolicy"] == "IfNeeded"
    assert "reinvocationPolicy" not in webhook("Validating")


def test_only_what_leaves_the_spec_alone_is_not_asked_about() -> None:
    (condition,) = webhook("Validating")["matchConditions"]
    assert condition["expression"] == (
        'request.operation == "CREATE" || !has(object.spec) || object.spec != oldObject.spec'
    )


def test_the_pod_meets_the_restricted_profile() -> None:
    found = pod()
    assert found["securityContext"]["runAsNonRoot"] is True
    assert found["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = found["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert found["automountServiceAccountToken"] is False
    assert printed()["Namespace", "imgsign"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_memory_is_bounded_and_cpu_is_not_throttled() -> None:
    resources = pod()["containers"][0]["resources"]
    assert resources["limits"] == {"memory": resources["requests"]["memory"]}


def test_the_kubelet_waits_longer_than_a_drain_and_the_reviews_under_way() -> None:
    assert pod(timeout=30)["terminationGracePeriodSeconds"] == 20 + 30 + 15
    assert "--drain=20s" in pod()["containers"][0]["args"]


def test_without_pull_secrets_nothing_may_be_read() -> None:
    kinds = {kind for kind, _ in printed()}
    assert not kinds & {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}


def test_pull_secrets_may_be_read_in_the_named_namespaces_only() -> None:
    documents = list(yaml.safe_load_all(manifests(Options(image=IMAGE, pull_secrets=("a", "b")), PARTS)))
    roles = [d for d in documents if d["kind"] == "Role"]
    assert [d["metadata"]["namespace"] for d in roles] == ["a", "b"]
    assert all(d["rules"] == [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}] for d in roles)
    assert not [d for d in documents if d["kind"].startswith("ClusterRole")]
    assert "--pull-secrets" in pod(pull_secrets=("a",))["containers"][0]["args"]
    assert pod(pull_secrets=("a",))["automountServiceAccountToken"] is True


def test_the_metadata_service_is_out_of_reach() -> None:
    egress = printed()["NetworkPolicy", "imgsign"]["spec"]["egress"]
    blocks = [to["ipBlock"] for rule in egress for to in rule.get("to", ())]
    assert blocks == [
        {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]},
        {"cidr": "::/0", "except": ["fe80::/10", "fd00:ec2::254/128"]},
    ]


def test_the_webhooks_come_last() -> None:
    kinds = [d["kind"] for d in yaml.safe_load_all(manifests(Options(image=IMAGE), PARTS))]
    assert kinds[-2:] == ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"]
    assert kinds[0] == "Namespace"


def test_cert_manager_signs_for_the_name_the_api_server_asks_for() -> None:
    found = printed(namespace="gate")
    assert found["Certificate", "imgsign"]["spec"]["dnsNames"] == [
        "imgsign.gate.svc",
        "imgsign.gate.svc.cluster.local",
    ]
    for kind in ("Validating", "Mutating"):
        annotations = found[f"{kind}WebhookConfiguration", "imgsign"]["metadata"]["annotations"]
        assert annotations == {"cert-manager.io/inject-ca-from": "gate/imgsign"}


def test_a_certificate_made_here_is_in_the_secret_and_its_authority_in_both_webhooks() -> None:
    found = printed(Parts(settings=PARTS.settings, policies=PARTS.policies, self_made=MADE))
    assert found["Secret", "imgsign-tls"]["stringData"] == {"tls.crt": "LEAF\n", "tls.key": "KEY\n", "ca.crt": "CA\n"}
    for kind in ("Validating", "Mutating"):
        (hook,) = found[f"{kind}WebhookConfiguration", "imgsign"]["webhooks"]
        assert base64.b64decode(hook["clientConfig"]["caBundle"]) == b"CA\n"
    assert not [kind for kind, _ in found if kind in ("Certificate", "Issuer")]
    assert "KEY" not in repr(MADE)


@pytest.mark.parametrize("name", ["no", "null", "123", "1e3", "true"])
def test_a_namespace_that_yaml_takes_for_something_else_stays_text(name: str) -> None:
    found = printed(namespace=name, exempt=("on",))
    assert found["Namespace", name]["metadata"]["name"] == name
    (hook,) = found["ValidatingWebhookConfiguration", "imgsign"]["webhooks"]
    assert hook["clientConfig"]["service"]["namespace"] == name
    assert hook["namespaceSelector"]["matchExpressions"][0]["values"] == [name, "kube-system", "on"]


@pytest.mark.parametrize("name", ["", "A", "a b", "a\nb", "-a", "a" * 64, 'a"', "a.b"])
def test_what_is_no_namespace_is_refused(name: str) -> None:
    choices: tuple[dict[str, Any], ...] = ({"namespace": name}, {"exempt": (name,)}, {"pull_secrets": (name,)})
    for chosen in choices:
        with pytest.raises(UsageError, match="cannot be the name of a namespace"):
            Options(image=IMAGE, **chosen)


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(InvalidReference):
        Options(image='x"\nkind: Secret')


TEXTS = [
    "plain\n",
    "",
    "no line end",
    " leading blank\n",
    "trailing blank \n",
    "a\n\nb\n",
    "two ends\n\n",
    "\n",
    "tab\there\n",
    "cr\r\n",
    "nul\x00 escape\x1b[31m\n",
    "next line \x85 separator \u2028 mark \ufeff\n",
    "---\nkind: Secret\n",
    "# comment\n...\n",
    'quote " backslash \\ %\n',
    "snow ☃ and 🔏\n",
    "bidi \u202e text\n",
    "{{ .Values }}\n",
]


@pytest.mark.parametrize("text", TEXTS)
def test_foreign_text_stays_one_value(text: str) -> None:
    document = f"a:\n  b: {block(text, 4)}\n  c: {quoted(text)}\n  d: 1\n"
    assert yaml.safe_load(document) == {"a": {"b": text, "c": text, "d": 1}}


@pytest.mark.parametrize("text", TEXTS)
def test_a_policy_of_any_text_adds_no_object(text: str) -> None:
    parts = Parts(settings=text, policies={"policy.toml": text})
    found = printed(parts)
    assert len(found) == 16
    assert found["ConfigMap", "imgsign-policy"]["data"] == {"policy.toml": text}
    assert found["ConfigMap", "imgsign-settings"]["data"] == {"settings.toml": text}


@pytest.mark.parametrize("name", ["", "..data", "../p", "a/b", "settings.toml", "a\nb"])
def test_a_policy_name_that_no_config_map_holds_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        Parts(settings="", policies={name: ""})


# The command


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main(["admission", "manifests", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_the_policy_is_printed_with_its_keys_and_its_comments(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--image", IMAGE, "--policy", ROOT / "policies" / "production.toml")
    assert (code, err) == (0, "")
    (policy,) = [d for d in yaml.safe_load_all(out) if d["metadata"]["name"] == "imgsign-policy"]
    text = policy["data"]["policy.toml"]
    assert ".pub" not in text
    assert (ROOT / "keys-test" / "release-a.pub").read_text() in text
    assert "# leaves the team then" in text
    assert "not-after = 2030-01-01T00:00:00Z" in text


def test_the_printed_policy_loads_to_the_same_trust(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from imgsign.load import load_policy

    source = ROOT / "policies" / "production.toml"
    _, out, _ = run(capsys, "--image", IMAGE, "--policy", source)
    (policy,) = [d for d in yaml.safe_load_all(out) if d["metadata"]["name"] == "imgsign-policy"]
    (tmp_path / "policy.toml").write_text(policy["data"]["policy.toml"])
    printed_policy, printed_trust = load_policy(tmp_path / "policy.toml", environ={})
    wanted_policy, wanted_trust = load_policy(source, environ={})
    assert printed_trust == wanted_trust
    assert printed_policy.scopes == wanted_policy.scopes


def test_settings_bring_every_policy_they_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('version = 1\ndefault = "reject"\n')
    (tmp_path / "b.json").write_text('{"version": 1, "default": "reject"}')
    (tmp_path / "s.toml").write_text(
        'version = 1\npolicy = "a.toml"\n[namespaces.shop]\npolicy = "b.json"\nmutate-workloads = true\n'
    )
    code, out, _ = run(capsys, "--image", IMAGE, "--settings", tmp_path / "s.toml")
    assert code == 0
    found = {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(out)}
    assert set(found["ConfigMap", "imgsign-policy"]["data"]) == {"a.toml", "b.json"}
    assert rules_of(found["MutatingWebhookConfiguration", "imgsign"]["webhooks"][0]) == RULES


def test_a_broken_policy_prints_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text('version = 1\ndefault = "allow"\n')
    code, out, err = run(capsys, "--image", IMAGE, "--policy", tmp_path / "policy.toml")
    assert (code, out) == (3, "")
    assert err.startswith(f"error: policy '{tmp_path}/policy.toml': ")


def test_a_key_from_a_variable_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", (ROOT / "keys-test" / "release-a.pub").read_text())
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\ndefault = "reject"\n[anchors.a]\nkeys = ["env:KEY"]\n')
    code, _, err = run(capsys, "--image", IMAGE, "--policy", policy)
    assert code == 2
    assert err.splitlines()[0] == "error: anchor 'a': 'env:KEY' means nothing in a cluster"


def test_a_certificate_made_here_is_for_the_service_and_is_warned_about(capsys: pytest.CaptureFixture[str]) -> None:
    policy = ROOT / "policies" / "production.toml"
    code, out, err = run(capsys, "--image", IMAGE, "--policy", policy, "--self-signed", "-n", "gate")
    assert code == 0
    assert err == "note: this holds a private key and ends in a year: keep it out of version control\n"
    found = {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(out)}
    data = found["Secret", "imgsign-tls"]["stringData"]
    leaf = x509.load_pem_x509_certificate(data["tls.crt"].encode())
    authority = x509.load_pem_x509_certificate(data["ca.crt"].encode())
    leaf.verify_directly_issued_by(authority)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["imgsign.gate.svc", "imgsign.gate.svc.cluster.local"]
    bundle = found["ValidatingWebhookConfiguration", "imgsign"]["webhooks"][0]["clientConfig"]["caBundle"]
    assert base64.b64decode(bundle).decode() == data["ca.crt"]


def test_an_image_by_tag_is_warned_about(capsys: pytest.CaptureFixture[str]) -> None:
    policy = ROOT / "policies" / "production.toml"
    _, _, err = run(capsys, "--image", "r.example.com/imgsign:1", "--policy", policy)
    assert err == "note: r.example.com/imgsign:1 is not pinned: whoever can push that tag decides what runs\n"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "no image was given"),
        (["--image", IMAGE], "give either --policy or --settings"),
        (["--image", IMAGE, "--policy", "p", "--settings", "s"], "give either --policy or --settings"),
        (["--image", IMAGE, "--policy", "p", "--mode", "deny"], "unknown mode 'deny'"),
        (
            ["--image", IMAGE, "--settings", "s", "--mode", "warn"],
            "--mode and --mutate-workloads go with --policy; settings say it themselves",
        ),
    ],
)
def test_what_contradicts_itself_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], given: list[str], message: str
) -> None:
    code, out, err = run(capsys, *given)
    assert (code, out) == (2, "")
    assert err.splitlines()[0] == f"error: {message}"


def test_the_servers_command_line_knows_every_argument() -> None:
    import typer

    from imgsign.cli import admission

    serve = typer.main.get_command(admission.app).commands["serve"]  # type: ignore[attr-defined]  # a group's
    known = {option for parameter in serve.params for option in parameter.opts}
    given = arguments(Options(image=IMAGE, pull_secrets=("a",)), PARTS)
    assert {a.partition("=")[0] for a in given} <= known


def test_the_containerfile_runs_as_nobody_and_needs_no_policy(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--containerfile")
    assert (code, err) == (0, "")
    assert "USER 65532:65532\n" in out
    assert 'ENTRYPOINT ["imgsign", "admission", "serve"]\n' in out
