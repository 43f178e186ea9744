"""Where images stand in Kubernetes' own workload objects: parsed data in, places out; pure.

Sources: core/v1 ``PodSpec``, ``Container``, ``EphemeralContainer``, ``Volume`` (KEP-4639: image volumes) and the
objects that carry a pod template. One walker serves the admission webhook and ``check``, so that no gate
knows a place that the other overlooks.

    PodSpec    containers[].image  initContainers[].image  ephemeralContainers[].image  volumes[].image.reference

A malformed shape is a :class:`ShapeProblem` with its path, never skipped: a list that is none, an image that is
no string or is missing, and a key nobody knows that ends in ``image`` or ``containers``: a field of a later
Kubernetes, or a misspelt one, that may hold an image. Not images: ``volumes[].rbd.image`` (a Ceph name), pull
secrets and policies, anything under ``status``.

Not done here: custom resources, references themselves (any text is returned as it stands), YAML.
"""

from __future__ import annotations

from collections.abc import Mapping

from imgsign.record import record

Path = tuple[str | int, ...]

WORKLOADS: Mapping[tuple[str, str], Path] = {
    ("", "Pod"): ("spec",),
    ("", "PodTemplate"): ("template", "spec"),
    ("", "ReplicationController"): ("spec", "template", "spec"),
    ("apps", "ReplicaSet"): ("spec", "template", "spec"),
    ("apps", "Deployment"): ("spec", "template", "spec"),
    ("apps", "StatefulSet"): ("spec", "template", "spec"),
    ("apps", "DaemonSet"): ("spec", "template", "spec"),
    ("extensions", "ReplicaSet"): ("spec", "template", "spec"),
    ("extensions", "Deployment"): ("spec", "template", "spec"),
    ("extensions", "DaemonSet"): ("spec", "template", "spec"),
    ("batch", "Job"): ("spec", "template", "spec"),
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template", "spec"),
}
"""(API group, kind) -> path of the PodSpec. The path is the same in every version these kinds ever had."""

CONTAINER_LISTS: Mapping[str, str] = {
    "containers": "container",
    "initContainers": "init-container",
    "ephemeralContainers": "ephemeral-container",
}
"""Key of a list of containers in a PodSpec -> role of its images."""

VOLUME = "volume"
"""Role of an image volume."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


POD_SPEC_KEYS = _words(
    "activeDeadlineSeconds affinity automountServiceAccountToken containers dnsConfig dnsPolicy enableServiceLinks "
    "ephemeralContainers evictionResponders hostAliases hostIPC hostNetwork hostPID hostUsers "
    "hostname hostnameOverride imagePullSecrets initContainers nodeName nodeSelector os overhead preemptionPolicy "
    "priority priorityClassName readinessGates resourceClaims resources restartPolicy runtimeClassName "
    "schedulerName schedulingGates schedulingGroup securityContext serviceAccount serviceAccountName "
    "setHostnameAsFQDN shareProcessNamespace subdomain terminationGracePeriodSeconds tolerations "
    "topologySpreadConstraints volumes"
)
CONTAINER_KEYS = _words(
    "args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe resizePolicy "
    "resources restartPolicy restartPolicyRules securityContext startupProbe stdin stdinOnce targetContainerName "
    "terminationMessagePath terminationMessagePolicy tty volumeDevices volumeMounts workingDir"
)
VOLUME_KEYS = _words(
    "awsElasticBlockStore azureDisk azureFile cephfs cinder configMap csi downwardAPI emptyDir ephemeral fc "
    "flexVolume flocker gcePersistentDisk gitRepo glusterfs hostPath image iscsi name nfs persistentVolumeClaim "
    "photonPersistentDisk portworxVolume projected quobyte rbd scaleIO secret storageos vsphereVolume"
)
_VOLUME_IMAGE_KEYS = frozenset(("reference", "pullPolicy"))
# Known keys are one comparison of sets; only an object with others is looked at key by key.


@record(kw_only=False)
class ImagePlace:
    """One image text: where it stands, what for, and the name of its container or volume (``""``: none)."""

    path: Path
    text: str
    role: str
    name: str


@record(kw_only=False)
class ShapeProblem:
    """Something that holds an image, or may, and cannot be read.

    Codes: ``bad-shape``, ``image-missing`` (a container without image: templates may have that, Pods not),
    ``unknown-image-key``. ``name`` as in :class:`ImagePlace`.
    """

    path: Path
    code: str
    message: str
    name: str = ""


Walked = list[ImagePlace | ShapeProblem]


def images_of(document: object) -> Walked | None:
    """Walk one object, or a list of objects; ``None`` if it is of no kind that is known here.

    ``kind: List`` and typed lists (``PodList``, whose items may lack a kind) are followed. An item of a list
    that is of an unknown kind is a problem with the code ``unknown-kind``.
    """
    if not isinstance(document, dict):
        return None
    group, kind = group_of(document), document.get("kind")
    if not isinstance(kind, str):
        return None
    if (group, kind) in WORKLOADS:
        return images_of_workload(document, group, kind)
    if not kind.endswith("List"):
        return None
    member = kind.removesuffix("List")
    if member and (group, member) not in WORKLOADS:
        return None
    return _list_items(document, group, member)


def images_of_workload(document: object, group: str, kind: str, path: Path = ()) -> Walked:
    """Walk an object of one of :data:`WORKLOADS`; ``path`` is put before every path."""
    value = document
    for step in WORKLOADS[(group, kind)]:
        if value is None and kind == "ReplicationController" and path[-1:] == ("template",):
            return []  # it may be left out there
        if not isinstance(value, dict):
            return [_bad_shape(path, "an object", value)]
        path = (*path, step)
        value = value.get(step)
    return images_of_pod_spec(value, path)


def images_of_pod_spec(spec: object, path: Path) -> Walked:
    """Walk one PodSpec that stands at ``path``."""
    if not isinstance(spec, dict):
        return [_bad_shape(path, "a PodSpec", spec)]
    found: Walked = []
    for key, role in CONTAINER_LISTS.items():
        listed = spec.get(key)
        if listed is not None:
            _walk_containers(listed, role, (*path, key), found)
    if not spec.keys() <= POD_SPEC_KEYS:
        _unknown_keys(spec, POD_SPEC_KEYS, ("image", "containers"), path, "", found)
    volumes = spec.get("volumes")
    if volumes is not None:
        _walk_volumes(volumes, (*path, "volumes"), found)
    return found


def group_of(document: Mapping[object, object]) -> str:
    """Return the API group of an object: what stands before the ``/`` of its apiVersion, ``""`` for core."""
    version = document.get("apiVersion")
    return version.rpartition("/")[0] if isinstance(version, str) else ""


def show_path(path: Path) -> str:
    """Write a path as people do: ``spec.containers[0].image``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def _list_items(document: Mapping[object, object], group: str, member: str) -> Walked:
    items = document.get("items")
    if items is None:
        return []
    if not isinstance(items, list):
        return [_bad_shape(("items",), "a list", items)]
    found: Walked = []
    for i, item in enumerate(items):
        path: Path = ("items", i)
        if not isinstance(item, dict):
            found.append(_bad_shape(path, "an object", item))
            continue
        kind = item.get("kind", member)
        of = (group_of(item) if "apiVersion" in item else group, kind)
        if isinstance(kind, str) and of in WORKLOADS:
            found.extend(images_of_workload(item, *of, path))
        else:
            found.append(ShapeProblem(path, "unknown-kind", "is of a kind in which no images are looked for"))
    return found


def _walk_containers(listed: object, role: str, path: Path, found: Walked) -> None:
    if not isinstance(listed, list):
        found.append(_bad_shape(path, "a list", listed))
        return
    for i, container in enumerate(listed):
        here = (*path, i)
        if not isinstance(container, dict):
            found.append(_bad_shape(here, "a container", container))
            continue
        name = _name_of(container)
        image = container.get("image")
        if isinstance(image, str) and image:
            found.append(ImagePlace((*here, "image"), image, role, name))
        elif image is None or image == "":
            found.append(ShapeProblem((*here, "image"), "image-missing", "the container has no image", name))
        else:
            found.append(_bad_shape((*here, "image"), "a string", image, name))
        if not container.keys() <= CONTAINER_KEYS:
            _unknown_keys(container, CONTAINER_KEYS, ("image",), here, name, found)


def _walk_volumes(volumes: object, path: Path, found: Walked) -> None:
    if not isinstance(volumes, list):
        found.append(_bad_shape(path, "a list", volumes))
        return
    for i, volume in enumerate(volumes):
        here = (*path, i)
        if not isinstance(volume, dict):
            found.append(_bad_shape(here, "a volume", volume))
            continue
        if "image" in volume:
            _walk_image_volume(volume["image"], _name_of(volume), (*here, "image"), found)
        if not volume.keys() <= VOLUME_KEYS:
            _unknown_keys(volume, VOLUME_KEYS, ("image",), here, _name_of(volume), found)
            for key in volume.keys() - VOLUME_KEYS:  # a kind of volume that is not known yet
                if isinstance(source := volume[key], dict):
                    _unknown_keys(source, frozenset(), ("image", "reference"), (*here, key), _name_of(volume), found)


def _walk_image_volume(source: object, name: str, path: Path, found: Walked) -> None:
    if source is None:
        return  # what the API server makes of it: another kind of volume
    if not isinstance(source, dict):
        found.append(_bad_shape(path, "an object", source, name))
        return
    reference = source.get("reference")
    here = (*path, "reference")
    if isinstance(reference, str) and reference:
        found.append(ImagePlace(here, reference, VOLUME, name))
    elif reference is None or reference == "":
        found.append(ShapeProblem(here, "image-missing", "the image volume has no reference", name))
    else:
        found.append(_bad_shape(here, "a string", reference, name))
    if not source.keys() <= _VOLUME_IMAGE_KEYS:
        _unknown_keys(source, _VOLUME_IMAGE_KEYS, ("image", "reference"), path, name, found)


def _unknown_keys(
    members: Mapping[object, object],
    known: frozenset[str],
    endings: tuple[str, ...],
    path: Path,
    name: str,
    found: Walked,
) -> None:
    """Report keys that may hold images. Case is folded: ``Image`` is none to Kubernetes, and one to a person."""
    for key in members:
        if not isinstance(key, str):
            message = f"a key that is {_kind(key)}"
            found.append(ShapeProblem(path, "bad-shape", message, name))
        elif key not in known and key.casefold().endswith(endings):
            message = "is a key that is not known and may hold an image"
            found.append(ShapeProblem((*path, key), "unknown-image-key", message, name))


def _bad_shape(path: Path, wanted: str, value: object, name: str = "") -> ShapeProblem:
    return ShapeProblem(path, "bad-shape", f"expected {wanted}, got {_kind(value)}", name)


def _name_of(member: Mapping[object, object]) -> str:
    name = member.get("name")
    return name if isinstance(name, str) else ""


def _kind(value: object) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a number",
    }
    return "nothing" if value is None else names.get(type(value), f"a {type(value).__name__}")
