"""``build`` of a compose service: the Dockerfile it names, and images that enter the build past it; pure.

compose-spec build.md. A context behind a URL cannot be read here and is a problem, unless the Dockerfile
stands inline. Build arguments without a value are the environment's; one whose value is not known is handed
on as such (``None``), so that only a Dockerfile whose FROM needs it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from imgsign.images import Build, Spot
from imgsign.images.compose.interpolate import Interpolated
from imgsign.images.compose.values import Values
from imgsign.images.yamltext import Node, Row, Scalar, Table

SBOM_SCANNER = "docker/buildkit-syft-scanner:stable-1"  # BuildKit frontend/attestations/parse.go

_REMOTE = re.compile(r"(?:[a-zA-Z][a-zA-Z0-9+.-]*://|git@|github\.com/)")
_CACHE = "a cache is meant to move"


def read_build(values: Values, node: Node, path: str, subject: str) -> None:
    """Read a ``build`` in its short or long form."""
    if not isinstance(node, Table):
        context = values.text(node, path, subject)
        if context is not None:
            _add(values, node, Build(context=context, dockerfile=None, spot=values.spot(node), subject=subject), path)
        return
    texts: dict[str, str | None] = {}
    complete = True
    for key in ("context", "dockerfile", "dockerfile_inline", "target"):
        texts[key] = values.text(node.entries[key], f"{path}.{key}", subject) if key in node.entries else None
        complete = complete and (texts[key] is not None) is (key in node.entries)
    arguments = dict(_arguments(values, node.entries.get("args"), f"{path}.args", subject))
    contexts = dict(_contexts(values, node.entries.get("additional_contexts"), f"{path}.additional_contexts", subject))
    _caches(values, node.entries.get("cache_from"), f"{path}.cache_from", subject)
    _sbom(values, node.entries.get("sbom"), f"{path}.sbom", subject)
    if not complete:
        return  # a problem was reported: nothing is known of the Dockerfile
    if texts["dockerfile"] and texts["dockerfile_inline"]:
        values.problem("bad-build", f"{path}: dockerfile and dockerfile_inline", node, path, subject=subject)
        return
    at = node.entries.get("dockerfile") or node.entries.get("context") or node
    found = Build(
        context=texts["context"] if texts["context"] is not None else ".",
        dockerfile=texts["dockerfile"],
        spot=values.spot(at),
        inline=texts["dockerfile_inline"],
        target=texts["target"],
        arguments=arguments,
        contexts=contexts,
        subject=subject,
    )
    _add(values, at, found, path)


def _add(values: Values, node: Node, found: Build, path: str) -> None:
    if found.inline is None and _REMOTE.match(found.context) is not None:
        message = f"{path}: the Dockerfile behind a URL was not looked at"
        values.problem("remote-context", message, node, path, hint="check it where it stands", subject=found.subject)
        return
    values.builds.append(found)


def _pairs(values: Values, node: Node | None, path: str, subject: str) -> Iterator[tuple[str, Node, str | None]]:
    """Entries of a mapping or a ``NAME=VALUE`` list: name, node, and the value's raw text (``None``: no value)."""
    if node is None or (isinstance(node, Scalar) and node.kind == "null"):
        return
    if isinstance(node, Table):
        for name, value in node.entries.items():
            bare = isinstance(value, Scalar) and value.kind == "null"
            yield name, value, None if bare or not isinstance(value, Scalar) else value.text
    elif isinstance(node, Row):
        for number, item in enumerate(node.items):
            if isinstance(item, Scalar) and item.kind == "str":
                name, equals, raw = item.text.partition("=")
                yield name, item, raw if equals else None
            else:
                values.problem("not-text", f"{path}[{number}] is not text", item, path, subject=subject)
    else:
        values.problem("not-compose", f"{path} is a mapping or a list", node, path, subject=subject)


def _arguments(values: Values, node: Node | None, path: str, subject: str) -> Iterator[tuple[str, str | None]]:
    for name, item, raw in _pairs(values, node, path, subject):
        if raw is None and isinstance(item, Scalar):
            if name in values.environment:
                yield name, values.environment[name]
            continue
        found = _interpolated(values, item, raw, f"{path}.{name}", subject)
        yield name, None if found is None or found.missing else found.text


def _contexts(values: Values, node: Node | None, path: str, subject: str) -> Iterator[tuple[str, str]]:
    for name, item, raw in _pairs(values, node, path, subject):
        at = f"{path}.{name}"
        found = _interpolated(values, item, raw or "", at, subject)
        if found is None:
            continue
        if found.missing:
            message = f"{at}: no value for {', '.join(found.missing)}"
            hint = f"set {found.missing[0]} in the environment or in .env"
            values.problem("unset-variable", message, item, at, hint=hint, subject=subject)
            continue
        yield name, found.text
        scheme, _, reference = found.text.partition(":")
        reference = reference.removeprefix("//")
        if scheme == "docker-image" and reference != "scratch":
            spot = values.spot(item)
            pin = _part(values, spot, reference)
            why = None if pin is not None else "it is interpolated or written with escapes"
            values.add(reference, spot, at, "context", subject, pin=pin, unpinnable=why)


def _interpolated(values: Values, item: Node, raw: str | None, path: str, subject: str) -> Interpolated | None:
    if not isinstance(item, Scalar) or raw is None:
        values.problem("not-text", f"{path} is not text", item, path, subject=subject)
        return None
    # A number or a truth value is its text, as in Compose.
    return values.interpolated(Scalar(raw, "str", item.style, item.start, item.end), path, subject)


def _part(values: Values, spot: Spot, text: str) -> Spot | None:
    """The end of a stretch, if it reads as ``text``."""
    if not text or not values.source[spot.start : spot.end].endswith(text):
        return None
    return values.lines.spot(spot.end - len(text), spot.end)


def _caches(values: Values, node: Node | None, path: str, subject: str) -> None:
    if node is None:
        return
    for number, item in enumerate(node.items if isinstance(node, Row) else [node]):
        at = f"{path}[{number}]"
        text = values.text(item, at, subject)
        if not text:
            continue
        fields = dict(_fields(text))
        if fields.get("type", "registry") != "registry":
            continue
        reference = fields.get("ref") if "=" in text else text
        if not reference or '"' in text:
            values.problem("bad-cache", f"{at}: no ref to look at", item, at, subject=subject)
            continue
        values.add(reference, values.spot(item), at, "cache", subject, unpinnable=_CACHE)


def _fields(text: str) -> Iterator[tuple[str, str]]:
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if equals:
            yield key.lower(), value


def _sbom(values: Values, node: Node | None, path: str, subject: str) -> None:
    """``sbom`` runs a scanner: ``true`` the usual one, ``generator=IMAGE`` another."""
    if not isinstance(node, Scalar):
        return
    text = node.text.lower() if node.kind == "bool" else (values.text(node, path, subject) or "")
    if text in ("", "false", "no", "off", "n"):
        return
    generator = dict(_fields(text)).get("generator")
    spot = values.spot(node)
    pin = _part(values, spot, generator) if generator else None
    values.add(
        generator or SBOM_SCANNER,
        spot,
        path,
        "sbom",
        subject,
        pin=pin,
        unpinnable=None if pin is not None else "it is not written here by its name alone",
    )
