"""The policy language: what a document means, and every way to get one wrong, with the message a person reads."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imgsign.errors import InvalidPolicy
from imgsign.policy.match import (
    After,
    Any,
    Compared,
    Condition,
    Exists,
    MaxAge,
    OneOf,
    Prefix,
    Relation,
    Within,
)
from imgsign.policy.match import Path as Path_
from imgsign.policy.model import (
    Attested,
    KeySource,
    NameRule,
    Policy,
    Reject,
    Rule,
    Settings,
    SignedBy,
    UnsafeAcceptUnsigned,
)
from imgsign.policy.parse import parse_policy
from imgsign.policy.parse_match import parse_path
from imgsign.reference import Reference, Repository, scopes
from imgsign.wire import Node, load_json, load_toml

LIMIT = 1_000_000
ROOT = Path(__file__).resolve().parents[2]

HEAD = 'version = 1\ndefault = "reject"\n'
ANCHORED = HEAD + '[anchors.release]\nkeys = ["a.pub", "b.pub"]\n'


def parse(text: str) -> Policy:
    return parse_policy(load_toml(text.encode(), limit=LIMIT))


def anchor(lines: str) -> str:
    """A document with one anchor of these lines."""
    return f"{HEAD}[anchors.release]\n{lines}\n"


def scope(name: str, lines: str = "require = [{ reject = true }]") -> str:
    """A document with one scope of these lines and the anchor "release" of two keys."""
    return f"{ANCHORED}[scopes.{json.dumps(name)}]\n{lines}\n"


def requirement(written: str) -> str:
    """A document whose scope r.example has this one requirement."""
    return scope("r.example", f"require = [{written}]")


def signed_by(more: str) -> str:
    """A document whose one requirement is signed-by "release" with more keys."""
    return requirement(f'{{ signed-by = "release", {more} }}')


def only(policy: Policy) -> SignedBy:
    """The one signed-by requirement of scope r.example."""
    (found,) = policy.scopes["r.example"].require
    assert isinstance(found, SignedBy)
    return found


# Good documents.


def test_smallest_policy_rejects_everything() -> None:
    found = parse(HEAD)
    assert found == Policy(default=Rule(scope=None, require=(Reject(),)), scopes={})
    assert found.rule_for(Repository("r.example", "app")) == Rule(scope=None, require=(Reject(),))


def test_default_that_accepts_says_unsafe() -> None:
    found = parse('version = 1\ndefault = "unsafe-accept-unsigned"')
    assert found.default == Rule(scope=None, require=(UnsafeAcceptUnsigned(),))


def test_requirement_without_further_keys_is_strict() -> None:
    assert only(parse(requirement('{ signed-by = "release" }'))) == SignedBy(
        anchors=("release",),
        threshold=1,
        name=NameRule.EXACT,
        remap={},
        max_age=None,
        signed_after=None,
        min_sequence=None,
        annotations={},
        formats=None,
    )


def test_requirement_with_every_key() -> None:
    text = """
    { signed-by = ["release", "ci"], threshold = 3, name = "repository", max-age = "90d",
      signed-after = 2026-06-01T02:00:00+02:00, min-sequence = 41,
      remap = { "mirror.example/hub" = "docker.io", "mirror.example:5000" = "r.example/team" },
      annotations = { channel = ["stable", "lts"], "org.example.key" = "x" },
      formats = ["bundle", "simple"] }
    """
    # NOTE: TOML 1.0 inline tables may not span lines.
    head = ANCHORED + '[anchors.ci]\nkeys = ["ci.pub"]\n'
    found = only(parse(f'{head}[scopes."r.example"]\nrequire = [{" ".join(text.split())}]\n'))
    assert found == SignedBy(
        anchors=("release", "ci"),
        threshold=3,
        name=NameRule.REPOSITORY,
        remap={"mirror.example/hub": "docker.io", "mirror.example:5000": "r.example/team"},
        max_age=timedelta(days=90),
        signed_after=datetime(2026, 6, 1, tzinfo=UTC),
        min_sequence=41,
        annotations={"channel": ("stable", "lts"), "org.example.key": ("x",)},
        formats=("bundle", "simple"),
    )


def test_all_requirements_of_a_rule_are_kept_in_order() -> None:
    found = parse(scope("r.example", 'require = [{ signed-by = "release" }, { unsafe-accept-unsigned = true }]'))
    assert [type(r) for r in found.scopes["r.example"].require] == [SignedBy, UnsafeAcceptUnsigned]


def test_anchor_keys_are_named_not_read() -> None:
    pem = "-----BEGIN PUBLIC KEY-----\\nMCow\\n-----END PUBLIC KEY-----\\n"
    found = parse(anchor(f'keys = ["a.pub", "env:KEY", "{pem}"]')).anchors["release"]
    assert [k.text for k in found] == ["a.pub", "env:KEY", pem.replace("\\n", "\n")]
    assert [k.path for k in found] == [f"anchors.release.keys[{i}]" for i in range(3)]


def test_validity_of_a_key_narrows_that_of_its_anchor() -> None:
    text = """not-before = 2025-01-01T00:00:00Z
not-after = 2027-01-01T00:00:00Z
keys = [
  "plain.pub",
  { key = "narrow.pub", not-before = 2025-06-01T00:00:00Z, not-after = 2026-06-01T00:00:00Z },
  { key = "wide.pub", not-before = 2020-01-01T00:00:00Z, not-after = 2030-01-01T00:00:00Z, hash = "sha512" },
]"""
    start, end = datetime(2025, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    assert parse(anchor(text)).anchors["release"] == (
        KeySource(text="plain.pub", path="anchors.release.keys[0]", not_before=start, not_after=end),
        KeySource(
            text="narrow.pub",
            path="anchors.release.keys[1].key",
            not_before=datetime(2025, 6, 1, tzinfo=UTC),
            not_after=datetime(2026, 6, 1, tzinfo=UTC),
        ),
        KeySource(
            text="wide.pub",
            path="anchors.release.keys[2].key",
            not_before=start,
            not_after=end,
            hash="sha512",
        ),
    )


@pytest.mark.parametrize(("written", "expected"), [("true", {"r.example"}), ("false", set())])
def test_unsafe_shared_key_is_kept_by_scope(written: str, expected: set[str]) -> None:
    text = scope("r.example", f"require = [{{ reject = true }}]\nunsafe-shared-key = {written}")
    assert parse(text).shared_keys == expected


def test_threshold_counts_the_keys_of_all_named_anchors() -> None:
    text = ANCHORED + '[anchors.ci]\nkeys = ["ci.pub"]\n[scopes."r.example"]\n'
    found = only(parse(text + 'require = [{ signed-by = ["release", "ci"], threshold = 3 }]'))
    assert found.threshold == 3


@pytest.mark.parametrize("name", ["release team", "ci-2", "équipe", "a.b"])
def test_anchor_name_is_free_text(name: str) -> None:
    found = parse(f'{HEAD}[anchors.{json.dumps(name, ensure_ascii=False)}]\nkeys = ["a.pub"]\n')
    assert set(found.anchors) == {name}


def test_json_of_the_same_shape_means_the_same() -> None:
    text = signed_by('threshold = 2, signed-after = "2026-06-01T00:00:00Z", annotations = { a = "b" }')
    assert parse_policy(load_json(json.dumps(tomllib.loads(text)).encode(), limit=LIMIT, error=InvalidPolicy)) == parse(
        text
    )


@pytest.mark.parametrize("path", sorted((ROOT / "policies").glob("*.toml")), ids=lambda p: p.name)
def test_example_policies_are_good(path: Path) -> None:
    found = parse_policy(load_toml(path.read_bytes(), limit=LIMIT))
    assert found.default.require == (Reject(),)
    assert found.scopes


ATTESTED = """
    { attested = ["slsa-provenance", "https://example.com/x"], by = "release", threshold = 2, max-age = "1d",
      name = "repository", formats = ["bundle", "dsse"], annotations = { a = { prefix = "x/" }, b = { exists = true } },
      where = { "a.b[].c[0]" = "x", 'd\\.e' = [1, 2.5, true], f = { at-least = 1, below = 7.5 },
        g = { after = 2026-01-01T00:00:00Z, max-age = "7d" },
        "h[]" = { where = { "i" = { prefix = "j:" }, k = { exists = true } } } } }
"""


def test_attestation_with_every_key() -> None:
    text = f'{ANCHORED}[scopes."r.example"]\nrequire = [{" ".join(ATTESTED.split())}]\n'
    (found,) = parse(text).scopes["r.example"].require
    assert found == Attested(
        types=("slsa-provenance", "https://example.com/x"),
        uris=frozenset(("https://slsa.dev/provenance/v1", "https://example.com/x")),
        anchors=("release",),
        threshold=2,
        name=NameRule.REPOSITORY,
        max_age=timedelta(days=1),
        annotations={"a": Prefix("x/"), "b": Exists()},
        formats=("bundle", "dsse"),
        where=(
            Condition(Path_("a.b[].c[0]", ("a", "b", Any.ELEMENT, "c", 0)), (OneOf(("x",)),)),
            Condition(Path_(r"d\.e", ("d.e",)), (OneOf((1, 2.5, True)),)),
            Condition(Path_("f", ("f",)), (Compared(Relation.AT_LEAST, 1), Compared(Relation.BELOW, 7.5))),
            Condition(Path_("g", ("g",)), (After(datetime(2026, 1, 1, tzinfo=UTC)), MaxAge(timedelta(days=7)))),
            Condition(
                Path_("h[]", ("h", Any.ELEMENT)),
                (
                    Within(
                        (
                            Condition(Path_("i", ("i",)), (Prefix("j:"),)),
                            Condition(Path_("k", ("k",)), (Exists(),)),
                        )
                    ),
                ),
            ),
        ),
    )
    assert str(found) == "attested slsa-provenance, https://example.com/x by release"


@pytest.mark.parametrize(
    ("alias", "uri"),
    [
        ("slsa-provenance", "https://slsa.dev/provenance/v1"),
        ("slsa-provenance-0.2", "https://slsa.dev/provenance/v0.2"),
        ("spdx", "https://spdx.dev/Document"),
        ("cyclonedx", "https://cyclonedx.org/bom"),
        ("vuln", "https://cosign.sigstore.dev/attestation/vuln/v1"),
        ("openvex", "https://openvex.dev/ns"),
        ("https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v1"),
        ("urn:example:x", "urn:example:x"),
    ],
)
def test_predicate_type_is_an_alias_or_a_uri(alias: str, uri: str) -> None:
    (found,) = parse(requirement(f'{{ attested = "{alias}", by = "release" }}')).scopes["r.example"].require
    assert isinstance(found, Attested)
    assert found.uris == {uri}


def test_settings_are_limits() -> None:
    text = 'verifications = 10\nreferrers = 20\nblob-size = "1MiB"\nattestation-size = "64MiB"\ntotal-size = 134217728'
    assert parse(f"{HEAD}[settings]\n{text}\n").settings == Settings(
        verifications=10, referrers=20, blob=1048576, attestation=67108864, total=134217728
    )
    assert parse(HEAD).settings == Settings()


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("a", ("a",)),
        ("a.b", ("a", "b")),
        ("a[]", ("a", Any.ELEMENT)),
        ("a[][0].b", ("a", Any.ELEMENT, 0, "b")),
        (r"a\.b", ("a.b",)),
        (r"a\[\]\\", ("a[]\\",)),
        ("@context", ("@context",)),
        ("a b.ü", ("a b", "ü")),
        ("", None),
        (".a", None),
        ("a.", None),
        ("a..b", None),
        ("[]", None),
        ("a[", None),
        ("a]", None),
        ("a[-1]", None),
        ("a[01]", None),
        ("a[*]", None),
        ("a[]b", None),
        ("a\\", None),
        (r"a\b", None),
    ],
)
def test_path_is_split_into_steps(path: str, steps: tuple[object, ...] | None) -> None:
    node = Node(None, "where", InvalidPolicy)
    if steps is None:
        with pytest.raises(InvalidPolicy, match=r"^not a path: "):
            parse_path(path, node)
    else:
        assert parse_path(path, node).steps == steps


# One fault a document; (document, message, hint).

_DURATION = "use s, m, h, d, w or y"
_SHAPES = "write it as registry.example.com/team/repo, registry.example.com, *.example.com or *"
_NO_HOST = "it has no registry host; Docker Hub images are docker.io/library/… or docker.io/USER/…"
_TAGS = "name the repository: whoever can write a manifest can write its tag; use signed names instead"
_KINDS = "expected one of 'signed-by', 'attested', 'unsafe-accept-unsigned', 'reject'"
_AT = "scopes.'r.example'.require[0]"
_DIGEST = "sha256:" + "a" * 64
_UTC = "write it with Z, such as 2027-06-30T00:00:00Z"

_PROVENANCE = 'attested = "slsa-provenance"'


def attested(more: str) -> str:
    return requirement(f'{{ {_PROVENANCE}, by = "release", {more} }}')


def where(conditions: str) -> str:
    return attested(f"where = {{ {conditions} }}")


BAD: list[tuple[str, str, str, str | None]] = [
    # Attestations.
    ("attested-by-nobody", requirement(f"{{ {_PROVENANCE} }}"), f"missing key 'by' at {_AT}", None),
    (
        "attested-by-unknown",
        requirement(f'{{ {_PROVENANCE}, by = "ci" }}'),
        f"unknown anchor 'ci' at {_AT}.by",
        "anchors of this policy: 'release'",
    ),
    (
        "attested-typo",
        requirement('{ attested = "slsa-provenanse", by = "release" }'),
        f"unknown predicate type 'slsa-provenanse' at {_AT}.attested",
        "did you mean 'slsa-provenance'?",
    ),
    (
        "attested-by-cosigns-name",
        requirement('{ attested = "slsaprovenance1", by = "release" }'),
        f"unknown predicate type 'slsaprovenance1' at {_AT}.attested",
        "it is slsa-provenance here",
    ),
    (
        "attested-signature",
        requirement('{ attested = "https://sigstore.dev/cosign/sign/v1", by = "release" }'),
        f"'https://sigstore.dev/cosign/sign/v1' is the type of signatures at {_AT}.attested",
        "ask for a signature with signed-by",
    ),
    (
        "attested-twice",
        requirement('{ attested = ["spdx", "https://spdx.dev/Document"], by = "release" }'),
        f"names a predicate type twice at {_AT}.attested",
        None,
    ),
    ("attested-nothing", requirement('{ attested = [], by = "release" }'), f"empty list at {_AT}.attested", None),
    (
        "attested-simple",
        attested('formats = ["simple"]'),
        f"unknown format 'simple' at {_AT}.formats",
        "use one of bundle, dsse",
    ),
    (
        "attested-threshold",
        attested("threshold = 3"),
        f"threshold 3 can never be met by 2 keys at {_AT}.threshold",
        None,
    ),
    ("signed-where", signed_by('where = { a = "b" }'), f"unknown key 'where' at {_AT}", None),
    (
        "signed-dsse",
        signed_by('formats = "dsse"'),
        f"unknown format 'dsse' at {_AT}.formats",
        "use one of bundle, simple",
    ),
    ("where-empty", where(""), f"empty where would accept anything at {_AT}.where", "leave it out if that is meant"),
    (
        "where-path",
        where('"a..b" = 1'),
        f"not a path: 'a..b' at {_AT}.where.'a..b'",
        r"write it as a.b, a[].b or a[0]; a dot in a name is \.",
    ),
    (
        "where-match-empty",
        where("a = {}"),
        f"empty match would accept anything at {_AT}.where.a",
        "write { exists = true } if that is meant",
    ),
    ("where-list-empty", where("a = []"), f"empty list at {_AT}.where.a", None),
    ("where-one-of-empty", where("a = { one-of = [] }"), f"empty list at {_AT}.where.a.one-of", None),
    ("where-one-of-text", where('a = { one-of = "x" }'), f"expected list, got string at {_AT}.where.a.one-of", None),
    ("where-typo", where("a = { exist = true }"), f"unknown key 'exist' at {_AT}.where.a", "did you mean 'exists'?"),
    ("where-regex", where('a = { matches = ".*" }'), f"unknown key 'matches' at {_AT}.where.a", None),
    (
        "where-absence",
        where("a = { exists = false }"),
        f"expected true at {_AT}.where.a.exists",
        "a policy cannot ask for absence: whoever removes things would meet it",
    ),
    (
        "where-prefix-open",
        where('a = { prefix = "https://github.com/acme" }'),
        f"prefix 'https://github.com/acme' accepts longer names too at {_AT}.where.a.prefix",
        "end it where the name ends, such as 'https://github.com/acme/'",
    ),
    (
        "where-prefix-empty",
        where('a = { prefix = "" }'),
        f"prefix '' accepts longer names too at {_AT}.where.a.prefix",
        "end it where the name ends, such as '/'",
    ),
    ("where-bound-text", where('a = { below = "7" }'), f"expected a number at {_AT}.where.a.below", None),
    ("where-bound-true", where("a = { below = true }"), f"expected a number at {_AT}.where.a.below", None),
    ("where-nan", where("a = nan"), f"expected a number, a text or a boolean at {_AT}.where.a", None),
    (
        "where-infinity",
        where("a = { below = inf }"),
        f"expected a number, a text or a boolean at {_AT}.where.a.below",
        None,
    ),
    (
        "where-time-local",
        where("a = { after = 2026-01-01T00:00:00 }"),
        f"time without an offset at {_AT}.where.a.after",
        _UTC,
    ),
    (
        "where-age",
        where('a = { max-age = "soon" }'),
        f"not a duration like '90d': 'soon' at {_AT}.where.a.max-age",
        _DURATION,
    ),
    (
        "where-deep",
        where("a = { where = { a = { where = { a = { where = { a = { where = { a = 1 } } } } } } } }"),
        f"where in where, deeper than 4 at {_AT}.where.a.where.a.where.a.where.a.where",
        None,
    ),
    (
        "annotation-prefix-open",
        signed_by('annotations = { a = { prefix = "x" } }'),
        f"prefix 'x' accepts longer names too at {_AT}.annotations.a.prefix",
        "end it where the name ends, such as 'x/'",
    ),
    (
        "annotation-two-tests",
        signed_by('annotations = { a = { prefix = "x/", exists = true } }'),
        f"expected one of 'prefix' and 'exists' at {_AT}.annotations.a",
        None,
    ),
    # Settings.
    (
        "settings-typo",
        f"{HEAD}[settings]\nreferers = 1",
        "unknown key 'referers' at settings",
        "did you mean 'referrers'?",
    ),
    (
        "settings-none",
        f"{HEAD}[settings]\nverifications = 0",
        "integer 0 is out of range at settings.verifications",
        None,
    ),
    (
        "settings-unit",
        f'{HEAD}[settings]\nblob-size = "8 MB"',
        "not a size: '8 MB' at settings.blob-size",
        "use B, KiB, MiB or GiB, such as 64MiB",
    ),
    (
        "settings-large",
        f'{HEAD}[settings]\nattestation-size = "1GiB"',
        "integer 1073741824 is out of range at settings.attestation-size",
        None,
    ),
    # The document.
    ("missing-version", 'default = "reject"', "missing key 'version'", None),
    ("missing-default", "version = 1", "missing key 'default'", None),
    (
        "version-2",
        'version = 2\ndefault = "reject"',
        "unknown policy version at version",
        "this imgsign reads version = 1",
    ),
    ("version-text", 'version = "1"\ndefault = "reject"', "expected integer, got string at version", None),
    ("version-boolean", 'version = true\ndefault = "reject"', "expected integer, got boolean at version", None),
    ("version-float", 'version = 1.0\ndefault = "reject"', "expected integer, got number at version", None),
    (
        "default-unknown",
        'version = 1\ndefault = "allow"',
        "unknown default 'allow' at default",
        'write default = "reject"',
    ),
    ("default-boolean", "version = 1\ndefault = false", "expected string, got boolean at default", None),
    ("top-typo", f"{HEAD}scope = 1", "unknown key 'scope'", "did you mean 'scopes'?"),
    ("top-case", f"{HEAD}Version = 1", "key 'Version' differs from 'version' only by case", None),
    ("anchors-list", f"{HEAD}anchors = []", "expected object, got list at anchors", None),
    ("scopes-list", f"{HEAD}scopes = []", "expected object, got list at scopes", None),
    # Anchors.
    ("anchor-no-keys", anchor(""), "missing key 'keys' at anchors.release", None),
    ("anchor-empty", anchor("keys = []"), "an anchor without keys can never sign at anchors.release.keys", None),
    ("anchor-text", anchor('keys = "a.pub"'), "expected list, got string at anchors.release.keys", None),
    ("key-integer", anchor("keys = [1]"), "expected string, got integer at anchors.release.keys[0]", None),
    ("key-empty", anchor('keys = [""]'), "empty key at anchors.release.keys[0]", None),
    ("key-blank", anchor('keys = [{ key = " " }]'), "empty key at anchors.release.keys[0].key", None),
    (
        "key-typo",
        anchor('keys = [{ kee = "a" }]'),
        "unknown key 'kee' at anchors.release.keys[0]",
        "did you mean 'key'?",
    ),
    ("key-missing", anchor('keys = [{ hash = "sha256" }]'), "missing key 'key' at anchors.release.keys[0]", None),
    (
        "key-hash",
        anchor('keys = [{ key = "a", hash = "md5" }]'),
        "unknown hash 'md5' at anchors.release.keys[0].hash",
        "use one of sha256, sha384, sha512",
    ),
    (
        "anchor-underscore",
        anchor('keys = ["a"]\nnot_after = 2027-01-01T00:00:00Z'),
        "unknown key 'not_after' at anchors.release",
        "did you mean 'not-after'?",
    ),
    (
        "anchor-naive-time",
        anchor('keys = ["a"]\nnot-after = 2027-01-01T00:00:00'),
        "time without an offset at anchors.release.not-after",
        _UTC,
    ),
    (
        "anchor-date",
        anchor('keys = ["a"]\nnot-before = 2027-01-01'),
        "expected string, got date at anchors.release.not-before",
        None,
    ),
    (
        "anchor-word",
        anchor('keys = ["a"]\nnot-after = "soon"'),
        "not an RFC 3339 time: 'soon' at anchors.release.not-after",
        None,
    ),
    (
        "anchor-never-valid",
        anchor('keys = ["a"]\nnot-before = 2027-01-01T00:00:00Z\nnot-after = 2027-01-01T00:00:00Z'),
        "is never valid: not-before is not before not-after at anchors.release.keys[0]",
        None,
    ),
    (
        "key-outside-its-anchor",
        anchor('not-after = 2026-01-01T00:00:00Z\nkeys = [{ key = "a", not-before = 2026-01-01T00:00:00Z }]'),
        "is never valid: not-before is not before not-after at anchors.release.keys[0]",
        None,
    ),
    ("anchor-blank", f'{HEAD}[anchors." a"]\nkeys = ["a"]', "not an anchor name: ' a' at anchors.' a'", None),
    ("anchor-nameless", f'{HEAD}[anchors.""]\nkeys = ["a"]', "not an anchor name: '' at anchors.''", None),
    (
        "anchor-escape",
        f'{HEAD}[anchors."a\\u001b[2J"]\nkeys = ["a"]',
        r"not an anchor name: 'a\x1b[2J' at anchors.'a\x1b[2J'",
        None,
    ),
    # Scopes.
    (
        "scope-tag",
        scope("r.example/app:1.0"),
        "scope 'r.example/app:1.0' has a tag or digest at scopes.'r.example/app:1.0'",
        _TAGS,
    ),
    (
        "scope-digest",
        scope(f"r.example/app@{_DIGEST}"),
        f"scope 'r.example/app@{_DIGEST}' has a tag or digest at scopes.'r.example/app@{_DIGEST}'",
        _TAGS,
    ),
    (
        "scope-index-docker-io",
        scope("index.docker.io/library"),
        "scope 'index.docker.io/library' can never match an image at scopes.'index.docker.io/library'",
        "Docker Hub is docker.io",
    ),
    (
        "scope-upper-case",
        scope("r.example/App"),
        "scope 'r.example/App' can never match an image at scopes.'r.example/App'",
        "repository names are lower case",
    ),
    (
        "scope-no-host",
        scope("library/busybox"),
        "scope 'library/busybox' can never match an image at scopes.'library/busybox'",
        _NO_HOST,
    ),
    ("scope-one-word", scope("payments"), "scope 'payments' can never match an image at scopes.payments", _NO_HOST),
    ("scope-empty", scope(""), "scope '' can never match an image at scopes.''", _NO_HOST),
    ("scope-slash", scope("r.example/"), "scope 'r.example/' can never match an image at scopes.'r.example/'", _SHAPES),
    (
        "scope-star-path",
        scope("*.r.example/x"),
        "scope '*.r.example/x' can never match an image at scopes.'*.r.example/x'",
        _SHAPES,
    ),
    (
        "scope-inner-star",
        scope("r.*.example"),
        "scope 'r.*.example' can never match an image at scopes.'r.*.example'",
        _SHAPES,
    ),
    (
        "scope-typo",
        scope("r.example", "requires = []"),
        "unknown key 'requires' at scopes.'r.example'",
        "did you mean 'require'?",
    ),
    ("scope-no-require", scope("r.example", ""), "missing key 'require' at scopes.'r.example'", None),
    (
        "require-empty",
        scope("r.example", "require = []"),
        "empty require would accept nothing or everything at scopes.'r.example'.require",
        "write { reject = true } or { unsafe-accept-unsigned = true } if that is meant",
    ),
    (
        "require-table",
        scope("r.example", "require = {}"),
        "expected list, got object at scopes.'r.example'.require",
        None,
    ),
    ("require-word", requirement('"release"'), f"expected object, got string at {_AT}", None),
    (
        "shared-key-text",
        scope("r.example", 'require = [{ reject = true }]\nunsafe-shared-key = "yes"'),
        "expected boolean, got string at scopes.'r.example'.unsafe-shared-key",
        None,
    ),
    # Requirements.
    ("requirement-empty", requirement("{}"), f"{_KINDS} at {_AT}", None),
    ("requirement-no-kind", requirement("{ threshold = 2 }"), f"{_KINDS} at {_AT}", None),
    (
        "kind-typo",
        requirement('{ signd-by = "release" }'),
        f"unknown key 'signd-by' at {_AT}",
        "did you mean 'signed-by'?",
    ),
    (
        "kind-without-unsafe",
        requirement("{ accept-unsigned = true }"),
        f"unknown key 'accept-unsigned' at {_AT}",
        "did you mean 'unsafe-accept-unsigned'?",
    ),
    (
        "kinds-both",
        requirement('{ unsafe-accept-unsigned = true, signed-by = "release" }'),
        f"unknown key 'signed-by' at {_AT}",
        None,
    ),
    (
        "kinds-opposite",
        requirement("{ reject = true, unsafe-accept-unsigned = true }"),
        f"unknown key 'reject' at {_AT}",
        None,
    ),
    ("reject-more", requirement("{ reject = true, threshold = 1 }"), f"unknown key 'threshold' at {_AT}", None),
    (
        "unsafe-false",
        requirement("{ unsafe-accept-unsigned = false }"),
        f"expected true at {_AT}.unsafe-accept-unsigned",
        None,
    ),
    (
        "unsafe-one",
        requirement("{ unsafe-accept-unsigned = 1 }"),
        f"expected boolean, got integer at {_AT}.unsafe-accept-unsigned",
        None,
    ),
    ("reject-false", requirement("{ reject = false }"), f"expected true at {_AT}.reject", None),
    (
        "anchor-unknown",
        requirement('{ signed-by = "realese" }'),
        f"unknown anchor 'realese' at {_AT}.signed-by",
        "anchors of this policy: 'release'",
    ),
    (
        "anchor-none",
        HEAD + '[scopes."r.example"]\nrequire = [{ signed-by = "release" }]',
        f"unknown anchor 'release' at {_AT}.signed-by",
        "anchors of this policy: none",
    ),
    ("anchors-none", requirement("{ signed-by = [] }"), f"empty list at {_AT}.signed-by", None),
    ("anchors-integer", requirement("{ signed-by = 1 }"), f"expected list, got integer at {_AT}.signed-by", None),
    (
        "anchor-twice",
        requirement('{ signed-by = ["release", "release"] }'),
        f"names an anchor twice at {_AT}.signed-by",
        None,
    ),
    ("key-typo-treshold", signed_by("treshold = 2"), f"unknown key 'treshold' at {_AT}", "did you mean 'threshold'?"),
    ("threshold-0", signed_by("threshold = 0"), f"integer 0 is out of range at {_AT}.threshold", None),
    ("threshold-negative", signed_by("threshold = -1"), f"integer -1 is out of range at {_AT}.threshold", None),
    ("threshold-3", signed_by("threshold = 3"), f"threshold 3 can never be met by 2 keys at {_AT}.threshold", None),
    ("threshold-101", signed_by("threshold = 101"), f"integer 101 is out of range at {_AT}.threshold", None),
    ("threshold-float", signed_by("threshold = 2.0"), f"expected integer, got number at {_AT}.threshold", None),
    ("threshold-boolean", signed_by("threshold = true"), f"expected integer, got boolean at {_AT}.threshold", None),
    ("threshold-text", signed_by('threshold = "2"'), f"expected integer, got string at {_AT}.threshold", None),
    (
        "name-any",
        signed_by('name = "any"'),
        f"unknown name rule 'any' at {_AT}.name",
        "use one of exact, exact-tagged, identical, repository, unsafe-any",
    ),
    (
        "name-upper-case",
        signed_by('name = "Exact"'),
        f"unknown name rule 'Exact' at {_AT}.name",
        "use one of exact, exact-tagged, identical, repository, unsafe-any",
    ),
    ("max-age-no-unit", signed_by('max-age = "90"'), f"not a duration like '90d': '90' at {_AT}.max-age", _DURATION),
    ("max-age-zero", signed_by('max-age = "0d"'), f"not a duration like '90d': '0d' at {_AT}.max-age", _DURATION),
    ("max-age-integer", signed_by("max-age = 90"), f"expected string, got integer at {_AT}.max-age", None),
    ("max-age-ages", signed_by('max-age = "200y"'), f"duration '200y' is longer than 100 years at {_AT}.max-age", None),
    (
        "signed-after-naive",
        signed_by("signed-after = 2027-01-01T00:00:00"),
        f"time without an offset at {_AT}.signed-after",
        _UTC,
    ),
    (
        "signed-after-word",
        signed_by('signed-after = "2027"'),
        f"not an RFC 3339 time: '2027' at {_AT}.signed-after",
        None,
    ),
    ("sequence-negative", signed_by("min-sequence = -1"), f"integer -1 is out of range at {_AT}.min-sequence", None),
    (
        "sequence-boolean",
        signed_by("min-sequence = true"),
        f"expected integer, got boolean at {_AT}.min-sequence",
        None,
    ),
    ("sequence-text", signed_by('min-sequence = "4"'), f"expected integer, got string at {_AT}.min-sequence", None),
    (
        "sequence-too-large",
        signed_by("min-sequence = 9223372036854775808"),
        f"integer 9223372036854775808 is out of range at {_AT}.min-sequence",
        None,
    ),
    (
        "annotation-integer",
        signed_by("annotations = { a = 1 }"),
        f"expected list, got integer at {_AT}.annotations.a",
        None,
    ),
    ("annotation-empty", signed_by("annotations = { a = [] }"), f"empty list at {_AT}.annotations.a", None),
    (
        "annotation-mixed",
        signed_by('annotations = { a = ["x", 1] }'),
        f"expected string, got integer at {_AT}.annotations.a[1]",
        None,
    ),
    ("annotations-list", signed_by('annotations = ["a"]'), f"expected object, got list at {_AT}.annotations", None),
    (
        "format-unknown",
        signed_by('formats = ["notary"]'),
        f"unknown format 'notary' at {_AT}.formats",
        "use one of bundle, simple",
    ),
    ("formats-empty", signed_by("formats = []"), f"empty list at {_AT}.formats", None),
    (
        "remap-slash",
        signed_by('remap = { "m.example/hub" = "docker.io/" }'),
        f"not a repository prefix: 'docker.io/' (not a repository path: '') at {_AT}.remap",
        None,
    ),
    (
        "remap-tag",
        signed_by('remap = { "m.example/hub:1" = "docker.io" }'),
        f"not a repository prefix: 'm.example/hub:1' (not a repository path: 'hub:1') at {_AT}.remap",
        None,
    ),
    (
        "remap-upper-case",
        signed_by('remap = { "m.example" = "docker.io/Team" }'),
        f"not a repository prefix: 'docker.io/Team' (not a repository path: 'Team') at {_AT}.remap",
        "repository names are lower case",
    ),
    (
        "remap-all",
        signed_by('remap = { "*" = "docker.io" }'),
        f"not a repository prefix: '*' (not a registry host: '*') at {_AT}.remap",
        "a host has a dot or a port, or is localhost",
    ),
    (
        "remap-index-docker-io",
        signed_by('remap = { "m.example" = "index.docker.io" }'),
        f"not a repository prefix: 'index.docker.io' at {_AT}.remap",
        "write it as host or host/path",
    ),
    (
        "remap-integer",
        signed_by('remap = { "m.example" = 1 }'),
        f"expected string, got integer at {_AT}.remap.'m.example'",
        None,
    ),
]


@pytest.mark.parametrize(("text", "message", "hint"), [pytest.param(*case[1:], id=case[0]) for case in BAD])
def test_document_with_one_fault_is_refused_with_its_path(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(InvalidPolicy) as caught:
        parse(text)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize("side", ["mirror", "mirror/hub"])
def test_remap_of_a_name_without_a_registry_host_is_refused(side: str) -> None:
    # No image has such a name: the remap would silently never apply.
    with pytest.raises(InvalidPolicy, match=rf"^not a repository prefix: '{side}'.* at .*\.remap$"):
        parse(signed_by(f'remap = {{ "{side}" = "docker.io" }}'))


def test_duplicate_scope_is_refused_by_toml_itself() -> None:
    text = scope("r.example") + '[scopes."r.example"]\nrequire = [{ unsafe-accept-unsigned = true }]\n'
    with pytest.raises(InvalidPolicy, match=r"^not TOML: Cannot declare \('scopes', 'r.example'\) twice"):
        parse(text)


def test_duplicate_key_is_refused_by_toml_itself() -> None:
    with pytest.raises(InvalidPolicy, match=r"^not TOML: Cannot overwrite a value"):
        parse(HEAD + 'default = "unsafe-accept-unsigned"\n')


def test_time_beyond_what_can_be_held_in_utc_is_refused_with_its_path() -> None:
    with pytest.raises(InvalidPolicy, match=r" at anchors\.release\.not-before$"):
        parse(anchor('keys = ["a"]\nnot-before = 0001-01-01T00:00:00+01:00'))


def test_sequence_of_any_length_is_refused_with_its_path() -> None:
    with pytest.raises(InvalidPolicy, match=r"min-sequence$"):
        parse(signed_by(f"min-sequence = 0x{'f' * 10_000}"))


# Which rule applies: the most specific scope, alone.


class Counting(Mapping[str, Rule]):
    """A mapping that remembers which keys were looked up, and cannot be scanned."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self.rules = rules
        self.asked: list[str] = []

    def __getitem__(self, key: str) -> Rule:
        self.asked.append(key)
        return self.rules[key]

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("a look-up of a rule must not scan all scopes")

    def __len__(self) -> int:
        raise AssertionError("a look-up of a rule must not count the scopes")


LADDER = [
    "r.example.com:5000/team/app",
    "r.example.com:5000/team",
    "r.example.com:5000",
    "*.example.com",
    "*.com",
    "*",
]
DEFAULT = Rule(scope=None, require=(Reject(),))


def rules(names: list[str]) -> dict[str, Rule]:
    return {name: Rule(scope=name, require=(Reject(),)) for name in names}


@pytest.mark.parametrize("highest", range(len(LADDER) + 1))
def test_most_specific_scope_wins_alone(highest: int) -> None:
    policy = Policy(default=DEFAULT, scopes=rules(LADDER[highest:]))
    found = policy.rule_for(Repository("r.example.com:5000", "team/app"))
    assert found.scope == (LADDER[highest] if highest < len(LADDER) else None)


@pytest.mark.parametrize(
    ("scope_name", "reference", "matches"),
    [
        ("r.example/team", "r.example/team/app", True),
        ("r.example/team", "r.example/team", True),
        ("r.example/team", "r.example/teams/app", False),  # boundaries, not prefixes of text
        ("r.example/team", "r.example/team-b/app", False),
        ("r.example", "r.example:5000/app", False),
        ("r.example", "r.example.attacker.net/app", False),
        ("r.example", "x.r.example/app", False),
        ("R.example", "r.example/app", False),
        ("*.example.com", "r.example.com/app", True),
        ("*.example.com", "r.example.com:5000/app", True),
        ("*.example.com", "a.b.example.com/app", True),
        ("*.example.com", "example.com/app", False),
        ("*.example.com", "badexample.com/app", False),
        ("*.example.com", "r.example.com.attacker.net/app", False),
        ("docker.io/library", "busybox", True),
        ("docker.io/library", "index.docker.io/busybox", True),
        ("docker.io/library", "team/app", False),
        ("*", "localhost/app", True),
        ("*", "[::1]:5000/app", True),
        ("10.0.0.1", "10.0.0.1/app", True),
        ("10.0.0.1", "10.0.0.11/app", False),
    ],
)
def test_scope_covers_exactly_what_lies_below_it(scope_name: str, reference: str, matches: bool) -> None:
    policy = Policy(default=DEFAULT, scopes=rules([scope_name]))
    found = policy.rule_for(Reference.parse(reference).repository)
    assert found.scope == (scope_name if matches else None)


@pytest.mark.parametrize("depth", [1, 5, 50])
def test_look_ups_grow_with_the_depth_of_the_name_only(depth: int) -> None:
    many = Counting(rules([f"r{n}.example.com" for n in range(10_000)]))
    repository = Repository("r.example.com", "/".join(["a"] * depth))
    assert Policy(default=DEFAULT, scopes=many).rule_for(repository) is DEFAULT
    # The path and its parents, the host, *.example.com, *.com, *.
    assert len(many.asked) == depth + 4
    assert many.asked == list(scopes(repository))


def test_look_up_stops_at_the_first_match() -> None:
    found = Counting(rules(["r.example.com/a", "*"]))
    Policy(default=DEFAULT, scopes=found).rule_for(Repository("r.example.com", "a/b"))
    assert found.asked == ["r.example.com/a/b", "r.example.com/a"]


def test_image_without_a_name_is_covered_by_the_star_only() -> None:
    named = Policy(default=DEFAULT, scopes=rules(["*.example.com", "docker.io"]))
    assert named.rule_for(None) is DEFAULT
    assert Policy(default=DEFAULT, scopes=rules(["*"])).rule_for(None).scope == "*"


# What a rule needs.


@pytest.mark.parametrize(
    ("require", "needs"),
    [
        ((SignedBy(anchors=("a",)),), True),
        ((SignedBy(anchors=("a",)), UnsafeAcceptUnsigned()), True),
        ((UnsafeAcceptUnsigned(),), False),
        ((Reject(),), False),
        ((SignedBy(anchors=("a",)), Reject()), False),
    ],
)
def test_signatures_are_looked_for_only_if_they_can_change_the_verdict(
    require: tuple[SignedBy | UnsafeAcceptUnsigned | Reject, ...], needs: bool
) -> None:
    assert Rule(scope="*", require=require).needs_evidence is needs


def test_rule_names_the_anchors_of_all_its_requirements() -> None:
    rule = Rule(scope="*", require=(SignedBy(anchors=("a", "b")), Reject(), SignedBy(anchors=("b", "c"))))
    assert rule.anchors == {"a", "b", "c"}
