"""Walks a compose file; pure. What it looks at is said in the package's docstring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from imgsign.images import Problem, Scan
from imgsign.images.compose.extends import read_extended_build
from imgsign.images.compose.values import Values, is_table
from imgsign.images.yamltext import Lines, Node, Row, Scalar, Table, read

_HOOKS = ("pre_start", "post_start", "pre_stop")


def scan(
    text: str,
    *,
    environment: Mapping[str, str | None],
    is_checked: Callable[[str], bool] = lambda name: False,
) -> Scan:
    """List the images that a compose file names, and the Dockerfiles it builds.

    ``environment`` is the process' over ``.env`` (``{**parse_env_file(…).values, **environ}``).
    ``is_checked`` says of a file's name, as ``include`` and ``extends`` write it, whether it is checked too.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as e:  # half a character: libyaml's reader raises
        at = Lines(text).spot(e.start)
        return Scan(problems=(Problem(code="not-yaml", message="not UTF-8 text", spot=at),))
    reading = read(text)
    values = Values(text, reading.lines, environment)
    values.problems.extend(reading.problems)
    for root in reading.roots:
        if isinstance(root, Table):
            _document(values, root, is_checked)
        else:
            values.problem("not-compose", "a compose file is a mapping", root, "")
    if not reading.roots and not reading.problems:
        values.notes.append("an empty file")
    return values.scan()


def _document(values: Values, root: Table, is_checked: Callable[[str], bool]) -> None:
    entries = root.entries
    if not {"services", "include", "models"} & set(entries):
        if any(is_table(node) and {"image", "build"} & set(node.entries) for node in entries.values()):
            hint = "put them under services:"
            values.problem("not-compose", "services at the top of the file, as Compose 1 had them", root, "", hint=hint)
        values.notes.append("a file without services")
    services = dict(_members(values, root, "services"))
    for name, service in services.items():
        read_extended_build(values, services, name)
        _service(values, name, service, is_checked)
    for name, model in _members(values, root, "models"):
        _image(values, model, "model", f"models.{name}.model", "model", f"model {name}")
    for node, path in _items(values, entries.get("include"), "include"):
        files = node.entries.get("path") if isinstance(node, Table) else node
        where = f"{path}.path" if isinstance(node, Table) else path
        several = list(_items(values, files, where)) if isinstance(files, Row) else [(files, where)]
        for file, at in several:
            _other_file(values, file, at, is_checked, None)


def _service(values: Values, name: str, service: Table, is_checked: Callable[[str], bool]) -> None:
    path, subject, entries = f"services.{name}", f"service {name}", service.entries
    if "image" in entries and not _is_only_built(values, entries):
        _image(values, service, "image", f"{path}.image", "container", subject)
        if "build" in entries:
            values.notes.append(f"{subject}: Compose pulls the image before it builds; pull_policy: build changes that")
    if not {"image", "build", "extends", "provider"} & set(entries):
        values.notes.append(f"{subject}: no image in this file")
    for hook in _HOOKS:
        for node, at in _items(values, entries.get(hook), f"{path}.{hook}"):
            if isinstance(node, Table) and "image" in node.entries:
                _image(values, node, "image", f"{at}.image", "hook", subject)
    for node, at in _items(values, entries.get("volumes"), f"{path}.volumes"):
        if isinstance(node, Table) and _text(values, node.entries.get("type"), f"{at}.type", subject) == "image":
            _image(values, node, "source", f"{at}.source", "volume", subject)
    _provider(values, entries.get("provider"), f"{path}.provider", subject)
    extends = entries.get("extends")
    if isinstance(extends, Table) and "file" in extends.entries:
        _other_file(values, extends.entries["file"], f"{path}.extends.file", is_checked, subject)


def _is_only_built(values: Values, entries: Mapping[str, Node]) -> bool:
    policy = entries.get("pull_policy")
    if "build" not in entries or not isinstance(policy, Scalar):
        return False
    return _text(values, policy, "pull_policy", None) in ("build", "never")


def _provider(values: Values, provider: Node | None, path: str, subject: str) -> None:
    if not isinstance(provider, Table):
        return
    options = provider.entries.get("options")
    if isinstance(options, Table) and "model" in options.entries:
        _image(values, options, "model", f"{path}.options.model", "model", subject)


def _image(values: Values, table: Table, key: str, path: str, role: str, subject: str) -> None:
    node = table.entries.get(key)
    if node is None:
        values.problem("no-image", f"{path} is missing", table, path, subject=subject)
        return
    values.image(node, path, role, subject)


def _text(values: Values, node: Node | None, path: str, subject: str | None) -> str | None:
    return values.text(node, path, subject) if node is not None else None


def _other_file(
    values: Values, node: Node | None, path: str, is_checked: Callable[[str], bool], subject: str | None
) -> None:
    if node is None:
        return
    name = values.text(node, path, subject)
    if name is not None and not is_checked(name):
        hint = "name that file too"
        values.problem("other-file", f"images in {name!r} were not looked at", node, path, hint=hint, subject=subject)


def _members(values: Values, root: Table, key: str) -> Iterator[tuple[str, Table]]:
    node = root.entries.get(key)
    if node is None or (isinstance(node, Scalar) and node.kind == "null"):
        return
    if not isinstance(node, Table):
        values.problem("not-compose", f"{key} is a mapping", node, key)
        return
    for name, member in node.entries.items():
        if isinstance(member, Table):
            yield name, member
        elif not (isinstance(member, Scalar) and member.kind == "null"):
            values.problem("not-compose", f"{key}.{name} is a mapping", member, f"{key}.{name}")


def _items(values: Values, node: Node | None, path: str) -> Iterator[tuple[Node, str]]:
    if node is None or (isinstance(node, Scalar) and node.kind == "null"):
        return
    if not isinstance(node, Row):
        values.problem("not-compose", f"{path} is a list", node, path)
        return
    for number, item in enumerate(node.items):
        yield item, f"{path}[{number}]"
