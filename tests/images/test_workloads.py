"""Places of images in Kubernetes' own objects: every place found, nothing else taken for one, nothing skipped."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client as k8s

from imgsign.images.workloads import (
    CONTAINER_KEYS,
    POD_SPEC_KEYS,
    VOLUME_KEYS,
    WORKLOADS,
    ImagePlace,
    ShapeProblem,
    images_of,
    images_of_pod_spec,
    show_path,
)
from tests.admission.objects import POD_SPEC, at, make, pod_spec


def shown(document: Any) -> list[str]:
    return [f"{show_path(w.path)} {w.text if isinstance(w, ImagePlace) else w.code}" for w in images_of(document) or []]


def in_spec(spec: Any) -> list[str]:
    found = images_of_pod_spec(spec, ("spec",))
    return [f"{show_path(w.path)} {w.text if isinstance(w, ImagePlace) else w.code}" for w in found]


@pytest.mark.parametrize("kind", sorted(POD_SPEC))
def test_every_place_of_every_kind_is_found(kind: str) -> None:
    document = make(kind, pod_spec(["a", "b"], ["c"], ["d"], ["e"]))
    base = POD_SPEC[kind].replace("/", ".")[1:]
    assert shown(document) == [
        f"{base}.containers[0].image a",
        f"{base}.containers[1].image b",
        f"{base}.initContainers[0].image c",
        f"{base}.ephemeralContainers[0].image d",
        f"{base}.volumes[1].image.reference e",
    ]


def test_a_place_names_its_role_and_container() -> None:
    found = images_of(make("Pod", pod_spec(["a"], ["c"], ["d"], ["e"])))
    assert [(w.role, w.name) for w in found or [] if isinstance(w, ImagePlace)] == [
        ("container", "c0"),
        ("init-container", "i0"),
        ("ephemeral-container", "e0"),
        ("volume", "v0"),
    ]


@pytest.mark.parametrize(
    ("model", "known"),
    [
        (k8s.V1PodSpec, POD_SPEC_KEYS),
        (k8s.V1Container, CONTAINER_KEYS - {"targetContainerName"}),
        (k8s.V1EphemeralContainer, CONTAINER_KEYS),
        (k8s.V1Volume, VOLUME_KEYS),
    ],
)
def test_the_known_keys_are_those_of_kubernetes(model: Any, known: frozenset[str]) -> None:
    # The installed client may be older than the lists, or newer and know more: then there is a place to look at.
    keys = set(model.attribute_map.values())
    assert [k for k in keys - known if k.casefold().endswith(("image", "containers", "reference"))] == []
    assert len(keys & known) > len(known) - 6


@pytest.mark.parametrize("version", ["extensions/v1beta1", "apps/v1beta1", "apps/v1beta2", "apps/v1"])
def test_old_versions_have_the_same_places(version: str) -> None:
    document = make("Deployment", pod_spec(["a"])) | {"apiVersion": version}
    assert shown(document) == ["spec.template.spec.containers[0].image a"]


@pytest.mark.parametrize(
    "document",
    [
        {"apiVersion": "batch.volcano.sh/v1alpha1", "kind": "Job", "spec": {}},
        {"apiVersion": "v1", "kind": "ConfigMap"},
        {"apiVersion": "v1", "kind": "ConfigMapList", "items": []},
        {"kind": 7},
        [],
        "text",
        None,
    ],
)
def test_what_is_no_workload_is_not_walked(document: Any) -> None:
    assert images_of(document) is None


def test_lists_are_followed() -> None:
    pod, deployment = make("Pod", pod_spec(["a"])), make("Deployment", pod_spec(["b"]))
    assert shown({"apiVersion": "v1", "kind": "List", "items": [pod, deployment]}) == [
        "items[0].spec.containers[0].image a",
        "items[1].spec.template.spec.containers[0].image b",
    ]


def test_items_of_a_typed_list_may_lack_their_kind() -> None:
    pod = make("Pod", pod_spec(["a"]))
    del pod["kind"], pod["apiVersion"]
    assert shown({"apiVersion": "v1", "kind": "PodList", "items": [pod]}) == ["items[0].spec.containers[0].image a"]


def test_an_item_of_an_unknown_kind_is_a_problem() -> None:
    document = {"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "x/v1", "kind": "Pod"}, 5]}
    assert shown(document) == ["items[0] unknown-kind", "items[1] bad-shape"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"containers": {}}, "spec.containers bad-shape"),
        ({"containers": "a"}, "spec.containers bad-shape"),
        ({"containers": ["a"]}, "spec.containers[0] bad-shape"),
        ({"containers": [None]}, "spec.containers[0] bad-shape"),
        ({"containers": [{"image": 1}]}, "spec.containers[0].image bad-shape"),
        ({"containers": [{"image": ["a"]}]}, "spec.containers[0].image bad-shape"),
        ({"containers": [{"image": False}]}, "spec.containers[0].image bad-shape"),
        ({"containers": [{"name": "a"}]}, "spec.containers[0].image image-missing"),
        ({"containers": [{"image": ""}]}, "spec.containers[0].image image-missing"),
        ({"containers": [{"image": None}]}, "spec.containers[0].image image-missing"),
        ({"containers": [{"image": "a", "Image": "b"}]}, "spec.containers[0].Image unknown-image-key"),
        ({"containers": [{"image": "a", "sidecarImage": "b"}]}, "spec.containers[0].sidecarImage unknown-image-key"),
        ({"containers": [{"image": "a", 5: "b"}]}, "spec.containers[0] bad-shape"),
        ({"initContainers": 5}, "spec.initContainers bad-shape"),
        ({"ephemeralContainers": {"a": 1}}, "spec.ephemeralContainers bad-shape"),
        ({"baseImage": "a"}, "spec.baseImage unknown-image-key"),
        ({"Containers": []}, "spec.Containers unknown-image-key"),
        ({"initcontainers": []}, "spec.initcontainers unknown-image-key"),
        ({"postContainers": []}, "spec.postContainers unknown-image-key"),
        ({"volumes": {}}, "spec.volumes bad-shape"),
        ({"volumes": [5]}, "spec.volumes[0] bad-shape"),
        ({"volumes": [{"image": "a"}]}, "spec.volumes[0].image bad-shape"),
        ({"volumes": [{"image": {}}]}, "spec.volumes[0].image.reference image-missing"),
        ({"volumes": [{"image": {"reference": 1}}]}, "spec.volumes[0].image.reference bad-shape"),
        ({"volumes": [{"Image": {"reference": "a"}}]}, "spec.volumes[0].Image unknown-image-key"),
        ({"volumes": [{"ociArtifact": {"reference": "a"}}]}, "spec.volumes[0].ociArtifact.reference unknown-image-key"),
        (
            {"volumes": [{"image": {"reference": "a", "fallbackReference": "b"}}]},
            "spec.volumes[0].image.fallbackReference unknown-image-key",
        ),
        (None, "spec bad-shape"),
        ([], "spec bad-shape"),
        ("a", "spec bad-shape"),
    ],
)
def test_a_malformed_place_is_a_problem_with_its_path(spec: Any, expected: str) -> None:
    assert expected in in_spec(spec)


@pytest.mark.parametrize(
    "spec",
    [
        {"volumes": [{"name": "d", "rbd": {"image": "a-ceph-name", "monitors": []}}]},
        {"imagePullSecrets": [{"name": "regcred"}]},
        {"containers": [{"name": "a", "image": "a", "imagePullPolicy": "Always"}], "unheardOf": {"image": "x"}},
    ],
)
def test_what_only_looks_like_an_image_is_none(spec: Any) -> None:
    assert [line for line in in_spec(spec) if not line.endswith(" a")] == []


@pytest.mark.parametrize("kind", sorted(set(POD_SPEC) - {"ReplicationController"}))
def test_an_object_without_its_pod_spec_is_a_problem(kind: str) -> None:
    document = make(kind, pod_spec(["a"]))
    parent, _, key = POD_SPEC[kind].rpartition("/")
    del at(document, parent)[key]
    assert [w.code for w in images_of(document) or [] if isinstance(w, ShapeProblem)] == ["bad-shape"]


def test_a_replication_controller_may_have_no_template() -> None:
    document = make("ReplicationController", pod_spec(["a"]))
    document["spec"]["template"] = None
    assert shown(document) == []


def test_a_template_that_is_none_is_a_problem() -> None:
    templates: list[Any] = [[], "a", 5, {"spec": None}]
    for template in templates:
        document = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": template}}
        assert [line.rpartition(" ")[2] for line in shown(document)] == ["bad-shape"]


def test_every_kind_of_the_table_was_tried() -> None:
    assert {kind for _, kind in WORKLOADS} == set(POD_SPEC)
