"""AdmissionReview v1: bytes -> :class:`Review`, and :class:`Response` -> bytes; pure.

Source: k8s.io/api/admission/v1 and apiserver's VerifyAdmissionResponse. What is read is what decides where
images stand: ``resource`` and ``subResource`` (with matchPolicy Equivalent the object has been converted to
that version, whatever ``requestKind`` says), operation, namespace, object and oldObject.

Of an UPDATE, an image text that stands at the same container (by name, in the same list) of ``oldObject`` is
*unchanged*: it was admitted before and is not judged again, so that a dead registry or a tightened policy
never blocks a scale-down, a label or a finalizer. That is all a deletion timestamp would mean, so it is not
read; neither are annotations (but for mirror pods, which are only not patched) and owners (likewise).

Refused: more than :data:`REVIEW_LIMIT` bytes or :data:`IMAGES_LIMIT` images, duplicate keys anywhere, anything but
admission.k8s.io/v1, fields of another type, an object of another kind than its resource. Where a uid could be
read, the error carries it and is answered by a denial; without one it is the caller's HTTP 400.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from imgsign.admission.changes import MISSING, is_old_problem, unchanged_images, value_at
from imgsign.errors import InvalidReview
from imgsign.images.workloads import WORKLOADS, ImagePlace, Path, ShapeProblem, images_of_workload
from imgsign.record import record
from imgsign.wire import b64encode, load_json, quote

REVIEW_LIMIT = 8 * 1024 * 1024
"""Bytes of one review: etcd takes objects of 1.5 MiB, requests 3 MiB; a review holds two, re-encoded."""

IMAGES_LIMIT = 1000
"""Images of one object. Nodes run some hundred Pods in all; who sends more wants to keep the webhook busy."""

API_VERSION = "admission.k8s.io/v1"

RESOURCES: Mapping[tuple[str, str], str] = {
    ("", "pods"): "Pod",
    ("", "podtemplates"): "PodTemplate",
    ("", "replicationcontrollers"): "ReplicationController",
    ("apps", "deployments"): "Deployment",
    ("apps", "statefulsets"): "StatefulSet",
    ("apps", "daemonsets"): "DaemonSet",
    ("apps", "replicasets"): "ReplicaSet",
    ("batch", "jobs"): "Job",
    ("batch", "cronjobs"): "CronJob",
}
"""(group, resource) -> kind of the object; all that the printed webhook configuration registers."""

_VERSIONS = frozenset(("v1", "v1beta1", "v1beta2"))  # of those groups; the paths are the same in all of them
_OPERATIONS = frozenset(("CREATE", "UPDATE", "DELETE", "CONNECT"))
_WHOLE = frozenset(("", "ephemeralcontainers", "status", "resize"))  # subresources whose object is the whole one
_IMAGELESS = frozenset(("binding", "eviction", "scale", "log", "exec", "attach", "portforward", "proxy"))
_OBJECTS_LIMIT = 400_000  # objects and lists in a review; an empty one takes 3 bytes of text and 64 of memory
_LARGE = 1024 * 1024  # bytes from which they are counted
_ENCODER = json.JSONEncoder(separators=(",", ":"))  # to make one takes as long as to write an answer
_UID = re.compile(r"[\x21-\x7e]{1,256}")


@record
class Review:
    """One request of the API server, as far as it concerns images.

    ``images`` are all places of the object, ``problems`` what could not be read of it. ``unchanged`` are the
    paths of images that stand in oldObject. ``name`` ends in ``*`` where the API server completes it; ``owner``
    (``ReplicaSet web``) is the controller that made the object; ``is_mirror``: the kubelet did, for a static pod.
    Names are foreign text.
    """

    uid: str
    operation: str
    group: str
    version: str
    resource: str
    subresource: str
    kind: str
    namespace: str
    name: str
    user: str
    dry_run: bool
    images: tuple[ImagePlace, ...] = ()
    problems: tuple[ShapeProblem, ...] = ()
    unchanged: frozenset[Path] = frozenset()
    owner: str = ""
    is_mirror: bool = False

    @property
    def is_pod(self) -> bool:
        """Whether the object itself runs, rather than being a template of what will."""
        return self.kind == "Pod"

    @property
    def subject(self) -> str:
        """``Pod shop/web of ReplicaSet web``."""
        owner = f" of {self.owner}" if self.owner else ""
        return f"{self.kind or self.resource} {self.namespace}/{self.name}{owner}"


@record
class Response:
    """What the webhook answers. A denial has a ``message``; ``patch`` is a JSON patch (RFC 6902), or ``None``.

    ``warnings`` and ``annotations`` (key -> value, keys without ``/``) are within Kubernetes' limits. ``verdict``
    (allowed | denied | undecided | warned | noted | exempt) and ``codes`` are for the audit log and metrics.
    """

    uid: str
    allowed: bool
    message: str | None = None
    warnings: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    patch: tuple[Mapping[str, str], ...] = ()
    verdict: str = "allowed"
    codes: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """Write the AdmissionReview: uid echoed, patch and patchType both or neither, a denial as 403 Forbidden."""
        response: dict[str, object] = {"uid": self.uid, "allowed": self.allowed}
        if not self.allowed:
            response["status"] = {"code": 403, "reason": "Forbidden", "message": self.message or "denied"}
        elif self.patch:  # else neither: a patchType alone is an error to the API server
            response["patchType"] = "JSONPatch"
            response["patch"] = b64encode(_dump(list(self.patch)))
        if self.warnings:
            response["warnings"] = list(self.warnings)
        if self.annotations:
            response["auditAnnotations"] = dict(self.annotations)
        return _dump({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})


def parse_review(raw: bytes) -> Review:
    """Read the body of a webhook call.

    Raises:
        InvalidReview: ``uid`` of the error is set if it could be read and a denial can be addressed.
    """
    if len(raw) > _LARGE and raw.count(b"{") + raw.count(b"[") > _OBJECTS_LIMIT:
        raise InvalidReview(f"more than {_OBJECTS_LIMIT} objects and lists")
    document = load_json(raw, limit=REVIEW_LIMIT, error=InvalidReview, any_depth=True).value
    if not isinstance(document, dict) or document.get("kind") != "AdmissionReview":
        raise InvalidReview("not an AdmissionReview")
    if document.get("apiVersion") != API_VERSION:
        hint = 'register the webhook with admissionReviewVersions: ["v1"]'
        raise InvalidReview(f"not of apiVersion {API_VERSION}", path="apiVersion", hint=hint)
    request = document.get("request")
    if not isinstance(request, dict):
        raise InvalidReview("expected object", path="request")
    uid = request.get("uid")
    if not isinstance(uid, str) or _UID.fullmatch(uid) is None:
        raise InvalidReview("expected the uid of the request", path="request.uid")
    try:
        return _parse_request(uid, request)
    except InvalidReview as e:
        e.uid = uid
        raise
    except RecursionError as e:  # two deep values that are compared
        raise InvalidReview("nested too deeply", uid=uid) from e


def review_of(document: Mapping[str, object], namespace: str) -> Review:
    """Make the review of creating a plain object, for who has no review at hand.

    Raises:
        InvalidReview: it is of a kind that has none, or its shape is wrong.
    """
    group, _, version = _text(document, "apiVersion", "", required=True).rpartition("/")
    kind = _text(document, "kind", "", required=True)
    found = next((r for r, k in RESOURCES.items() if (r[0], k) == (group, kind)), None)
    if found is None:
        known = ", ".join(RESOURCES.values())
        raise InvalidReview(f"the webhook judges nothing of kind {quote(kind)}", hint=f"it judges {known}")
    named = {"group": group, "version": version, "resource": found[1]}
    uid = "00000000-0000-0000-0000-000000000000"
    return _parse_request(
        uid, {"operation": "CREATE", "resource": named, "namespace": namespace, "object": document, "oldObject": None}
    )


def _parse_request(uid: str, request: Mapping[str, object]) -> Review:
    operation = _text(request, "operation", required=True)
    if operation not in _OPERATIONS:
        raise InvalidReview(f"unknown operation {quote(operation)}", path="request.operation")
    resource = request.get("resource")
    if not isinstance(resource, dict):
        raise InvalidReview("expected object", path="request.resource")
    group = _text(resource, "group", "request.resource.")
    version = _text(resource, "version", "request.resource.", required=True)
    plural = _text(resource, "resource", "request.resource.", required=True)
    subresource = _text(request, "subResource")
    user = request.get("userInfo")
    if user is not None and not isinstance(user, dict):
        raise InvalidReview("expected object", path="request.userInfo")
    dry_run = request.get("dryRun")
    if dry_run is not None and not isinstance(dry_run, bool):
        raise InvalidReview("expected boolean", path="request.dryRun")
    kind = RESOURCES.get((group, plural), "") if version in _VERSIONS else ""
    content = _Content()
    if operation in ("CREATE", "UPDATE") and subresource not in _IMAGELESS:
        if not kind or subresource not in _WHOLE:
            what = f"{plural}/{subresource}" if subresource else plural
            raise InvalidReview(
                f"no images are looked for in {quote(f'{group}/{version} {what}'.removeprefix('/'))}",
                path="request.resource",
                hint="take it out of the webhook's rules: imgsign admission manifests prints those that are needed",
            )
        content = _read_object(request, group, kind, operation)
    return Review(
        uid=uid,
        operation=operation,
        group=group,
        version=version,
        resource=plural,
        subresource=subresource,
        kind=kind,
        namespace=_text(request, "namespace", required=bool(kind)),
        name=_text(request, "name") or content.name,
        user=_text(user, "username", "request.userInfo.") if user else "",
        dry_run=bool(dry_run),
        images=content.images,
        problems=content.problems,
        unchanged=content.unchanged,
        owner=content.owner,
        is_mirror=content.is_mirror,
    )


@dataclass(slots=True)
class _Content:
    """What is read of the object."""

    images: tuple[ImagePlace, ...] = ()
    problems: tuple[ShapeProblem, ...] = ()
    unchanged: frozenset[Path] = frozenset()
    name: str = ""
    owner: str = ""
    is_mirror: bool = False


def _read_object(request: Mapping[str, object], group: str, kind: str, operation: str) -> _Content:
    document, old = request.get("object"), request.get("oldObject")
    if not isinstance(document, dict):
        raise InvalidReview("expected object", path="request.object")
    if document.get("kind", kind) != kind:
        raise InvalidReview(f"expected kind {kind}", path="request.object.kind")
    if old is not None and not isinstance(old, dict):
        raise InvalidReview("expected object or null", path="request.oldObject")
    content = _Content()
    walked = images_of_workload(document, group, kind)
    if len(walked) > IMAGES_LIMIT:
        raise InvalidReview(f"more than {IMAGES_LIMIT} images", path="request.object")
    if not walked and not _has_no_template(document, kind):
        # Kubernetes wants a container in every PodSpec: one without is none that was read rightly.
        walked = [ShapeProblem((*WORKLOADS[(group, kind)], "containers"), "bad-shape", "there are no containers")]
    if old is not None and operation == "UPDATE":  # a CREATE has none: what stands there is nobody's word
        before = images_of_workload(old, group, kind)
        content.unchanged = unchanged_images(walked, before)
        walked = [w for w in walked if isinstance(w, ImagePlace) or not is_old_problem(w, document, old)]
    content.images = tuple([w for w in walked if isinstance(w, ImagePlace)])
    if len(content.images) != len(walked):
        content.problems = tuple([w for w in walked if isinstance(w, ShapeProblem)])
    _read_metadata(document.get("metadata"), content)
    return content


def _has_no_template(document: Mapping[str, object], kind: str) -> bool:
    """Whether it is a ReplicationController without template, which may be."""
    return kind == "ReplicationController" and value_at(document, ("spec", "template")) in (None, MISSING)


def _read_metadata(metadata: object, content: _Content) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict):
        raise InvalidReview("expected object", path="request.object.metadata")
    prefix = "request.object.metadata."
    content.name = _text(metadata, "name", prefix) or (_text(metadata, "generateName", prefix) + "*")
    annotations = metadata.get("annotations")
    content.is_mirror = isinstance(annotations, dict) and "kubernetes.io/config.mirror" in annotations
    owners = metadata.get("ownerReferences")
    if owners is None:
        return
    if not isinstance(owners, list):
        raise InvalidReview("expected list", path="request.object.metadata.ownerReferences")
    for owner in owners:
        if not isinstance(owner, dict):
            raise InvalidReview("expected object", path="request.object.metadata.ownerReferences")
        if owner.get("controller") not in (None, False):
            content.owner = f"{_text(owner, 'kind', prefix)} {_text(owner, 'name', prefix)}"


def _text(members: Mapping[str, object], key: str, where: str = "request.", *, required: bool = False) -> str:
    """Return a string, ``""`` if it is absent or null and may be."""
    value = members.get(key)
    if value is None:
        value = ""
    if not isinstance(value, str):
        raise InvalidReview("expected string", path=where + key)
    if required and not value:
        raise InvalidReview("expected a string that is not empty", path=where + key)
    return value


def _dump(value: object) -> bytes:
    return _ENCODER.encode(value).encode("ascii")
