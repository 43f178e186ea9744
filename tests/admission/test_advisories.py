"""Advisories of other admission gates, each as a test of ours: what went wrong there and must not here."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest

from imgsign.admission.plan import Gate
from imgsign.admission.review import parse_review
from imgsign.admission.settings import NamespaceRules, Settings, parse_settings
from imgsign.errors import ContentMismatch, ImgsignError, InvalidPolicy
from imgsign.oci import OCI_MANIFEST, Manifest
from imgsign.policy.model import Policy, SignedBy
from imgsign.reference import Digest, Reference
from imgsign.wire import load_toml
from imgsign.workflow import verify
from tests.admission.cluster import NOW, POLICY, TRUST, Cluster, D, rule, settings
from tests.admission.objects import at, make, pod_spec, review, to_bytes
from tests.answers import Answer
from tests.simulator import manifest_bytes
from tests.test_attacks import bundle_over, statement


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def pod(*images: str, **places: list[str]) -> dict[str, object]:
    return review("Pod", make("Pod", pod_spec(images, **places)))


def test_cve_2022_35930_a_valid_attestation_of_another_type_is_no_signature(cluster: Cluster) -> None:
    # policy-controller counted any verified attestation.
    manifest = cluster.sim.put_image("app", tag="1")
    subject: dict[str, object] = {"name": "registry.test/app:1", "digest": {"sha256": manifest.digest.hex}}
    bundle_over(cluster.sim, manifest, statement(subject, predicate_type="https://slsa.dev/provenance/v1"))
    asked = cluster.validate(pod(f"registry.test/app:1@{manifest.digest}"))
    assert asked.response.codes == ("not-a-signature",)


@pytest.mark.parametrize("turn", range(1, 6))
def test_cve_2022_47633_a_registry_that_changes_its_answer_never_splits_judged_and_patched(
    cluster: Cluster, turn: int
) -> None:
    # Kyverno asked twice: one manifest was verified, the digest of another was written.
    cluster.image("app", "1")
    signed = cluster.sim.repository("app").tags["1"]
    evil = manifest_bytes(layers=[], annotations={"evil": "yes"})
    other = Manifest.parse(evil, OCI_MANIFEST)
    headers = (("Content-Type", OCI_MANIFEST), ("Docker-Content-Digest", str(other.digest)))
    count = 0

    def change(answer: Answer) -> Answer:
        nonlocal count
        count += 1
        return answer if count != turn else Answer(status=200, headers=headers, body=evil)

    cluster.sim.alter(r"GET .*/manifests/", change)
    cluster.sim.put_manifest("app", evil, OCI_MANIFEST)
    asked = cluster.mutate(pod("registry.test/app:1", init=["registry.test/app:1"]))
    assert asked.allowed is bool(asked.patch)
    assert {p["value"] for p in asked.patch} <= {f"registry.test/app:1@{signed}"}
    # First, the unsigned one is what was judged; fourth, it stood where the signature was looked for.
    assert asked.allowed is (turn not in (1, 4))


def test_cve_2022_47633_two_spellings_of_one_image_are_resolved_once(cluster: Cluster) -> None:
    cluster.image("app", "latest")
    cluster.forget_requests()
    asked = cluster.mutate(pod("registry.test/app", "registry.test/app:latest"))
    assert len({p["value"].partition("@")[2] for p in asked.patch}) == 1
    assert len([r for r in cluster.requests if r.endswith("/manifests/latest")]) == 1


def test_cve_2023_47630_the_digest_is_of_the_bytes_and_a_header_that_disagrees_is_a_fault(cluster: Cluster) -> None:
    cluster.image("app", "1")
    cluster.sim.swap_digest_header(r"GET .*/manifests/1$", Digest.of(b"what the registry says"))
    asked = cluster.mutate(pod("registry.test/app:1"))
    assert (asked.allowed, asked.response.codes) == (False, ("content-mismatch",))
    transport = cluster.sim.transport()
    name = Reference.parse("registry.test/app:1")
    with pytest.raises(ContentMismatch):
        verify(name, POLICY, TRUST, locate=lambda r: cluster.sim.store(r.path, transport), now=NOW)


def test_cve_2023_42813_a_registry_without_end_is_bounded_and_answered(cluster: Cluster) -> None:
    # Kyverno's notary verifier read as many referrers as a registry cared to list.
    digest = cluster.image("app", "1", signed=False)
    subject = Manifest.parse(cluster.sim.repository("app").manifests[digest][1], OCI_MANIFEST).descriptor
    for i in range(30):
        cluster.sim.put_referrer("app", subject, salt=str(i))
    cluster.sim.page_size = 1
    cluster.sim.endless_pages = True
    cluster.forget_requests()
    asked = cluster.validate(pod(f"registry.test/app:1@{digest}"))
    assert not asked.allowed
    assert len(cluster.requests) < 1000


def test_ghsa_5cjf_wwfg_pj4c_an_exemption_of_one_image_is_none_for_its_neighbour(cluster: Cluster) -> None:
    # Kyverno's exception ignored which images it was for.
    asked = cluster.validate(pod(f"registry.test/open/app@{D}", f"registry.test/shut/app@{D}"))
    assert asked.response.codes == ("rejected",)
    assert "registry.test/open" not in asked.message


@pytest.mark.parametrize(
    "metadata",
    [
        {"annotations": {"imgsign.exempt": "true", "imgsign.verified": D}},
        {"labels": {"kubernetes.io/metadata.name": "kube-system", "imgsign/exempt": "true"}},
        {"annotations": {"kubernetes.io/config.mirror": "x"}},
        {"annotations": {"image-policy.k8s.io/break-glass": "yes"}},
    ],
)
def test_cve_2024_48921_nothing_a_tenant_can_write_changes_the_policy(cluster: Cluster, metadata: Any) -> None:
    # Kyverno took policy exceptions from any namespace; validate trusted an annotation (kyverno#16336).
    exempt = NamespaceRules(policy="policy.toml", exempt=True)
    cluster.settings = Settings(default=NamespaceRules(policy="policy.toml"), namespaces={"kube-system": exempt})
    plain, dressed = (
        review("Pod", make("Pod", pod_spec([f"registry.test/shut/a@{D}"]), owner=owner, **more))
        for owner, more in ((None, {}), ("ReplicaSet", metadata))
    )
    assert not cluster.validate(plain).allowed
    assert not cluster.validate(dressed).allowed


def test_cve_2023_34091_an_object_that_is_being_deleted_is_judged_when_its_image_changes(cluster: Cluster) -> None:
    # Kyverno skipped what had a deletionTimestamp; a finalizer keeps such an object alive for ever.
    old = make("Deployment", pod_spec(["registry.test/app:1"]), finalizers=["keep.example/me"])
    old["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    changed = copy.deepcopy(old)
    at(changed, "/spec/template/spec/containers/0")["image"] = "registry.test/shut/evil:1"
    asked = cluster.validate(review("Deployment", changed, old=old))
    assert asked.response.codes == ("rejected",)
    released = copy.deepcopy(old)
    released["metadata"]["finalizers"] = []
    assert cluster.validate(review("Deployment", released, old=old)).allowed


@pytest.mark.parametrize("namespace", ["unheard-of", "kube-system ", "KUBE-SYSTEM", "kube-system\n", "../kube-system"])
def test_cve_2025_46342_a_namespace_nobody_knows_has_the_default_rules(cluster: Cluster, namespace: str) -> None:
    # In Kyverno a failed look-up of the namespace skipped the rule.
    exempt = NamespaceRules(policy="policy.toml", exempt=True)
    cluster.settings = Settings(default=NamespaceRules(policy="policy.toml"), namespaces={"kube-system": exempt})
    asked = review("Pod", make("Pod", pod_spec([f"registry.test/shut/a@{D}"])), namespace=namespace)
    assert not cluster.validate(asked).allowed


def test_cve_2025_46342_a_review_without_namespace_is_denied(cluster: Cluster) -> None:
    body = review("Pod", make("Pod", pod_spec([f"registry.test/open/a@{D}"])))
    del body["request"]["namespace"]
    with pytest.raises(ImgsignError, match=r"expected a string that is not empty at request\.namespace") as caught:
        parse_review(to_bytes(body))
    assert getattr(caught.value, "uid", None) == body["request"]["uid"]


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "metadata.google.internal",
        "localhost:2379",
        "127.0.0.1:10250",
        "[::1]:6443",
        "[fe80::1]:80",
        "kubernetes.default.svc:443",
        "0x7f000001:80",
        "2852039166:80",
    ],
)
def test_cve_2026_4789_a_tenant_cannot_make_the_webhook_talk_to_this_machine_or_the_cloud(
    cluster: Cluster, host: str
) -> None:
    # In Kyverno an image or policy context led to the metadata service.
    cluster.policy = Policy(default=POLICY.default, scopes={"*": rule("*", SignedBy(anchors=("release",)))})
    body = pod(f"{host}/latest/meta-data@{D}")
    asked = cluster.validate(body)
    assert asked.response.codes == ("host-not-allowed",)
    assert "unsafe-local-hosts" in asked.message
    assert cluster.judged == []
    assert cluster.mutate(pod(f"{host}/latest/meta-data:1")).response.codes == ("host-not-allowed",)
    default = NamespaceRules(policy="policy.toml")
    cluster.settings = Settings(default=default, local_hosts=frozenset((host,)))
    assert [w.reference.repository.registry for w in cluster.validate(body).plan.wanted] == [host]


def test_cve_2026_4789_a_host_that_no_scope_names_is_never_talked_to(cluster: Cluster) -> None:
    for asked in (
        cluster.validate(pod(f"attacker.example/x@{D}")),
        cluster.mutate(pod("attacker.example/x:1")),
        cluster.validate(review("Deployment", make("Deployment", pod_spec(["attacker.example/x:1"])))),
    ):
        assert asked.response.codes == ("no-scope",)
    assert cluster.judged == []


@pytest.mark.parametrize("place", ["images", "init", "ephemeral", "volumes"])
def test_connaisseur_every_place_of_an_image_is_judged(cluster: Cluster, place: str) -> None:
    # Connaisseur missed initContainers up to 1.3.0 and ephemeralContainers up to 3.1.1.
    places = {"images": [f"registry.test/open/a@{D}"], place: [f"registry.test/shut/a@{D}"]}
    assert cluster.validate(review("Pod", make("Pod", pod_spec(**places)))).response.codes == ("rejected",)


@pytest.mark.parametrize("size", [600, 601, 65_536])
@pytest.mark.parametrize("unit", ["a", "a.", "a__", "a-", "-", ".", "/", ":", "@", "a/", "A", "0", "é", "\u0000"])
def test_connaisseur_no_name_takes_long_to_refuse(cluster: Cluster, unit: str, size: int) -> None:
    # Connaisseur up to 3.3.0 matched foreign names by a regular expression that backtracked.
    text = (unit * size)[: size - 1] + "!"
    began = time.process_time()
    asked = cluster.validate(pod(text))
    assert asked.response.codes == ("invalid-reference",)
    assert time.process_time() - began < 1.0


def test_cve_2023_2727_a_debug_container_is_judged_through_its_subresource(cluster: Cluster) -> None:
    # Kubernetes' own ImagePolicyWebhook let ephemeral containers by.
    old = make("Pod", pod_spec([f"registry.test/open/a@{D}"]))
    new = make("Pod", pod_spec([f"registry.test/open/a@{D}"], ephemeral=[f"registry.test/shut/a@{D}"]))
    asked = cluster.validate(review("Pod", new, old=old, subresource="ephemeralcontainers"))
    assert asked.response.codes == ("rejected",)


def test_cve_2024_23332_an_old_signature_under_a_new_tag_is_denied(cluster: Cluster) -> None:
    # A registry may serve an old, validly signed artifact for a newer tag.
    digest = cluster.image("app", "1")
    cluster.sim.repository("app").tags["2"] = digest
    for asked in (cluster.mutate(pod("registry.test/app:2")), cluster.validate(pod(f"registry.test/app:2@{digest}"))):
        assert asked.response.codes == ("name-mismatch",)


def test_crossplane_what_was_verified_is_what_runs(cluster: Cluster) -> None:
    # The tag moves after the verdict: the Pod holds the digest, and validate wants one.
    digest = cluster.image("app", "1")
    patched = cluster.mutate(pod("registry.test/app:1")).patch[0]["value"]
    cluster.sim.put_image("app", tag="1", salt="moved")
    assert patched == f"registry.test/app:1@{digest}"
    assert cluster.validate(pod(patched)).allowed
    assert cluster.validate(pod("registry.test/app:1")).response.codes == ("not-pinned",)


def test_cve_2021_25735_the_new_object_is_judged_never_the_old(cluster: Cluster) -> None:
    old = make("Pod", pod_spec([f"registry.test/open/a@{D}"]))
    new = make("Pod", pod_spec([f"registry.test/shut/a@{D}"]))
    assert cluster.validate(review("Pod", new, old=old)).response.codes == ("rejected",)
    assert cluster.validate(review("Pod", old, old=new)).allowed


def test_ratify_92_what_takes_too_long_is_a_denial(cluster: Cluster) -> None:
    # Ratify's own timeout was longer than the webhook's, and images passed.
    digest = cluster.image("app", "1")
    cluster.sim.disconnect(".*", times=None)
    asked = cluster.validate(pod(f"registry.test/app:1@{digest}"))
    assert (asked.allowed, asked.response.verdict) == (False, "undecided")


def test_policy_controller_1105_a_replica_set_of_a_deployment_is_never_patched(cluster: Cluster) -> None:
    # Each patched ReplicaSet differed from its Deployment's template, so another one was made: 4,573 of them.
    cluster.image("app", "1")
    cluster.settings = settings(mutate_workloads=True)
    owned = make("ReplicaSet", pod_spec(["registry.test/app:1"]), owner="Deployment")
    for body in (review("ReplicaSet", owned), review("ReplicaSet", owned, old=make("ReplicaSet", pod_spec(["x"])))):
        assert cluster.ask(Gate.MUTATE, body).patch == []


def test_portieris_227_a_blank_image_is_denied_with_its_place(cluster: Cluster) -> None:
    asked = cluster.validate(pod(" "))
    assert asked.first_line.startswith("image ' ' (container c0) is denied: ")


@pytest.mark.parametrize("name", ["kube-*", "*", "a,b", "", "a.b", "-a"])
def test_an_exemption_is_of_one_namespace_by_its_name(name: str) -> None:
    text = f'version = 1\npolicy = "p"\n[namespaces."{name}"]\nexempt = true'
    with pytest.raises(InvalidPolicy, match="cannot be the name of a namespace"):
        parse_settings(load_toml(text.encode(), limit=1000))
