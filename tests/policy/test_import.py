"""``imgsign policy import``: what is carried, what is refused, and what is written."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from imgsign.cli import main
from imgsign.errors import Malformed, UsageError
from imgsign.importing import Imported, import_policy, read_documents
from imgsign.policy.imports import Wanted
from imgsign.policy.imports.globs import Glob, Reach
from imgsign.policy.model import NameRule, Policy, Reject, Requirement, SignedBy, UnsafeAcceptUnsigned
from imgsign.policy.parse import parse_policy
from imgsign.wire import load_toml
from tests.artifacts import ed25519, p256, public

PEM = [public(ed25519(i)).to_pem().decode() for i in range(4)]
DATA = [base64.b64encode(p.encode()).decode() for p in PEM]
SIGNED = {"type": "sigstoreSigned", "keyData": DATA[0]}


def containers(default: object = None, **docker: object) -> dict[str, object]:
    return {"default": default or [{"type": "reject"}], "transports": {"docker": docker}}


def run(source: object, **wanted: object) -> Imported:
    return import_policy(json.dumps(source).encode(), "source", dialect=None, wanted=Wanted(**wanted))  # type: ignore[arg-type]  # the tests spell them right


def parsed(found: Imported) -> Policy:
    return parse_policy(load_toml(found.text.encode(), limit=100_000))


def rules(found: Imported) -> dict[str, tuple[Requirement, ...]]:
    return {scope: rule.require for scope, rule in parsed(found).scopes.items()}


def refusals(found: Imported) -> list[str]:
    return [row.text for row in found.rows if row.outcome == "refused"]


def told(found: Imported, outcome: str) -> list[str]:
    return [row.text for row in found.rows if row.outcome == outcome]


REJECTS = (Reject(),)

# containers policy.json


def test_policy_json_is_written_as_one_readable_policy() -> None:
    source = {
        "default": [{"type": "reject"}],
        "transports": {
            "docker": {
                "registry.example.com/shop": [
                    {"type": "sigstoreSigned", "keyPath": "/etc/keys/Shop Key.pub"},
                    {"type": "sigstoreSigned", "keyData": DATA[0], "signedIdentity": {"type": "matchRepository"}},
                ],
                "*.example.org": [{"type": "insecureAcceptAnything"}],
            },
            "docker-daemon": {"": [{"type": "insecureAcceptAnything"}]},
        },
    }
    found = run(source)
    assert found.complete
    assert found.text == (
        "# Imported by imgsign 0.1.0 from source (containers). What became of it:\n"
        "#\n"
        "# carried   $.default[0]  reject\n"
        "# carried   $.transports.docker.'registry.example.com/shop'[0]  sigstoreSigned\n"
        "# carried   $.transports.docker.'registry.example.com/shop'[1]  sigstoreSigned\n"
        "# carried   $.transports.docker.'*.example.org'[0]  insecureAcceptAnything\n"
        "# left-out  $.transports.docker-daemon.''  transport 'docker-daemon' is not about registries\n"
        "version = 1\n"
        'default = "reject"\n'
        "\n"
        "[anchors.shop-key]\n"
        "keys = [\n"
        '  "/etc/keys/Shop Key.pub",\n'
        "]\n"
        "\n"
        "[anchors.keys]\n"
        "keys = [\n"
        f'  """\n{PEM[0]}""",\n'
        "]\n"
        "\n"
        '[scopes."registry.example.com/shop"]\n'
        "require = [\n"
        '  { signed-by = "shop-key", name = "exact-tagged", formats = ["simple"] },\n'
        '  { signed-by = "keys", name = "repository", formats = ["simple"] },\n'
        "]\n"
        "\n"
        '[scopes."*.example.org"]\n'
        "require = [\n"
        "  { unsafe-accept-unsigned = true },\n"
        "]\n"
    )


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        (None, {"name": NameRule.TAGGED}),
        ({"type": "matchRepoDigestOrExact"}, {"name": NameRule.TAGGED}),
        ({"type": "matchExact"}, {"name": NameRule.IDENTICAL}),
        ({"type": "matchRepository"}, {"name": NameRule.REPOSITORY}),
        (
            {"type": "exactReference", "dockerReference": "a.example/b:1"},
            {"name": NameRule.IDENTICAL, "unsafe_signed_name": "a.example/b:1"},
        ),
        (
            {"type": "exactRepository", "dockerRepository": "busybox"},
            {"name": NameRule.REPOSITORY, "unsafe_signed_name": "docker.io/library/busybox"},
        ),
        (
            {"type": "remapIdentity", "prefix": "mirror.example/hub", "signedPrefix": "docker.io"},
            {"name": NameRule.TAGGED, "remap": {"mirror.example/hub": "docker.io"}},
        ),
    ],
)
def test_signed_identity_is_carried(identity: object, expected: dict[str, object]) -> None:
    found = run(containers(**{"r.example": [SIGNED if identity is None else {**SIGNED, "signedIdentity": identity}]}))
    (required,) = rules(found)["r.example"]
    assert isinstance(required, SignedBy)
    assert (found.complete, required.formats) == (True, ("simple",))
    shown = {
        "name": required.name,
        "remap": dict(required.remap),
        "unsafe_signed_name": required.unsafe_signed_name and str(required.unsafe_signed_name),
    }
    assert shown == {"name": None, "remap": {}, "unsafe_signed_name": None, **expected}


CERTIFICATES = "signatures by certificates (fulcio) are not judged by imgsign: the rule rejects instead"


@pytest.mark.parametrize(
    ("requirement", "why"),
    [
        (
            {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"},
            "OpenPGP signatures (signedBy) are not judged by imgsign: the rule rejects instead",
        ),
        ({"type": "sigstoreSigned", "fulcio": {"caPath": "/ca"}, "rekorPublicKeyPath": "/r"}, CERTIFICATES),
        (
            {**SIGNED, "rekorPublicKeyPath": "/rekor.pub"},
            "entries in a transparency log (rekorPublicKeyPath) are not judged by imgsign: the rule rejects instead",
        ),
        (
            {"type": "sigstoreSigned", "keyPath": "cosign.pub"},
            "a relative keyPath depends on the directory where the tool is started: the rule rejects instead",
        ),
        (
            {"type": "sigstoreSigned", "keyPath": "env:KEY"},
            "a relative keyPath depends on the directory where the tool is started: the rule rejects instead",
        ),
        (
            {"type": "sigstoreSigned", "keyData": base64.b64encode(b"env:KEY").decode()},
            "the key is not public keys in PEM and nothing else: the rule rejects instead",
        ),
        (
            {"type": "sigstoreSigned", "keyData": "not base64"},
            "a key is not base64 of PEM text: the rule rejects instead",
        ),
        (
            {"type": "sigstoreSigned", "keyData": base64.b64encode((PEM[0] + PEM[1]).encode()).decode()},
            "a key holds several keys: the rule rejects instead",
        ),
        (
            {**SIGNED, "signedIdentity": {"type": "remapIdentity", "prefix": "hub", "signedPrefix": "docker.io"}},
            "a prefix of remapIdentity is not a registry with or without a path: the rule rejects instead",
        ),
        (
            {
                **SIGNED,
                "signedIdentity": {"type": "exactReference", "dockerReference": f"a.example/b:1@sha256:{'0' * 64}"},
            },
            "a dockerReference with tag and digest is signed by nobody: the rule rejects instead",
        ),
    ],
)
def test_one_conjunct_that_cannot_be_carried_closes_the_whole_rule(requirement: object, why: str) -> None:
    found = run(containers(**{"r.example": [SIGNED, requirement]}))
    assert (rules(found)["r.example"], refusals(found), found.complete) == (REJECTS, [why], False)


def test_a_transparency_log_is_dropped_only_when_that_was_said() -> None:
    found = run(containers(**{"r.example": [{**SIGNED, "rekorPublicKeyData": "eA=="}]}), unsafe_drop_logs=True)
    assert (found.complete, len(rules(found)["r.example"])) == (True, 1)
    assert told(found, "dropped") == ["no entry in a transparency log is asked for any more"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"default": []}, "'source': empty list of requirements at $.default"),
        ({"default": [{"type": "reject"}], "x": 1}, "'source': unknown key 'x' at $"),
        (containers(**{"r.example": [{"type": "other"}]}), "unknown requirement type 'other'"),
        (containers(**{"r.example": [{**SIGNED, "keyPath": "/k"}]}), "expected exactly one of keyPath"),
        (containers(**{"r.example": [{**SIGNED, "signedIdentity": {"type": "x"}}]}), "unknown signedIdentity type 'x'"),
    ],
)
def test_what_containers_image_would_not_load_is_an_error(source: object, message: str) -> None:
    with pytest.raises(Malformed) as caught:
        run(source)
    assert message in str(caught.value)


def test_duplicate_key_is_an_error() -> None:
    with pytest.raises(Malformed, match="duplicate key 'default'"):
        import_policy(b'{"default":[{"type":"reject"}],"default":[]}', "p", dialect=None, wanted=Wanted())


def test_scope_with_a_tag_closes_its_repository_in_either_order() -> None:
    for order in (1, -1):
        listed = [("r.example/app:1", [SIGNED]), ("r.example/app", [{"type": "insecureAcceptAnything"}])][::order]
        found = run(containers(**dict(listed)))
        assert rules(found) == {"r.example/app": REJECTS}
        assert refusals(found) == [
            "a scope with a tag or digest protects nothing and is not carried; all of r.example/app is rejected instead"
        ]


@pytest.mark.parametrize(
    "scope", ["busybox", "r.example/", "R.example/APP", "library/busybox:1", "index.docker.io/library"]
)
def test_scope_that_matches_nothing_there_is_left_out(scope: str) -> None:
    found = run(containers(**{scope: [{"type": "insecureAcceptAnything"}]}))
    assert (rules(found), found.complete) == ({}, True)


def test_wildcard_of_addresses_closes_what_it_was_cut_out_of() -> None:
    accept = [{"type": "insecureAcceptAnything"}]
    found = run(containers(accept, **{"*.0.0.1": [SIGNED], "a.example": [SIGNED]}))
    assert (parsed(found).default.require, rules(found)["*"]) == (REJECTS, REJECTS)
    assert len(refusals(found)) == 1


def test_default_of_the_transport_beats_that_of_the_file() -> None:
    found = run(containers([{"type": "insecureAcceptAnything"}], **{"": [SIGNED]}))
    assert parsed(found).default.require == REJECTS
    assert [type(r) for r in rules(found)["*"]] == [SignedBy]


def test_open_default_stays_open_and_says_so() -> None:
    found = run({"default": [{"type": "insecureAcceptAnything"}]})
    assert parsed(found).default.require == (UnsafeAcceptUnsigned(),)
    assert 'default = "unsafe-accept-unsigned"' in found.text


def test_same_key_in_two_requirements_is_one_anchor_and_two_lists_say_unsafe_shared_key() -> None:
    found = run(
        containers(
            **{
                "r.example": [SIGNED, {**SIGNED, "signedIdentity": {"type": "matchRepository"}}],
                "s.example": [SIGNED, {"type": "sigstoreSigned", "keyDatas": DATA[:2]}],
            }
        )
    )
    assert sorted(parsed(found).anchors) == ["keys", "keys-2"]
    assert parsed(found).shared_keys == {"s.example"}


# Cluster policies


def cip(name: str, glob: str | list[str], *authorities: object, **spec: object) -> str:
    globs = [glob] if isinstance(glob, str) else glob
    return json.dumps(
        {
            "apiVersion": "policy.sigstore.dev/v1beta1",
            "kind": "ClusterImagePolicy",
            "metadata": {"name": name},
            "spec": {"images": [{"glob": g} for g in globs], "authorities": list(authorities), **spec},
        }
    )


def kyverno(name: str, patterns: list[str], *, attestors: list[object] | None = None, **more: object) -> str:
    rule = {"imageReferences": patterns, "attestors": attestors or [], **more}
    return json.dumps(
        {
            "apiVersion": "kyverno.io/v1",
            "kind": "ClusterPolicy",
            "metadata": {"name": name},
            "spec": {"rules": [{"name": "check", "match": {}, "verifyImages": [rule]}]},
        }
    )


def entries(*pems: str, **more: object) -> dict[str, object]:
    keys = [{"keys": {"publicKeys": pem, "rekor": {"ignoreTlog": True}}} for pem in pems]
    return {"entries": keys, **more}


def cluster(*documents: str, **wanted: object) -> Imported:
    raw = ("---\n" + "\n---\n".join(documents)).encode()  # JSON is YAML
    return import_policy(raw, "source", dialect=None, wanted=Wanted(**wanted))  # type: ignore[arg-type]  # the tests spell them right


def key(number: int) -> dict[str, object]:
    return {"key": {"data": PEM[number]}}


def test_cluster_image_policy_is_carried() -> None:
    text = (
        "apiVersion: policy.sigstore.dev/v1beta1\n"
        "kind: ClusterImagePolicy\n"
        "metadata:\n"
        "  name: shop\n"
        "spec:\n"
        "  images:\n"
        "  - glob: 'ghcr.io/**'\n"
        "  authorities:\n"
        "  - name: release\n"
        "    key:\n"
        "      data: |\n" + "".join(f"        {line}\n" for line in PEM[0].splitlines()) + "  - name: ci\n"
        "    key:\n"
        "      data: |\n" + "".join(f"        {line}\n" for line in PEM[1].splitlines())
    )
    found = import_policy(text.encode(), "cip.yaml", dialect=None, wanted=Wanted())
    assert found.text == (
        "# Imported by imgsign 0.1.0 from cip.yaml (cluster-image-policy). What became of it:\n"
        "#\n"
        "# carried   $.spec.authorities[0]  authority\n"
        "# carried   $.spec.authorities[1]  authority\n"
        "version = 1\n"
        'default = "reject"\n'
        "\n"
        "[anchors.release]\n"
        f'keys = [\n  """\n{PEM[0]}""",\n]\n'
        "\n"
        "[anchors.ci]\n"
        f'keys = [\n  """\n{PEM[1]}""",\n]\n'
        "\n"
        '[scopes."ghcr.io"]\n'
        "require = [\n"
        '  { signed-by = ["release", "ci"], name = "unsafe-any", formats = ["simple"] },\n'
        "]\n"
    )


def test_kyverno_rule_is_carried() -> None:
    found = cluster(kyverno("shop", ["ghcr.io/acme/*"], attestors=[entries(PEM[0], PEM[1]), entries(PEM[2], count=1)]))
    assert found.complete
    assert found.text.partition('[scopes."')[2] == (
        'ghcr.io/acme"]\n'
        "require = [\n"
        '  { signed-by = "keys", name = "unsafe-any", formats = ["simple"], threshold = 2 },\n'
        '  { signed-by = "keys-2", name = "unsafe-any", formats = ["simple"] },\n'
        "]\n"
    )
    assert told(found, "stricter") == ["images that no rule is about were let through; the default rejects them"]


def test_trust_policy_keeps_what_it_skips_and_rejects_the_rest() -> None:
    def statement(name: str, level: str, *scopes: str) -> dict[str, object]:
        return {"name": name, "registryScopes": list(scopes), "signatureVerification": {"level": level}}

    source = {
        "version": "1.0",
        "trustPolicies": [statement("a", "strict", "r.example/app"), statement("b", "skip", "*")],
    }
    found = run(source)
    assert found.text == (
        "# Imported by imgsign 0.1.0 from source (notation). What became of it:\n"
        "#\n"
        "# refused   $.trustPolicies[0]  Notary Project signatures are not judged by imgsign: "
        "the rule rejects instead\n"
        "# carried   $.trustPolicies[1]  level 'skip' accepts anything\n"
        "version = 1\n"
        'default = "reject"\n'
        "\n"
        '[scopes."r.example/app"]\n'
        "require = [\n"
        "  { reject = true },\n"
        "]\n"
        "\n"
        '[scopes."*"]\n'
        "require = [\n"
        "  { unsafe-accept-unsigned = true },\n"
        "]\n"
    )
    assert not found.complete


def test_two_policies_on_one_image_are_an_error_naming_both() -> None:
    for make in (
        (cip("team-a", "ghcr.io/**", key(0)), cip("team-b", "ghcr.io/acme/**", key(1))),
        (cip("team-b", "ghcr.io/acme/**", key(1)), cip("team-a", "ghcr.io/**", key(0))),
    ):
        found = cluster(*make)
        assert rules(found)["ghcr.io/acme"] == REJECTS
        assert [type(r) for r in rules(found)["ghcr.io"]] == [SignedBy]
        assert refusals(found) == [
            "images of ghcr.io/acme are under both 'team-a' and 'team-b': expand them with --against LIST; "
            "the rule rejects instead"
        ]


def test_a_list_joins_two_policies_by_and() -> None:
    documents = cip("team-a", "ghcr.io/**", key(0)), cip("team-b", "ghcr.io/acme/**", key(1))
    found = cluster(*documents, against=("ghcr.io/acme/app:1", "ghcr.io/other", "quay.io/x/y"))
    assert found.complete
    assert {scope: [r.anchors for r in rule if isinstance(r, SignedBy)] for scope, rule in rules(found).items()} == {
        "ghcr.io/acme/app": [("key",), ("key-2",)],
        "ghcr.io/other": [("key",)],
    }
    assert told(found, "stricter") == ["quay.io/x/y is under no policy: the default rejects it"]


def test_a_pattern_that_is_no_prefix_closes_what_it_may_reach() -> None:
    found = cluster(cip("wide", "ghcr.io/**", key(0)), cip("odd", "ghcr.io/*/app:*", key(1)))
    assert rules(found) == {"ghcr.io": REJECTS}
    assert refusals(found) == [
        "pattern 'ghcr.io/*/app:*' is not the same as a scope: expand it with --against LIST",
        "pattern 'ghcr.io/*/app:*' of 'odd' may be about images of ghcr.io of 'wide', too: the rule rejects instead",
    ]


def test_a_pattern_of_the_repository_that_a_scope_is_named_after_closes_it() -> None:
    found = cluster(cip("below", "ghcr.io/acme/**", key(0)), cip("itself", "ghcr.io/acme:1.0", key(1)))
    assert rules(found) == {"ghcr.io/acme": REJECTS}


def test_a_pattern_without_a_registry_closes_docker_hub() -> None:
    found = cluster(cip("hub", "docker.io/**", key(0)), cip("short", "acme/app", key(1)))
    assert rules(found) == {"docker.io": REJECTS}


def test_what_a_scope_covers_beyond_its_pattern_is_told() -> None:
    found = cluster(cip("p", "ghcr.io/acme/**", key(0)))
    assert told(found, "wider") == ["the rule of ghcr.io/acme covers the repository of that name, too"]
    found = cluster(cip("p", "ghcr.io/acme/app:*", key(0)), against=("ghcr.io/acme/app:1",))
    assert told(found, "wider") == [
        "the rule of ghcr.io/acme/app covers images asked for by digest, too",
        "the rule of ghcr.io/acme/app covers repositories below it, too",
    ]


def test_what_asks_for_nothing_is_never_made_wider() -> None:
    passes = {"static": {"action": "pass"}}
    assert rules(cluster(cip("p", "ghcr.io/acme/**", passes))) == {"ghcr.io/acme": REJECTS}
    assert rules(cluster(cip("p", "ghcr.io/**", passes))) == {"ghcr.io": (UnsafeAcceptUnsigned(),)}
    listed = cluster(cip("p", "ghcr.io/acme/app:*", passes), against=("ghcr.io/acme/app",))
    assert rules(listed) == {"ghcr.io/acme/app": REJECTS}


def test_policies_for_some_tags_only_reject_the_repository() -> None:
    found = cluster(cip("p", "ghcr.io/acme/app:v1", key(0)), against=("ghcr.io/acme/app:v1",))
    assert rules(found) == {"ghcr.io/acme/app": REJECTS}
    assert refusals(found) == ["only some tags of ghcr.io/acme/app are under 'p': the rule rejects instead"]


def test_policies_below_a_listed_repository_reject_it() -> None:
    documents = cip("a", "ghcr.io/acme:**", key(0)), cip("b", "ghcr.io/acme/app*", key(1))
    found = cluster(*documents, against=("ghcr.io/acme",))
    assert rules(found) == {"ghcr.io/acme": REJECTS}
    assert refusals(found) == ["repositories below ghcr.io/acme are also under 'b': the rule rejects instead"]


@pytest.mark.parametrize(
    ("authority", "why"),
    [
        ({"keyless": {}}, "keyless signatures are not judged by imgsign: the authority is left out"),
        ({"key": {"kms": "x://y"}}, "keys in a secret or a KMS are not read: the authority is left out"),
        (
            {**key(0), "ctlog": {"url": "https://r.example"}},
            "entries in a transparency log (ctlog) are not judged by imgsign: the authority is left out",
        ),
        (
            {**key(0), "attestations": [{"name": "a", "predicateType": "vuln", "policy": {"type": "cue"}}]},
            "conditions in CUE or Rego are not carried: the authority is left out",
        ),
        (
            {"key": {"data": f"{PEM[0]}\n${{more}}"}},
            "the key is not public keys in PEM and nothing else: the authority is left out",
        ),
        ({"static": {"action": "fail"}}, "static 'fail' never accepts: the authority is left out"),
    ],
)
def test_the_only_authority_that_cannot_be_carried_leaves_a_rule_that_rejects(authority: object, why: str) -> None:
    found = cluster(cip("p", "ghcr.io/**", authority))
    assert rules(found) == {"ghcr.io": REJECTS}
    assert refusals(found) == [why, "no authority is left: the rule rejects instead"]


def test_one_of_two_authorities_that_cannot_be_carried_is_left_out() -> None:
    found = cluster(cip("p", "ghcr.io/**", {"keyless": {}}, key(0)))
    assert (found.complete, len(rules(found)["ghcr.io"])) == (True, 1)
    assert told(found, "stricter") == ["keyless signatures are not judged by imgsign: the authority is left out"]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"attestors": [entries(f"{PEM[0]}{{{{ more }}}}")]}, "the key is not public keys in PEM and nothing else"),
        ({"attestors": [{"entries": [{"keyless": {}}]}]}, "only entries with keys are judged by imgsign"),
        (
            {"attestors": [{"entries": [{"keys": {"publicKeys": PEM[0]}}]}]},
            "an entry in a transparency log is asked for (rekor.ignoreTlog is not true)",
        ),
        ({"attestors": [entries(PEM[0], count=2)]}, "2 of 1 keys can never sign"),
        ({"attestors": [entries(PEM[0])], "repository": "x"}, "signatures kept in another repository are not"),
        ({"attestors": [entries(PEM[0])], "type": "Notary"}, "signatures of type 'Notary' are not judged by imgsign"),
        (
            {
                "attestors": [entries(PEM[0])],
                "attestations": [{"type": "https://a.example/b", "attestors": [entries(PEM[0])], "conditions": []}],
            },
            "conditions on attestations are not carried",
        ),
        ({}, "asks for nothing that can be carried"),
    ],
)
def test_a_kyverno_rule_with_a_part_that_cannot_be_carried_rejects(more: dict[str, object], why: str) -> None:
    found = cluster(kyverno("p", ["ghcr.io/*"], **more))  # type: ignore[arg-type]  # the tests spell them right
    assert rules(found) == {"ghcr.io": REJECTS}
    assert [t for t in refusals(found) if t.startswith(why)] == refusals(found) != []


def test_annotations_and_attestations_of_kyverno_are_carried() -> None:
    found = cluster(
        kyverno(
            "p",
            ["ghcr.io/*"],
            attestors=[entries(PEM[0])],
            annotations={"env": "prod"},
            attestations=[{"type": "https://slsa.dev/provenance/v1", "attestors": [entries(PEM[1])]}],
        )
    )
    assert found.text.partition("require = ")[2] == (
        "[\n"
        '  { signed-by = "keys", name = "unsafe-any", formats = ["simple"], annotations = { env = "prod" } },\n'
        '  { attested = "https://slsa.dev/provenance/v1", by = "keys-2", name = "unsafe-any", formats = ["dsse"] },\n'
        "]\n"
    )


# Reading files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "duplicate key 'a' in line 2"),
        ("a: &x 1\nb: *x\n", "an alias in line 2: write out what it stands for"),
        ("a: !!python/object:os.system 1\n", "a tag in line 1: readers differ on what it means"),
        ("x: {y: 1}\n<<: {a: 1}\n", "a key that is not text in line 2"),
        ("1: a\n", "a key that is not text in line 1"),
        ("a: [\n", "not YAML in line 2: expected the node content, but found '<stream end>'"),
        ("---\n---\n", "holds no document"),
        ("a: " + "[" * 80 + "]" * 80, "nested deeper than 64"),
        ("- " * 5000, "nested deeper than 64"),
    ],
)
def test_yaml_that_readers_differ_on_is_refused(text: str, message: str) -> None:
    with pytest.raises(Malformed) as caught:
        read_documents(text.encode())
    assert caught.value.message == message


def test_unknown_and_mixed_files_are_refused() -> None:
    with pytest.raises(UsageError, match="is of no known kind"):
        run({"a": 1})
    with pytest.raises(UsageError, match="holds documents of several kinds"):
        cluster(cip("p", "ghcr.io/**", key(0)), kyverno("p", ["*"]))


@pytest.mark.parametrize(
    ("pattern", "deep", "start", "reach"),
    [
        ("ghcr.io/**", False, "ghcr.io/a/b:", Reach.ALL),
        ("ghcr.io/*", False, "ghcr.io/a/b:", Reach.NONE),
        ("ghcr.io/*", False, "ghcr.io/a:", Reach.ALL),
        ("ghcr.io/*", False, "ghcr.io/a/", Reach.NONE),
        ("ghcr.io/*", True, "ghcr.io/a/b:", Reach.ALL),
        ("ghcr.io/a?:*", True, "ghcr.io/a:", Reach.ALL),
        ("ghcr.io/a:v*", False, "ghcr.io/a:", Reach.SOME),
        ("*/a:*", False, "ghcr.io/a@sha256:", Reach.NONE),
        ("**a", False, "ghcr.io/b:", Reach.SOME),
    ],
)
def test_how_far_a_pattern_reaches(pattern: str, deep: bool, start: str, reach: Reach) -> None:
    assert Glob(pattern, deep).reach(start) is reach


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    assert Glob("*a" * 500, True).reach("a" * 1000 + "b:") is Reach.SOME


# The command


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_command_writes_the_policy_once_and_the_report_beside_it(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("policy.json").write_text(json.dumps(containers(**{"r.example": [SIGNED]})))
    assert main(["policy", "import", "policy.json", "-o", "out.toml"]) == 0
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[-2:]) == ("", ["containers: all carried", "policy  out.toml"])
    written = Path("out.toml").read_text()
    assert main(["policy", "import", "policy.json", "-o", "out.toml"]) == 3
    assert "already exists" in capsys.readouterr().err
    assert (Path("out.toml").read_text(), sorted(p.name for p in base.iterdir())) == (
        written,
        ["out.toml", "policy.json"],
    )


def test_command_says_three_when_something_was_refused(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("policy.json").write_text(json.dumps(containers(**{"r.example": [{"type": "signedBy"}]})))
    assert main(["policy", "import", "policy.json"]) == 3
    out, err = capsys.readouterr()
    assert "{ reject = true }" in out
    assert err.splitlines()[-1] == "1 of 2 refused"


def test_command_reads_a_list(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("k.yaml").write_text(kyverno("p", ["*/app:*"], attestors=[entries(PEM[0])]))
    Path("list").write_text("# ours\n\nghcr.io/acme/app:1\n")
    assert main(["policy", "import", "k.yaml", "--against", "list"]) == 0
    assert '[scopes."ghcr.io/acme/app"]' in capsys.readouterr().out
    Path("list").write_text("# nothing\n")
    assert main(["policy", "import", "k.yaml", "--against", "list"]) == 2


def test_command_refuses_an_unknown_dialect(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "import", "x", "--as", "gatekeeper"]) == 2
    assert "use one of containers, cluster-image-policy, kyverno, notation" in capsys.readouterr().err


def test_other_key_kinds_are_carried() -> None:
    pem = public(p256(7)).to_pem()
    found = run(containers(**{"r.example": [{"type": "sigstoreSigned", "keyData": base64.b64encode(pem).decode()}]}))
    assert found.complete
