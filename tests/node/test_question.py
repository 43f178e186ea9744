"""What containerd asks: arguments and descriptor, strictly."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgsign.errors import ImgsignError, InvalidDigest, InvalidReference, Malformed, UsageError
from imgsign.node.question import DESCRIPTOR_LIMIT, parse_arguments, parse_descriptor
from imgsign.reference import Digest, Reference

A = "sha256:" + "a" * 64
B = "sha256:" + "b" * 64
TYPE = "application/vnd.oci.descriptor.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
WEB = Reference.parse(f"docker.io/app/web:1@{A}")


def arguments(name: str = "docker.io/app/web:1", digest: str = A, kind: str = TYPE) -> list[str]:
    return ["-name", name, "-digest", digest, "-stdin-media-type", kind]


def descriptor(**members: object) -> bytes:
    return json.dumps({"mediaType": MANIFEST, "digest": A, "size": 7, **members}).encode()


def test_the_arguments_containerd_gives_name_tag_and_digest() -> None:
    assert str(parse_arguments(arguments())) == f"docker.io/app/web:1@{A}"


def test_a_name_that_came_with_a_digest_arrives_without_its_tag() -> None:
    assert str(parse_arguments(arguments(name=f"docker.io/app/web@{A}"))) == f"docker.io/app/web@{A}"


def test_the_order_of_the_arguments_is_free() -> None:
    given = arguments()
    assert parse_arguments(given[4:] + given[2:4] + given[:2]) == WEB


@pytest.mark.parametrize(
    "given",
    [
        [],
        arguments()[:4],
        arguments()[:5],
        [*arguments(), "extra"],
        [*arguments(), "-name", "docker.io/app/other:1"],
        [*arguments()[:4], "-name", "docker.io/app/other:1"],
        ["--name", *arguments()[1:]],
        [f"-name={WEB.name}", *arguments()[2:]],
    ],
)
def test_other_arguments_are_no_question(given: list[str]) -> None:
    with pytest.raises(UsageError, match=r"^these are not the arguments of an image verifier: "):
        parse_arguments(given)


def test_another_media_type_on_standard_input_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^unknown media type of standard input 'application/json'$"):
        parse_arguments(arguments(kind="application/json"))


@pytest.mark.parametrize("name", ["busybox:1", "app/web:1", "docker.io/busybox:1", "index.docker.io/app/web:1"])
def test_a_short_name_is_refused_since_containerd_reads_it_as_another_host(name: str) -> None:
    with pytest.raises(InvalidReference, match="is not written in full"):
        parse_arguments(arguments(name=name))


@pytest.mark.parametrize("name", ["", " ", "docker.io/app/web:1\n", "docker.io/App/web", "-digest", "x" * 5000])
def test_a_name_that_is_no_reference_is_refused(name: str) -> None:
    with pytest.raises(InvalidReference):
        parse_arguments(arguments(name=name))


def test_a_name_with_another_digest_than_the_one_given_is_refused() -> None:
    with pytest.raises(UsageError, match=f"^name 'docker.io/app/web@{B}' has another digest than {A}$"):
        parse_arguments(arguments(name=f"docker.io/app/web@{B}"))


@pytest.mark.parametrize("digest", ["", "a" * 64, "sha256:" + "A" * 64, "md5:" + "a" * 32, A + "a"])
def test_a_digest_that_is_none_is_refused(digest: str) -> None:
    with pytest.raises(InvalidDigest):
        parse_arguments(arguments(digest=digest))


def test_the_descriptor_go_writes_is_read_with_its_line_end() -> None:
    question = parse_descriptor(descriptor(annotations={"a": "b"}) + b"\n", WEB)
    assert question.reference == WEB
    assert (question.descriptor.media_type, question.descriptor.digest, question.descriptor.size) == (
        MANIFEST,
        Digest.parse(A),
        7,
    )


def test_a_descriptor_of_another_digest_is_refused() -> None:
    with pytest.raises(UsageError, match=f"^the descriptor has digest {B}, the arguments {A}$"):
        parse_descriptor(descriptor(digest=B), WEB)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not JSON"),
        (b"[]", "expected object, got list"),
        (b"{}", "missing key 'mediaType'"),
        (descriptor(size=-1), "integer -1 is out of range"),
        (descriptor(size="7"), "expected integer, got string"),
        (descriptor()[:-1] + b', "digest": "' + B.encode() + b'"}', "duplicate key 'digest'"),
        (descriptor()[:-1] + b', "Digest": "' + B.encode() + b'"}', "key 'Digest' differs from 'digest' only by case"),
        (descriptor() + descriptor(), "not JSON"),
        (b" " * (DESCRIPTOR_LIMIT + 1), f"{DESCRIPTOR_LIMIT + 1} bytes are more than the limit of {DESCRIPTOR_LIMIT}"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_bytes_that_are_no_descriptor_are_refused(raw: bytes, message: str) -> None:
    with pytest.raises(Malformed, match=message):
        parse_descriptor(raw, WEB)


@given(
    st.lists(st.one_of(st.sampled_from([*arguments(), "-name", ""]), st.text()), max_size=8), st.binary(max_size=400)
)
def test_no_arguments_and_no_bytes_end_in_anything_but_a_refusal(given_arguments: list[str], raw: bytes) -> None:
    for ask in (lambda: parse_arguments(given_arguments), lambda: parse_descriptor(raw, WEB)):
        try:
            ask()
        except ImgsignError:
            continue
        assert given_arguments.count("-digest") == 1  # only containerd's own question is one
