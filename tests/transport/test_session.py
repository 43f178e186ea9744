"""Requests: redirected, retried, timed and bounded; and what is said when they fail."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import requests

from imgsign.errors import (
    AuthenticationFailed,
    ImgsignError,
    NotFound,
    RegistryError,
    TooLarge,
    Unavailable,
)
from imgsign.reference import Repository
from imgsign.transport import Reply, Request, Transport
from imgsign.transport.retry import RETRY_AFTER_LIMIT
from tests.answers import Answer, error_answer
from tests.simulator import Simulator

APP = Repository("registry.test", "app")
HELLO = b"hello"


def _get(transport: Transport, **more: object) -> Reply:
    request = {"repository": APP, "target": "blobs/x", "limit": 1000, **more}
    return transport.call(Request(**request))  # type: ignore[arg-type]  # Request's own fields


def _answering(body: bytes = HELLO) -> Simulator:
    sim = Simulator()
    sim.respond(r"//registry\.test/v2/app/blobs/x$", lambda seen: Answer(body=body))
    return sim


# What is sent


def test_every_request_asks_for_identity_and_has_timeouts() -> None:
    sim = _answering()
    assert _get(sim.transport()).raw == HELLO
    assert sim.requests_seen[0].headers["accept-encoding"] == "identity"
    assert sim.requests_seen[0].headers["user-agent"].startswith("imgsign/")
    assert sim.timeouts == [(10.0, 60.0)]


def test_timeouts_end_at_the_deadline() -> None:
    sim = _answering()
    _get(sim.transport(deadline=sim.clock.now + 4))
    assert sim.timeouts == [(4.0, 4.0)]


def test_nothing_is_sent_after_the_deadline() -> None:
    sim = _answering()
    with pytest.raises(Unavailable) as e:
        _get(sim.transport(deadline=sim.clock.now))
    assert str(e.value) == "the deadline has passed while asking https://registry.test/v2/app/blobs/x"
    assert sim.requests_seen == []


def test_a_view_has_a_deadline_of_its_own_and_shares_the_rest() -> None:
    sim = Simulator()
    sim.require_token()
    sim.put_image("app", tag="1")
    transport = sim.transport()
    sim.store("app", transport).fetch("1")
    view = transport.until(sim.clock.now + 5)
    sim.store("app", view).fetch("1")
    assert len(sim.seen("auth.registry.test")) == 1
    assert sim.timeouts[-1] == (5.0, 5.0)
    assert transport.left() == float("inf")


def test_a_token_for_a_view_is_fetched_under_its_deadline() -> None:
    sim = Simulator()
    sim.require_token()
    sim.put_image("app", tag="1")
    sim.store("app", sim.transport().until(sim.clock.now + 5)).fetch("1")
    assert sim.timeouts == [(5.0, 5.0)] * 3


def test_proxies_come_from_the_given_environment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://process.test")
    sim = _answering()
    _get(sim.transport())
    _get(sim.transport(environ={"HTTPS_PROXY": "http://given.test"}))
    assert sim.proxies == [{}, {"https": "http://given.test"}]


def test_plain_http_is_for_loopback_and_named_hosts_only() -> None:
    for host, insecure, scheme in [
        ("registry.test", frozenset[str](), "https"),
        ("127.0.0.1:5000", frozenset[str](), "http"),
        ("registry.test:5000", frozenset({"registry.test:5000"}), "http"),
        ("registry.test:5000", frozenset({"registry.test"}), "https"),
    ]:
        assert Transport(environ={}, insecure_http=insecure).origin(Repository(host, "app")).scheme == scheme


def test_a_loopback_registry_that_speaks_tls_is_asked_again_over_https() -> None:
    sim = Simulator("localhost:5000")
    said = b"Client sent an HTTP request to an HTTPS server.\n"
    sim.respond("http://localhost", lambda seen: Answer(status=400, body=said))
    sim.put_image("app", tag="1")
    store = sim.store("app")
    store.fetch("1")
    store.fetch("1")
    assert [s.url.partition("/v2")[0] for s in sim.requests_seen] == [
        "http://localhost:5000",
        "https://localhost:5000",
        "https://localhost:5000",
    ]


def test_the_answer_to_head_does_not_say_so_and_is_asked_for() -> None:
    sim = Simulator("localhost:5000")
    said = b"Client sent an HTTP request to an HTTPS server.\n"
    sim.respond("http://localhost", lambda seen: Answer(status=400, body=said))
    image = sim.put_image("app", tag="1")
    assert sim.store("app").has(image.layers[0])
    assert [str(s).partition("/blobs")[0] for s in sim.requests_seen] == [
        "HEAD http://localhost:5000/v2/app",
        "GET http://localhost:5000/v2/",
        "HEAD https://localhost:5000/v2/app",
    ]


def test_another_400_over_http_is_just_an_error() -> None:
    sim = Simulator("localhost:5000")
    sim.respond("http://localhost", lambda seen: Answer(status=400, body=b"bad"))
    with pytest.raises(RegistryError) as e:
        sim.store("app").fetch("1")
    assert str(e.value) == "localhost:5000 answered 400 to GET manifest 1 of app"
    assert len(sim.requests_seen) == 1


# Redirects


def test_a_redirect_to_another_origin_loses_authorization_and_keeps_range(tmp_path: Path) -> None:
    sim = Simulator()
    sim.require_token()
    sim.redirect(r"//registry\.test/.*/blobs/", "https://cdn.example/y?sig=1")
    sim.site("cdn.example", lambda seen: Answer(body=HELLO))
    sim.put_image("app", tag="1")
    transport = sim.transport()
    sim.store("app", transport).fetch("1")
    assert _get(transport, headers={"Range": "bytes=1-"}).raw == HELLO
    first, second = sim.requests_seen[-2:]
    assert (first.authorization, first.headers["range"]) == ("Bearer token-1", "bytes=1-")
    assert (second.authorization, second.headers["range"]) == (None, "bytes=1-")


@pytest.mark.parametrize("elsewhere", ["https://registry.test:8443", "https://sub.registry.test"])
def test_another_port_or_subdomain_is_another_origin(elsewhere: str) -> None:
    sim = Simulator()
    sim.require_token()
    sim.redirect(r"//registry\.test/.*/blobs/", f"{elsewhere}/y")
    sim.site(elsewhere.removeprefix("https://"), lambda seen: Answer(body=HELLO))
    sim.put_image("app", tag="1")
    transport = sim.transport()
    sim.store("app", transport).fetch("1")
    _get(transport)
    assert sim.requests_seen[-1].authorization is None


def test_a_redirect_within_the_origin_keeps_authorization() -> None:
    sim = Simulator()
    sim.require_token()
    sim.put_image("app", tag="1")
    sim.redirect(r"/manifests/old$", "/v2/app/manifests/1")
    transport = sim.transport()
    sim.store("app", transport).fetch("1")
    sim.store("app", transport).fetch("old")
    assert [s.authorization for s in sim.requests_seen[-2:]] == ["Bearer token-1"] * 2


def test_authorization_does_not_come_back_with_a_redirect_to_the_registry() -> None:
    sim = Simulator()
    sim.require_token()
    sim.put_image("app", tag="1")
    transport = sim.transport()
    sim.store("app", transport).fetch("1")
    sim.redirect(r"/blobs/x$", "https://cdn.example/y")
    sim.site("cdn.example", lambda seen: Answer(status=302, headers=(("Location", "https://registry.test/back"),)))
    sim.respond(r"registry\.test/back", lambda seen: Answer(body=HELLO))
    _get(transport)
    assert [s.authorization for s in sim.requests_seen[-3:]] == ["Bearer token-1", None, None]


@pytest.mark.parametrize("times", [5, 6])
def test_five_redirects_are_followed(times: int) -> None:
    sim = _answering()
    sim.respond(r"/blobs/x", lambda seen: Answer(status=307, headers=(("Location", "x"),)), times=times)
    if times == 5:
        assert _get(sim.transport()).raw == HELLO
    else:
        with pytest.raises(Unavailable) as e:
            _get(sim.transport())
        assert str(e.value) == "https://registry.test redirects blobs/x of app more than 5 times"
        assert len(sim.requests_seen) == 6


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("http://registry.test/y?sig=secret", "redirect from https to plain http refused: https://registry.test to "),
        ("https://10.0.0.1/y?sig=secret", "redirect into a private network refused: https://registry.test to "),
        ("https://u:secret@registry.test/y", "unusable url "),
    ],
)
def test_refused_redirects(target: str, message: str) -> None:
    sim = Simulator()
    sim.redirect("/blobs/", target)
    with pytest.raises(RegistryError) as e:
        _get(sim.transport())
    assert str(e.value).startswith(message)
    assert "secret" not in "".join(traceback.format_exception(e.value))
    assert len(sim.requests_seen) == 1


def test_a_write_is_not_redirected() -> None:
    sim = Simulator()
    sim.redirect("/blobs/", "https://registry.test/elsewhere")
    with pytest.raises(Unavailable) as e:
        _get(sim.transport(), method="PUT", body=b"x")
    assert str(e.value) == "registry.test answered 307 to PUT blobs/x of app"
    assert len(sim.requests_seen) == 1


def test_a_redirect_without_a_location_is_an_error() -> None:
    sim = Simulator()
    sim.fail("/blobs/", 302)
    with pytest.raises(Unavailable, match=r"^registry\.test answered 302 to GET blobs/x of app$"):
        _get(sim.transport())


# Retries


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_read_is_tried_four_times(status: int) -> None:
    sim = _answering()
    sim.fail("/blobs/", status, times=3)
    assert _get(sim.transport()).raw == HELLO
    assert len(sim.requests_seen) == 4


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_after_four_tries_it_is_unavailable(status: int) -> None:
    sim = Simulator()
    sim.fail("/blobs/", status)
    with pytest.raises(Unavailable) as e:
        _get(sim.transport())
    assert type(e.value) is Unavailable
    assert str(e.value) == f"registry.test answered {status} to GET blobs/x of app, tried 4 times"
    assert (e.value.status, e.value.url) == (status, "https://registry.test/v2/app/blobs/x")
    assert len(sim.requests_seen) == 4
    assert len(sim.clock.slept) == 3


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RegistryError),
        (401, AuthenticationFailed),
        (403, AuthenticationFailed),
        (404, NotFound),
        (405, RegistryError),
        (409, RegistryError),
        (416, RegistryError),
        (501, Unavailable),
        (505, Unavailable),
        (204, Unavailable),
    ],
)
def test_other_answers_are_final(status: int, kind: type[RegistryError]) -> None:
    sim = Simulator()
    sim.fail("/blobs/", status)
    with pytest.raises(RegistryError) as e:
        _get(sim.transport())
    assert type(e.value) is kind
    assert len(sim.requests_seen) == 1


def test_waits_grow_and_are_jittered() -> None:
    sim = Simulator()
    sim.fail("/blobs/", 503)
    with pytest.raises(Unavailable):
        _get(sim.transport())
    for slept, most in zip(sim.clock.slept, (0.25, 0.5, 1.0), strict=True):
        assert most / 2 <= slept <= most


def test_a_limited_rate_waits_longer() -> None:
    sim = Simulator()
    sim.fail("/blobs/", 429)
    with pytest.raises(Unavailable):
        _get(sim.transport())
    for slept, most in zip(sim.clock.slept, (1.0, 2.0, 4.0), strict=True):
        assert most / 2 <= slept <= most


DATE = "Mon, 23 Nov 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry_After": "7"}, 7.0),
        ({"Retry_After": "Mon, 23 Nov 2026 10:00:09 GMT", "Date": DATE}, 9.0),
        ({"Retry_After": str(int(RETRY_AFTER_LIMIT))}, 60.0),
    ],
)
def test_retry_after_is_honoured_in_both_forms(headers: dict[str, str], seconds: float) -> None:
    sim = _answering()
    sim.fail("/blobs/", 503, times=1, **headers)
    _get(sim.transport())
    assert sim.clock.slept == [seconds]


@pytest.mark.parametrize("text", ["soon", "-1", "", "1e9", "Mon, 23 Nov 2026 10:00:09 GMT"])
def test_a_retry_after_that_cannot_be_read_is_ignored(text: str) -> None:
    sim = _answering()
    sim.fail("/blobs/", 503, times=1, Retry_After=text)
    _get(sim.transport())
    assert sim.clock.slept[0] <= 0.25


def test_a_retry_after_in_the_past_is_no_wait_beyond_ours() -> None:
    sim = _answering()
    sim.fail("/blobs/", 503, times=1, Retry_After="Mon, 23 Nov 2026 09:00:00 GMT", Date=DATE)
    _get(sim.transport())
    assert sim.clock.slept[0] <= 0.25


def test_who_asks_for_an_hour_is_not_asked_again() -> None:
    sim = Simulator()
    sim.fail("/blobs/", 429, Retry_After="3600")
    with pytest.raises(Unavailable) as e:
        _get(sim.transport())
    assert str(e.value) == ("registry.test answered 429 to GET blobs/x of app, asks to wait 3600 s, tried once")
    assert (len(sim.requests_seen), sim.clock.slept) == (1, [])


def test_no_wait_reaches_the_deadline() -> None:
    sim = Simulator()
    sim.fail("/blobs/", 503, Retry_After="7")
    with pytest.raises(Unavailable) as e:
        _get(sim.transport(deadline=sim.clock.now + 5))
    assert str(e.value).endswith(", tried once until the deadline")
    assert sim.clock.slept == []


def test_a_broken_connection_is_tried_again() -> None:
    sim = _answering()
    sim.disconnect("/blobs/", times=3)
    assert _get(sim.transport()).raw == HELLO


def test_a_connection_that_stays_broken_says_so() -> None:
    sim = Simulator()
    sim.disconnect("/blobs/", times=None)
    with pytest.raises(Unavailable) as e:
        _get(sim.transport())
    assert str(e.value) == "cannot reach registry.test: connection reset by peer, tried 4 times"
    assert e.value.status is None


def test_a_timeout_counts_twice() -> None:
    sim = Simulator()
    sim.disconnect("/blobs/", times=None, error=requests.exceptions.ReadTimeout("https://registry.test/?sig=secret"))
    with pytest.raises(Unavailable) as e:
        _get(sim.transport())
    assert str(e.value) == "cannot reach registry.test: timed out, tried 2 times"
    assert "secret" not in "".join(traceback.format_exception(e.value))


def test_a_short_body_is_tried_again() -> None:
    sim = _answering()
    sim.truncate("/blobs/", 3, times=2)
    assert _get(sim.transport()).raw == HELLO
    assert len(sim.requests_seen) == 3


def test_a_body_that_stays_short_is_unavailable() -> None:
    sim = _answering()
    sim.truncate("/blobs/", 3)
    with pytest.raises(Unavailable) as e:
        _get(sim.transport())
    assert str(e.value) == "registry.test ended its answer early, tried 4 times"


def test_what_must_not_be_repeated_is_sent_once() -> None:
    sim = Simulator()
    sim.fail("/blobs/", 503)
    with pytest.raises(Unavailable):
        _get(sim.transport(), method="POST", tries=1)
    assert len(sim.requests_seen) == 1


# Bodies


def test_a_body_over_the_limit_is_too_large_and_not_read_on() -> None:
    sim = _answering(b"x" * 1001)
    with pytest.raises(TooLarge) as e:
        _get(sim.transport())
    assert str(e.value) == "registry.test sends more than the limit of 1000 bytes"


def test_an_endless_body_is_too_large() -> None:
    sim = _answering()
    sim.endless("/blobs/")
    with pytest.raises(TooLarge):
        _get(sim.transport())


def test_an_endless_error_is_still_that_error() -> None:
    sim = Simulator()
    sim.fail("/blobs/", 403)
    sim.endless("/blobs/")
    with pytest.raises(AuthenticationFailed):
        _get(sim.transport())


def test_a_short_error_is_still_that_error() -> None:
    sim = Simulator()
    sim.respond("/blobs/", lambda seen: Answer(status=404, headers=(("Content-Length", "99"),), body=b"["))
    with pytest.raises(NotFound):
        _get(sim.transport())


def test_the_body_of_416_is_not_waited_for() -> None:
    # docker-registry 2.8.2 declares a body with 416 that it never sends.
    sim = Simulator()
    sim.fail("/blobs/", 416)
    sim.trickle("/blobs/", 1000.0)
    began = sim.clock.now
    with pytest.raises(RegistryError):
        _get(sim.transport())
    assert sim.clock.now == began


def test_a_body_that_trickles_is_given_up() -> None:
    sim = _answering(b"x" * 500)
    sim.trickle("/blobs/", 1.0)
    with pytest.raises(Unavailable) as e:
        _get(sim.transport())
    assert str(e.value) == "registry.test sends less than 1024 bytes a second, tried 2 times"


def test_a_body_that_trickles_ends_at_the_deadline() -> None:
    sim = _answering(b"x" * 500)
    sim.trickle("/blobs/", 1.0)
    with pytest.raises(Unavailable) as e:
        _get(sim.transport(deadline=sim.clock.now + 30))
    assert str(e.value) == "the deadline has passed while reading from registry.test"


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", "x"])
def test_an_encoded_body_is_refused(encoding: str) -> None:
    sim = _answering()
    sim.encode("/blobs/", encoding)
    with pytest.raises(Unavailable) as e:
        _get(sim.transport())
    assert str(e.value) == (f"registry.test sends content encoding '{encoding}' although identity was asked for")


def test_identity_is_no_encoding() -> None:
    sim = _answering()
    sim.encode("/blobs/", "Identity")
    assert _get(sim.transport()).raw == HELLO


# What is said


def test_codes_and_messages_of_the_registry_are_shown_printable() -> None:
    sim = Simulator()
    sim.respond("/blobs/", lambda seen: error_answer(404, "BLOB_UNKNOWN", "no\x1b[31m\nblob"))
    with pytest.raises(NotFound) as e:
        _get(sim.transport())
    assert str(e.value) == "registry.test has no blobs/x of app (BLOB_UNKNOWN: no\\x1b[31m\\x0ablob)"
    assert e.value.codes == ("BLOB_UNKNOWN",)


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"errors": {}}', b'{"errors": [1]}', b'{"errors": [{"code": 1}]}', b"\xff"]
)
def test_an_error_body_of_any_kind_says_nothing(body: bytes) -> None:
    sim = Simulator()
    sim.respond("/blobs/", lambda seen: Answer(status=403, body=body))
    with pytest.raises(AuthenticationFailed) as e:
        _get(sim.transport())
    assert str(e.value) == "registry.test answered 403 to GET blobs/x of app, asked without credentials"
    assert (e.value.codes, e.value.hint) == ((), "imgsign login registry.test")


def test_a_long_message_is_cut() -> None:
    sim = Simulator()
    sim.respond("/blobs/", lambda seen: error_answer(400, "X", "y" * 5000))
    with pytest.raises(RegistryError) as e:
        _get(sim.transport())
    assert len(str(e.value)) < 400


@pytest.mark.parametrize("host", ["localhost:99999", "registry.test:0"])
def test_an_impossible_port_is_a_registry_error(host: str) -> None:
    with pytest.raises(RegistryError, match=r"is out of range$"):
        Transport(environ={}).call(Request(repository=Repository(host, "app"), target="blobs/x"))


def test_a_host_that_requests_refuses_is_a_registry_error() -> None:
    with pytest.raises(ImgsignError):
        Transport(environ={}).call(Request(repository=Repository("[1:2:::]", "app"), target="blobs/x"))


def test_an_unusable_ca_file_is_named(tmp_path: Path) -> None:
    for name, reason in [("absent.pem", "No such file or directory"), ("bad.pem", "not a PEM file of certificates")]:
        (tmp_path / "bad.pem").write_text("nothing")
        with pytest.raises(Unavailable) as e:
            _get(Transport(environ={"SSL_CERT_FILE": str(tmp_path / name)}))
        assert str(e.value) == f"cannot use SSL_CERT_FILE '{tmp_path / name}': {reason}"


def test_importing_the_transport_loads_nothing_heavy() -> None:
    code = "import sys, imgsign.transport, imgsign.stores.remote as r; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"requests", "urllib3", "ssl", "http.client", "email", "logging"} & set(loaded)
