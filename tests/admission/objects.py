"""Kubernetes objects and AdmissionReviews, made by the models of Kubernetes' own client library.

The envelope has no model there: it is written from k8s.io/api/admission/v1, and both directions are checked
against :data:`REQUEST_SCHEMA` and :data:`RESPONSE_SCHEMA`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from kubernetes import client as k8s

UID = "705ab4f5-6393-11e8-b7cc-42010a800002"

Json = dict[str, Any]

RESOURCES = {
    "Pod": ("", "v1", "pods"),
    "PodTemplate": ("", "v1", "podtemplates"),
    "ReplicationController": ("", "v1", "replicationcontrollers"),
    "Deployment": ("apps", "v1", "deployments"),
    "StatefulSet": ("apps", "v1", "statefulsets"),
    "DaemonSet": ("apps", "v1", "daemonsets"),
    "ReplicaSet": ("apps", "v1", "replicasets"),
    "Job": ("batch", "v1", "jobs"),
    "CronJob": ("batch", "v1", "cronjobs"),
}
POD_SPEC = {
    "Pod": "/spec",
    "PodTemplate": "/template/spec",
    "ReplicationController": "/spec/template/spec",
    "Deployment": "/spec/template/spec",
    "StatefulSet": "/spec/template/spec",
    "DaemonSet": "/spec/template/spec",
    "ReplicaSet": "/spec/template/spec",
    "Job": "/spec/template/spec",
    "CronJob": "/spec/jobTemplate/spec/template/spec",
}
WORKLOADS = [kind for kind in RESOURCES if kind != "Pod"]


def pod_spec(
    images: Sequence[str],
    init: Sequence[str] = (),
    ephemeral: Sequence[str] = (),
    volumes: Sequence[str] = (),
) -> Any:
    """A PodSpec: containers ``c0``…, init containers ``i0``…, ephemeral ``e0``…, image volumes ``v0``…"""
    resources = k8s.V1ResourceRequirements(limits={"cpu": "500m"}, requests={"memory": "64Mi"})
    return k8s.V1PodSpec(
        containers=[k8s.V1Container(name=f"c{i}", image=t, resources=resources) for i, t in enumerate(images)],
        init_containers=[k8s.V1Container(name=f"i{i}", image=t) for i, t in enumerate(init)] or None,
        ephemeral_containers=[k8s.V1EphemeralContainer(name=f"e{i}", image=t) for i, t in enumerate(ephemeral)] or None,
        volumes=[
            k8s.V1Volume(name="token", projected=k8s.V1ProjectedVolumeSource(sources=[])),
            *(
                k8s.V1Volume(name=f"v{i}", image=k8s.V1ImageVolumeSource(reference=t, pull_policy="IfNotPresent"))
                for i, t in enumerate(volumes)
            ),
        ],
        service_account_name="default",
        restart_policy="Always",
    )


def make(kind: str, spec: Any, *, namespace: str = "shop", owner: str | None = None, **metadata: Any) -> Json:
    """An object of a kind around a PodSpec, as the API server writes it."""
    owners = None
    if owner is not None:
        of = k8s.V1OwnerReference(api_version="apps/v1", kind=owner, name="web", uid="b6c0", controller=True)
        owners = [of]
    meta = k8s.V1ObjectMeta(**{"name": "web", **metadata}, namespace=namespace, owner_references=owners)
    labels = {"app": "web"}
    template = k8s.V1PodTemplateSpec(metadata=k8s.V1ObjectMeta(labels=labels), spec=spec)
    selector = k8s.V1LabelSelector(match_labels=labels)
    job = k8s.V1JobSpec(template=template)
    group, version, _ = RESOURCES[kind]
    body: Any = {
        "Pod": lambda: k8s.V1Pod(spec=spec),
        "PodTemplate": lambda: k8s.V1PodTemplate(template=template),
        "ReplicationController": lambda: k8s.V1ReplicationController(
            spec=k8s.V1ReplicationControllerSpec(selector=labels, template=template)
        ),
        "Deployment": lambda: k8s.V1Deployment(spec=k8s.V1DeploymentSpec(selector=selector, template=template)),
        "StatefulSet": lambda: k8s.V1StatefulSet(
            spec=k8s.V1StatefulSetSpec(selector=selector, template=template, service_name="web")
        ),
        "DaemonSet": lambda: k8s.V1DaemonSet(spec=k8s.V1DaemonSetSpec(selector=selector, template=template)),
        "ReplicaSet": lambda: k8s.V1ReplicaSet(spec=k8s.V1ReplicaSetSpec(selector=selector, template=template)),
        "Job": lambda: k8s.V1Job(spec=job),
        "CronJob": lambda: k8s.V1CronJob(
            spec=k8s.V1CronJobSpec(schedule="0 3 * * *", job_template=k8s.V1JobTemplateSpec(spec=job))
        ),
    }[kind]
    body = body()
    body.api_version = f"{group}/{version}" if group else version
    body.kind = kind
    body.metadata = meta
    return plain(body)


def plain(model: Any) -> Json:
    """What the client would send."""
    found: Json = _client().sanitize_for_serialization(model)
    return found


@cache
def _client() -> Any:
    return k8s.ApiClient()


def review(
    kind: str,
    document: Json | None,
    *,
    old: Json | None = None,
    operation: str | None = None,
    subresource: str = "",
    namespace: str = "shop",
    **request: Any,
) -> Json:
    """An AdmissionReview; the operation is UPDATE where there is an old object."""
    group, version, resource = RESOURCES[kind]
    gvk = {"group": group, "version": version, "kind": kind}
    gvr = {"group": group, "version": version, "resource": resource}
    found: Json = {
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": UID,
            "kind": gvk,
            "resource": gvr,
            "requestKind": gvk,
            "requestResource": gvr,
            "name": (document or old or {}).get("metadata", {}).get("name", ""),
            "namespace": namespace,
            "operation": operation or ("CREATE" if old is None else "UPDATE"),
            "userInfo": {"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]},
            "object": document,
            "oldObject": old,
            "dryRun": False,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    }
    if subresource:
        found["request"].update(subResource=subresource, requestSubResource=subresource)
    found["request"].update(request)
    return copy.deepcopy(found)


def to_bytes(value: object) -> bytes:
    """As Go writes it: compact, with a line break at the end."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def at(document: Mapping[str, Any], pointer: str) -> Any:
    """The value at a JSON pointer."""
    value: Any = document
    for step in pointer.split("/")[1:]:
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


_GVK = {
    "type": "object",
    "required": ["group", "version", "kind"],
    "properties": {key: {"type": "string"} for key in ("group", "version", "kind")},
    "additionalProperties": False,
}
_GVR = {
    "type": "object",
    "required": ["group", "version", "resource"],
    "properties": {key: {"type": "string"} for key in ("group", "version", "resource")},
    "additionalProperties": False,
}
_OBJECT = {"type": ["object", "null"]}
REQUEST_SCHEMA = {
    "type": "object",
    "required": ["kind", "apiVersion", "request"],
    "additionalProperties": False,
    "properties": {
        "kind": {"const": "AdmissionReview"},
        "apiVersion": {"const": "admission.k8s.io/v1"},
        "request": {
            "type": "object",
            "required": ["uid", "kind", "resource", "operation", "userInfo"],
            "additionalProperties": False,
            "properties": {
                "uid": {"type": "string"},
                "kind": _GVK,
                "resource": _GVR,
                "subResource": {"type": "string"},
                "requestKind": _GVK,
                "requestResource": _GVR,
                "requestSubResource": {"type": "string"},
                "name": {"type": "string"},
                "namespace": {"type": "string"},
                "operation": {"enum": ["CREATE", "UPDATE", "DELETE", "CONNECT"]},
                "userInfo": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "username": {"type": "string"},
                        "uid": {"type": "string"},
                        "groups": {"type": "array", "items": {"type": "string"}},
                        "extra": {"type": "object", "additionalProperties": {"type": "array"}},
                    },
                },
                "object": _OBJECT,
                "oldObject": _OBJECT,
                "dryRun": {"type": "boolean"},
                "options": _OBJECT,
            },
        },
    },
}
# What VerifyAdmissionResponse accepts and the limits of warnings and audit annotations; nothing else may be there.
_RESPONSE = {
    "type": "object",
    "required": ["uid", "allowed"],
    "additionalProperties": False,
    "properties": {
        "uid": {"type": "string", "minLength": 1},
        "allowed": {"type": "boolean"},
        "status": {
            "type": "object",
            "required": ["code", "reason", "message"],
            "additionalProperties": False,
            "properties": {
                "code": {"const": 403},
                "reason": {"const": "Forbidden"},
                "message": {"type": "string", "minLength": 1, "maxLength": 8192},
            },
        },
        "patch": {"type": "string", "minLength": 1},
        "patchType": {"const": "JSONPatch"},
        "warnings": {
            "type": "array",
            "minItems": 1,
            "maxItems": 13,
            "uniqueItems": True,
            "items": {"type": "string", "minLength": 1, "maxLength": 120, "pattern": "^[^\\u0000-\\u001f\\u007f]*$"},
        },
        "auditAnnotations": {
            "type": "object",
            "propertyNames": {"pattern": "^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"},
            "additionalProperties": {"type": "string", "maxLength": 1025, "pattern": "^[^\\u0000-\\u001f\\u007f]*$"},
        },
    },
    "dependentRequired": {"patch": ["patchType"], "patchType": ["patch"]},
    "if": {"properties": {"allowed": {"const": False}}},
    "then": {"required": ["status"], "not": {"required": ["patch"]}},
    "else": {"not": {"required": ["status"]}},
}
RESPONSE_SCHEMA = {
    "type": "object",
    "required": ["apiVersion", "kind", "response"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "admission.k8s.io/v1"},
        "kind": {"const": "AdmissionReview"},
        "response": _RESPONSE,
    },
}
REQUEST = Draft202012Validator(REQUEST_SCHEMA)
RESPONSE = Draft202012Validator(RESPONSE_SCHEMA)
