"""Images in manifests: every place, exact spots, and everything that may hide one."""

from __future__ import annotations

import json

import pytest

from imgsign.images import Found, kubernetes

DEPLOYMENT = """\
# shop
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  template:
    spec:
      containers:
      - name: app
        image: "registry.example.com/shop/app:1.4" # the app
      - {name: side, image: 'registry.example.com/side:2'}
      initContainers:
      - image: registry.example.com/init:3
      ephemeralContainers:
      - image: registry.example.com/debug:4
      volumes:
      - name: model
        image: {reference: registry.example.com/model:5, pullPolicy: Always}
      - name: ceph
        rbd: {image: not-an-image, monitors: []}
"""


def images(text: str, **options: object) -> list[str]:
    return [f.text for f in kubernetes.scan(text, **options).found]  # type: ignore[arg-type]  # scan's own keywords


def places(text: str) -> list[tuple[str, str, str, int, int]]:
    return [(f.text, f.path, f.role, f.spot.line, f.spot.column) for f in kubernetes.scan(text).found]


def codes(text: str, **options: object) -> list[tuple[str, int]]:
    return [(p.code, p.spot.line) for p in kubernetes.scan(text, **options).problems]  # type: ignore[arg-type]


def test_every_place_of_a_pod_template_has_its_spot() -> None:
    spec = "spec.template.spec"
    assert places(DEPLOYMENT) == [
        ("registry.example.com/shop/app:1.4", f"{spec}.containers[0].image", "container", 10, 17),
        ("registry.example.com/side:2", f"{spec}.containers[1].image", "container", 11, 30),
        ("registry.example.com/init:3", f"{spec}.initContainers[0].image", "init-container", 13, 16),
        ("registry.example.com/debug:4", f"{spec}.ephemeralContainers[0].image", "ephemeral-container", 15, 16),
        ("registry.example.com/model:5", f"{spec}.volumes[0].image.reference", "volume", 18, 28),
    ]
    scan = kubernetes.scan(DEPLOYMENT)
    assert {f.subject for f in scan.found} == {"Deployment shop/web"}
    assert [DEPLOYMENT[f.pin.start : f.pin.end] for f in scan.found if f.pin] == images(DEPLOYMENT)
    assert (scan.problems, scan.notes) == ((), ())


POD = {"containers": [{"image": "img:1"}]}


def nested(path: str, value: object) -> object:
    """Build an object from a path like ``spec.list[].key``."""
    for key in reversed(path.split(".")):
        value = {key.removesuffix("[]"): [value] if key.endswith("[]") else value}
    return value


@pytest.mark.parametrize(
    ("version", "kind", "path"),
    [
        ("v1", "Pod", "spec"),
        ("v1", "PodTemplate", "template.spec"),
        ("v1", "ReplicationController", "spec.template.spec"),
        ("apps/v1", "ReplicaSet", "spec.template.spec"),
        ("apps/v1", "Deployment", "spec.template.spec"),
        ("apps/v1beta2", "StatefulSet", "spec.template.spec"),
        ("extensions/v1beta1", "DaemonSet", "spec.template.spec"),
        ("batch/v1", "Job", "spec.template.spec"),
        ("batch/v1beta1", "CronJob", "spec.jobTemplate.spec.template.spec"),
        ("argoproj.io/v1alpha1", "Rollout", "spec.template.spec"),
        ("argoproj.io/v1alpha1", "Experiment", "spec.templates[].template.spec"),
        ("argoproj.io/v1alpha1", "AnalysisTemplate", "spec.metrics[].provider.job.spec.template.spec"),
        ("serving.knative.dev/v1", "Service", "spec.template.spec"),
        ("serving.knative.dev/v1", "Revision", "spec"),
        ("apps.kruise.io/v1alpha1", "CloneSet", "spec.template.spec"),
        ("apps.kruise.io/v1beta1", "StatefulSet", "spec.template.spec"),
        ("apps.kruise.io/v1alpha1", "UnitedDeployment", "spec.template.cloneSetTemplate.spec.template.spec"),
        ("keda.sh/v1alpha1", "ScaledJob", "spec.jobTargetRef.template.spec"),
        ("jobset.x-k8s.io/v1alpha2", "JobSet", "spec.replicatedJobs[].template.spec.template.spec"),
        ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "spec.leaderWorkerTemplate.workerTemplate.spec"),
        ("ray.io/v1", "RayCluster", "spec.workerGroupSpecs[].template.spec"),
        ("ray.io/v1", "RayJob", "spec.rayClusterSpec.headGroupSpec.template.spec"),
        ("kubeflow.org/v1", "PyTorchJob", "spec.pytorchReplicaSpecs.Master.template.spec"),
        ("elasticsearch.k8s.elastic.co/v1", "Elasticsearch", "spec.nodeSets[].podTemplate.spec"),
        ("apps.openshift.io/v1", "DeploymentConfig", "spec.template.spec"),
    ],
)
def test_pod_specs_of_all_kinds(version: str, kind: str, path: str) -> None:
    document = {"apiVersion": version, "kind": kind, **dict(nested(path, POD))}  # type: ignore[call-overload]
    (found,) = kubernetes.scan(json.dumps(document)).found
    assert (found.text, found.role) == ("img:1", "container")
    assert found.path == f"{path.replace('[]', '[0]')}.containers[0].image"


@pytest.mark.parametrize(
    ("version", "kind", "path"),
    [
        ("argoproj.io/v1alpha1", "Workflow", "spec.templates[].container.image"),
        ("argoproj.io/v1alpha1", "WorkflowTemplate", "spec.templates[].script.image"),
        ("argoproj.io/v1alpha1", "ClusterWorkflowTemplate", "spec.templates[].containerSet.containers[].image"),
        ("argoproj.io/v1alpha1", "Workflow", "spec.templates[].initContainers[].image"),
        ("argoproj.io/v1alpha1", "Workflow", "spec.templates[].sidecars[].image"),
        ("argoproj.io/v1alpha1", "Workflow", "spec.templateDefaults.container.image"),
        ("argoproj.io/v1alpha1", "CronWorkflow", "spec.workflowSpec.templates[].container.image"),
        ("apps.kruise.io/v1alpha1", "SidecarSet", "spec.initContainers[].image"),
        ("apps.kruise.io/v1alpha1", "ImagePullJob", "spec.image"),
        ("tekton.dev/v1", "Task", "spec.steps[].image"),
        ("tekton.dev/v1", "Task", "spec.stepTemplate.image"),
        ("tekton.dev/v1", "TaskRun", "spec.taskSpec.sidecars[].image"),
        ("tekton.dev/v1", "Pipeline", "spec.tasks[].taskSpec.steps[].image"),
        ("tekton.dev/v1", "Pipeline", "spec.finally[].taskSpec.steps[].image"),
        ("tekton.dev/v1", "PipelineRun", "spec.pipelineSpec.tasks[].taskSpec.steps[].image"),
        ("tekton.dev/v1beta1", "StepAction", "spec.image"),
        ("kubevirt.io/v1", "VirtualMachine", "spec.template.spec.volumes[].containerDisk.image"),
        ("kubevirt.io/v1", "VirtualMachineInstance", "spec.domain.firmware.kernelBoot.container.image"),
        ("monitoring.coreos.com/v1", "Prometheus", "spec.thanos.image"),
        ("monitoring.coreos.com/v1", "Alertmanager", "spec.containers[].image"),
        ("postgresql.cnpg.io/v1", "Cluster", "spec.imageName"),
        ("kafka.strimzi.io/v1beta2", "Kafka", "spec.entityOperator.topicOperator.image"),
        ("sparkoperator.k8s.io/v1beta2", "SparkApplication", "spec.executor.image"),
        ("kibana.k8s.elastic.co/v1", "Kibana", "spec.image"),
        ("pkg.crossplane.io/v1", "Provider", "spec.package"),
    ],
)
def test_images_of_custom_resources(version: str, kind: str, path: str) -> None:
    document = {"apiVersion": version, "kind": kind, **dict(nested(path, "img:1"))}  # type: ignore[call-overload]
    scan = kubernetes.scan(json.dumps(document))
    assert [(f.text, f.path) for f in scan.found] == [("img:1", path.replace("[]", "[0]"))]
    assert scan.problems == ()


def test_a_disk_is_pinned_behind_its_scheme() -> None:
    text = "apiVersion: cdi.kubevirt.io/v1beta1\nkind: DataVolume\nspec: {source: {registry: {url: docker://img:1}}}\n"
    (found,) = kubernetes.scan(text).found
    assert (found.text, found.role, found.replacement) == ("img:1", "disk", "docker://{reference}")


def test_a_bundle_that_tekton_resolves_is_an_image() -> None:
    text = """\
apiVersion: tekton.dev/v1
kind: PipelineRun
spec:
  pipelineRef:
    resolver: bundles
    params:
    - {name: name, value: build}
    - {name: bundle, value: registry.example.com/bundle:1}
"""
    assert places(text) == [("registry.example.com/bundle:1", "spec.pipelineRef.params[1].value", "bundle", 8, 29)]


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("{tag: '1'}", ["registry.example.com/a:1"]),
        ("{tag: '1', digest: sha256:ab}", ["registry.example.com/a:1@sha256:ab"]),
        ("{semver: '>=1'}", []),
        ("{}", []),
    ],
)
def test_a_flux_artifact_has_its_tag_beside_its_url(ref: str, expected: list[str]) -> None:
    head = "apiVersion: source.toolkit.fluxcd.io/v1\nkind: OCIRepository\n"
    text = f"{head}spec: {{url: 'oci://registry.example.com/a', ref: {ref}}}\n"
    assert images(text) == expected
    assert [c for c, _ in codes(text)] == ([] if expected else ["unresolved"])


def test_openshift_names_images_or_streams() -> None:
    text = """\
apiVersion: build.openshift.io/v1
kind: BuildConfig
spec:
  strategy: {sourceStrategy: {from: {kind: DockerImage, name: registry.example.com/s2i:1}}}
  source: {images: [{from: {kind: ImageStreamTag, name: "tools:1"}}]}
"""
    assert images(text) == ["registry.example.com/s2i:1"]
    assert codes(text) == [("unresolved", 5)]


def test_lists_are_followed_and_typed_items_need_no_kind() -> None:
    text = """\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: List
  items: [{apiVersion: v1, kind: Pod, spec: {containers: [{image: a:1}]}}]
- {apiVersion: example.com/v1, kind: Thing, spec: {}}
---
apiVersion: apps/v1
kind: DeploymentList
items:
- spec: {template: {spec: {containers: [{image: b:1}]}}}
"""
    assert [(t, p) for t, p, *_ in places(text)] == [
        ("a:1", "items[0].items[0].spec.containers[0].image"),
        ("b:1", "items[0].spec.template.spec.containers[0].image"),
    ]
    assert codes(text) == []


UNKNOWN = """\
apiVersion: example.com/v1
kind: Thing
metadata: {name: it}
spec:
  image: registry.example.com/agent:1
  pool: {containers: [{name: a, image: registry.example.com/shape:1}]}
"""


def test_an_unknown_kind_is_searched_by_shape_and_the_rest_is_said() -> None:
    scan = kubernetes.scan(UNKNOWN)
    assert [(f.text, f.role) for f in scan.found] == [("registry.example.com/shape:1", "by shape")]
    assert scan.notes == (
        "Thing it: spec.image in line 5 was not looked at; if it is an image: --image-path 'Thing=spec.image'",
    )


def test_strict_makes_an_image_key_of_an_unknown_kind_an_error() -> None:
    (problem,) = kubernetes.scan(UNKNOWN, strict=True).problems
    assert (problem.code, problem.path, problem.spot.line, problem.spot.column) == (
        "unknown-image",
        "spec.image",
        5,
        10,
    )
    assert problem.hint == "--image-path 'Thing=spec.image'"


@pytest.mark.parametrize("kind", ["Thing", "Thing.example.com"])
def test_a_path_option_adds_exact_places(kind: str) -> None:
    scan = kubernetes.scan(UNKNOWN, strict=True, image_paths={kind: ["spec.image"]})
    assert [f.text for f in scan.found] == ["registry.example.com/agent:1", "registry.example.com/shape:1"]
    assert (scan.problems, scan.notes) == ((), ())


def test_a_path_option_of_another_group_does_not_count() -> None:
    assert codes(UNKNOWN, strict=True, image_paths={"Thing.example.org": ["spec.image"]}) == [("unknown-image", 5)]


def test_a_path_option_may_name_a_pod_spec() -> None:
    text = "apiVersion: x.io/v1\nkind: Y\nspec: {pod: {volumes: [{image: {reference: v:1}}]}}\n"
    assert images(text, image_paths={"Y": ["spec.pod"]}) == ["v:1"]


@pytest.mark.parametrize("kind", ["ConfigMap", "PersistentVolume", "Secret"])
def test_kinds_that_run_nothing_are_not_searched_even_strictly(kind: str) -> None:
    text = f"apiVersion: v1\nkind: {kind}\nspec: {{rbd: {{image: ceph}}}}\n"
    scan = kubernetes.scan(text, strict=True)
    assert (scan.found, scan.problems, scan.notes) == ((), (), ())


def test_a_config_map_with_a_manifest_in_it_is_noted() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  pod.yaml: |\n    image: x\n"
    assert kubernetes.scan(text).notes == ("ConfigMap c: the texts in its data are not searched for images",)


def pod(image: str) -> str:
    return f"apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: a\n{image}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (pod(""), [("image-missing", 5)]),
        (pod("    image:\n"), [("image-missing", 6)]),
        (pod("    image: ''\n"), [("image-missing", 6)]),
        (pod("    image: ' '\n"), [("image-missing", 6)]),
        (pod("    image: 1.5\n"), [("bad-shape", 6)]),
        (pod("    image: yes\n"), [("bad-shape", 6)]),
        (pod("    image: [a]\n"), [("bad-shape", 6)]),
        (pod("    image: !!binary bmdpbng6MQ==\n"), [("bad-shape", 6)]),
        (pod("    image: '{{ .Values.image }}'\n"), [("template", 6)]),
        (pod("    image: registry.example.com/app:${TAG}\n"), [("template", 6)]),
        (pod("    image: $(params.image)\n"), [("template", 6)]),
        (pod("    image: a:1\n    image: b:1\n"), [("duplicate-key", 7)]),
        (pod("    image: {{ .Values.image }}\n"), [("template", 6)]),
        (pod("    image: a:1\n    sidecarImage: b:1\n"), [("unknown-image-key", 7)]),
        ("apiVersion: v1\nkind: Pod\nspec: {containers: {image: a}}\n", [("bad-shape", 3)]),
        ("apiVersion: v1\nkind: Pod\n", [("bad-shape", 1)]),
        ("image: {repository: a, tag: b}\n", [("no-kind", 1)]),
        ("- a\n", [("not-an-object", 1)]),
        ("just text\n", [("not-an-object", 1)]),
        ("kind: List\nitems: [1]\n", [("not-an-object", 2)]),
        ("", [("empty", 1)]),
        ("# nothing\n---\n", [("empty", 1)]),
    ],
)
def test_what_hides_an_image_is_a_problem_with_its_line(text: str, expected: list[tuple[str, int]]) -> None:
    assert codes(text) == expected


def test_a_manifest_inside_a_workflow_is_a_problem() -> None:
    text = """\
apiVersion: argoproj.io/v1alpha1
kind: Workflow
spec:
  templates:
  - resource:
      manifest: |
        kind: Pod
        spec: {containers: [{image: hidden:1}]}
"""
    assert (images(text), codes(text)) == ([], [("embedded", 6)])


def test_a_document_smuggled_into_a_block_is_refused() -> None:
    # Cut at "---", as kubectl does, the block is a Pod of its own; read as one YAML document it is data.
    text = "apiVersion: v1\nkind: ConfigMap\n---x: |\n  apiVersion: v1\n  kind: Pod\n"
    assert codes(text) == [("separator", 3)]


def test_an_aliased_image_is_found_at_its_anchor_and_the_sharing_is_said() -> None:
    text = """\
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers:
  - image: &img registry.example.com/a:1
  - image: *img
"""
    scan = kubernetes.scan(text)
    assert [(f.path, f.spot.line, f.spot.column) for f in scan.found] == [
        ("spec.containers[0].image", 6, 17),
        ("spec.containers[1].image", 6, 17),
    ]
    assert scan.notes == ("Pod p: the image in line 6 is shared by anchor &img: --pin changes every use of it",)


def test_a_merged_container_is_found_where_it_stands() -> None:
    text = """\
apiVersion: apps/v1
kind: Deployment
x-base: &base
  image: registry.example.com/a:1
spec:
  template:
    spec:
      containers:
      - <<: *base
        name: a
"""
    (found,) = kubernetes.scan(text).found
    assert (found.text, found.spot.line) == ("registry.example.com/a:1", 4)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_line_endings_do_not_move_spots(newline: str) -> None:
    (found,) = kubernetes.scan(pod("    image: a:1\n").replace("\n", newline)).found
    assert (found.spot.line, found.spot.column, found.pin is not None) == (6, 12, True)


def test_foreign_names_are_made_printable() -> None:
    text = 'apiVersion: v1\nkind: Pod\nmetadata: {name: "a\\e[2Jb"}\nspec: {containers: [{image: a}]}\n'
    (found,) = kubernetes.scan(text).found
    assert found.subject == "Pod a\\x1b[2Jb"


def test_many_objects_are_read_in_linear_time() -> None:
    one = pod("    image: a:1\n")
    found: tuple[Found, ...] = kubernetes.scan("---\n".join([one] * 2000)).found
    assert len(found) == 2000
