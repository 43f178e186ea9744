"""A repository at a registry that may lie: what is fetched is what its digest says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from imgsign.errors import (
    ContentMismatch,
    InvalidManifest,
    InvalidReference,
    NotFound,
    RegistryError,
    TooLarge,
    Unavailable,
)
from imgsign.oci import MANIFEST_LIMIT, OCI_MANIFEST, Blob, Descriptor, Manifest
from imgsign.reference import Digest
from imgsign.stores import Piece, Store
from tests.answers import Answer
from tests.simulator import PUSHED, Simulator, manifest_bytes

OTHER = Digest.of(b"another")
MIB = 1024 * 1024


def _blob(sim: Simulator, raw: bytes) -> Descriptor:
    return Descriptor(media_type=PUSHED, digest=sim.put_blob("app", raw), size=len(raw))


def test_it_is_a_store() -> None:
    store: Store = Simulator().store("app")
    assert store


# fetch


def test_fetch_by_tag_and_by_digest_is_one_get_for_all_types() -> None:
    sim = Simulator()
    image = sim.put_image("app", tag="1")
    store = sim.store("app")
    assert store.fetch("1") == image
    assert store.fetch(image.digest) == image
    assert [s.method for s in sim.requests_seen] == ["GET", "GET"]
    assert sim.requests_seen[0].headers["accept"].split(", ") == [
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ]


def test_fetch_by_sha512_is_compared_with_sha512() -> None:
    sim = Simulator()
    raw = manifest_bytes()
    digest = Digest.of(raw, "sha512")
    sim.repository("app").manifests[str(digest)] = (OCI_MANIFEST, raw)
    assert sim.store("app").fetch(digest).digest == digest


def test_other_bytes_for_a_digest_are_refused() -> None:
    sim = Simulator()
    image = sim.put_image("app")
    sim.serve_instead("/manifests/", manifest_bytes(annotations={"evil": "yes"}))
    with pytest.raises(ContentMismatch) as e:
        sim.store("app").fetch(image.digest)
    actual = Digest.of(manifest_bytes(annotations={"evil": "yes"}))
    assert str(e.value) == f"manifest {image.digest} of registry.test/app has the digest {actual}"


def test_other_bytes_for_a_digest_are_refused_also_if_the_header_agrees_with_what_was_asked() -> None:
    sim = Simulator()
    image = sim.put_image("app")
    sim.serve_instead("/manifests/", manifest_bytes(annotations={"evil": "yes"}))
    sim.swap_digest_header("/manifests/", image.digest)
    with pytest.raises(ContentMismatch, match="has the digest"):
        sim.store("app").fetch(image.digest)


def test_a_digest_header_that_disagrees_with_the_bytes_is_refused() -> None:
    sim = Simulator()
    image = sim.put_image("app", tag="1")
    sim.swap_digest_header("/manifests/", OTHER)
    for what in ("1", image.digest):
        with pytest.raises(ContentMismatch) as e:
            sim.store("app").fetch(what)
        assert str(e.value) == (
            f"manifest '{what}' of registry.test/app has the digest {image.digest}, but the registry says {OTHER}"
        )


@pytest.mark.parametrize("header", [None, "", "sha256:xyz", str(Digest.of(b"", "sha512"))])
def test_a_digest_header_that_says_nothing_comparable_is_ignored(header: str | None) -> None:
    sim = Simulator()
    image = sim.put_image("app", tag="1")
    sim.alter("/manifests/", lambda a: a.with_header("Docker-Content-Digest", header))
    assert sim.store("app").fetch("1").digest == image.digest


def test_a_manifest_that_is_not_there_is_not_found() -> None:
    sim = Simulator()
    sim.put_image("app")
    with pytest.raises(NotFound) as e:
        sim.store("app").fetch("1")
    assert str(e.value) == "registry.test has no manifest 1 of app (MANIFEST_UNKNOWN: manifest unknown)"
    assert e.value.codes == ("MANIFEST_UNKNOWN",)


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503, 302, 400])
def test_no_other_failure_is_not_found(status: int) -> None:
    sim = Simulator()
    sim.put_image("app", tag="1")
    sim.fail("/manifests/", status)
    with pytest.raises(RegistryError) as e:
        sim.store("app").fetch("1")
    assert not isinstance(e.value, NotFound)
    assert e.value.status == status


def test_a_tag_that_is_being_rewritten_may_answer_500() -> None:
    # docker-registry 2.8.2 does so for some milliseconds.
    sim = Simulator()
    image = sim.put_image("app", tag="1")
    sim.fail("/manifests/", 500, times=2)
    assert sim.store("app").fetch("1").digest == image.digest


def test_a_manifest_over_the_limit_is_too_large() -> None:
    sim = Simulator()
    sim.put_manifest("app", b" " * (MANIFEST_LIMIT + 1), OCI_MANIFEST, tag="1")
    with pytest.raises(TooLarge):
        sim.store("app").fetch("1")


def test_a_manifest_that_does_not_end_is_too_large() -> None:
    sim = Simulator()
    sim.put_image("app", tag="1")
    sim.endless("/manifests/")
    with pytest.raises(TooLarge):
        sim.store("app").fetch("1")


def test_a_login_page_is_no_manifest() -> None:
    sim = Simulator()
    page = Answer(headers=(("Content-Type", "text/html"),), body=b"<html>")
    sim.respond("/manifests/", lambda seen: page)
    with pytest.raises(Unavailable) as e:
        sim.store("app").fetch("1")
    assert str(e.value) == "registry.test sends a web page instead of manifest 1 of app"
    assert e.value.hint == "a proxy or a login page may be answering in the registry's place"


def test_a_login_page_is_no_blob_but_a_page_that_was_asked_for_is() -> None:
    sim = Simulator()
    descriptor = _blob(sim, b"<html>")
    sim.alter("/blobs/", lambda a: a.with_header("Content-Type", "text/html; charset=utf-8"))
    assert sim.store("app").blob(descriptor, limit=100).raw == b"<html>"
    for other in (b"<html/>", b"<body>", b"<>"):
        sim.serve_instead("/blobs/", other)
        with pytest.raises(Unavailable, match=r"^registry\.test sends a web page instead of blob sha256:"):
            sim.store("app").blob(descriptor, limit=100)


def test_a_content_type_that_contradicts_the_body_is_refused() -> None:
    sim = Simulator()
    sim.put_image("app", tag="1")
    sim.alter("/manifests/", lambda a: a.with_header("Content-Type", "application/vnd.oci.image.index.v1+json"))
    with pytest.raises(InvalidManifest, match="ambiguous"):
        sim.store("app").fetch("1")


@pytest.mark.parametrize("tag", ["../../other/manifests/1", "a/b", "a?b", "", "x" * 129, "a#b", "a\nb"])
def test_a_tag_that_is_none_never_becomes_a_url(tag: str) -> None:
    sim = Simulator()
    with pytest.raises(InvalidReference):
        sim.store("app").fetch(tag)
    assert sim.requests_seen == []


def test_a_tag_moved_between_two_requests_does_not_matter_to_a_digest() -> None:
    sim = Simulator()
    image = sim.put_image("app", tag="1")
    evil = sim.put_image("app", salt="evil")
    store = sim.store("app")
    resolved = store.fetch("1").digest
    sim.before(lambda seen: sim.repository("app").tags.update({"1": str(evil.digest)}))
    assert store.fetch(resolved) == image


# blob


def test_blob_is_checked() -> None:
    sim = Simulator()
    descriptor = _blob(sim, b"hello")
    assert sim.store("app").blob(descriptor, limit=5) == Blob.checked(descriptor, b"hello")


def test_a_blob_over_the_limit_is_not_requested() -> None:
    sim = Simulator()
    with pytest.raises(TooLarge) as e:
        sim.store("app").blob(_blob(sim, b"hello"), limit=4)
    assert str(e.value).endswith(" has 5 bytes, more than the limit of 4")
    assert sim.requests_seen == []


def test_other_bytes_of_the_same_size_are_refused() -> None:
    sim = Simulator()
    descriptor = _blob(sim, b"hello")
    sim.serve_instead("/blobs/", b"HELLO")
    with pytest.raises(ContentMismatch) as e:
        sim.store("app").blob(descriptor, limit=5)
    assert str(e.value) == f"blob {descriptor.digest} has the digest {Digest.of(b'HELLO')}"


def test_more_bytes_than_the_descriptor_says_are_refused() -> None:
    sim = Simulator()
    descriptor = _blob(sim, b"hello")
    sim.endless("/blobs/")
    with pytest.raises(ContentMismatch) as e:
        sim.store("app").blob(descriptor, limit=5)
    assert str(e.value) == f"blob {descriptor.digest} in registry.test/app has more bytes than the 5 of its descriptor"


def test_fewer_bytes_than_the_descriptor_says_are_refused() -> None:
    sim = Simulator()
    descriptor = _blob(sim, b"hello")
    sim.serve_instead("/blobs/", b"hell")
    with pytest.raises(ContentMismatch, match="has 4 bytes, its descriptor says 5"):
        sim.store("app").blob(descriptor, limit=5)


def test_a_blob_that_breaks_off_is_read_again() -> None:
    sim = Simulator()
    descriptor = _blob(sim, b"hello")
    sim.truncate("/blobs/", 2, times=1)
    assert sim.store("app").blob(descriptor, limit=5).raw == b"hello"


def test_a_blob_that_is_not_there_is_not_found() -> None:
    sim = Simulator()
    descriptor = Descriptor(media_type=PUSHED, digest=OTHER, size=1)
    with pytest.raises(NotFound, match=f"^registry.test has no blob {OTHER} of app "):
        sim.store("app").blob(descriptor, limit=5)


def test_has() -> None:
    sim = Simulator()
    store = sim.store("app")
    assert store.has(_blob(sim, b"hello"))
    assert not store.has(Descriptor(media_type=PUSHED, digest=OTHER, size=1))
    assert [s.method for s in sim.requests_seen] == ["HEAD", "HEAD"]
    sim.fail("/blobs/", 500)
    with pytest.raises(Unavailable):
        store.has(_blob(sim, b"hello"))


# stream


def _collect(got: list[bytes], pieces: Iterator[Piece]) -> None:
    """Keep what came before a failure."""
    for piece in pieces:
        got.append(bytes(piece))


LARGE = bytes(range(256)) * 4 * 1024 * 2 + b"tail"  # 2 MiB and 4 bytes


def test_stream_comes_in_large_pieces() -> None:
    sim = Simulator()
    pieces = list(sim.store("app").stream(_blob(sim, LARGE)))
    assert [len(p) for p in pieces] == [MIB, MIB, 4]
    assert b"".join(pieces) == LARGE


@pytest.mark.parametrize("start", [1, MIB, len(LARGE) - 1])
def test_stream_asks_for_the_rest(start: int) -> None:
    sim = Simulator()
    assert b"".join(sim.store("app").stream(_blob(sim, LARGE), start=start)) == LARGE[start:]
    assert sim.requests_seen[0].headers["range"] == f"bytes={start}-"


@pytest.mark.parametrize("start", [1, MIB, MIB + 1, len(LARGE) - 1])
def test_stream_skips_what_a_server_without_ranges_sends_again(start: int) -> None:
    sim = Simulator()
    descriptor = _blob(sim, LARGE)
    sim.respond("/blobs/", lambda seen: Answer(body=LARGE))
    assert b"".join(sim.store("app").stream(descriptor, start=start)) == LARGE[start:]


def test_stream_from_the_end_asks_for_nothing() -> None:
    sim = Simulator()
    assert list(sim.store("app").stream(_blob(sim, b"hello"), start=5)) == []
    assert sim.requests_seen == []


@pytest.mark.parametrize("start", [-1, 6])
def test_stream_from_outside_is_a_defect_of_the_caller(start: int) -> None:
    sim = Simulator()
    with pytest.raises(ValueError, match=f"^start {start} is outside of a blob of 5 bytes$"):
        next(sim.store("app").stream(_blob(sim, b"hello"), start=start))


@pytest.mark.parametrize(
    ("content_range", "kind"),
    [
        ("bytes 0-4/5", Unavailable),
        ("bytes 3-4/5", Unavailable),
        (None, Unavailable),
        ("bytes */5", Unavailable),
        ("2-4/5", Unavailable),
        ("bytes 2-5/6", ContentMismatch),
        ("bytes 2-3/4", ContentMismatch),
    ],
)
def test_another_range_than_asked_for_is_refused(content_range: str | None, kind: type[Exception]) -> None:
    sim = Simulator()
    descriptor = _blob(sim, b"hello")
    sim.alter("/blobs/", lambda a: a.with_header("Content-Range", content_range))
    with pytest.raises(RegistryError) as e:
        list(sim.store("app").stream(descriptor, start=2))
    assert type(e.value) is kind


def test_a_range_of_unknown_total_is_taken() -> None:
    sim = Simulator()
    descriptor = _blob(sim, b"hello")
    sim.alter("/blobs/", lambda a: a.with_header("Content-Range", "bytes 2-4/*"))
    assert b"".join(sim.store("app").stream(descriptor, start=2)) == b"llo"


def test_a_range_beyond_the_end_is_a_blob_of_another_size_and_its_body_is_not_read() -> None:
    # docker-registry 2.8.2 declares a body with 416 that it does not send.
    sim = Simulator()
    descriptor = replace(_blob(sim, b"hello"), size=9)
    with pytest.raises(ContentMismatch, match="has fewer bytes than the 9 of its descriptor"):
        list(sim.store("app").stream(descriptor, start=7))
    assert len(sim.requests_seen) == 1


def test_stream_of_fewer_bytes_fails_at_the_end() -> None:
    sim = Simulator()
    descriptor = replace(_blob(sim, b"hello"), size=6)
    got: list[bytes] = []
    with pytest.raises(ContentMismatch, match="has fewer bytes than the 6 of its descriptor"):
        _collect(got, sim.store("app").stream(descriptor))
    assert got == [b"hello"]


def test_stream_stops_at_its_size_when_more_comes() -> None:
    sim = Simulator()
    descriptor = _blob(sim, b"\0" * 5)
    sim.endless("/blobs/")
    got: list[bytes] = []
    with pytest.raises(ContentMismatch, match="has more bytes than the 5 of its descriptor"):
        _collect(got, sim.store("app").stream(descriptor))
    assert got == [b"\0" * 5]


def test_stream_that_breaks_off_is_unavailable_and_not_resumed() -> None:
    sim = Simulator()
    descriptor = _blob(sim, LARGE)
    sim.truncate("/blobs/", MIB + 5)
    got: list[bytes] = []
    with pytest.raises(Unavailable, match=r"^registry\.test ended its answer early$"):
        _collect(got, sim.store("app").stream(descriptor))
    assert [len(p) for p in got] == [MIB, 5]  # what came can be resumed from, by who keeps it
    assert len(sim.requests_seen) == 1


def test_stream_answer_is_retried_before_its_first_byte() -> None:
    sim = Simulator()
    descriptor = _blob(sim, b"hello")
    sim.fail("/blobs/", 503, times=2)
    assert b"".join(sim.store("app").stream(descriptor)) == b"hello"


def test_manifest_round_trip_keeps_the_bytes() -> None:
    sim = Simulator()
    raw = b'{ "layers": [], "schemaVersion": 2,\n "mediaType": "%s", "config": %s}' % (
        OCI_MANIFEST.encode(),
        b'{"mediaType":"a/b","digest":"sha256:%s","size":0}' % (b"0" * 64),
    )
    digest = sim.put_manifest("app", raw, OCI_MANIFEST, tag="1")
    found = sim.store("app").fetch("1")
    assert (found.raw, found.digest) == (raw, digest)
    assert found == Manifest.parse(raw, OCI_MANIFEST)
