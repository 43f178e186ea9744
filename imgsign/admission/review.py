"""AdmissionReview v1: bytes -> :class:`Review`, and :class:`Response` -> bytes; pure.

Source: k8s.io/api/admission/v1 and apiserver's VerifyAdmissionResponse. What is read is what decides where
images stand: ``resource`` and ``subResource`` (with matchPolicy Equivalent the object has been converted to
that version, whatever ``requestKind`` says), operation, namespace, object and oldObject.

Of an UPDATE, an image text that stands at the same container (by name, in the same list) of ``oldObject`` is
*unchanged*: it was admitted before and is not judged again, so that a dead registry or a tightened policy
never blocks a scale-down, a label or a finalizer. That is all a deletion timestamp would mean, so it is not
read; neither are annotations (but for mirror pods, which are only not patched) and owners (likewise).

Refused: more than :data:`REVIEW_LIMIT` bytes, duplicate keys, anything but admission.k8s.io/v1, fields of
another type, an object of another kind than its resource. Where a uid could be read, the error carries it
and is answered by a denial; without one it is the caller's HTTP 400.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from imgsign.errors import InvalidReview
from imgsign.images.workloads import (
    ImagePlace,
    Path,
    ShapeProblem,
    images_of_workload,
)
from imgsign.wire import b64encode, quote

REVIEW_LIMIT = 8 * 1024 * 1024
"""Bytes of one review: etcd takes objects of 1.5 MiB, requests 3 MiB; a review holds two, re-encoded."""

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
_WHOLE = frozenset(("", "ephemeralcontainers", "status", "resize"))  # subresources whose object is the whole one
_IMAGELESS = frozenset(("binding", "eviction", "scale", "log", "exec", "attach", "portforward", "proxy"))
_UID = re.compile(r"[\x21-\x7e]{1,256}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One request of the API server, as far as it concerns images.

    ``images`` are all places of the object, ``problems`` what could not be read of it. ``unchanged`` are the
    paths of images that stand in oldObject. ``name`` is what a person would call the object. ``is_owned``: a
    controller made it; ``is_mirror``: the kubelet did, for a static pod.
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
    is_owned: bool = False
    is_mirror: bool = False

    @property
    def is_pod(self) -> bool:
        """Whether the object itself runs, rather than being a template of what will."""
        return self.kind == "Pod"

    @property
    def subject(self) -> str:
        """``Pod shop/web``."""
        return f"{self.kind or self.resource} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What the webhook answers. A denial has a ``message``; ``patch`` is a JSON patch (RFC 6902), or ``None``.

    ``warnings`` and ``annotations`` (key -> value, keys without ``/``) are within Kubernetes' limits.
    """

    uid: str
    allowed: bool
    message: str | None = None
    warnings: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    patch: tuple[Mapping[str, object], ...] | None = None

    def to_json(self) -> bytes:
        """Write the AdmissionReview: uid echoed, patch and patchType both or neither, a denial as 403 Forbidden."""
        response: dict[str, object] = {"uid": self.uid, "allowed": self.allowed}
        if not self.allowed:
            response["status"] = {"code": 403, "reason": "Forbidden", "message": self.message or "denied"}
        elif self.patch:
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
    raise NotImplementedError


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")
