"""An imported policy never allows what its source did not, over generated policies, names and signers.

The sources are judged by oracles of their own, written from their documentation: scopes and patterns, AND and OR.
Names are judged by the shared vectors (tests/vectors/test_imported_policy.py); here every signature names what is
asked for, or nothing matters but who signed.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgsign.claim import Candidate, Defect
from imgsign.decision import Evidence
from imgsign.evaluate import evaluate
from imgsign.importing import Imported, import_policy
from imgsign.oci import Image
from imgsign.policy.imports import Wanted
from imgsign.policy.parse import parse_policy
from imgsign.reference import Reference
from imgsign.trust import Keys, TrustedKey, TrustStore
from imgsign.wire import load_toml
from tests.artifacts import IMAGE, NOW, ed25519, payload, public, read_simple, sig_manifest, sign_payload

FULL = 12 if "IMGSIGN_E2E" in os.environ else 1
SIGNERS = 3
PEM = [public(ed25519(i)).to_pem().decode() for i in range(SIGNERS)]
KEY = {pem: public(ed25519(i)) for i, pem in enumerate(PEM)}

NAMES = (
    "r.example/a",
    "r.example/a/b",
    "r.example/a/b/c",
    "r.example/ab",
    "r.example:5000/a/b",
    "x.r.example/a",
    "docker.io/library/a",
    "docker.io/a/b",
    "127.0.0.1:5000/a",
)
_SIGNED: dict[tuple[str, int], tuple[bytes, dict[str, str]]] = {}


def allowed(found: Imported, name: str, signers: Iterable[int]) -> bool:
    """Whether imgsign allows an image signed by these signers under exactly the name that is asked for."""
    policy = parse_policy(load_toml(found.text.encode(), limit=1_000_000))
    trust = {
        anchor: Keys(name=anchor, keys=tuple(TrustedKey(key=KEY[s.text.strip() + "\n"]) for s in sources))
        for anchor, sources in policy.anchors.items()
    }
    layers = []
    for i in sorted(signers):
        if (name, i) not in _SIGNED:
            _SIGNED[name, i] = sign_payload(ed25519(i), payload(name))
        layers.append(_SIGNED[name, i])
    read = read_simple(sig_manifest(*layers), *(raw for raw, _ in layers))
    candidates = tuple(c for c in read if isinstance(c, Candidate) and not isinstance(c, Defect))
    assert len(candidates) == len(layers)
    asked = Image(name=Reference.parse(name), manifest=IMAGE)
    return evaluate(policy, TrustStore(anchors=trust), asked, Evidence(candidates=candidates), now=NOW).allowed


def run(documents: list[object], **wanted: object) -> Imported:
    raw = ("---\n" + "\n---\n".join(map(json.dumps, documents))).encode()
    return import_policy(raw, "source", dialect=None, wanted=Wanted(**wanted))  # type: ignore[arg-type]  # spelled right below


signer_sets = st.frozensets(st.integers(0, SIGNERS - 1))
counted: Counter[tuple[str, bool]] = Counter()

# containers policy.json

requirements = st.one_of(
    st.just("accept"),
    st.just("reject"),
    st.just("gpg"),
    st.lists(st.integers(0, SIGNERS - 1), min_size=1, max_size=2, unique=True).map(tuple),
)
rules = st.lists(requirements, min_size=1, max_size=2)
MORE_SCOPES = ("", "r.example", "*.example", "*.r.example", "docker.io", "docker.io/library", "127.0.0.1:5000")
ODD_SCOPES = ("*.0.0.1", "r.example:5000", "r.example/a:1", "r.example/a:2", "x.r.example/", "a", "*")
scopes = st.sampled_from((*NAMES, *MORE_SCOPES, *ODD_SCOPES))


def spell(requirement: object) -> dict[str, object]:
    match requirement:
        case "accept":
            return {"type": "insecureAcceptAnything"}
        case "reject":
            return {"type": "reject"}
        case "gpg":
            return {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}
        case tuple():
            return {
                "type": "sigstoreSigned",
                "keyDatas": [base64.b64encode(PEM[i].encode()).decode() for i in requirement],
            }
    raise AssertionError(requirement)


def containers_allows(
    default: list[object], docker: dict[str, list[object]], name: str, signers: Iterable[int]
) -> bool:
    """containers-policy.json(5): the most specific scope; then the transport's default, then the file's."""
    repository, _, tag = name.rpartition(":")
    candidates = [f"{repository}:{tag}"]
    parts = repository.split("/")
    candidates += ["/".join(parts[:n]) for n in range(len(parts), 0, -1)]
    labels = parts[0].split(":")[0].split(".")
    candidates += ["*." + ".".join(labels[n:]) for n in range(1, len(labels))]
    rule = next((docker[c] for c in [*candidates, ""] if c in docker), default)
    for requirement in rule:
        if requirement in ("reject", "gpg"):  # nobody signed with OpenPGP
            return False
        if isinstance(requirement, tuple) and not set(requirement) & set(signers):
            return False
    return True


@settings(max_examples=100 * FULL)
@given(rules, st.dictionaries(scopes, rules, max_size=5), st.sampled_from("12"), signer_sets)
def check_policy_json(
    default: list[object], docker: dict[str, list[object]], tag: str, signers: frozenset[int]
) -> None:
    source = {
        "default": [spell(r) for r in default],
        "transports": {"docker": {scope: [spell(r) for r in rule] for scope, rule in docker.items()}},
    }
    found = run([source])
    for name in (f"{repository}:{tag}" for repository in NAMES):
        here, there = allowed(found, name, signers), containers_allows(default, docker, name, signers)
        counted["policy.json", here] += 1
        assert there or not here
        if found.complete:
            assert here is there


# Patterns

_STARTS = ("", "r.example/", "r.example/a", "docker.io/", "index.docker.io/", "docker.io/library/", "a", "x.")
_ENDS = ("", "/**", "/*", "**", "*", ":*", ":**", ":1", "/b", "/b:*", "/*/c:*", "?:1", "@sha256:*")
_PREFIXES = ("r.example/**", "r.example/a/**", "docker.io/**", "docker.io/library/**", "**", "r.example:5000/**")
_TARGETED = ("r.example/a:1", "r.example/a:*", "r.example/a/b*", "r.example/*:1", "*/a/b:*", "a/b:1", "docker.io/a/b:*")
patterns = st.one_of(
    st.sampled_from(_PREFIXES),
    st.sampled_from(_TARGETED),
    st.builds("".join, st.tuples(st.sampled_from(_STARTS), st.sampled_from(_ENDS))).filter(bool),
)
cluster = st.lists(
    st.tuples(
        st.lists(patterns, min_size=1, max_size=2),
        st.sampled_from(([0], [1], [2], [0, 1])),
    ),
    min_size=1,
    max_size=3,
)
listed = st.sampled_from(((), (), (), NAMES, NAMES[:1], NAMES[5:]))
most_signers = st.sampled_from(
    (frozenset({0, 1, 2}), frozenset({0, 1}), frozenset({0, 2}), frozenset({0}), frozenset[int]())
)


def typed(name: str) -> list[str]:
    """The ways in which the same image is typed."""
    repository, _, tag = name.rpartition(":")
    hub = repository.removeprefix("docker.io/")
    found = [repository]
    if hub != repository:
        found = [
            f"{host}{path}"
            for host in ("docker.io/", "index.docker.io/", "")
            for path in (hub, hub.removeprefix("library/"))
        ]
    return [f"{f}:{tag}" for f in found]


def translated(pattern: str, star: str, question: str) -> str:
    out = ""
    for piece in re.findall(r"\*\*+|.", pattern):
        out += (
            ".*" if piece.startswith("**") else star if piece == "*" else question if piece == "?" else re.escape(piece)
        )
    return out


def cip_allows(policies: list[tuple[list[str], list[int]]], name: str, signers: Iterable[int]) -> bool:
    """Every policy that matches wants one of its keys; where none matches it is denied."""
    matched = [
        keys for globs, keys in policies if any(re.fullmatch(translated(g, "[^/]*", "[?]"), name) for g in globs)
    ]
    return bool(matched) and all(set(keys) & set(signers) for keys in matched)


def kyverno_allows(policies: list[tuple[list[str], list[int]]], name: str, signers: Iterable[int]) -> bool:
    """Every rule that matches wants all of its keys; where none matches it is let through."""
    matched = [keys for globs, keys in policies if any(re.fullmatch(translated(g, ".*", ".?"), name) for g in globs)]
    return all(set(keys) <= set(signers) for keys in matched)


@settings(max_examples=100 * FULL)
@given(cluster, st.sampled_from("12"), most_signers, listed)
def check_cluster_image_policies(
    policies: list[tuple[list[str], list[int]]],
    tag: str,
    signers: frozenset[int],
    against: tuple[str, ...],
) -> None:
    policies = [
        ([g for g in globs if "?" not in g and "@" not in g] or ["r.example/**"], keys) for globs, keys in policies
    ]
    documents: list[object] = [
        {
            "apiVersion": "policy.sigstore.dev/v1beta1",
            "kind": "ClusterImagePolicy",
            "metadata": {"name": f"p{i}"},
            "spec": {"images": [{"glob": g} for g in globs], "authorities": [{"key": {"data": PEM[k]}} for k in keys]},
        }
        for i, (globs, keys) in enumerate(policies)
    ]
    found = run(documents, against=against)
    policy = parse_policy(load_toml(found.text.encode(), limit=1_000_000))
    for name in (f"{repository}:{tag}" for repository in NAMES):
        here = allowed(found, name, signers)
        there = any(cip_allows(policies, t, signers) for t in typed(name))
        counted["cip", here] += 1
        if here and not there:
            # Only where the report says that a scope has no shape for what the pattern leaves out, and
            # never for less than what a policy asks of its neighbours.
            scope = policy.rule_for(Reference.parse(name).repository).scope
            assert any(r.outcome == "wider" and f"the rule of {scope} covers" in r.text for r in found.rows)
            assert any(set(keys) & set(signers) for _, keys in policies)


@settings(max_examples=100 * FULL)
@given(cluster, st.sampled_from("12"), most_signers, listed)
def check_kyverno(
    policies: list[tuple[list[str], list[int]]],
    tag: str,
    signers: frozenset[int],
    against: tuple[str, ...],
) -> None:
    documents: list[object] = [
        {
            "apiVersion": "kyverno.io/v1",
            "kind": "ClusterPolicy",
            "metadata": {"name": f"p{i}"},
            "spec": {
                "rules": [
                    {
                        "name": "r",
                        "verifyImages": [
                            {
                                "imageReferences": globs,
                                "attestors": [
                                    {
                                        "entries": [
                                            {"keys": {"publicKeys": PEM[k], "rekor": {"ignoreTlog": True}}}
                                            for k in keys
                                        ]
                                    }
                                ],
                            }
                        ],
                    }
                ]
            },
        }
        for i, (globs, keys) in enumerate(policies)
    ]
    found = run(documents, against=against)
    for name in (f"{repository}:{tag}" for repository in NAMES):
        here = allowed(found, name, signers)
        counted["kyverno", here] += 1
        assert not here or all(kyverno_allows(policies, t, signers) for t in typed(name))


@pytest.mark.parametrize(
    ("kind", "check"),
    [("policy.json", check_policy_json), ("cip", check_cluster_image_policies), ("kyverno", check_kyverno)],
)
def test_an_import_never_becomes_more_permissive(kind: str, check: Callable[[], None]) -> None:
    check()
    # At least one in twenty must be allowed for the comparison to mean something.
    assert counted[kind, True] * 20 >= counted[kind, True] + counted[kind, False], counted
