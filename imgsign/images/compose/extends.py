"""A service's ``build`` together with those of the services it extends in the same file; pure.

compose-spec 05-services "extends": the extending service's keys win, ``args`` and ``additional_contexts`` add
up. What a service extends in another file is not here: a build that leaves context or Dockerfile to it is a
problem.
"""

from __future__ import annotations

from collections.abc import Mapping

from imgsign.images.compose.build import read_build
from imgsign.images.compose.values import Values
from imgsign.images.yamltext import Node, Row, Scalar, Table

MAX_CHAIN = 32  # services that extend one another

_ADDED = ("args", "additional_contexts")


def read_extended_build(values: Values, services: Mapping[str, Table], name: str) -> None:
    """Read the build that stands in a service, if one does; what it only inherits is read where it stands."""
    own = services[name].entries.get("build")
    if own is None:
        return
    path, subject = f"services.{name}.build", f"service {name}"
    merged = _as_table(own)
    extended, elsewhere = _base(services[name])
    chain = 0
    while extended in services and chain < MAX_CHAIN:
        inherited = services[extended].entries.get("build")
        if inherited is not None:
            merged = _merge(values, _as_table(inherited), merged, path, subject)
        extended, more = _base(services[extended])
        elsewhere = elsewhere or more
        chain += 1
    if chain == MAX_CHAIN:
        values.problem("extends", f"{subject}: extends more than {MAX_CHAIN} services", own, path, subject=subject)
        return
    complete = "context" in merged.entries and {"dockerfile", "dockerfile_inline"} & set(merged.entries)
    if elsewhere and isinstance(own, Table) and not complete:
        message = f"{path}: a part of it is in another file"
        hint = "check what Compose makes of them: docker compose config | imgsign check -"
        values.problem("partial-build", message, own, path, hint=hint, subject=subject)
        return
    read_build(values, own if merged.entries == _as_table(own).entries else merged, path, subject)


def _base(service: Table) -> tuple[str, bool]:
    """The service of this file that is extended (or ""), and whether one of another file is."""
    extends = service.entries.get("extends")
    if isinstance(extends, Scalar):
        return extends.text, False
    if not isinstance(extends, Table):
        return "", False
    if "file" in extends.entries:
        return "", True
    target = extends.entries.get("service")
    return (target.text if isinstance(target, Scalar) else ""), False


def _as_table(build: Node) -> Table:
    return build if isinstance(build, Table) else Table(build.start, build.end, entries={"context": build})


def _merge(values: Values, base: Table, own: Table, path: str, subject: str) -> Table:
    entries = dict(base.entries)
    for key, node in own.entries.items():
        before = entries.get(key) if key in _ADDED else None
        if isinstance(before, Table) and isinstance(node, Table):
            entries[key] = Table(node.start, node.end, entries={**before.entries, **node.entries})
        elif isinstance(before, Row) and isinstance(node, Row):
            entries[key] = Row(node.start, node.end, items=[*before.items, *node.items])
        elif before is not None:
            message = f"{path}.{key}: a list here and a mapping in the service that is extended, or the reverse"
            values.problem("extends", message, node, f"{path}.{key}", subject=subject)
        else:
            entries[key] = node
    return Table(own.start, own.end, entries=entries)
