"""Kyverno ``verifyImages`` rules with keys (kyverno.io v1 and v2beta1, ``ClusterPolicy`` and ``Policy``).

Source: kyverno/kyverno ``api/kyverno/v1/image_verification_types.go``. All attestor sets of a rule must hold; of
a set, ``count`` of its entries (all, if it does not say); a text with several keys is as many entries. Names
are not compared there, so the rules say ``unsafe-any``. Images that no rule is about are let through there; here
the default rejects them.

Not carried, which makes a rule reject: keyless, certificates, KMS and secrets, nested attestors, transparency
logs (which Kyverno asks for unless told not to), conditions on attestations, Notary signatures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from imgsign.policy.imports.draft import (
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
from imgsign.policy.imports.globs import PATTERN_LIMIT, Glob, Source, place
from imgsign.wire import Node, quote

_API = re.compile(r"kyverno\.io/v[0-9](?:(?:alpha|beta)[0-9])?")
_TYPES = {"Cosign": "simple", "SigstoreBundle": "bundle"}
_GATE = ("mutateDigest", "verifyDigest", "required", "useCache", "imageRegistryCredentials", "skipImageReferences")
_GATE_ACTIONS = ("failureAction", "validate", "cosignOCI11")


def convert(documents: Sequence[Node], wanted: Wanted) -> Drafted:
    """Convert policies, each a document.

    Raises:
        Malformed: one of them is none.
    """
    drafted = Drafted()
    sources = [s for d in documents for s in _policy(d, drafted, wanted)]
    if sources:
        drafted.say("$", STRICTER, "images that no rule is about were let through; the default rejects them")
    place(sources, wanted.against, drafted, open_default=True)
    return drafted


def _policy(document: Node, drafted: Drafted, wanted: Wanted) -> list[Source]:
    top = document.fields(("apiVersion", "kind", "metadata", "spec"), ("status",))
    if _API.fullmatch(top["apiVersion"].text()) is None or top["kind"].text() not in ("ClusterPolicy", "Policy"):
        document.refuse("not a policy of kyverno.io")
    name = top["metadata"].fields(("name",), (), closed=False)["name"].text()
    spec = top["spec"].fields(("rules",), (), closed=False)
    for word in ("validationFailureAction", "failureAction"):
        if word in spec and spec[word].text().lower() == "audit":
            drafted.say(spec[word].path, STRICTER, "failures were only reported; here they are enforced")
    found: list[Source] = []
    for rule in spec["rules"].items():
        members = rule.fields(("name",), (), closed=False)
        if "verifyImages" not in members:
            drafted.say(rule.path, LEFT_OUT, "has no verifyImages")
            continue
        for word in ("match", "exclude", "preconditions", "celPreconditions"):
            if word in members and word != "match":
                drafted.say(members[word].path, STRICTER, "narrows the rule; here it is for all objects")
        for listed in members["verifyImages"].items():
            found.append(_verify(f"{name}/{members['name'].text()}", listed, drafted, wanted))
    return found


def _verify(name: str, node: Node, drafted: Drafted, wanted: Wanted) -> Source:
    words = ("type", "attestors", "attestations", "annotations", "repository", "image", "key", "issuer", "subject")
    members = node.fields(("imageReferences",), (*words, *_GATE, *_GATE_ACTIONS, "roots", "additionalExtensions"))
    globs = tuple(_glob(n) for n in members["imageReferences"].items())
    for word in (*_GATE, *_GATE_ACTIONS):
        if word in members:
            outcome = STRICTER if word in ("skipImageReferences", "required", "failureAction") else LEFT_OUT
            drafted.say(members[word].path, outcome, "is a matter of the gate, not of the policy")
    try:
        rule = _rule(members, drafted, wanted)
    except NotCarried as e:
        drafted.say(node.path, REFUSED, f"{e}: the rule rejects instead")
        rule = REJECT
    else:
        drafted.say(node.path, CARRIED, f"rule {quote(name)}")
    return Source(name=name, path=node.path, globs=globs, rule=rule)


def _glob(node: Node) -> Glob:
    text = node.text()
    if len(text) > PATTERN_LIMIT:
        node.refuse(f"pattern of more than {PATTERN_LIMIT} characters")
    return Glob(text, deep=True)


def _rule(members: dict[str, Node], drafted: Drafted, wanted: Wanted) -> Rule:
    for word in ("image", "key", "issuer", "subject", "roots", "additionalExtensions"):
        if word in members:
            raise NotCarried(f"{word!r} is of an older or another kind of rule")
    if "repository" in members:
        raise NotCarried("signatures kept in another repository are not looked for")
    kind = members["type"].text() if "type" in members else "Cosign"
    if kind not in _TYPES:
        raise NotCarried(f"signatures of type {quote(kind)} are not judged by imgsign")
    rule: list[Requirement] = []
    annotations = members["annotations"].text_map() if "annotations" in members else {}
    for attestors in members["attestors"].items() if "attestors" in members else ():
        rule.extend(_attestors(attestors, {"signed-by": ""}, _TYPES[kind], annotations, drafted, wanted))
    for attestation in members["attestations"].items() if "attestations" in members else ():
        rule.extend(_attestation(attestation, kind, drafted, wanted))
    if not rule:
        raise NotCarried("asks for nothing that can be carried")
    return tuple(rule)


def _attestation(node: Node, kind: str, drafted: Drafted, wanted: Wanted) -> list[Requirement]:
    members = node.fields((), ("type", "predicateType", "name", "attestors", "conditions"))
    if "conditions" in members:
        raise NotCarried("conditions on attestations are not carried")
    uri = (members.get("type") or members.get("predicateType") or node).text()
    if "://" not in uri:
        raise NotCarried(f"predicate type {quote(uri)} is not a URI")
    if "attestors" not in members or not members["attestors"].items():
        raise NotCarried("an attestation without attestors is not verified")
    format = "dsse" if kind == "Cosign" else "bundle"
    found: list[Requirement] = []
    for attestors in members["attestors"].items():
        found.extend(_attestors(attestors, {"attested": uri, "by": ""}, format, {}, drafted, wanted))
    return found


def _attestors(
    node: Node, words: Requirement, format: str, annotations: dict[str, str], drafted: Drafted, wanted: Wanted
) -> list[Requirement]:
    """The requirements of one attestor set."""
    members = node.fields(("entries",), ("count",))
    keys: list[str] = []
    wishes: list[dict[str, str]] = []
    hashes: set[str] = set()
    for entry in members["entries"].items():
        found, hash, said = _entry(entry, drafted, wanted)
        keys.extend(found)
        hashes.add(hash)
        wishes.extend([{**annotations, **said}] * len(found))
    count = members["count"].integer(low=1) if "count" in members else len(keys)
    if any(w != wishes[0] for w in wishes):
        raise NotCarried("entries of one attestor with different annotations")
    if len(hashes) != 1:
        raise NotCarried("entries of one attestor with different hash algorithms")
    if len(set(keys)) < count:
        raise NotCarried(f"{count} of {len(set(keys))} keys can never sign")
    hash = hashes.pop()
    anchor = drafted.anchor(tuple(dict.fromkeys(keys)), "keys", None if hash == "sha256" else hash)
    by = "by" if "by" in words else "signed-by"
    requirement: dict[str, object] = {**words, by: anchor, "name": "unsafe-any", "formats": [format]}
    if count > 1:
        requirement["threshold"] = count
    if wishes and wishes[0]:
        requirement["annotations"] = wishes[0]
    return [requirement]  # type: ignore[list-item]  # all values are of the kinds of Value


def _entry(node: Node, drafted: Drafted, wanted: Wanted) -> tuple[list[str], str, dict[str, str]]:
    """The keys of one entry, their hash algorithm, and the annotations they must have signed."""
    members = node.fields((), ("keys", "annotations", "repository", "keyless", "certificates", "attestor"))
    if "keys" not in members:
        raise NotCarried("only entries with keys are judged by imgsign")
    if "repository" in members:
        raise NotCarried("signatures kept in another repository are not looked for")
    keys = members["keys"].fields((), ("publicKeys", "signatureAlgorithm", "kms", "secret", "rekor", "ctlog"))
    if "publicKeys" not in keys:
        raise NotCarried("keys in a secret or a KMS are not read")
    found = list(read_keys(keys["publicKeys"].text()))
    ignored = "rekor" in keys and _is_true(keys["rekor"], "ignoreTlog")
    if not ignored and not wanted.unsafe_drop_logs:
        raise NotCarried("an entry in a transparency log is asked for (rekor.ignoreTlog is not true)")
    if not ignored:
        drafted.say(keys["publicKeys"].path, DROPPED, "no entry in a transparency log is asked for any more")
    hash = keys["signatureAlgorithm"].text() if "signatureAlgorithm" in keys else "sha256"
    if hash not in ("sha256", "sha384", "sha512"):
        raise NotCarried(f"signature algorithm {quote(hash)} is not known")
    return found, hash, members["annotations"].text_map() if "annotations" in members else {}


def _is_true(node: Node, word: str) -> bool:
    members = node.fields((), (word,), closed=False)
    return word in members and members[word].boolean()
