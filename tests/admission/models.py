"""Kubernetes' own client models as a schema: unknown members, missing members and wrong types are errors."""

from __future__ import annotations

import re
from typing import Any

from kubernetes import client

_LIST = re.compile(r"(?:list|List)\[(.+)\]")  # older and newer generators
_MAP = re.compile(r"dict\(str, (.+)\)|Dict\[str, (.+)\]")
_PLAIN: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "float": (int, float), "bool": (bool,), "object": (object,), "datetime": (str,),
    "bytes": (str,),
}  # fmt: skip
_EITHER = frozenset(("port", "target_port", "max_unavailable", "min_available", "max_surge"))  # IntOrString


def problems(document: Any, kind: str) -> list[str]:  # Any: a YAML document
    """Compare a document with a model such as ``V1Deployment``."""
    model = getattr(client, kind)
    found = _problems(document, kind, "$")
    try:
        # Required members; newer models are pydantic's and look at the values too.
        model(**{name: document[json] for name, json in model.attribute_map.items() if json in document})
    except ValueError as e:
        found.append(f"{kind}: {e}")
    return found


def _problems(value: Any, kind: str, path: str) -> list[str]:  # Any: a part of one
    if (match := _LIST.fullmatch(kind)) is not None:
        if not isinstance(value, list):
            return [f"{path}: expected list"]
        return [p for i, item in enumerate(value) for p in _problems(item, match[1], f"{path}[{i}]")]
    if (match := _MAP.fullmatch(kind)) is not None:
        if not isinstance(value, dict):
            return [f"{path}: expected object"]
        return [p for key, item in value.items() for p in _problems(item, match[1] or match[2], f"{path}.{key}")]
    if kind in _PLAIN:
        fits = isinstance(value, _PLAIN[kind]) and (kind in ("bool", "object") or not isinstance(value, bool))
        return [] if fits else [f"{path}: expected {kind}, got {value!r}"]
    return _members(value, getattr(client, kind), path)


def _members(value: Any, model: Any, path: str) -> list[str]:  # the generated models have no common type
    if not isinstance(value, dict):
        return [f"{path}: expected object, got {value!r}"]
    known = {json: name for name, json in model.attribute_map.items()}
    found = [f"{path}: unknown member {key!r}" for key in value if key not in known]
    for key, item in value.items():
        if key in known:
            kind = model.openapi_types[known[key]]
            if known[key] in _EITHER and isinstance(item, (int, str)):
                continue
            found += _problems(item, kind, f"{path}.{key}")
    return found
