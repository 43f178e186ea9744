"""Where images stand in widely used custom resources; pure, over plain data.

One row of :data:`ROWS` is a family of kinds with the paths below which its images are: a Pod's ``spec``, a list
of containers, an image itself. Kinds are known by group and kind together, never by kind alone: every other
project has a ``Cluster``. What a row does not name is still found if it has the shape of a Pod (see
:func:`shaped`).

Sources: the CRDs of the projects named in each row, as their documentation shows them; a project that adds a
place is caught by shape, or by ``--image-path``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

from imgsign.images.paths import Path, matches
from imgsign.record import record

__all__ = ["BARE_GROUPS", "BARE_KINDS", "ROWS", "Row", "What", "row_for", "shaped"]


class What(enum.Enum):
    """What stands at a path."""

    POD = "a PodSpec"
    CONTAINERS = "a list of containers"
    IMAGE = "an image reference"
    URL = "a docker:// or oci:// URL"
    FROM = "an OpenShift object reference {kind, name}"
    MANIFEST = "a manifest as text"


@record(kw_only=False)
class Row:
    """Kinds of one group (versions do not matter) and where their images are."""

    group: str
    kinds: frozenset[str]
    places: tuple[tuple[What, str], ...]


def _row(group: str, kinds: str, *places: tuple[What, str]) -> Row:
    return Row(group, frozenset(kinds.split()), places)


def _pods(*patterns: str) -> tuple[tuple[What, str], ...]:
    return tuple((What.POD, p) for p in patterns)


def _images(*patterns: str) -> tuple[tuple[What, str], ...]:
    return tuple((What.IMAGE, p) for p in patterns)


def _workflow(base: str) -> tuple[tuple[What, str], ...]:
    """An Argo WorkflowSpec below ``base``."""
    found: list[tuple[What, str]] = []
    for template in (f"{base}.templates[]", f"{base}.templateDefaults"):
        found += _images(f"{template}.container.image", f"{template}.script.image")
        for name in ("containerSet.containers", "initContainers", "sidecars"):
            found.append((What.CONTAINERS, f"{template}.{name}"))
        found.append((What.MANIFEST, f"{template}.resource.manifest"))
    return tuple(found)


def _tekton_task(base: str) -> tuple[tuple[What, str], ...]:
    """A Tekton TaskSpec below ``base``; ``taskRef.bundle`` is of old releases."""
    return (
        (What.CONTAINERS, f"{base}.steps"),
        (What.CONTAINERS, f"{base}.sidecars"),
        *_images(f"{base}.stepTemplate.image"),
    )


def _tekton_pipeline(base: str) -> tuple[tuple[What, str], ...]:
    found: list[tuple[What, str]] = []
    for part in ("tasks", "finally"):
        found += _tekton_task(f"{base}.{part}[].taskSpec")
        found += _images(f"{base}.{part}[].taskRef.bundle")
    return tuple(found)


def _vm(base: str) -> tuple[tuple[What, str], ...]:
    return _images(f"{base}.volumes[].containerDisk.image", f"{base}.domain.firmware.kernelBoot.container.image")


_PROMETHEUS = (
    *_images("spec.image", "spec.thanos.image"),
    (What.CONTAINERS, "spec.containers"),
    (What.CONTAINERS, "spec.initContainers"),
)
_TEMPLATE = _pods("spec.template.spec")
_UNITED = ("statefulSetTemplate", "advancedStatefulSetTemplate", "cloneSetTemplate", "deploymentTemplate")

ROWS: tuple[Row, ...] = (
    _row("argoproj.io", "Rollout", *_TEMPLATE),
    _row("argoproj.io", "Experiment", *_pods("spec.templates[].template.spec")),
    _row(
        "argoproj.io",
        "AnalysisTemplate ClusterAnalysisTemplate AnalysisRun",
        *_pods("spec.metrics[].provider.job.spec.template.spec"),
    ),
    _row("argoproj.io", "Workflow WorkflowTemplate ClusterWorkflowTemplate", *_workflow("spec")),
    _row("argoproj.io", "CronWorkflow", *_workflow("spec.workflowSpec")),
    _row("serving.knative.dev", "Service Configuration", *_TEMPLATE),
    _row("serving.knative.dev", "Revision", *_pods("spec")),
    _row("apps.kruise.io", "CloneSet StatefulSet DaemonSet BroadcastJob", *_TEMPLATE),
    _row("apps.kruise.io", "AdvancedCronJob", *_pods("spec.template.jobTemplate.spec.template.spec")),
    _row(
        "apps.kruise.io", "SidecarSet", (What.CONTAINERS, "spec.containers"), (What.CONTAINERS, "spec.initContainers")
    ),
    _row("apps.kruise.io", "ImagePullJob", *_images("spec.image")),
    _row("apps.kruise.io", "ImageListPullJob", *_images("spec.images[]")),
    _row("apps.kruise.io", "UnitedDeployment", *_pods(*(f"spec.template.{t}.spec.template.spec" for t in _UNITED))),
    _row("tekton.dev", "Task ClusterTask", *_tekton_task("spec")),
    _row("tekton.dev", "TaskRun", *_tekton_task("spec.taskSpec"), *_images("spec.taskRef.bundle")),
    _row("tekton.dev", "Pipeline", *_tekton_pipeline("spec")),
    _row("tekton.dev", "PipelineRun", *_tekton_pipeline("spec.pipelineSpec"), *_images("spec.pipelineRef.bundle")),
    _row("tekton.dev", "StepAction", *_images("spec.image")),
    _row(
        "kubevirt.io",
        "VirtualMachine VirtualMachineInstanceReplicaSet",
        *_vm("spec.template.spec"),
        (What.URL, "spec.dataVolumeTemplates[].spec.source.registry.url"),
    ),
    _row("kubevirt.io", "VirtualMachineInstance", *_vm("spec")),
    _row("pool.kubevirt.io", "VirtualMachinePool", *_vm("spec.virtualMachineTemplate.spec.template.spec")),
    _row("cdi.kubevirt.io", "DataVolume", (What.URL, "spec.source.registry.url")),
    _row("cdi.kubevirt.io", "DataImportCron", (What.URL, "spec.template.spec.source.registry.url")),
    _row("monitoring.coreos.com", "Prometheus PrometheusAgent Alertmanager ThanosRuler", *_PROMETHEUS),
    _row("keda.sh", "ScaledJob", *_pods("spec.jobTargetRef.template.spec")),
    _row("jobset.x-k8s.io", "JobSet", *_pods("spec.replicatedJobs[].template.spec.template.spec")),
    _row(
        "leaderworkerset.x-k8s.io",
        "LeaderWorkerSet",
        *_pods("spec.leaderWorkerTemplate.leaderTemplate.spec", "spec.leaderWorkerTemplate.workerTemplate.spec"),
    ),
    _row(
        "ray.io",
        "RayCluster RayJob RayService",
        *_pods(
            "spec.*GroupSpec.template.spec",
            "spec.*GroupSpecs[].template.spec",
            "spec.rayCluster*.*GroupSpec.template.spec",
            "spec.rayCluster*.*GroupSpecs[].template.spec",
            "spec.submitterPodTemplate.spec",
        ),
    ),
    _row(
        "kubeflow.org",
        "TFJob PyTorchJob MPIJob XGBoostJob PaddleJob MXJob",
        *_pods("spec.*ReplicaSpecs.*.template.spec"),
    ),
    _row("batch.volcano.sh", "Job", *_pods("spec.tasks[].template.spec")),
    _row("postgresql.cnpg.io", "Cluster Pooler", *_images("spec.imageName"), *_pods("spec.template.spec")),
    _row("postgresql.cnpg.io", "ImageCatalog ClusterImageCatalog", *_images("spec.images[].image")),
    *(
        _row(f"{name}.k8s.elastic.co", kind, *_images("spec.image"), *_pods(*places))
        for name, kind, places in (
            ("elasticsearch", "Elasticsearch", ("spec.nodeSets[].podTemplate.spec",)),
            ("kibana", "Kibana", ("spec.podTemplate.spec",)),
            ("apm", "ApmServer", ("spec.podTemplate.spec",)),
            ("logstash", "Logstash", ("spec.podTemplate.spec",)),
            ("maps", "ElasticMapsServer", ("spec.podTemplate.spec",)),
            ("enterprisesearch", "EnterpriseSearch", ("spec.podTemplate.spec",)),
            ("beat", "Beat", ("spec.daemonSet.podTemplate.spec", "spec.deployment.podTemplate.spec")),
            ("agent", "Agent", ("spec.daemonSet.podTemplate.spec", "spec.deployment.podTemplate.spec")),
        )
    ),
    _row(
        "kafka.strimzi.io",
        "Kafka KafkaConnect KafkaBridge KafkaMirrorMaker KafkaMirrorMaker2",
        *_images("spec.image", "spec.*.image", "spec.*.*.image"),
    ),
    _row(
        "sparkoperator.k8s.io", "SparkApplication", *_images("spec.image", "spec.driver.image", "spec.executor.image")
    ),
    _row(
        "sparkoperator.k8s.io",
        "ScheduledSparkApplication",
        *_images("spec.template.image", "spec.template.driver.image", "spec.template.executor.image"),
    ),
    _row("apps.openshift.io", "DeploymentConfig", *_TEMPLATE),
    _row(
        "build.openshift.io",
        "BuildConfig Build",
        (What.FROM, "spec.strategy.*.from"),
        (What.FROM, "spec.source.images[].from"),
    ),
    _row("image.openshift.io", "ImageStream", (What.FROM, "spec.tags[].from")),
    _row("image.openshift.io", "ImageStreamImport", (What.FROM, "spec.images[].from")),
    _row("source.toolkit.fluxcd.io", "OCIRepository", (What.URL, "spec.url")),
    _row("pkg.crossplane.io", "Provider Configuration Function", *_images("spec.package")),
    _row("pkg.crossplane.io", "DeploymentRuntimeConfig", *_pods("spec.deploymentTemplate.spec.template.spec")),
)

BARE_GROUPS = frozenset(
    (
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "gateway.networking.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
    )
)
"""Groups whose objects run nothing; a key ``image`` in one of them is no container's."""

BARE_KINDS = frozenset(
    (
        "Binding",
        "ComponentStatus",
        "ConfigMap",
        "Endpoints",
        "Event",
        "LimitRange",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "ResourceQuota",
        "Secret",
        "Service",
        "ServiceAccount",
    )
)
"""Kinds of the core group that run nothing (``spec.rbd.image`` of a PersistentVolume is a Ceph name)."""

_BY_KIND = {(row.group, kind): row for row in ROWS for kind in row.kinds}
_SHAPES = ("containers", "initContainers", "ephemeralContainers")


def row_for(group: str, kind: str) -> Row | None:
    """Find the row of a kind."""
    return _BY_KIND.get((group, kind))


def shaped(data: object, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every ``image`` of an item of something called ``containers``, at any depth."""
    if isinstance(data, dict):
        for key, value in data.items():
            if key in _SHAPES:
                yield from ((*path, *below) for below, _ in matches({key: value}, f"{key}[].image"))
            yield from shaped(value, (*path, key))
    elif isinstance(data, list):
        for number, item in enumerate(data):
            yield from shaped(item, (*path, number))
