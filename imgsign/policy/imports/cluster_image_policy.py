"""sigstore policy-controller's ``ClusterImagePolicy`` (policy.sigstore.dev, v1alpha1 and v1beta1).

Source: sigstore/policy-controller ``pkg/apis/policy/v1beta1/clusterimagepolicy_types.go``. One authority of a
policy suffices; an image under several policies needs all of them; under none it is denied.

Carried: authorities with keys as text, ``static`` ones, the type of attestations. Names are not compared
there, so the rules say ``unsafe-any``. Not carried: keyless, keys in secrets or a KMS, transparency logs,
timestamps, CUE and Rego. Since one authority suffices, one that cannot be carried is left out, which is
stricter; a policy that has none left rejects.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from imgsign.policy.imports.draft import (
    ACCEPT,
    CARRIED,
    DROPPED,
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

_API = re.compile(r"policy\.sigstore\.dev/v1(?:alpha1|beta1)")
_GLOB = re.compile(r"[a-zA-Z0-9\-_:/*.]+")
_FORMATS = {"legacy": "simple", "bundle": "bundle"}


def convert(documents: Sequence[Node], wanted: Wanted) -> Drafted:
    """Convert policies, each a document.

    Raises:
        Malformed: one of them is none.
    """
    drafted = Drafted()
    place([_policy(d, drafted, wanted) for d in documents], wanted.against, drafted, open_default=False)
    return drafted


def _policy(document: Node, drafted: Drafted, wanted: Wanted) -> Source:
    top = document.fields(("apiVersion", "kind", "metadata", "spec"), ("status",))
    if _API.fullmatch(top["apiVersion"].text()) is None or top["kind"].text() != "ClusterImagePolicy":
        document.refuse("not a ClusterImagePolicy of policy.sigstore.dev/v1alpha1 or v1beta1")
    name = top["metadata"].fields(("name",), (), closed=False)["name"].text()
    spec = top["spec"].fields(("images",), ("authorities", "mode", "match", "policy"))
    globs = tuple(_glob(image) for image in spec["images"].items())
    if "mode" in spec and spec["mode"].text() == "warn":
        drafted.say(spec["mode"].path, STRICTER, "mode 'warn' lets everything through; here it is enforced")
    if "match" in spec:
        drafted.say(spec["match"].path, STRICTER, "is for some kinds of objects only; here it is for all")
    rule = _authorities(spec.get("authorities"), spec, drafted, wanted)
    if "policy" in spec:
        drafted.say(spec["policy"].path, REFUSED, "CUE and Rego are not carried: the rule rejects instead")
        rule = REJECT
    return Source(name=name, path=document.path, globs=globs, rule=rule)


def _glob(image: Node) -> Glob:
    node = image.fields(("glob",))["glob"]
    text = node.text()
    if len(text) > PATTERN_LIMIT:
        node.refuse(f"pattern of more than {PATTERN_LIMIT} characters")
    if _GLOB.fullmatch(text) is None:
        node.refuse(f"not a pattern of policy-controller: {quote(text)}")
    # A pattern without a registry is about Docker Hub (policy-controller, glob.Compile).
    if text == "*":
        text = "index.docker.io/library/*"
    elif text == "*/*":
        text = "index.docker.io/*/*"
    return Glob(text, deep=False)


def _authorities(node: Node | None, spec: dict[str, Node], drafted: Drafted, wanted: Wanted) -> Rule:
    """The rule of a policy whose authorities are alternatives."""
    listed = () if node is None else node.items()
    rules: list[Rule] = []
    for authority in listed:
        try:
            rules.append(_authority(authority, drafted, wanted))
        except NotCarried as e:
            drafted.say(authority.path, REFUSED if len(listed) == 1 else STRICTER, f"{e}: the authority is left out")
            continue
        drafted.say(authority.path, CARRIED, "authority")
    if ACCEPT in rules:
        return ACCEPT
    if not rules:
        where = spec["images"].path if node is None else node.path
        drafted.say(where, REFUSED, "no authority is left: the rule rejects instead")
        return REJECT
    if len(rules) == 1:
        return rules[0]
    merged = _merged(rules)
    if merged is None:
        drafted.say(
            (rules and listed[0].path) or "", REFUSED, "alternatives of different kinds: the rule rejects instead"
        )
        return REJECT
    return merged


def _merged(rules: list[Rule]) -> Rule | None:
    """One requirement by any of several anchors, where the alternatives differ in nothing else."""
    if any(len(rule) != 1 for rule in rules):
        return None
    word = "by" if "by" in rules[0][0] else "signed-by"
    rests = [{k: v for k, v in rule[0].items() if k != word} for rule in rules]
    if any(rest != rests[0] for rest in rests) or any(word not in rule[0] for rule in rules):
        return None
    anchors = list(dict.fromkeys(str(rule[0][word]) for rule in rules))
    return ({word: anchors if len(anchors) > 1 else anchors[0], **rests[0]},)


def _authority(node: Node, drafted: Drafted, wanted: Wanted) -> Rule:
    optional = ("name", "key", "keyless", "static", "source", "ctlog", "rfc3161timestamp", "attestations")
    members = node.fields((), (*optional, "signatureFormat"))
    if "static" in members:
        action = members["static"].fields(("action",), ("message",))["action"].text()
        if action not in ("pass", "fail"):
            members["static"].refuse(f"unknown action {quote(action)}")
        if action == "fail":
            raise NotCarried("static 'fail' never accepts")
        return ACCEPT
    if "key" not in members:
        raise NotCarried("keyless signatures are not judged by imgsign")
    if "ctlog" in members and not wanted.unsafe_drop_logs:
        raise NotCarried("entries in a transparency log (ctlog) are not judged by imgsign")
    if "ctlog" in members:
        drafted.say(members["ctlog"].path, DROPPED, "no entry in a transparency log is asked for any more")
    if "rfc3161timestamp" in members:
        raise NotCarried("signed timestamps (rfc3161timestamp) are not judged by imgsign")
    if "source" in members:
        raise NotCarried("signatures kept in another repository (source) are not looked for")
    format = members["signatureFormat"].text() if "signatureFormat" in members else "legacy"
    if format not in _FORMATS:
        members["signatureFormat"].refuse(f"unknown format {quote(format)}")
    anchor = _anchor(members["key"], members["name"].text() if "name" in members else "key", drafted)
    if "attestations" not in members:
        return ({"signed-by": anchor, "name": "unsafe-any", "formats": [_FORMATS[format]]},)
    kept = "dsse" if format == "legacy" else "bundle"
    return tuple(_attestation(a, anchor, kept) for a in members["attestations"].items())


def _anchor(node: Node, name: str, drafted: Drafted) -> str:
    members = node.fields((), ("data", "kms", "secretRef", "hashAlgorithm"))
    if "data" not in members:
        raise NotCarried("keys in a secret or a KMS are not read")
    keys = read_keys(members["data"].text())
    hash = members["hashAlgorithm"].text() if "hashAlgorithm" in members else "sha256"
    if hash not in ("sha256", "sha384", "sha512"):
        raise NotCarried(f"hash algorithm {quote(hash)} is not known")
    return drafted.anchor(keys, name, None if hash == "sha256" else hash)


def _attestation(node: Node, anchor: str, format: str) -> Requirement:
    members = node.fields(("name", "predicateType"), ("policy",))
    if "policy" in members:
        raise NotCarried("conditions in CUE or Rego are not carried")
    kind = _PREDICATES.get(members["predicateType"].text(), members["predicateType"].text())
    if "://" not in kind and kind not in _PREDICATES.values():
        raise NotCarried(f"predicate type {quote(kind)} is not known")
    return {"attested": kind, "by": anchor, "name": "unsafe-any", "formats": [format]}


_PREDICATES = {
    "slsaprovenance": "https://slsa.dev/provenance/v0.2",
    "slsaprovenance02": "https://slsa.dev/provenance/v0.2",
    "slsaprovenance1": "https://slsa.dev/provenance/v1",
    "spdx": "https://spdx.dev/Document",
    "spdxjson": "https://spdx.dev/Document",
    "cyclonedx": "https://cyclonedx.org/bom",
    "vuln": "https://cosign.sigstore.dev/attestation/vuln/v1",
    "openvex": "https://openvex.dev/ns",
    "link": "https://in-toto.io/Link/v1",
    "custom": "https://cosign.sigstore.dev/attestation/v1",
}
"""cosign's short names of predicate types (pkg/cosign/attestation), as policy-controller resolves them."""
