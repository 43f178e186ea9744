"""Bodies that are no proper review, one fault each: (name, bytes). Written by hand around one good review.

The good review's image is one that any policy here rejects, so that whatever is read as a review is denied too.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.admission.cluster import D
from tests.admission.objects import UID, Json, make, pod_spec, review, to_bytes

IMAGE = f"registry.test/shut/app:1@{D}"
ODD: tuple[Any, ...] = (5, -1, 1.5, True, False, "", "x", [], ["x"], {}, {"a": 1}, [[]], None)


def good() -> Json:
    return review("Pod", make("Pod", pod_spec([IMAGE])))


def changed(change: Callable[[Json], object]) -> bytes:
    body = copy.deepcopy(good())
    change(body)
    return to_bytes(body)


def put(path: str, value: Any) -> bytes:
    """The good review with another value at a path like ``request.object.spec``."""

    def change(body: Json) -> None:
        *steps, last = path.split(".")
        place: Any = body
        for step in steps:
            place = place[int(step)] if isinstance(place, list) else place[step]
        place[int(last) if isinstance(place, list) else last] = value

    return changed(change)


def drop(path: str) -> bytes:
    def change(body: Json) -> None:
        *steps, last = path.split(".")
        place: Any = body
        for step in steps:
            place = place[int(step)] if isinstance(place, list) else place[step]
        del place[last]

    return changed(change)


REQUIRED = (
    "kind",
    "apiVersion",
    "request",
    "request.uid",
    "request.operation",
    "request.resource",
    "request.resource.version",
    "request.resource.resource",
    "request.namespace",
    "request.object",
    "request.object.spec",
    "request.object.spec.containers.0.image",
)
"""Without these, or with another type there, no review is left."""

TYPED = (
    *REQUIRED,
    "request.resource.group",
    "request.subResource",
    "request.userInfo",
    "request.userInfo.username",
    "request.dryRun",
    "request.name",
    "request.object.kind",
    "request.object.metadata",
    "request.object.metadata.name",
    "request.object.metadata.ownerReferences",
    "request.object.spec.containers",
    "request.object.spec.containers.0",
    "request.object.spec.initContainers",
    "request.object.spec.ephemeralContainers",
    "request.object.spec.volumes",
    "request.oldObject",
)


def not_json() -> Iterator[tuple[str, bytes]]:
    raw = to_bytes(good())
    yield "empty", b""
    yield "blanks", b" \n\t "
    yield "not utf-8", raw.replace(b"shop", b"sh\xffp")
    yield "utf-16", raw.decode().encode("utf-16")
    yield "utf-32", raw.decode().encode("utf-32")
    yield "latin-1", raw.replace(b"shop", "shöp".encode("latin-1"))
    yield "byte order mark", b"\xef\xbb\xbf" + raw
    yield "nul at the end", raw + b"\0"
    yield "two documents", raw + raw
    yield "a comma after it", raw.rstrip() + b","
    yield "in a list", b"[" + raw + b"]"
    yield "as text", json.dumps(raw.decode()).encode()
    yield "yaml", b"kind: AdmissionReview\n"
    yield "xml", b"<?xml version='1.0'?><AdmissionReview/>"
    yield "form", b"review=" + raw
    yield "a comment", raw.replace(b"{", b"{/* */", 1)
    yield "single quotes", raw.replace(b'"', b"'")
    yield "a comma too many", raw.replace(b"}", b",}", 1)
    yield "deep lists", b"[" * 100_000
    yield "deep lists, closed", b"[" * 100_000 + b"]" * 100_000
    yield "deep objects", b'{"a":' * 100_000
    yield "a long number", b"9" * 100_000
    yield "a large exponent", b"1e999999999"
    yield "NaN", put("request.dryRun", float("nan"))
    yield "Infinity", put("request.dryRun", float("inf"))
    yield "a lone surrogate", raw.replace(b'"shop"', b'"sh\\ud800op"')
    yield "too long", raw.rstrip() + b" " * (8 * 1024 * 1024) + b"\n"
    yield "too many objects", b'{"a":[' + b"{}," * 500_000 + b"{}]}"
    for part in range(1, 16):
        yield f"cut at {part}/16", raw[: len(raw) * part // 16]
    for value in ODD:
        yield f"only {json.dumps(value)}", json.dumps(value).encode()


def duplicates() -> Iterator[tuple[str, bytes]]:
    """Readers differ on which of two equal keys counts."""
    raw = to_bytes(good())
    image = json.dumps(IMAGE).encode()
    twice = {
        "kind": (b'{"kind":', b'{"kind":"X","kind":'),
        "request": (b'"request":{', b'"request":{},"request":{'),
        "uid": (f'"uid":"{UID}"'.encode(), f'"uid":"{UID}","uid":"x"'.encode()),
        "operation": (b'"operation":"CREATE"', b'"operation":"CREATE","operation":"DELETE"'),
        "namespace": (b'"namespace":"shop","operation"', b'"namespace":"kube","namespace":"shop","operation"'),
        "object": (b'"object":{', b'"object":null,"object":{'),
        "spec": (b'"spec":{', b'"spec":{},"spec":{'),
        "containers": (b'"containers":[', b'"containers":[],"containers":['),
        "image": (b'"image":' + image, b'"image":' + image + b',"image":"registry.test/open/a"'),
        "image, escaped": (b'"image":' + image, b'"image":' + image + b',"\\u0069mage":"registry.test/open/a"'),
        "deep in a label": (b'"metadata":{', b'"metadata":{"labels":{"a":"1","a":"2"},'),
    }
    for name, (old, new) in twice.items():
        assert raw.count(old) >= 1, name
        yield f"duplicate {name}", raw.replace(old, new, 1)


def wrong_members() -> Iterator[tuple[str, bytes]]:
    for path in REQUIRED:
        yield f"without {path}", drop(path)
    for path in TYPED:
        for value in ODD:
            yield f"{path} is {json.dumps(value)}", put(path, value)
    for version in ("admission.k8s.io/v1beta1", "admission.k8s.io/v2", "v1", "admission.k8s.io/V1"):
        yield f"apiVersion {version}", put("apiVersion", version)
    for kind in ("admissionreview", "AdmissionReviewList", "Pod", "AdmissionReview "):
        yield f"kind {kind}", put("kind", kind)
    for operation in ("create", "PATCH", "*", "CREATE ", "DELETE\n"):
        yield f"operation {operation!r}", put("request.operation", operation)
    for uid in ("x" * 257, "a b", "a\nb", "é", "\u0000"):
        yield f"uid {uid[:9]!r}", put("request.uid", uid)
    for resource in ("configmaps", "Pods", "pod", "pods/log", "deployments", "pods "):
        yield f"resource {resource}", put("request.resource.resource", resource)
    for version in ("v2", "v1alpha1", "V1"):
        yield f"version {version}", put("request.resource.version", version)
    for group in ("apps", "example.com", "core"):
        yield f"group {group}", put("request.resource.group", group)
    for subresource in ("token", "checkpoint", "*", "Status", "ephemeralContainers"):
        yield f"subresource {subresource}", put("request.subResource", subresource)
    for kind in ("Deployment", "pod", "PodList", "PodTemplate"):
        yield f"object of kind {kind}", put("request.object.kind", kind)
    for image in ("", " ", "A", "a b", "a:b:c", "a@sha256:" + "0" * 63, "a@md5:" + "0" * 32, "http://a/b", "/a", "a/"):
        yield f"image {image!r}", put("request.object.spec.containers.0.image", image)


def bad_bodies() -> list[tuple[str, bytes]]:
    return [*not_json(), *duplicates(), *wrong_members()]
