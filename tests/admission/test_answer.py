"""What the webhook answers: denied with the reason, warned, patched, or left alone; always within the protocol."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from imgsign.admission.answer import answer, refuse
from imgsign.admission.plan import Gate, Need, Rulebook, plan
from imgsign.admission.review import parse_review
from imgsign.admission.settings import Mode, NamespaceRules, ScopeRules, Settings
from imgsign.errors import InvalidPolicy
from imgsign.policy.model import UnsafeAcceptUnsigned
from tests.admission.cluster import POLICY, Cluster, D, rule, settings
from tests.admission.objects import POD_SPEC, UID, WORKLOADS, at, make, pod_spec, review, to_bytes

PLACES = {
    "container": "containers/0/image",
    "init container": "initContainers/0/image",
    "ephemeral container": "ephemeralContainers/0/image",
    "image volume": "volumes/1/image/reference",
}


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture(scope="module")
def stocked() -> tuple[Cluster, str, str]:
    """A cluster whose registry holds a signed and an unsigned image, and their names."""
    found = Cluster()
    good = f"registry.test/app:1@{found.image('app', '1')}"
    return found, good, f"registry.test/bad:1@{found.image('bad', '1', signed=False)}"


def everywhere(kind: str, image: str) -> Any:
    return make(kind, pod_spec([image], [image], [image], [image]))


# Validate


@pytest.mark.parametrize("kind", sorted(POD_SPEC))
def test_a_signed_image_in_every_place_is_allowed(stocked: tuple[Cluster, str, str], kind: str) -> None:
    cluster, good, _ = stocked
    asked = cluster.validate(review(kind, everywhere(kind, good)))
    assert asked.body == {"uid": UID, "allowed": True, "auditAnnotations": {"verdict": "allowed"}}
    assert [w.key for w in asked.plan.wanted] == [good]


@pytest.mark.parametrize("kind", sorted(POD_SPEC))
@pytest.mark.parametrize("place", sorted(PLACES))
def test_one_unsigned_image_in_any_place_denies(stocked: tuple[Cluster, str, str], kind: str, place: str) -> None:
    cluster, good, bad = stocked
    document = everywhere(kind, good)
    where, _, key = f"{POD_SPEC[kind]}/{PLACES[place]}".rpartition("/")
    at(document, where)[key] = bad
    asked = cluster.validate(review(kind, document))
    assert not asked.allowed
    name = {"container": "c0", "init container": "i0", "ephemeral container": "e0", "image volume": "v0"}[place]
    why = "signed-by release: 0 of 1 needed, no signatures found [threshold]"
    assert asked.first_line == f"image {bad} ({place} {name}) is denied: {why}"


def test_a_denial_says_who_what_and_what_next(cluster: Cluster) -> None:
    bad = f"registry.test/app:1@{cluster.image('app', '1', key='stranger')}"
    pod = make("Pod", pod_spec([bad, bad]), owner="ReplicaSet", name=None, generate_name="web-7d-")
    asked = cluster.validate(review("Pod", pod, name=""))
    lines = asked.message.splitlines()
    assert lines[0] == (
        f"image {bad} (container c0, container c1) is denied: signed-by release: 0 of 1 needed [untrusted-signer]"
    )
    assert lines[1] == "  Pod shop/web-7d-* of ReplicaSet web, policy policy.toml, scope registry.test"
    assert lines[2].endswith('does not verify with the key of anchor "release" [untrusted-signer]'.replace('"', "'"))
    assert lines[-1] == f'hint: sign it with a key of anchor "release": imgsign sign {bad} -k KEY'
    assert asked.body["auditAnnotations"] == {"verdict": "denied", "codes": "untrusted-signer"}


def test_several_images_are_each_named_and_the_first_line_says_that_there_are_more(cluster: Cluster) -> None:
    bad = [f"registry.test/shut/{n}@{D}" for n in ("a", "b", "c")]
    asked = cluster.validate(review("Pod", make("Pod", pod_spec(bad))))
    assert asked.first_line == (
        f"image {bad[0]} (container c0) is denied: reject: the scope rejects every image [rejected]; and 2 more"
    )
    assert [line for line in asked.message.splitlines() if line.startswith("image ")][1:] == [
        f"image {b} (container c{i}) is denied: reject: the scope rejects every image [rejected]"
        " (scope registry.test/shut)"
        for i, b in enumerate(bad[1:], 1)
    ]


def test_a_pod_with_a_tag_is_refused_without_asking_anybody(cluster: Cluster) -> None:
    cluster.image("app", "1")
    cluster.forget_requests()
    asked = cluster.validate(review("Pod", make("Pod", pod_spec(["registry.test/app:1"]))))
    assert asked.first_line == (
        "image registry.test/app:1 (container c0) is denied: "
        "names a tag, which can move after it was judged, and no digest [not-pinned]"
    )
    assert "hint: enable the mutating webhook, which writes the judged digest" in asked.message
    assert cluster.requests == []


def test_a_namespace_or_scope_may_allow_tags(cluster: Cluster) -> None:
    cluster.image("app", "1")
    pod = review("Pod", make("Pod", pod_spec(["registry.test/app:1"])))
    cluster.settings = settings(unsafe_allow_tags=True)
    assert cluster.validate(pod).allowed
    default = NamespaceRules(policy="policy.toml")
    cluster.settings = Settings(default=default, scopes={"registry.test/app": ScopeRules(unsafe_allow_tags=True)})
    assert cluster.validate(pod).allowed
    cluster.settings = Settings(default=default, scopes={"registry.test/other": ScopeRules(unsafe_allow_tags=True)})
    assert not cluster.validate(pod).allowed


@pytest.mark.parametrize("kind", WORKLOADS)
def test_a_template_may_name_a_tag_and_is_judged(cluster: Cluster, kind: str) -> None:
    cluster.image("app", "1")
    cluster.image("bad", "1", signed=False)
    assert cluster.validate(review(kind, make(kind, pod_spec(["registry.test/app:1"])))).allowed
    assert not cluster.validate(review(kind, make(kind, pod_spec(["registry.test/bad:1"])))).allowed


def test_a_dead_registry_denies_a_pod_as_undecided(cluster: Cluster) -> None:
    digest = cluster.image("app", "1")
    cluster.sim.fail(".*", 503)
    asked = cluster.validate(review("Pod", make("Pod", pod_spec([f"registry.test/app:1@{digest}"]))))
    assert not asked.allowed
    assert " could not be judged: " in asked.first_line
    assert asked.first_line.endswith("[unavailable]")
    assert (asked.response.verdict, asked.response.codes) == ("undecided", ("unavailable",))


@pytest.mark.parametrize("kind", WORKLOADS)
def test_a_dead_registry_warns_about_a_template(cluster: Cluster, kind: str) -> None:
    cluster.sim.fail(".*", 503)
    asked = cluster.validate(review(kind, make(kind, pod_spec(["registry.test/app:1"]))))
    assert asked.allowed
    (warning,) = asked.body["warnings"]
    assert warning.startswith("imgsign: not judged: registry.test/app:1: ")
    assert warning.endswith(" [unavailable]")


def test_an_image_that_is_not_there_is_undecided(cluster: Cluster) -> None:
    asked = cluster.validate(review("Pod", make("Pod", pod_spec([f"registry.test/app@{D}"]))))
    assert (asked.allowed, asked.response.codes) == (False, ("not-found",))


def test_a_dead_registry_blocks_no_write_that_changes_no_image(cluster: Cluster) -> None:
    cluster.sim.fail(".*", 503)
    old = make("Deployment", pod_spec(["registry.test/app:1", "registry.test/shut/x", "nowhere.example/x"]))
    scaled = copy.deepcopy(old)
    scaled["spec"]["replicas"] = 0
    asked = cluster.validate(review("Deployment", scaled, old=old))
    assert asked.allowed
    assert asked.body["auditAnnotations"] == {"verdict": "allowed", "unchanged": "c0, c1, c2"}
    assert cluster.requests == []


def test_a_running_pod_with_a_tag_can_be_labelled(cluster: Cluster) -> None:
    old = make("Pod", pod_spec(["registry.test/app:1"]))
    new = make("Pod", pod_spec(["registry.test/app:1"]), labels={"a": "b"})
    assert cluster.validate(review("Pod", new, old=old)).allowed


def test_a_template_whose_image_is_filled_in_later_is_warned_about_and_a_pod_is_denied(cluster: Cluster) -> None:
    for kind, allowed in (("Deployment", True), ("Pod", False)):
        document = make(kind, pod_spec(["x"]))
        del at(document, f"{POD_SPEC[kind]}/containers/0")["image"]
        asked = cluster.validate(review(kind, document))
        assert asked.allowed is allowed
    assert asked.first_line == "spec.containers[0].image (container c0): the container has no image [image-missing]"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (" ", "invalid-reference"),
        (" nginx", "invalid-reference"),
        ("nginx\n", "invalid-reference"),
        ("Nginx", "invalid-reference"),
        ("registry.test/App:1", "invalid-reference"),
        ("https://registry.test/app", "invalid-reference"),
        ("registry.test/app@sha256:abc", "invalid-reference"),
        ("ab" * 32, "invalid-reference"),
        ("a" * 601, "invalid-reference"),
        ("{{ .Values.image }}", "invalid-reference"),
        ("\u202eregistry.test/app", "invalid-reference"),
        ("nginx", "no-scope"),
        (f"docker.io/library/nginx@{D}", "no-scope"),
        (f"registry.test/shut/app@{D}", "rejected"),
        ("registry.test/shut/app:1", "rejected"),
    ],
)
@pytest.mark.parametrize("kind", ["Pod", "Deployment"])
def test_what_can_never_be_accepted_is_denied_without_asking_anybody(
    cluster: Cluster, kind: str, text: str, code: str
) -> None:
    asked = cluster.validate(review(kind, make(kind, pod_spec([text]))))
    assert not asked.allowed
    assert asked.response.codes == (code,)
    assert cluster.requests == []
    assert all(line.isprintable() for line in asked.message.splitlines())


def test_an_accepting_scope_needs_no_registry(cluster: Cluster) -> None:
    cluster.sim.fail(".*", 503)
    assert cluster.validate(review("Pod", make("Pod", pod_spec([f"registry.test/open/app@{D}"])))).allowed
    assert cluster.validate(review("Deployment", make("Deployment", pod_spec(["registry.test/open/app:1"])))).allowed
    cluster.settings = settings(unsafe_allow_tags=True)
    assert cluster.validate(review("Pod", make("Pod", pod_spec(["registry.test/open/app:1"])))).allowed
    assert cluster.requests == []


def test_short_names_are_completed_as_containerd_does_or_refused(cluster: Cluster) -> None:
    cluster.policy = type(POLICY)(
        default=POLICY.default, scopes={"docker.io": rule("docker.io", UnsafeAcceptUnsigned())}
    )
    pod = review("Pod", make("Pod", pod_spec([f"nginx@{D}"])))
    assert cluster.validate(pod).allowed
    cluster.settings = Settings(default=NamespaceRules(policy="policy.toml"), refuse_short_names=True)
    asked = cluster.validate(pod)
    assert asked.response.codes == ("short-name",)
    assert f"hint: write it in full: docker.io/library/nginx@{D}" in asked.message
    assert cluster.validate(review("Pod", make("Pod", pod_spec([f"docker.io/nginx@{D}"])))).allowed


def test_one_reference_is_judged_once_however_it_is_spelled(cluster: Cluster) -> None:
    asked = cluster.validate(
        review("Deployment", make("Deployment", pod_spec(["registry.test/app", "registry.test/app:latest"])))
    )
    assert [w.key for w in asked.plan.wanted] == ["registry.test/app:latest"]


# Modes and namespaces


def test_warn_mode_lets_all_in_and_says_what_enforcing_would_do(cluster: Cluster) -> None:
    cluster.settings = settings(mode=Mode.WARN)
    images = ["registry.test/shut/a:1", "registry.test/app:1", " "]
    asked = cluster.validate(review("Pod", make("Pod", pod_spec(images))))
    assert asked.allowed
    assert asked.body["warnings"] == [
        "imgsign: would be denied: registry.test/shut/a:1: reject: the scope rejects every image [rejected]",
        "imgsign: would be denied: registry.test/app:1: "
        "names a tag, which can move after it was judged, and no dig… [not-pinned]",
        "imgsign: would be denied: ' ': reference ' ' holds blanks or line breaks [invalid-reference]",
    ]
    assert asked.response.verdict == "warned"


def test_audit_mode_says_it_to_the_audit_log_alone(cluster: Cluster) -> None:
    cluster.settings = settings(mode=Mode.AUDIT)
    asked = cluster.validate(review("Pod", make("Pod", pod_spec(["registry.test/shut/a:1"]))))
    assert asked.body == {
        "uid": UID,
        "allowed": True,
        "auditAnnotations": {
            "verdict": "noted",
            "codes": "rejected",
            "findings": "imgsign: would be denied: registry.test/shut/a:1: "
            "reject: the scope rejects every image [rejected]",
        },
    }


def test_an_exempt_namespace_is_left_alone_and_no_other(cluster: Cluster) -> None:
    default = NamespaceRules(policy="policy.toml")
    exempt = NamespaceRules(policy="policy.toml", exempt=True)
    cluster.settings = Settings(default=default, namespaces={"kube-system": exempt})
    for namespace, allowed in (("kube-system", True), ("kube-system2", False), ("shop", False)):
        pod = make("Pod", pod_spec(["registry.test/shut/a:1"]), namespace=namespace)
        asked = cluster.validate(review("Pod", pod, namespace=namespace))
        assert asked.allowed is allowed
        assert cluster.mutate(review("Pod", pod, namespace=namespace)).patch == []


def test_the_namespace_of_the_request_counts_and_not_what_the_object_says(cluster: Cluster) -> None:
    default = NamespaceRules(policy="policy.toml")
    exempt = NamespaceRules(policy="policy.toml", exempt=True)
    cluster.settings = Settings(default=default, namespaces={"kube-system": exempt})
    pod = make("Pod", pod_spec(["registry.test/shut/a:1"]), namespace="kube-system")
    assert not cluster.validate(review("Pod", pod, namespace="shop")).allowed


def test_a_namespace_has_its_own_policy(cluster: Cluster) -> None:
    strict = NamespaceRules(policy="strict.toml")
    cluster.settings = Settings(default=NamespaceRules(policy="policy.toml"), namespaces={"bank": strict})
    cluster.policies = {"strict.toml": type(POLICY)(default=POLICY.default, scopes={})}
    pod = make("Pod", pod_spec([f"registry.test/open/a@{D}"]))
    assert cluster.validate(review("Pod", pod, namespace="shop")).allowed
    asked = cluster.validate(review("Pod", pod, namespace="bank"))
    assert asked.response.codes == ("no-scope",)
    assert "policy strict.toml" in asked.message


def test_settings_that_name_a_policy_nobody_loaded_are_refused() -> None:
    with pytest.raises(InvalidPolicy, match=r"name policy 'policy.toml', which was not loaded"):
        Rulebook(settings(), {})


# Mutate


@pytest.mark.parametrize("place", sorted(PLACES))
def test_mutate_writes_the_judged_digest_into_every_place_of_a_pod(cluster: Cluster, place: str) -> None:
    digest = cluster.image("app", "1")
    pod = everywhere("Pod", f"registry.test/open/x@{D}")
    where, _, key = f"/spec/{PLACES[place]}".rpartition("/")
    at(pod, where)[key] = "registry.test/app:1"
    asked = cluster.mutate(review("Pod", pod))
    value = f"registry.test/app:1@{digest}"
    assert asked.patch == [{"op": "replace", "path": f"/spec/{PLACES[place]}", "value": value}]
    assert asked.body["auditAnnotations"] == {"pinned": value}


def test_a_pinned_pod_is_left_alone_with_neither_patch_nor_type(cluster: Cluster) -> None:
    asked = cluster.mutate(review("Pod", make("Pod", pod_spec([f"registry.test/app:1@{D}"]))))
    assert asked.body == {"uid": UID, "allowed": True}
    assert cluster.requests == []


def test_a_name_without_tag_is_pinned_with_the_tag_it_was_judged_by(cluster: Cluster) -> None:
    digest = cluster.image("app", "latest")
    asked = cluster.mutate(review("Pod", make("Pod", pod_spec(["registry.test/app"]))))
    assert [p["value"] for p in asked.patch] == [f"registry.test/app:latest@{digest}"]


def test_the_text_stays_as_it_was_written(cluster: Cluster) -> None:
    cluster.policy = type(POLICY)(default=POLICY.default, scopes={"*": rule("*", UnsafeAcceptUnsigned())})
    cluster.image("library/nginx", "1", signed=False)
    asked = cluster.mutate(review("Pod", make("Pod", pod_spec(["index.docker.io/nginx:1"]))))
    assert [p["value"].partition("@")[0] for p in asked.patch] == ["index.docker.io/nginx:1"]


def test_what_mutate_writes_validate_allows_with_the_same_verdict(cluster: Cluster) -> None:
    cluster.image("app", "1")
    pod = make("Pod", pod_spec(["registry.test/app:1"]))
    pod["spec"]["containers"][0]["image"] = cluster.mutate(review("Pod", pod)).patch[0]["value"]
    assert cluster.validate(review("Pod", pod)).allowed


@pytest.mark.parametrize("signed_as", ["1", "2"])
def test_the_verdict_on_a_tag_is_the_verdict_on_the_tag_with_its_digest(cluster: Cluster, signed_as: str) -> None:
    # Signed as :2, the image may not be run as :1, whether the digest is written or not.
    digest = cluster.image("app", "1", signed=False)
    cluster.sim.repository("app").tags["2"] = digest
    cluster.sign(f"registry.test/app:{signed_as}")
    cluster.settings = settings(unsafe_allow_tags=True)
    verdicts = [
        cluster.validate(review("Pod", make("Pod", pod_spec([text])))).response.codes
        for text in ("registry.test/app:1", f"registry.test/app:1@{digest}")
    ]
    assert verdicts == ([(), ()] if signed_as == "1" else [("name-mismatch",)] * 2)


def test_mutate_denies_a_pod_with_the_real_reason(cluster: Cluster) -> None:
    cluster.image("bad", "1", signed=False)
    asked = cluster.mutate(review("Pod", make("Pod", pod_spec(["registry.test/bad:1"]))))
    assert asked.response.codes == ("threshold",)
    cluster.sim.fail(".*", 503)
    asked = cluster.mutate(review("Pod", make("Pod", pod_spec(["registry.test/open/a:1"]))))
    assert (asked.allowed, asked.response.codes) == (False, ("unavailable",))


@pytest.mark.parametrize("mode", [Mode.WARN, Mode.AUDIT])
def test_mutate_never_denies_in_the_softer_modes(cluster: Cluster, mode: Mode) -> None:
    cluster.image("bad", "1", signed=False)
    cluster.settings = settings(mode=mode)
    asked = cluster.mutate(review("Pod", make("Pod", pod_spec(["registry.test/bad:1", "registry.test/none:1"]))))
    assert asked.body == {"uid": UID, "allowed": True}


def test_warn_mode_pins_what_is_allowed_and_audit_mode_nothing(cluster: Cluster) -> None:
    cluster.image("app", "1")
    pod = review("Pod", make("Pod", pod_spec(["registry.test/app:1", "registry.test/none:1"])))
    cluster.settings = settings(mode=Mode.WARN)
    assert [p["path"] for p in cluster.mutate(pod).patch] == ["/spec/containers/0/image"]
    cluster.settings = settings(mode=Mode.AUDIT)
    assert cluster.mutate(pod).patch == []


@pytest.mark.parametrize("kind", WORKLOADS)
def test_templates_are_pinned_only_when_asked_for(cluster: Cluster, kind: str) -> None:
    digest = cluster.image("app", "1")
    cluster.forget_requests()
    created = review(kind, make(kind, pod_spec(["registry.test/app:1"])))
    assert cluster.mutate(created).patch == []
    assert cluster.requests == []
    cluster.settings = settings(mutate_workloads=True)
    assert cluster.mutate(created).patch == [
        {
            "op": "replace",
            "path": f"{POD_SPEC[kind]}/containers/0/image",
            "value": f"registry.test/app:1@{digest}",
        }
    ]


def test_a_template_that_cannot_be_pinned_is_left_to_validate(cluster: Cluster) -> None:
    cluster.settings = settings(mutate_workloads=True)
    asked = cluster.mutate(review("Deployment", make("Deployment", pod_spec(["registry.test/none:1"]))))
    assert asked.body == {"uid": UID, "allowed": True}


@pytest.mark.parametrize(
    ("kind", "owner"),
    [("ReplicaSet", "Deployment"), ("ReplicationController", "DeploymentConfig"), ("Job", "CronJob")],
)
def test_what_a_controller_owns_is_never_patched(cluster: Cluster, kind: str, owner: str) -> None:
    cluster.image("app", "1")
    cluster.settings = settings(mutate_workloads=True)
    owned = make(kind, pod_spec(["registry.test/app:1"]), owner=owner)
    assert cluster.mutate(review(kind, owned)).patch == []


def test_a_pod_of_a_replica_set_is_patched(cluster: Cluster) -> None:
    cluster.image("app", "1")
    assert cluster.mutate(review("Pod", make("Pod", pod_spec(["registry.test/app:1"]), owner="ReplicaSet"))).patch


def test_a_job_is_patched_when_it_is_created_and_never_after(cluster: Cluster) -> None:
    cluster.image("app", "1")
    cluster.settings = settings(mutate_workloads=True)
    old, new = make("Job", pod_spec(["registry.test/x:1"])), make("Job", pod_spec(["registry.test/app:1"]))
    assert cluster.mutate(review("Job", new)).patch
    assert cluster.mutate(review("Job", new, old=old)).patch == []


def test_an_update_patches_only_images_that_changed(cluster: Cluster) -> None:
    cluster.image("app", "2")
    cluster.settings = settings(mutate_workloads=True)
    for kind in ("Pod", "Deployment"):
        old = make(kind, pod_spec(["registry.test/app:1", "registry.test/app:1"]))
        new = make(kind, pod_spec(["registry.test/app:1", "registry.test/app:2"]))
        paths = [p["path"] for p in cluster.mutate(review(kind, new, old=old)).patch]
        assert paths == [f"{POD_SPEC[kind]}/containers/1/image"]


def test_a_debug_container_is_pinned_and_the_others_are_not_touched(cluster: Cluster) -> None:
    cluster.image("debug", "1")
    old = make("Pod", pod_spec(["registry.test/app:1"], [], ["registry.test/old:1"]))
    new = make("Pod", pod_spec(["registry.test/app:1"], [], ["registry.test/old:1", "registry.test/debug:1"]))
    asked = cluster.mutate(review("Pod", new, old=old, subresource="ephemeralcontainers"))
    assert [p["path"] for p in asked.patch] == ["/spec/ephemeralContainers/1/image"]


def test_a_mirror_pod_is_judged_and_not_patched(cluster: Cluster) -> None:
    cluster.image("app", "1")
    pod = make("Pod", pod_spec(["registry.test/app:1"]), annotations={"kubernetes.io/config.mirror": "x"})
    assert cluster.mutate(review("Pod", pod)).body == {"uid": UID, "allowed": True}
    assert cluster.validate(review("Pod", pod)).response.codes == ("not-pinned",)


@pytest.mark.parametrize("where", ["namespace", "scope"])
def test_pinning_can_be_off(cluster: Cluster, where: str) -> None:
    cluster.image("app", "1")
    cluster.forget_requests()
    default = NamespaceRules(policy="policy.toml", pin=where != "namespace")
    scopes = {"registry.test": ScopeRules(pin=False)} if where == "scope" else {}
    cluster.settings = Settings(default=default, scopes=scopes)
    pod = review("Pod", make("Pod", pod_spec(["registry.test/app:1"])))
    assert cluster.mutate(pod).body == {"uid": UID, "allowed": True}
    assert cluster.requests == []
    assert "hint: write it as repo:tag@sha256:…" in cluster.validate(pod).message


def test_pinning_an_accepted_image_asks_for_its_digest_alone(cluster: Cluster) -> None:
    digest = cluster.image("open/app", "1", signed=False)
    cluster.forget_requests()
    asked = cluster.mutate(review("Pod", make("Pod", pod_spec(["registry.test/open/app:1"]))))
    assert [w.need for w in asked.plan.wanted] == [Need.DIGEST]
    assert asked.patch[0]["value"] == f"registry.test/open/app:1@{digest}"
    assert len([r for r in cluster.requests if "/manifests/" in r]) == len(cluster.requests)


# Limits of what is said


def test_warnings_are_few_short_and_one_line_each(cluster: Cluster) -> None:
    cluster.settings = settings(mode=Mode.WARN)
    images = [f"registry.test/shut/{'x' * 150}{i}:1" for i in range(40)]
    asked = cluster.validate(review("Pod", make("Pod", pod_spec(images))))
    found = asked.body["warnings"]
    assert len(found) == 13
    assert found[-1] == "imgsign: and 28 more"
    assert all(len(w) <= 120 and w.isprintable() for w in found)
    assert sum(map(len, found)) < 2048


def test_warnings_about_hostile_text_are_still_one_line_and_never_equal(cluster: Cluster) -> None:
    cluster.settings = settings(mode=Mode.WARN)
    images = [f"{'x' * 150}\u200b\x1b[2J\n{i}" for i in range(40)] + ["\U0001f600:\u202e"]
    found = cluster.validate(review("Pod", make("Pod", pod_spec(images)))).body["warnings"]
    assert len(found) == 2
    assert found[-1] == "imgsign: and 40 more"
    assert all(len(w) <= 120 and w.isprintable() for w in found)


def test_a_denial_of_many_images_is_bounded(cluster: Cluster) -> None:
    images = [f"registry.test/shut/{'x' * 200}{i}@{D}" for i in range(500)]
    asked = cluster.validate(review("Pod", make("Pod", pod_spec(images))))
    assert asked.first_line.endswith("; and 499 more")
    assert len(asked.message) <= 8192


def test_foreign_names_cannot_break_lines_or_send_escapes(cluster: Cluster) -> None:
    pod = make("Pod", pod_spec(["registry.test/shut/a:1"]), name="x\n\x1b[2Jdenied")
    pod["spec"]["containers"][0]["name"] = "c\nhint: run this"
    asked = cluster.validate(review("Pod", pod))
    assert "\x1b" not in asked.message
    assert [line for line in asked.message.splitlines() if line.startswith("hint: run")] == []


def test_a_patch_path_is_escaped() -> None:
    from imgsign.admission.answer import pointer
    from imgsign.images.workloads import ImagePlace

    assert pointer(ImagePlace(("a/b", "~c", 0), "x", "container", "")) == "/a~1b/~0c/0"


def test_plans_are_remembered_up_to_a_number() -> None:
    book = Rulebook(settings(), {"policy.toml": POLICY})
    kept = book.remembered(book.settings.default, Gate.VALIDATE, is_pod=True)
    for i in range(10):
        images = [f"registry.test/shut/a{i}x{j}" for j in range(900)]
        plan(parse_review(to_bytes(review("Pod", make("Pod", pod_spec(images))))), Gate.VALIDATE, book)
        assert len(kept) <= 4096
    assert len(kept) > 0


# Nothing is allowed by absence


def test_a_wanted_image_without_judgement_is_undecided() -> None:
    pod = review("Pod", make("Pod", pod_spec([f"registry.test/app@{D}"])))
    book = Rulebook(settings(), {"policy.toml": POLICY})
    planned = plan(parse_review(to_bytes(pod)), Gate.VALIDATE, book)
    found = answer(planned, {})
    assert (found.allowed, found.verdict, found.codes) == (False, "undecided", ("not-judged",))


def test_a_judgement_of_another_image_or_digest_does_not_count(cluster: Cluster) -> None:
    digest = cluster.image("app", "1")
    book = Rulebook(settings(), {"policy.toml": POLICY})
    good = review("Pod", make("Pod", pod_spec([f"registry.test/app:1@{digest}"])))
    bad = review("Pod", make("Pod", pod_spec([f"registry.test/app:1@{D}"])))
    (wanted,) = plan(parse_review(to_bytes(good)), Gate.VALIDATE, book).wanted
    judged = cluster.judge(wanted, book)
    planned = plan(parse_review(to_bytes(bad)), Gate.VALIDATE, book)
    (asked,) = planned.wanted
    assert not answer(planned, {asked.key: judged}).allowed


def test_a_refusal_is_a_denial_to_the_one_who_asked() -> None:
    found = refuse(UID, "busy", "all workers are busy\nnow", "try again")
    assert not found.allowed
    assert found.message == "all workers are busy\\x0anow [busy]\nhint: try again"


# The audit log


def test_the_audit_line_says_who_asked_for_what_and_what_was_answered(cluster: Cluster) -> None:
    digest = cluster.image("app", "1")
    pod = make("Pod", pod_spec([f"registry.test/app:1@{digest}", "registry.test/shut/x:1"]), owner="ReplicaSet")
    assert cluster.validate(review("Pod", pod, dryRun=True)).audit == {
        "uid": UID,
        "gate": "validate",
        "operation": "CREATE",
        "kind": "Pod",
        "subresource": "",
        "namespace": "shop",
        "name": "web",
        "owner": "ReplicaSet web",
        "user": "kubernetes-admin",
        "dry_run": True,
        "mode": "enforce",
        "policy": "policy.toml",
        "verdict": "denied",
        "codes": ["rejected"],
        "images": [
            {
                "image": f"registry.test/app:1@{digest}",
                "digest": digest,
                "verdict": "allowed",
                "code": "allowed",
                "cached": False,
            },
            {
                "image": "registry.test/shut/x:1",
                "digest": None,
                "verdict": "denied",
                "code": "rejected",
                "cached": False,
            },
        ],
        "unchanged": 0,
        "patched": 0,
    }
