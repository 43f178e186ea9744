"""Listing referrers: merged, bounded, and an unreadable list is never an empty one."""

from __future__ import annotations

import json

import pytest

from imgsign.errors import AuthenticationFailed, RegistryError, TooLarge, Unavailable
from imgsign.oci import OCI_INDEX, OCI_MANIFEST, Descriptor, Manifest
from imgsign.reference import Digest
from imgsign.stores.referrers import LISTED_LIMIT, PAGES_LIMIT
from imgsign.transport.memory import REPROBE
from tests.answers import Answer, error_answer, json_answer
from tests.simulator import Simulator


def _entry(salt: str) -> dict[str, object]:
    return {"mediaType": OCI_MANIFEST, "digest": str(Digest.of(salt.encode())), "size": len(salt)}


def _digests(salts: str) -> list[str]:
    return [str(Digest.of(s.encode())) for s in salts]


def _listed(sim: Simulator, subject: Digest) -> list[str]:
    return [str(d.digest) for d in sim.store("app").referrers(subject)]


def _until_it_fails(sim: Simulator, subject: Digest) -> tuple[list[str], RegistryError]:
    got: list[str] = []
    try:
        for descriptor in sim.store("app").referrers(subject):
            got.append(str(descriptor.digest))
    except RegistryError as e:
        return got, e
    pytest.fail("the listing did not fail")


def _sim(*, referrers_api: bool = True) -> tuple[Simulator, Manifest]:
    sim = Simulator(referrers_api=referrers_api)
    return sim, sim.put_image("app", tag="1")


def test_what_the_api_lists() -> None:
    sim, image = _sim()
    first = sim.put_referrer("app", image.descriptor, salt="1", artifactType="a/b")
    (found,) = sim.store("app").referrers(image.digest)
    assert found == Descriptor(
        media_type=OCI_MANIFEST,
        digest=first.digest,
        size=len(first.raw),
        annotations={"salt": "1"},
        artifact_type="a/b",
    )
    assert sim.seen("/referrers/")[0].query == {}  # no filter: servers compute it wrongly


def test_what_the_fallback_tag_lists() -> None:
    sim, image = _sim(referrers_api=False)
    sim.put_fallback("app", image.digest, [_entry("a"), _entry("b")])
    assert _listed(sim, image.digest) == _digests("ab")


def test_both_are_merged_and_each_digest_comes_once() -> None:
    sim, image = _sim()
    sim.list_for("app", image.digest, _entry("a"), _entry("b"), _entry("a"))
    sim.put_fallback("app", image.digest, [_entry("b"), _entry("c"), _entry("c")])
    assert _listed(sim, image.digest) == _digests("abc")


def test_nothing_anywhere_is_an_empty_list() -> None:
    for api in (True, False):
        sim, image = _sim(referrers_api=api)
        assert _listed(sim, image.digest) == []


def test_nothing_is_requested_before_the_first_is_wanted() -> None:
    sim, image = _sim()
    sim.store("app").referrers(image.digest)
    assert sim.requests_seen == []


# Pages


def test_pages_are_read_as_they_are_consumed() -> None:
    sim, image = _sim()
    sim.page_size = 2
    sim.list_for("app", image.digest, *(_entry(s) for s in "abcde"))
    listing = sim.store("app").referrers(image.digest)
    assert [str(next(listing).digest) for _ in range(2)] == _digests("ab")
    assert len(sim.requests_seen) == 1
    assert [str(d.digest) for d in listing] == _digests("cde")
    assert len(sim.seen("/referrers/")) == 3


@pytest.mark.parametrize(
    "link",
    [
        '<https://registry.test/v2/app/referrers/x?last=1>; rel="next"',
        "<?last=1>; rel=next",
        '<https://registry.test/a>; rel="prev", </v2/app/referrers/x?last=1>;title="a, b";rel="last next"',
    ],
)
def test_links_in_their_spellings(link: str) -> None:
    sim, image = _sim()
    sim.list_for("app", image.digest, _entry("a"))
    sim.list_for("app", Digest.of(b"x"), _entry("b"))
    second = json_answer({"manifests": [_entry("b")]}, media_type=OCI_INDEX)
    sim.respond(r"last=1$", lambda seen: second)
    sim.alter(r"/referrers/sha256:[0-9a-f]+$", lambda a: a.with_header("Link", link))
    assert _listed(sim, image.digest) == _digests("ab")


@pytest.mark.parametrize("link", ['<https://registry.test/x>; rel="prev"', "nonsense", "<>", "</x>; rel=nextish"])
def test_links_to_something_else_are_no_next_page(link: str) -> None:
    sim, image = _sim()
    sim.list_for("app", image.digest, _entry("a"))
    sim.alter("/referrers/", lambda a: a.with_header("Link", link))
    assert _listed(sim, image.digest) == _digests("a")


@pytest.mark.parametrize("place", ["https://elsewhere.example", "https://registry.test:8443"])
def test_a_next_page_at_another_origin_is_refused(place: str) -> None:
    sim, image = _sim()
    sim.list_for("app", image.digest, _entry("a"))
    sim.alter("/referrers/", lambda a: a.with_header("Link", f'<{place}/v2/x>; rel="next"'))
    got, error = _until_it_fails(sim, image.digest)
    assert got == _digests("a")
    assert str(error) == f"the next page of a list is at another place, '{place}'"
    assert {s.host for s in sim.requests_seen} == {"registry.test"}


def test_endless_pages_are_cut_after_what_they_list() -> None:
    sim, image = _sim()
    sim.endless_pages = True
    sim.list_for("app", image.digest, _entry("a"))
    sim.put_fallback("app", image.digest, [_entry("z")])
    got, error = _until_it_fails(sim, image.digest)
    assert got == _digests("az")
    assert type(error) is TooLarge
    assert str(error) == f"more than 50 pages of referrers of {image.digest} in registry.test/app are listed"
    assert len(sim.seen("/referrers/")) == PAGES_LIMIT


def test_more_referrers_than_the_limit_are_too_many_and_do_not_hide_the_fallback_tag() -> None:
    sim, image = _sim()
    sim.page_size = 1000
    sim.list_for("app", image.digest, *(_entry(str(n)) for n in range(LISTED_LIMIT + 1)))
    sim.put_fallback("app", image.digest, [_entry("z")])
    got, error = _until_it_fails(sim, image.digest)
    assert len(got) == LISTED_LIMIT + 1
    assert got[-1] == _digests("z")[0]
    assert str(error) == f"more than 5000 referrers of {image.digest} in registry.test/app are listed"


def test_a_page_that_fails_in_the_middle_is_no_shorter_list() -> None:
    for status in (404, 400, 500):
        sim, image = _sim()
        sim.page_size = 1
        sim.list_for("app", image.digest, _entry("a"), _entry("b"))
        sim.fail("last=1", status)
        got, error = _until_it_fails(sim, image.digest)
        assert got == _digests("a")
        assert type(error) is Unavailable
        assert str(error).startswith("a further page cannot be read: ")


# No API, or none that can be read


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=404, body=b"404 page not found"),
        Answer(status=400),
        Answer(status=405),
        Answer(status=406),
        Answer(status=303, headers=(("Location", "https://web.example/login"),)),
        Answer(status=302, headers=(("Location", "http://registry.test/login"),)),
        Answer(headers=(("Content-Type", "text/html"),), body=b"<html>"),
        json_answer({"manifests": []}),
    ],
)
def test_hosts_without_the_api_are_not_asked_again_for_a_while(answer: Answer) -> None:
    sim, image = _sim()
    sim.put_fallback("app", image.digest, [_entry("a")])
    sim.respond("/referrers/", lambda seen: answer)
    transport = sim.transport()
    for path in ("app", "app", "other"):
        list(sim.store(path, transport).referrers(image.digest))
    assert len(sim.seen("/referrers/")) == 1
    assert sim.seen("web.example") == []
    sim.clock.now += REPROBE + 1
    assert [str(d.digest) for d in sim.store("app", transport).referrers(image.digest)] == _digests("a")
    assert len(sim.seen("/referrers/")) == 2


@pytest.mark.parametrize("code", ["NAME_UNKNOWN", "MANIFEST_UNKNOWN"])
def test_an_unknown_repository_says_nothing_about_the_api(code: str) -> None:
    sim, image = _sim()
    sim.respond("/referrers/", lambda seen: error_answer(404, code), times=1)
    store = sim.store("app")
    assert list(store.referrers(image.digest)) == []
    sim.list_for("app", image.digest, _entry("a"))
    assert [str(d.digest) for d in store.referrers(image.digest)] == _digests("a")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_api_that_fails_is_an_error_and_the_fallback_tag_is_still_read(status: int) -> None:
    sim, image = _sim()
    sim.fail("/referrers/", status)
    sim.put_fallback("app", image.digest, [_entry("a")])
    got, error = _until_it_fails(sim, image.digest)
    assert got == _digests("a")
    assert type(error) is Unavailable
    assert error.status == status


@pytest.mark.parametrize("status", [401, 403])
def test_a_listing_that_is_denied_is_an_error(status: int) -> None:
    sim, image = _sim()
    sim.fail("/referrers/", status)
    got, error = _until_it_fails(sim, image.digest)
    assert got == []
    assert type(error) is AuthenticationFailed


def test_a_registry_that_does_not_answer_is_asked_for_one_thing_only() -> None:
    sim, image = _sim()
    sim.disconnect("/v2/", times=None)
    _, error = _until_it_fails(sim, image.digest)
    assert str(error) == "cannot reach registry.test: connection reset by peer, tried 4 times"
    assert sim.seen("/manifests/") == []


@pytest.mark.parametrize("status", [403, 500])
def test_a_fallback_tag_that_cannot_be_read_is_an_error(status: int) -> None:
    sim, image = _sim()
    sim.list_for("app", image.digest, _entry("a"))
    sim.fail("/manifests/", status)
    got, error = _until_it_fails(sim, image.digest)
    assert got == _digests("a")
    assert error.status == status


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"manifests": {}}',
        b'{"manifests": [], "manifests": []}',
        b'{"manifests": [], "Manifests": []}',
        b'{"manifests": [], "mediaType": "application/vnd.oci.image.manifest.v1+json"}',
    ],
)
def test_a_malformed_listing_is_not_an_empty_one(body: bytes) -> None:
    sim, image = _sim()
    sim.put_fallback("app", image.digest, [_entry("z")])
    sim.respond("/referrers/", lambda seen: Answer(headers=(("Content-Type", OCI_INDEX),), body=body))
    got, error = _until_it_fails(sim, image.digest)
    assert got == _digests("z")
    assert type(error) is Unavailable
    assert str(error).startswith(f"the list of referrers of {image.digest} in registry.test/app is unusable: ")


def test_a_listing_of_null_is_empty() -> None:
    sim, image = _sim()
    sim.respond("/referrers/", lambda seen: json_answer({"manifests": None}, media_type=OCI_INDEX))
    assert _listed(sim, image.digest) == []


def test_a_listing_that_does_not_end_is_too_large() -> None:
    sim, image = _sim()
    sim.endless("/referrers/")
    _, error = _until_it_fails(sim, image.digest)
    assert type(error) is TooLarge


@pytest.mark.parametrize(
    "junk",
    [
        1,
        {},
        {**_entry("x"), "digest": "sha256:../../x"},
        {**_entry("x"), "size": -1},
        {**_entry("x"), "annotations": {"a": 1}},
        {**_entry("x"), "digest": str(Digest.of(b"x")).upper()},
    ],
)
@pytest.mark.parametrize("where", ["api", "tag"])
def test_an_unusable_entry_hides_no_other_and_is_reported_at_the_end(junk: object, where: str) -> None:
    sim, image = _sim()
    entries = [_entry("a"), junk, _entry("b"), junk]
    if where == "api":
        sim.list_for("app", image.digest, *entries)
    else:
        sim.put_fallback("app", image.digest, entries)
    got, error = _until_it_fails(sim, image.digest)
    assert got == _digests("ab")
    assert type(error) is Unavailable
    assert str(error).startswith("an entry of the list of referrers is unusable: ")


# What stands at the fallback tag


def test_a_registry_that_reads_the_fallback_tag_as_the_digest_lists_nothing() -> None:
    # GitLab: the children of an index would look like its referrers (oras-project/oras#2148).
    sim = Simulator(referrers_api=False)
    sim.tag_is_digest = True
    child = sim.put_image("app").descriptor.to_json()
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]}).encode()
    subject = sim.put_manifest("app", raw, OCI_INDEX)
    assert _listed(sim, subject) == []


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, "application/vnd.docker.distribution.manifest.list.v2+json"])
def test_something_else_than_an_index_under_the_fallback_tag_lists_nothing(media_type: str) -> None:
    sim, image = _sim(referrers_api=False)
    raw = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": [_entry("a")]}).encode()
    sim.put_manifest("app", raw, media_type, tag=image.digest.tag)
    assert _listed(sim, image.digest) == []


@pytest.mark.parametrize("declared", ["application/json", OCI_INDEX + "; charset=utf-8"])
def test_an_index_is_one_by_what_it_says_itself(declared: str) -> None:
    sim, image = _sim(referrers_api=False)
    sim.put_fallback("app", image.digest, [_entry("a")])
    sim.alter("/manifests/", lambda a: a.with_header("Content-Type", declared))
    assert _listed(sim, image.digest) == _digests("a")


def test_an_index_that_contradicts_its_content_type_is_unusable() -> None:
    sim, image = _sim(referrers_api=False)
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "manifests": [_entry("a")]}).encode()
    sim.put_manifest("app", raw, OCI_INDEX, tag=image.digest.tag)
    got, error = _until_it_fails(sim, image.digest)
    assert got == []
    assert str(error).startswith(f"the list of fallback tag {image.digest.tag} in registry.test/app is unusable: ")


def test_bytes_that_are_no_json_under_the_fallback_tag_are_an_error() -> None:
    sim, image = _sim(referrers_api=False)
    sim.put_manifest("app", b"{", OCI_INDEX, tag=image.digest.tag)
    _, error = _until_it_fails(sim, image.digest)
    assert type(error) is Unavailable


def test_the_fallback_tag_of_sha512_is_cut() -> None:
    sim, image = _sim(referrers_api=False)
    subject = Digest.of(image.raw, "sha512")
    assert subject.tag == f"sha512-{subject.hex[:64]}"
    sim.put_fallback("app", subject, [_entry("a")])
    assert _listed(sim, subject) == _digests("a")
