"""References, digests and scopes: Docker's grammar and normalisation exactly, and nothing beyond it.

The cases are facts about docker, taken from reading and trying distribution/reference v0.6.0; where
imgsign is stricter on purpose, the test says so.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imgsign.errors import InvalidDigest, InvalidReference
from imgsign.reference import NAME_LIMIT, Digest, Reference, Repository, is_scope, scopes

A64 = "a" * 64
SHA256 = f"sha256:{A64}"
SHA384 = "sha384:" + "b" * 96
SHA512 = "sha512:" + "c" * 128
HEX64 = "0123456789abcdef" * 4

ACCEPTED: list[tuple[str, str]] = [
    # Docker Hub: no domain in the text.
    ("busybox", "docker.io/library/busybox"),
    ("busybox:1.36", "docker.io/library/busybox:1.36"),
    ("team/app", "docker.io/team/app"),
    ("team/sub/app:v1", "docker.io/team/sub/app:v1"),
    ("library/busybox", "docker.io/library/busybox"),
    ("docker.io/busybox", "docker.io/library/busybox"),
    ("docker.io/library/busybox", "docker.io/library/busybox"),
    ("docker.io/team/app", "docker.io/team/app"),
    ("docker.io/library/deep/er", "docker.io/library/deep/er"),
    ("index.docker.io/busybox:1", "docker.io/library/busybox:1"),
    ("index.docker.io/team/app", "docker.io/team/app"),
    ("registry-1.docker.io/busybox", "registry-1.docker.io/busybox"),
    # Without a slash there is no domain, whatever it looks like.
    ("localhost", "docker.io/library/localhost"),
    ("localhost:5000", "docker.io/library/localhost:5000"),
    ("example.com", "docker.io/library/example.com"),
    ("example.com:tag", "docker.io/library/example.com:tag"),
    ("example.com:443", "docker.io/library/example.com:443"),
    ("192.168.1.1:5000", "docker.io/library/192.168.1.1:5000"),
    (f"localhost@{SHA256}", f"docker.io/library/localhost@{SHA256}"),
    # What makes the first part a domain: a dot, a colon, localhost, an upper-case letter.
    ("example.com/app", "example.com/app"),
    ("localhost/app", "localhost/app"),
    ("localhost:5000/app", "localhost:5000/app"),
    ("registry:5000/app:5050", "registry:5000/app:5050"),
    ("Registry/app", "Registry/app"),
    ("REGISTRY/team/app:1", "REGISTRY/team/app:1"),
    ("registry/app", "docker.io/registry/app"),
    ("test_com/app", "docker.io/test_com/app"),
    ("Asdf.com/app/x", "Asdf.com/app/x"),
    ("192.168.1.1/app", "192.168.1.1/app"),
    ("192.168.1.1:75050/app", "192.168.1.1:75050/app"),
    ("[::1]/app", "[::1]/app"),
    ("[2001:db8::1]:5000/app:tag", "[2001:db8::1]:5000/app:tag"),
    ("[2001:DB8:1:2:3:4:5:6]/app", "[2001:DB8:1:2:3:4:5:6]/app"),
    ("xn--n3h.com/app:xn--n3h.com", "xn--n3h.com/app:xn--n3h.com"),
    ("0101.com/app", "0101.com/app"),
    ("a-b.c-d/e", "a-b.c-d/e"),
    # Path components: one separator kind at a time, dashes as many as one likes.
    ("example.com/a.b/c_d/e__f/g-h/i---j", "example.com/a.b/c_d/e__f/g-h/i---j"),
    ("example.com/a--b.c--d.e---f", "example.com/a--b.c--d.e---f"),
    ("example.com/1/2", "example.com/1/2"),
    ("example.com/test.example.com/my-app", "example.com/test.example.com/my-app"),
    # Tags.
    ("a:_", "docker.io/library/a:_"),
    ("a:_.-", "docker.io/library/a:_.-"),
    ("a:UPPER.Case-1", "docker.io/library/a:UPPER.Case-1"),
    (f"a:{'t' * 128}", f"docker.io/library/a:{'t' * 128}"),
    # Digests; tag and digest are both kept.
    (f"a@{SHA256}", f"docker.io/library/a@{SHA256}"),
    (f"a:1@{SHA256}", f"docker.io/library/a:1@{SHA256}"),
    (f"example.com/a@{SHA384}", f"example.com/a@{SHA384}"),
    (f"example.com/a:1@{SHA512}", f"example.com/a:1@{SHA512}"),
    # 64 hexadecimal digits are a name where a domain or a namespace stands before them.
    (f"docker.io/{HEX64}", f"docker.io/library/{HEX64}"),
    (f"team/{HEX64}", f"docker.io/team/{HEX64}"),
    (HEX64[:63], f"docker.io/library/{HEX64[:63]}"),
    (HEX64 + "0", f"docker.io/library/{HEX64}0"),
    ("x" * 64, f"docker.io/library/{'x' * 64}"),
]

REFUSED: list[tuple[str, str]] = [
    ("", "not an image reference: ''"),
    (":tag", "not an image reference: ':tag'"),
    (f"@{SHA256}", f"not an image reference: '@{SHA256}'"),
    ("Busybox", "reference 'Busybox': not a repository path: 'library/Busybox'"),
    ("team/App", "reference 'team/App': not a repository path: 'team/App'"),
    ("example.com/Team/app:1", "reference 'example.com/Team/app:1': not a repository path: 'Team/app'"),
    ("-app", "reference '-app': not a repository path: 'library/-app'"),
    ("app-", "reference 'app-': not a repository path: 'library/app-'"),
    ("app-/x", "reference 'app-/x': not a repository path: 'app-/x'"),
    ("_app/_x", "reference '_app/_x': not a repository path: '_app/_x'"),
    ("____/____", "reference '____/____': not a repository path: '____/____'"),
    ("a..b/c", "reference 'a..b/c': not a registry host: 'a..b'"),
    ("a_.b/c", "reference 'a_.b/c': not a registry host: 'a_.b'"),
    ("example.com/a..b", "reference 'example.com/a..b': not a repository path: 'a..b'"),
    ("example.com/a_.b", "reference 'example.com/a_.b': not a repository path: 'a_.b'"),
    ("example.com/a-.b", "reference 'example.com/a-.b': not a repository path: 'a-.b'"),
    ("example.com/a___b", "reference 'example.com/a___b': not a repository path: 'a___b'"),
    ("example.com/.a", "reference 'example.com/.a': not a repository path: '.a'"),
    ("team/", "reference 'team/': not a repository path: 'team/'"),
    ("example.com/", "reference 'example.com/': not a repository path: ''"),
    ("/app", "reference '/app': not a repository path: '/app'"),
    ("a//b", "reference 'a//b': not a repository path: 'a//b'"),
    ("example.com//b", "reference 'example.com//b': not a repository path: '/b'"),
    ("a/b/", "reference 'a/b/': not a repository path: 'a/b/'"),
    ("aa/asdf$$^/aa", "reference 'aa/asdf$$^/aa': not a repository path: 'aa/asdf$$^/aa'"),
    ("https://example.com/app", "reference 'https://example.com/app': not a registry host: 'https:'"),
    ("example.com:http/app", "reference 'example.com:http/app': not a registry host: 'example.com:http'"),
    ("bad_host.com:8080/app", "reference 'bad_host.com:8080/app': not a registry host: 'bad_host.com:8080'"),
    ("-a.com/app", "reference '-a.com/app': not a registry host: '-a.com'"),
    ("a-.com/app", "reference 'a-.com/app': not a registry host: 'a-.com'"),
    ("a./app", "reference 'a./app': not a registry host: 'a.'"),
    ("[::1]", "reference '[::1]': not a repository path: 'library/[::1]'"),
    ("[::1]:5000", "reference '[::1]:5000': not a repository path: 'library/[::1]'"),
    ("fc00::1:5000/app", "reference 'fc00::1:5000/app': not a registry host: 'fc00::1:5000'"),
    ("[fe80::1%eth0]:5000/app", "reference '[fe80::1%eth0]:5000/app': not a registry host: '[fe80::1%eth0]:5000'"),
    (
        "[2001:db8::192.0.2.33]/app",
        "reference '[2001:db8::192.0.2.33]/app': not a registry host: '[2001:db8::192.0.2.33]'",
    ),
    ("[::1]5000/app", "reference '[::1]5000/app': not a registry host: '[::1]5000'"),
    ("[::1]::5000/app", "reference '[::1]::5000/app': not a registry host: '[::1]::5000'"),
    (
        "example.com:5000:6000/app",
        "reference 'example.com:5000:6000/app': not a registry host: 'example.com:5000:6000'",
    ),
    (HEX64, f"'{HEX64}' is an image ID or digest, not a name"),
    ("app:", "reference 'app:': not a tag: ''"),
    ("app:-x", "reference 'app:-x': not a tag: '-x'"),
    ("app:.x", "reference 'app:.x': not a tag: '.x'"),
    ("app:in~valid", "reference 'app:in~valid': not a tag: 'in~valid'"),
    ("app:a+b", "reference 'app:a+b': not a tag: 'a+b'"),
    ("app:1:2", "reference 'app:1:2': not a repository path: 'library/app:1'"),
    ("app@", "reference 'app@': not a digest: ''"),
    ("app@bad", "reference 'app@bad': not a digest: 'bad'"),
    ("app@sha256:", "reference 'app@sha256:': expected 64 lower-case hex digits after 'sha256:'"),
    ("app@sha256:bad", "reference 'app@sha256:bad': expected 64 lower-case hex digits after 'sha256:'"),
    (f"app@sha512:{A64}", f"reference 'app@sha512:{A64}': expected 128 lower-case hex digits after 'sha512:'"),
    (f"app@md5:{'a' * 32}", f"reference 'app@md5:{'a' * 32}': unsupported digest algorithm 'md5'"),
    (f"app@{SHA256}:1", f"reference 'app@{SHA256}:1': expected 64 lower-case hex digits after 'sha256:'"),
    ("app :1", "reference 'app :1' holds blanks or line breaks"),
    (" app", "reference ' app' holds blanks or line breaks"),
    ("app\n", r"reference 'app\n' holds blanks or line breaks"),
    ("app\u00a0", r"reference 'app\xa0' holds blanks or line breaks"),
    ("app:1\r\nevil", r"reference 'app:1\r\nevil' holds blanks or line breaks"),
    ("app\x00", r"reference 'app\x00': not a repository path: 'library/app\x00'"),
    ("äpp", "reference 'äpp': not a repository path: 'library/äpp'"),
    ("app:1\u0661", "reference 'app:1\u0661': not a tag: '1\u0661'"),  # an Arabic digit is no digit here
    ("example.com:\u0665/app", "reference 'example.com:\u0665/app': not a registry host: 'example.com:\u0665'"),
]


@pytest.mark.parametrize(("text", "canonical"), ACCEPTED)
def test_reference_is_normalised_as_docker_does(text: str, canonical: str) -> None:
    assert str(Reference.parse(text)) == canonical


@pytest.mark.parametrize("canonical", sorted({canonical for _, canonical in ACCEPTED}))
def test_canonical_form_is_its_own_canonical_form(canonical: str) -> None:
    assert str(Reference.parse(canonical)) == canonical


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_text_that_is_no_reference_is_refused_by_the_part_that_is_wrong(text: str, message: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        Reference.parse(text)
    assert caught.value.message == message


def test_tag_and_digest_are_both_kept() -> None:
    found = Reference.parse(f"example.com/app:1.4@{SHA256}")
    assert (found.repository, found.tag, found.digest) == (
        Repository("example.com", "app"),
        "1.4",
        Digest("sha256", A64),
    )


def test_long_digest_in_a_message_is_cut_but_its_fault_is_named() -> None:
    with pytest.raises(InvalidReference, match=r"expected 64 lower-case hex digits after 'sha256:'$"):
        Reference.parse("app@sha256:" + "A" * 64)


def test_hex_name_with_a_tag_is_a_name_as_docker_reads_it() -> None:
    assert str(Reference.parse(f"{HEX64}:latest")) == f"docker.io/library/{HEX64}:latest"


def test_upper_case_path_gets_the_hint() -> None:
    with pytest.raises(InvalidReference) as caught:
        Reference.parse("example.com/App")
    assert caught.value.hint == "repository names are lower case"


def test_name_of_255_characters_is_accepted() -> None:
    path = "p" * (NAME_LIMIT - len("example.com/"))
    assert Reference.parse(f"example.com/{path}:tag").repository.path == path


def test_name_of_256_characters_is_refused() -> None:
    path = "p" * (NAME_LIMIT - len("example.com/") + 1)
    with pytest.raises(InvalidReference, match=r"name is longer than 255 characters$"):
        Reference.parse(f"example.com/{path}")


def test_tag_of_129_characters_is_refused() -> None:
    with pytest.raises(InvalidReference, match="not a tag: "):
        Reference.parse("app:" + "t" * 129)


def test_hosts_that_differ_by_case_are_different_hosts() -> None:
    assert Reference.parse("Example.com/app") != Reference.parse("example.com/app")


def test_default_registry_stands_in_only_where_the_text_names_none() -> None:
    assert str(Reference.parse("app:1", default_registry="registry.corp")) == "registry.corp/app:1"
    assert str(Reference.parse("team/app", default_registry="registry.corp")) == "registry.corp/team/app"
    assert str(Reference.parse("docker.io/app", default_registry="registry.corp")) == "docker.io/library/app"


def test_default_registry_cannot_make_a_name_that_another_reader_takes_for_docker_hub() -> None:
    # "registry/app" reads as docker.io/registry/app everywhere else: whoever signs it there signs a name
    # that belongs to a stranger's namespace on Docker Hub.
    try:
        found = Reference.parse("app:1", default_registry="registry")
    except InvalidReference:
        return
    assert Reference.parse(str(found)) == found


@pytest.mark.parametrize(
    ("registry", "path"),
    [("registry", "app"), ("docker.io", "busybox"), ("index.docker.io", "library/busybox"), ("[0]", "app")],
)
def test_no_repository_can_be_made_that_prints_as_another_one(registry: str, path: str) -> None:
    try:
        made = Repository(registry, path)
    except InvalidReference:
        return
    assert Reference.parse(str(made)).repository == made


def test_latest_is_assumed_only_without_tag_and_digest() -> None:
    assert str(Reference.parse("app").tag_or_latest()) == "docker.io/library/app:latest"
    assert str(Reference.parse("app:1").tag_or_latest()) == "docker.io/library/app:1"
    assert str(Reference.parse(f"app@{SHA256}").tag_or_latest()) == f"docker.io/library/app@{SHA256}"


def test_name_is_the_reference_without_its_digest() -> None:
    assert str(Reference.parse(f"app:1@{SHA256}").name) == "docker.io/library/app:1"


def test_at_replaces_the_digest_and_keeps_the_tag() -> None:
    assert str(Reference.parse(f"app:1@{SHA256}").at(Digest.parse(SHA512))) == f"docker.io/library/app:1@{SHA512}"


# Round trips.

_component = st.from_regex(r"[a-z0-9]{1,5}(?:(?:\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}", fullmatch=True)
_path = st.lists(_component, min_size=1, max_size=4).map("/".join)
_label = st.from_regex(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,6}[A-Za-z0-9])?", fullmatch=True)
_port = st.from_regex(r":[0-9]{1,5}", fullmatch=True)
_ipv6 = st.from_regex(r"\[[A-Fa-f0-9]{0,4}:[A-Fa-f0-9:]{0,15}\]", fullmatch=True)
_host = st.one_of(
    st.just("docker.io"),
    st.just("localhost"),
    st.lists(_label, min_size=2, max_size=4).map(".".join),
    st.tuples(_label, _port).map("".join),
    st.tuples(_ipv6, st.one_of(st.just(""), _port)).map("".join),
)
_tag = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
_digest = st.one_of(
    st.builds(Digest, st.just("sha256"), st.binary(min_size=32, max_size=32).map(bytes.hex)),
    st.just(Digest.parse(SHA384)),
    st.just(Digest.parse(SHA512)),
)


@st.composite
def references(draw: st.DrawFn) -> Reference:
    host, path = draw(_host), draw(_path)
    if host == "docker.io" and "/" not in path:
        path = f"library/{path}"
    tag, digest = draw(st.one_of(st.none(), _tag)), draw(st.one_of(st.none(), _digest))
    return Reference(repository=Repository(host, path), tag=tag, digest=digest)


@given(references())
def test_parse_after_str_is_the_identity(reference: Reference) -> None:
    assert Reference.parse(str(reference)) == reference


@given(st.one_of(st.text(), st.text("aZ0.:/@-_[]\n %"), st.lists(st.sampled_from([*"ab/:@.-_", SHA256])).map("".join)))
@example("docker.io/index.docker.io")
@example("a/b@sha256:" + A64 + "\n")
def test_any_text_is_refused_or_has_a_canonical_form(text: str) -> None:
    with suppress(InvalidReference):
        found = Reference.parse(text)
        assert Reference.parse(str(found)) == found


@given(_digest)
def test_digest_parse_after_str_is_the_identity(digest: Digest) -> None:
    assert Digest.parse(str(digest)) == digest


# Digests.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a digest: ''"),
        (A64, f"not a digest: '{A64}'"),
        ("sha256", "not a digest: 'sha256'"),
        (f"sha256:{'A' * 64}", "expected 64 lower-case hex digits after 'sha256:'"),
        (f"sha256:{'a' * 63}", "expected 64 lower-case hex digits after 'sha256:'"),
        (f"sha256:{'a' * 65}", "expected 64 lower-case hex digits after 'sha256:'"),
        (f"sha256:{'a' * 63}\n", "expected 64 lower-case hex digits after 'sha256:'"),
        (f"sha256:{'a' * 64}\n", "expected 64 lower-case hex digits after 'sha256:'"),
        (f"sha256: {'a' * 63}", "expected 64 lower-case hex digits after 'sha256:'"),
        (f"sha256:{'a' * 63}\uff11", "expected 64 lower-case hex digits after 'sha256:'"),
        (f"sha384:{A64}", "expected 96 lower-case hex digits after 'sha384:'"),
        (f"SHA256:{A64}", "unsupported digest algorithm 'SHA256'"),
        (f"sha1:{'a' * 40}", "unsupported digest algorithm 'sha1'"),
        (f"sha256+b64:{A64}", "unsupported digest algorithm 'sha256+b64'"),
        (f"sha256/../x:{A64}", "unsupported digest algorithm 'sha256/../x'"),
        (f":{A64}", "unsupported digest algorithm ''"),
    ],
)
def test_digest_that_is_not_canonical_is_refused(text: str, message: str) -> None:
    # CVE-2024-3727: a digest is used in paths and URLs; nothing but the canonical spelling may pass.
    with pytest.raises(InvalidDigest) as caught:
        Digest.parse(text)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("sha256", "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "sha384",
            "sha384:cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
        ),
        (
            "sha512",
            "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
    ],
)
def test_digest_of_abc_is_the_one_of_fips_180(algorithm: str, expected: str) -> None:
    assert str(Digest.of(b"abc", algorithm)) == expected


def test_digest_of_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(InvalidDigest, match=r"^unsupported digest algorithm 'md5'$"):
        Digest.of(b"", "md5")


def test_tag_schema_cuts_the_hex_to_64() -> None:
    assert Digest.parse(SHA256).tag == f"sha256-{A64}"
    assert Digest.parse(SHA512).tag == "sha512-" + "c" * 64


# Scopes.


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "registry.example.com:5000/team/app",
            [
                "registry.example.com:5000/team/app",
                "registry.example.com:5000/team",
                "registry.example.com:5000",
                "*.example.com",
                "*.com",
                "*",
            ],
        ),
        ("busybox", ["docker.io/library/busybox", "docker.io/library", "docker.io", "*.io", "*"]),
        ("localhost/app", ["localhost/app", "localhost", "*"]),
        ("10.0.0.1:80/app", ["10.0.0.1:80/app", "10.0.0.1:80", "*"]),
        ("[::1]:5000/app", ["[::1]:5000/app", "[::1]:5000", "*"]),
    ],
)
def test_scopes_go_from_the_most_specific_to_all(name: str, expected: list[str]) -> None:
    assert list(scopes(Reference.parse(name).repository)) == expected


@given(references())
def test_every_scope_of_a_repository_is_a_scope(reference: Reference) -> None:
    found = scopes(reference.repository)
    assert [s for s in found if not is_scope(s)] == []
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "*.example.com",
        "*.com",
        "example.com",
        "example.com:5000",
        "example.com:5000/team",
        "example.com/team/app",
        "localhost",
        "localhost:5000/app",
        "10.0.0.1",
        "[::1]:5000",
        "docker.io/library",
        "Registry.example.com",
    ],
)
def test_scope_that_can_match_is_one(text: str) -> None:
    assert is_scope(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "**",
        "*example.com",
        "*.",
        "*.example.com/team",
        "*.example.com:5000",
        "*.0.0.1",
        "registry.*.com",
        "example.com/*",
        "example.com/",
        "example.com/team/",
        "example.com//team",
        "example.com/Team",
        "example.com/app:1",
        f"example.com/app@{SHA256}",
        "https://example.com",
        "index.docker.io",
        "index.docker.io/library",
        "library/busybox",
        "payments",
        "example.com\n",
        "*.example.com\n",
    ],
)
def test_scope_that_can_never_match_is_none(text: str) -> None:
    # A scope that silently matches nothing leaves the image to the default, which may accept everything.
    assert not is_scope(text)
