"""containers ``policy.json``, as skopeo, podman, buildah and CRI-O read it.

Source: containers-policy.json(5), and ``signature/policy_config.go``, ``policy_reference_match.go`` of
containers/image. As there: unknown and duplicate keys refuse the file, an empty list of requirements too; all
requirements of a scope must hold; exactly the most specific scope applies.

Carried: ``reject``, ``insecureAcceptAnything``, ``sigstoreSigned`` with keys and every ``signedIdentity``.
Not carried: ``signedBy`` (OpenPGP), certificates (``fulcio``, ``pki``), transparency logs, and scopes with a
tag or digest; each closes what it was about. Transports other than ``docker`` are not about registries.
"""

from __future__ import annotations

from collections.abc import Sequence

from imgsign.errors import InvalidReference, Malformed
from imgsign.policy.imports.draft import (
    ACCEPT,
    CARRIED,
    DROPPED,
    LEFT_OUT,
    REFUSED,
    REJECT,
    STRICTER,
    Drafted,
    NotCarried,
    Requirement,
    Rule,
    Wanted,
    read_keys,
)
from imgsign.reference import Reference, is_scope
from imgsign.wire import Node, b64decode, quote

_KEYS = ("keyPath", "keyPaths", "keyData", "keyDatas")
_CERTIFICATES = ("fulcio", "pki")
_LOGS = ("rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas")


def convert(documents: Sequence[Node], wanted: Wanted) -> Drafted:
    """Convert one policy.json.

    Raises:
        Malformed: it is not one that containers/image would load.
    """
    if len(documents) != 1:
        raise Malformed("a policy.json is one document")
    top = documents[0].fields(("default",), ("transports",))
    drafted = Drafted()
    default = _rule(top["default"], drafted, wanted)
    transports = top["transports"].entries() if "transports" in top else {}
    for name, scopes in transports.items():
        for scope, listed in scopes.entries().items():
            rule = _rule(listed, drafted if name == "docker" else Drafted(), wanted)
            if name != "docker":
                drafted.say(listed.path, LEFT_OUT, f"transport {quote(name)} is not about registries")
            elif scope == "":
                default = rule
            else:
                _scope(scope, rule, listed, drafted)
    _close_numeric(transports.get("docker"), default, drafted)
    if "*" in drafted.scopes:
        return drafted
    if default == ACCEPT:
        drafted.default = "unsafe-accept-unsigned"
    elif default != REJECT:
        drafted.scopes["*"] = default
    return drafted


def _scope(scope: str, rule: Rule, node: Node, drafted: Drafted) -> None:
    if is_scope(scope) and scope != "*":
        drafted.scopes.setdefault(scope, rule)
        if drafted.scopes[scope] != rule:  # closed already, for one of its tags
            drafted.say(node.path, STRICTER, f"{quote(scope)} is closed for the sake of one of its tags")
        return
    try:
        reference = Reference.parse(scope)
    except (InvalidReference, Malformed):
        if not scope.startswith("*."):
            drafted.say(node.path, LEFT_OUT, f"scope {quote(scope)} matches no image there either")
        return
    if (reference.tag is None and reference.digest is None) or str(reference) != scope:
        drafted.say(node.path, LEFT_OUT, f"scope {quote(scope)} matches no image there either")
        return
    repository = str(reference.repository)
    drafted.scopes[repository] = REJECT
    drafted.say(
        node.path,
        REFUSED,
        f"a scope with a tag or digest protects nothing and is not carried; all of {repository} is rejected instead",
    )


def _close_numeric(docker: Node | None, default: Rule, drafted: Drafted) -> None:
    """Refuse wildcards of IP addresses; since their images would fall to the default, that must reject them."""
    for scope, node in docker.entries().items() if docker is not None else ():
        if not scope.startswith("*.") or is_scope(scope):
            continue
        if not scope[2:].rpartition(".")[2].isdigit():
            drafted.say(node.path, LEFT_OUT, f"scope {quote(scope)} matches no image there either")
            continue
        text = f"wildcards of IP addresses such as {quote(scope)} are not carried"
        if default != REJECT:
            drafted.scopes["*"] = REJECT
            text += ": what no other scope covers is rejected instead"
        drafted.say(node.path, REFUSED, text)


def _rule(node: Node, drafted: Drafted, wanted: Wanted) -> Rule:
    listed = node.items()
    if not listed:
        node.refuse("empty list of requirements")
    found: list[Requirement] = []
    refused = False
    for requirement in listed:
        members = requirement.entries()
        if "type" not in members:
            requirement.refuse("missing key 'type'")
        kind = members["type"].text()
        try:
            found.append(_requirement(kind, requirement, drafted, wanted))
        except NotCarried as e:
            drafted.say(requirement.path, REFUSED, f"{e}: the rule rejects instead")
            refused = True
            continue
        drafted.say(requirement.path, CARRIED, kind)
    return REJECT if refused else tuple(found)


def _requirement(kind: str, node: Node, drafted: Drafted, wanted: Wanted) -> Requirement:
    if kind == "insecureAcceptAnything":
        node.fields(("type",))
        return ACCEPT[0]
    if kind == "reject":
        node.fields(("type",))
        return REJECT[0]
    if kind == "signedBy":
        raise NotCarried("OpenPGP signatures (signedBy) are not judged by imgsign")
    if kind != "sigstoreSigned":
        node.refuse(f"unknown requirement type {quote(kind)}")
    members = node.fields(("type",), (*_KEYS, *_CERTIFICATES, *_LOGS, "signedIdentity"))
    sources = [m for m in (*_KEYS, *_CERTIFICATES) if m in members]
    if len(sources) != 1:
        node.refuse(f"expected exactly one of {', '.join((*_KEYS, *_CERTIFICATES))}")
    if sources[0] in _CERTIFICATES:
        raise NotCarried(f"signatures by certificates ({sources[0]}) are not judged by imgsign")
    logs = [m for m in _LOGS if m in members]
    if logs and not wanted.unsafe_drop_logs:
        raise NotCarried(f"entries in a transparency log ({logs[0]}) are not judged by imgsign")
    identity = _identity(members.get("signedIdentity"))
    keys = _read_keys(sources[0], members[sources[0]])
    wish = keys[0].rpartition("/")[2].removesuffix(".pub") if sources[0].startswith("keyPath") else "keys"
    anchor = drafted.anchor(keys, wish)
    if logs:
        drafted.say(members[logs[0]].path, DROPPED, "no entry in a transparency log is asked for any more")
    return {"signed-by": anchor, **identity, "formats": ["simple"]}


def _read_keys(word: str, node: Node) -> tuple[str, ...]:
    listed = (node,) if word in ("keyPath", "keyData") else node.items()
    if not listed:
        node.refuse("empty list of keys")
    texts = [n.text() for n in listed]
    if word.startswith("keyPath"):
        if any(not t.startswith("/") or "-----BEGIN" in t for t in texts):
            raise NotCarried("a relative keyPath depends on the directory where the tool is started")
        return tuple(dict.fromkeys(texts))
    try:
        return tuple(dict.fromkeys(_one_key(b64decode(t).decode("ascii")) for t in texts))
    except (Malformed, UnicodeDecodeError) as e:
        raise NotCarried("a key is not base64 of PEM text") from e


def _one_key(text: str) -> str:
    """The only key of a text: of several, containers/image takes the first."""
    found = read_keys(text)
    if len(found) != 1:
        raise NotCarried("a key holds several keys")
    return found[0]


def _identity(node: Node | None) -> Requirement:  # noqa: RET503  # refuse never returns
    """The signedIdentity in our words; without one it is matchRepoDigestOrExact."""
    if node is None:
        return {"name": "exact-tagged"}
    members = node.entries()
    kind = members["type"].text() if "type" in members else ""
    match kind:
        case "matchRepoDigestOrExact":
            node.fields(("type",))
            return {"name": "exact-tagged"}
        case "matchExact":
            node.fields(("type",))
            return {"name": "identical"}
        case "matchRepository":
            node.fields(("type",))
            return {"name": "repository"}
        case "exactReference":
            reference = _reference(node.fields(("type", "dockerReference"))["dockerReference"])
            if reference.tag is None and reference.digest is None:
                node.refuse("dockerReference has neither tag nor digest")
            if reference.tag is not None and reference.digest is not None:
                raise NotCarried("a dockerReference with tag and digest is signed by nobody")
            return {"name": "identical", "unsafe-signed-name": str(reference)}
        case "exactRepository":
            reference = _reference(node.fields(("type", "dockerRepository"))["dockerRepository"])
            return {"name": "repository", "unsafe-signed-name": str(reference.repository)}
        case "remapIdentity":
            remap = node.fields(("type", "prefix", "signedPrefix"))
            sides = remap["prefix"].text(), remap["signedPrefix"].text()
            if not all(is_scope(side) and not side.startswith("*") for side in sides):
                raise NotCarried("a prefix of remapIdentity is not a registry with or without a path")
            return {"name": "exact-tagged", "remap": {sides[0]: sides[1]}}
        case _:
            node.refuse(f"unknown signedIdentity type {quote(kind)}")


def _reference(node: Node) -> Reference:
    try:
        return Reference.parse(node.text())
    except InvalidReference as e:
        node.refuse(e.message)
