"""AdmissionReview v1 in: every kind, operation and subresource that the API server sends, and what it must not."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from imgsign.admission.review import RESOURCES, parse_review, review_of
from imgsign.errors import InvalidReview
from tests.admission import objects
from tests.admission.cluster import D
from tests.admission.objects import POD_SPEC, REQUEST, UID, at, make, pod_spec, review, to_bytes

OLD, NEW = f"registry.test/app:1@{D}", f"registry.test/app:2@{D}"


def parse(document: Any) -> Any:
    REQUEST.validate(document)
    return parse_review(to_bytes(document))


def test_every_registered_kind_is_tried_here() -> None:
    assert {(g, r): k for k, (g, _, r) in objects.RESOURCES.items()} == dict(RESOURCES)


@pytest.mark.parametrize("kind", sorted(POD_SPEC))
def test_a_creation_of_every_kind_is_read(kind: str) -> None:
    found = parse(review(kind, make(kind, pod_spec(["a", "b"], ["c"], ["d"], ["e"]))))
    assert (found.uid, found.operation, found.kind, found.namespace, found.name) == (UID, "CREATE", kind, "shop", "web")
    assert [i.text for i in found.images] == ["a", "b", "c", "d", "e"]
    assert found.unchanged == frozenset()
    assert found.is_pod is (kind == "Pod")


@pytest.mark.parametrize("kind", sorted(POD_SPEC))
def test_an_update_of_every_kind_knows_what_is_unchanged(kind: str) -> None:
    old = make(kind, pod_spec([OLD, "b"], ["c"], ["d"], ["e"]))
    new = make(kind, pod_spec([NEW, "b"], ["c"], ["d"], ["e"]))
    found = parse(review(kind, new, old=old))
    assert [i.text for i in found.images if i.path not in found.unchanged] == [NEW]


@pytest.mark.parametrize("kind", sorted(POD_SPEC))
@pytest.mark.parametrize("operation", ["DELETE", "CONNECT"])
def test_no_image_enters_by_deletion_or_connection(kind: str, operation: str) -> None:
    found = parse(review(kind, None, old=make(kind, pod_spec(["a"])), operation=operation))
    assert found.images == ()
    assert found.problems == ()


@pytest.mark.parametrize("subresource", ["ephemeralcontainers", "status", "resize"])
def test_a_subresource_with_the_whole_pod_is_read_whole(subresource: str) -> None:
    old = make("Pod", pod_spec(["a"], [], ["old"]))
    new = make("Pod", pod_spec(["a"], [], ["old", "debug"]))
    found = parse(review("Pod", new, old=old, subresource=subresource))
    assert [i.text for i in found.images if i.path not in found.unchanged] == ["debug"]


@pytest.mark.parametrize(
    ("kind", "subresource", "operation", "document"),
    [
        ("Deployment", "scale", "UPDATE", {"kind": "Scale", "apiVersion": "autoscaling/v1", "spec": {"replicas": 0}}),
        ("StatefulSet", "scale", "UPDATE", {"kind": "Scale", "apiVersion": "autoscaling/v1", "spec": {"replicas": 9}}),
        ("Pod", "binding", "CREATE", {"kind": "Binding", "apiVersion": "v1", "target": {"name": "node"}}),
        ("Pod", "eviction", "CREATE", {"kind": "Eviction", "apiVersion": "policy/v1"}),
        ("Pod", "exec", "CONNECT", {"kind": "PodExecOptions", "apiVersion": "v1", "command": ["sh"]}),
    ],
)
def test_a_subresource_without_images_has_none(kind: str, subresource: str, operation: str, document: Any) -> None:
    found = parse(review(kind, document, operation=operation, subresource=subresource))
    assert (found.images, found.problems) == ((), ())


def test_an_equivalent_request_is_read_by_the_converted_resource() -> None:
    # kubectl asked for extensions/v1beta1; matchPolicy Equivalent converts to what the webhook registered.
    asked = review("Deployment", make("Deployment", pod_spec(["a"])))
    beta = {"group": "extensions", "version": "v1beta1"}
    asked["request"].update(
        requestKind={**beta, "kind": "Deployment"}, requestResource={**beta, "resource": "deployments"}
    )
    assert [i.text for i in parse(asked).images] == ["a"]


def test_a_pod_of_a_controller_is_called_by_its_generated_name_and_owner() -> None:
    pod = make("Pod", pod_spec(["a"]), owner="ReplicaSet", name=None, generate_name="web-7d4b9c-")
    found = parse(review("Pod", pod, name=""))
    assert found.subject == "Pod shop/web-7d4b9c-* of ReplicaSet web"


def test_an_owner_that_is_no_controller_owns_nothing() -> None:
    pod = make("Pod", pod_spec(["a"]), owner="ConfigMap")
    pod["metadata"]["ownerReferences"][0]["controller"] = False
    assert parse(review("Pod", pod)).owner == ""


def test_a_moved_container_is_unchanged_and_a_renamed_one_is_not() -> None:
    old = make("Pod", pod_spec(["a", "b"]))
    moved = copy.deepcopy(old)
    moved["spec"]["containers"].reverse()
    assert len(parse(review("Pod", moved, old=old)).unchanged) == 2
    renamed = copy.deepcopy(old)
    renamed["spec"]["containers"][0]["name"] = "other"
    assert [i.text for i in parse(review("Pod", renamed, old=old)).images][:1] == ["a"]
    assert parse(review("Pod", renamed, old=old)).unchanged == {("spec", "containers", 1, "image")}


def test_the_same_text_at_another_container_or_list_is_not_unchanged() -> None:
    old = make("Deployment", pod_spec(["trusted-by-name"], ["b"]))
    new = make("Deployment", pod_spec(["b"], ["trusted-by-name"]))
    new_names = at(new, "/spec/template/spec")
    new_names["containers"][0]["name"], new_names["initContainers"][0]["name"] = "i0", "c0"
    assert parse(review("Deployment", new, old=old)).unchanged == frozenset()


def test_a_name_given_twice_in_the_old_object_is_no_name() -> None:
    old = make("Pod", pod_spec(["a", "b"]))
    old["spec"]["containers"][1]["name"] = "c0"
    assert parse(review("Pod", old, old=old)).unchanged == frozenset()


def test_a_container_without_name_is_never_unchanged() -> None:
    old = make("Pod", pod_spec(["a"]))
    del old["spec"]["containers"][0]["name"]
    assert parse(review("Pod", old, old=old)).unchanged == frozenset()


def test_an_old_object_of_a_creation_means_nothing() -> None:
    pod = make("Pod", pod_spec(["a"]))
    assert parse(review("Pod", pod, old=pod, operation="CREATE")).unchanged == frozenset()


def test_what_could_not_be_read_before_either_is_no_news() -> None:
    old = make("Deployment", pod_spec(["a"]))
    at(old, "/spec/template/spec")["sidecarImage"] = {"x": 1}
    same, changed = copy.deepcopy(old), copy.deepcopy(old)
    at(changed, "/spec/template/spec")["sidecarImage"] = {"x": 2}
    assert parse(review("Deployment", same, old=old)).problems == ()
    assert [p.code for p in parse(review("Deployment", changed, old=old)).problems] == ["unknown-image-key"]


def test_a_plain_object_is_reviewed_as_its_creation() -> None:
    found = review_of(make("CronJob", pod_spec(["a"])), "batch")
    assert (found.resource, found.operation, found.namespace) == ("cronjobs", "CREATE", "batch")
    assert [i.text for i in found.images] == ["a"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"apiVersion": "v1", "kind": "Secret"}, "the webhook judges nothing of kind 'Secret'"),
        ({"apiVersion": "example.com/v1", "kind": "Deployment"}, "the webhook judges nothing of kind 'Deployment'"),
        ({"kind": "Pod"}, "expected a string that is not empty at apiVersion"),
    ],
)
def test_a_plain_object_that_is_not_judged_is_refused(document: Any, message: str) -> None:
    with pytest.raises(InvalidReview) as caught:
        review_of(document, "default")
    assert caught.value.message == message


@pytest.mark.parametrize("kind", sorted(POD_SPEC))
@pytest.mark.parametrize("containers", [None, []])
def test_an_object_without_any_container_was_not_read_rightly(kind: str, containers: Any) -> None:
    document = make(kind, pod_spec(["a"]))
    at(document, POD_SPEC[kind])["containers"] = containers
    (problem,) = parse(review(kind, document)).problems
    assert (problem.code, problem.message) == ("bad-shape", "there are no containers")


def test_a_replication_controller_may_have_no_template() -> None:
    document = make("ReplicationController", pod_spec(["a"]))
    document["spec"]["template"] = None
    assert parse(review("ReplicationController", document)).problems == ()


def test_an_object_with_more_images_than_any_node_runs_is_refused() -> None:
    parse(review("Pod", make("Pod", pod_spec(["a"] * 1000))))
    with pytest.raises(InvalidReview, match=r"more than 1000 images at request\.object"):
        parse(review("Pod", make("Pod", pod_spec(["a"] * 1001))))
