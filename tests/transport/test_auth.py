"""Challenges answered: tokens once, passwords only where they belong."""

from __future__ import annotations

import base64
import json
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imgsign.errors import AuthenticationFailed, ImgsignError, Unavailable
from imgsign.oci import Artifact
from imgsign.transport import Transport, realms
from imgsign.transport.hosts import Origin
from tests.answers import Answer, Seen, error_answer, json_answer
from tests.simulator import Simulator

PASSWORD = "correct-horse-1"
ALICE = "Basic " + base64.b64encode(f"alice:{PASSWORD}".encode()).decode()


def _login(tmp_path: Path, registry: str = "registry.test") -> dict[str, str]:
    auth = {"auth": ALICE.removeprefix("Basic ")}
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry: auth}}))
    return {"DOCKER_CONFIG": str(tmp_path)}


def _logged_in(sim: Simulator, tmp_path: Path) -> Transport:
    return sim.transport(environ=_login(tmp_path, sim.host))


def _all_text(error: BaseException) -> str:
    hint = error.hint if isinstance(error, ImgsignError) else ""
    return "".join(traceback.format_exception(error)) + repr(error) + str(hint)


def test_no_request_is_spent_on_a_registry_that_asks_for_nothing() -> None:
    sim = Simulator()
    sim.put_image("app", tag="1")
    sim.store("app").fetch("1")
    assert [str(s) for s in sim.requests_seen] == ["GET https://registry.test/v2/app/manifests/1"]


def test_basic_goes_to_who_asked_and_from_then_on_at_once(tmp_path: Path) -> None:
    sim = Simulator()
    sim.require_basic("alice", PASSWORD)
    sim.put_image("app", tag="1")
    transport = _logged_in(sim, tmp_path)
    sim.store("app", transport).fetch("1")
    sim.store("app", transport).fetch("1")
    assert [s.authorization for s in sim.requests_seen] == [None, ALICE, ALICE]


def test_basic_that_is_refused_is_not_sent_again(tmp_path: Path) -> None:
    sim = Simulator()
    sim.require_basic("alice", "another password")
    with pytest.raises(AuthenticationFailed) as e:
        sim.store("app", _logged_in(sim, tmp_path)).fetch("1")
    path = tmp_path / "config.json"
    assert str(e.value) == (
        f"registry.test answered 401 to GET manifest 1 of app, asked with the credentials from '{path}'"
    )
    assert e.value.hint == "imgsign login registry.test"
    assert e.value.status == 401
    assert len(sim.requests_seen) == 2


def test_basic_without_credentials_says_where_they_were_looked_for(tmp_path: Path) -> None:
    sim = Simulator()
    sim.require_basic("alice", PASSWORD)
    with pytest.raises(AuthenticationFailed) as e:
        sim.store("app", sim.transport(environ={"DOCKER_CONFIG": str(tmp_path)})).fetch("1")
    assert str(e.value).endswith(
        f", asked without credentials (none for 'registry.test' in '{tmp_path / 'config.json'}')"
    )


def test_basic_is_refused_over_plain_http(tmp_path: Path) -> None:
    sim = Simulator("registry.test:5000")
    sim.require_basic("alice", PASSWORD)
    sim.put_image("app", tag="1")
    environ = _login(tmp_path, sim.host)
    # The host was named as insecure, so this is what the user wants…
    sim.store("app", sim.transport(environ=environ, insecure_http=frozenset({sim.host}))).fetch("1")
    assert sim.requests_seen[0].url.startswith("http://")
    # … and a token server that was not named is not covered by that.
    sim.require_token(realm="http://auth.registry.test/token")
    with pytest.raises(AuthenticationFailed) as e:
        sim.store("app", sim.transport(environ=environ, insecure_http=frozenset({sim.host}))).fetch("1")
    assert (
        str(e.value) == "token server http://auth.registry.test of http://registry.test:5000 refused: it is plain http"
    )
    assert e.value.hint == "--insecure-http auth.registry.test"


def test_token_is_asked_for_once_and_kept() -> None:
    sim = Simulator()
    sim.require_token()
    sim.put_image("app", tag="1")
    transport = sim.transport()
    for _ in range(3):
        sim.store("app", transport).fetch("1")
    assert [(s.host, s.authorization) for s in sim.requests_seen] == [
        ("registry.test", None),
        ("auth.registry.test", None),
        *[("registry.test", "Bearer token-1")] * 3,
    ]
    assert sim.requests_seen[1].query == {"service": ["registry.test"], "scope": ["repository:app:pull"]}


def test_user_goes_to_the_token_server_and_only_the_token_to_the_registry(tmp_path: Path) -> None:
    sim = Simulator()
    sim.require_token(users={"alice": PASSWORD})
    sim.put_image("app", tag="1")
    sim.store("app", _logged_in(sim, tmp_path)).fetch("1")
    (asked,) = sim.seen("auth.registry.test")
    assert asked.authorization == ALICE
    assert asked.query["account"] == ["alice"]
    assert {s.authorization for s in sim.seen("//registry.test")} == {None, "Bearer token-1"}


def test_each_repository_has_a_token_of_its_own() -> None:
    sim = Simulator()
    sim.require_token()
    transport = sim.transport()
    for path in ("a", "b"):
        sim.put_image(path, tag="1")
        sim.store(path, transport).fetch("1")
    assert [s.query["scope"] for s in sim.seen("auth.registry.test")] == [["repository:a:pull"], ["repository:b:pull"]]


def test_scopes_of_the_challenge_follow_ours() -> None:
    sim = Simulator()
    challenge = 'Bearer realm="https://registry.test/token?x=y",scope="aws repository:app:pull repository:base:pull"'
    sim.fail(r"/manifests/", 401, times=1, WWW_Authenticate=challenge)
    sim.respond("/token", lambda seen: json_answer({"access_token": "t"}))
    sim.put_image("app", tag="1")
    sim.store("app").fetch("1")
    (asked,) = sim.seen("/token")
    assert asked.query == {"x": ["y"], "scope": ["repository:app:pull", "aws", "repository:base:pull"]}


def test_token_is_renewed_ten_seconds_before_its_end() -> None:
    sim = Simulator()
    sim.require_token()
    sim.token_lifetime = 100
    sim.put_image("app", tag="1")
    store = sim.store("app")
    store.fetch("1")
    sim.clock.now += 89
    store.fetch("1")
    assert len(sim.seen("auth.registry.test")) == 1
    sim.clock.now += 2
    store.fetch("1")
    assert len(sim.seen("auth.registry.test")) == 2


@pytest.mark.parametrize("expires_in", [0, -5, None, "300", 1.5, True])
def test_token_lives_a_minute_at_least(expires_in: object) -> None:
    sim = Simulator()
    sim.require_token()
    sim.respond("auth.registry.test", lambda seen: json_answer({"token": "t", "expires_in": expires_in}))
    sim.tokens["t"] = {"repository:app:pull"}
    sim.put_image("app", tag="1")
    store = sim.store("app")
    store.fetch("1")
    sim.clock.now += 49
    store.fetch("1")
    assert len(sim.seen("auth.registry.test")) == 1


def test_a_token_that_is_refused_is_fetched_once_more() -> None:
    sim = Simulator()
    sim.require_token()
    sim.put_image("app", tag="1")
    store = sim.store("app")
    store.fetch("1")
    sim.tokens.clear()  # the registry forgets, as it does when it restarts with another key
    sim.tokens["token-0"] = set()
    store.fetch("1")
    assert len(sim.seen("auth.registry.test")) == 2


def test_a_fresh_token_that_is_refused_ends_the_matter() -> None:
    sim = Simulator()
    sim.require_token()
    sim.respond("auth.registry.test", lambda seen: json_answer({"token": "worthless"}))
    with pytest.raises(AuthenticationFailed) as e:
        sim.store("app").fetch("1")
    assert str(e.value) == (
        "registry.test answered 401 to GET manifest 1 of app (UNAUTHORIZED: authentication required), "
        "asked without credentials"
    )
    assert e.value.codes == ("UNAUTHORIZED",)
    assert len(sim.seen("auth.registry.test")) == 1


def test_many_threads_fetch_one_token() -> None:
    sim = Simulator()
    sim.require_token()
    sim.put_image("app", tag="1")
    transport = sim.transport()
    barrier = threading.Barrier(16)

    def fetch() -> None:
        barrier.wait()
        sim.store("app", transport).fetch("1")

    with ThreadPoolExecutor(16) as pool:
        for future in [pool.submit(fetch) for _ in range(16)]:
            future.result()
    assert len(sim.seen("auth.registry.test")) == 1


def test_pushing_asks_for_one_token_that_serves_pulling_too() -> None:
    sim = Simulator()
    sim.require_token()
    image = sim.put_image("app", tag="1")
    store = sim.store("app")
    store.rewrite("x", lambda current: None if current else Artifact(manifest=image))
    store.fetch("x")
    assert [s.query["scope"] for s in sim.seen("auth.registry.test")] == [["repository:app:pull,push"]]


@pytest.mark.parametrize(
    ("realm", "reason"),
    [
        ("http://auth.registry.test/token", "it is plain http"),
        ("https://127.0.0.1/token", "it is in a private network"),
        ("https://169.254.169.254/token", "it is in a private network"),
        ("https://[::1]/token", "it is in a private network"),
        ("https://localhost/token", "it is in a private network"),
    ],
)
def test_a_realm_that_a_registry_must_not_send_us_to_is_refused(tmp_path: Path, realm: str, reason: str) -> None:
    sim = Simulator()
    sim.require_token(realm=realm, users={"alice": PASSWORD})
    with pytest.raises(AuthenticationFailed) as e:
        sim.store("app", _logged_in(sim, tmp_path)).fetch("1")
    assert str(e.value) == f"token server {Origin.parse(realm)} of https://registry.test refused: {reason}"
    assert len(sim.requests_seen) == 1


def test_an_https_registry_has_no_plain_http_realm_even_if_that_host_was_named() -> None:
    sim = Simulator()
    sim.require_token(realm="http://auth.registry.test/token")
    with pytest.raises(AuthenticationFailed, match="refused: it is plain http"):
        sim.store("app", sim.transport(insecure_http=frozenset({"auth.registry.test"}))).fetch("1")


def test_a_loopback_registry_may_have_its_token_server_beside_it() -> None:
    sim = Simulator("localhost:5000")
    sim.require_token(realm="http://127.0.0.1:5001/token")
    sim.put_image("app", tag="1")
    assert sim.store("app").fetch("1").digest


def test_a_strange_realm_gets_no_password_and_the_error_says_so(tmp_path: Path) -> None:
    sim = Simulator()
    sim.require_token(realm="https://auth.evil.example/token", users={"alice": PASSWORD})
    with pytest.raises(AuthenticationFailed) as e:
        sim.store("app", _logged_in(sim, tmp_path)).fetch("1")
    assert str(e.value) == (
        "auth.evil.example (for registry.test) answered 401 to GET token for registry.test "
        "(UNAUTHORIZED: incorrect username or password), its credentials were not sent to token server "
        "'auth.evil.example', which is not of its domain"
    )
    assert [s.authorization for s in sim.requests_seen] == [None, None]


def test_a_strange_realm_may_still_give_anonymous_tokens(tmp_path: Path) -> None:
    sim = Simulator()
    sim.require_token(realm="https://auth.elsewhere.example/token")
    sim.put_image("app", tag="1")
    sim.store("app", _logged_in(sim, tmp_path)).fetch("1")
    (asked,) = sim.seen("auth.elsewhere.example")
    assert (asked.authorization, "account" in asked.query) == (None, False)


@pytest.mark.parametrize(
    ("realm", "registry", "belongs"),
    [
        ("https://auth.docker.io", "https://registry-1.docker.io", True),
        ("https://gitlab.com", "https://registry.gitlab.com", True),
        ("https://registry.test:8443", "https://registry.test", True),
        ("https://10.0.0.1:5001", "https://10.0.0.1:5000", True),
        ("https://10.0.0.1", "https://20.0.0.1", False),
        ("https://auth.co.uk", "https://registry.co.uk", False),
        ("https://auth.corp.co.uk", "https://registry.corp.co.uk", True),
        ("https://auth", "https://registry", False),
        ("https://evil-docker.io", "https://registry-1.docker.io", False),
    ],
)
def test_whose_token_server_it_is(realm: str, registry: str, belongs: bool) -> None:
    assert realms.belongs(Origin.parse(realm), Origin.parse(registry)) is belongs


def test_an_address_has_no_domain() -> None:
    assert [realms.domain(h) for h in ("10.0.0.1", "[::1]", "localhost", "a..b", "co.uk")] == [None] * 5


def test_a_redirected_token_request_drops_the_password(tmp_path: Path) -> None:
    sim = Simulator()
    sim.require_token(users={"alice": PASSWORD})
    sim.redirect("auth.registry.test", "https://elsewhere.example/token")
    sim.site("elsewhere.example", lambda seen: json_answer({"token": "t"}))
    sim.tokens["t"] = {"repository:app:pull"}
    sim.put_image("app", tag="1")
    sim.store("app", _logged_in(sim, tmp_path)).fetch("1")
    assert [s.authorization for s in sim.seen("token")] == [ALICE, None]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(body=b"{}"), "neither 'token' nor 'access_token' is a printable string"),
        (json_answer({"token": "a\r\nX: y"}), "neither 'token' nor 'access_token' is a printable string"),
        (json_answer({"token": ["t"]}), "neither 'token' nor 'access_token' is a printable string"),
        (Answer(body=b"<html>"), "not JSON: expecting value at line 1 column 1"),
    ],
)
def test_a_token_server_that_gives_no_token(answer: Answer, message: str) -> None:
    sim = Simulator()
    sim.require_token()
    sim.respond("auth.registry.test", lambda seen: answer)
    with pytest.raises(AuthenticationFailed) as e:
        sim.store("app").fetch("1")
    assert (
        str(e.value) == f"token server auth.registry.test gives no usable token: {message}, asked without credentials"
    )


def test_a_token_that_does_not_end_is_refused() -> None:
    sim = Simulator()
    sim.require_token()
    sim.endless("auth.registry.test")
    with pytest.raises(AuthenticationFailed) as e:
        sim.store("app").fetch("1")
    assert str(e.value).startswith("auth.registry.test sends more than the limit of 131072 bytes")


@pytest.mark.parametrize("status", [400, 403, 404])
def test_what_a_token_server_denies_is_not_that_the_image_is_absent(status: int) -> None:
    sim = Simulator()
    sim.require_token()
    sim.fail("auth.registry.test", status)
    with pytest.raises(AuthenticationFailed) as e:
        sim.store("app").fetch("1")
    assert e.value.status == status


def test_a_token_server_that_is_down_makes_the_registry_unavailable() -> None:
    sim = Simulator()
    sim.require_token()
    sim.fail("auth.registry.test", 503)
    with pytest.raises(Unavailable) as e:
        sim.store("app").fetch("1")
    assert str(e.value) == (
        "auth.registry.test (for registry.test) answered 503 to GET token for registry.test, tried 4 times"
    )


@pytest.mark.parametrize("challenge", ["", "Negotiate", 'Digest realm="x"', 'Bearer service="no realm"'])
def test_a_challenge_nobody_can_meet_is_an_error(challenge: str) -> None:
    sim = Simulator()
    sim.fail("/v2/", 401, WWW_Authenticate=challenge)
    with pytest.raises(AuthenticationFailed, match=r"to authenticate with: not supported$"):
        sim.store("app").fetch("1")


def test_bearer_is_preferred_to_basic_only_without_a_user(tmp_path: Path) -> None:
    sim = Simulator()
    both = 'Basic realm="x", Bearer realm="https://auth.registry.test/token"'
    sim.require_token()
    sim.fail("/manifests/", 401, times=1, WWW_Authenticate=both)
    sim.put_image("app", tag="1")
    sim.store("app").fetch("1")
    assert [s.authorization for s in sim.requests_seen] == [None, None, "Bearer token-1"]
    sim.fail("/manifests/", 401, WWW_Authenticate=both)
    with pytest.raises(AuthenticationFailed):
        sim.store("app", _logged_in(sim, tmp_path)).fetch("1")
    assert sim.requests_seen[-1].authorization == ALICE


def test_a_storage_host_that_asks_for_credentials_gets_none(tmp_path: Path) -> None:
    sim = Simulator()
    sim.require_basic("alice", PASSWORD)
    sim.redirect("/blobs/", "https://cdn.registry.test/x")
    ask = Answer(status=401, headers=(("WWW-Authenticate", 'Basic realm="x"'),))
    sim.site("cdn.registry.test", lambda seen: ask)
    layer = sim.put_image("app", tag="1").layers[0]
    store = sim.store("app", _logged_in(sim, tmp_path))
    store.fetch("1")
    with pytest.raises(AuthenticationFailed) as e:
        store.blob(layer, limit=100)
    assert str(e.value) == f"cdn.registry.test (for registry.test) answered 401 to GET blob {layer.digest} of app"
    assert [s.authorization for s in sim.seen("cdn")] == [None]


def test_secrets_are_in_no_error_even_if_the_registry_repeats_them(tmp_path: Path) -> None:
    sim = Simulator()
    sim.require_token(users={"alice": PASSWORD})

    def echo(seen: Seen) -> Answer:
        said = f"you sent {seen.authorization}, that is {PASSWORD}"
        return error_answer(403, seen.authorization or "DENIED", said)

    for pattern in ("auth.registry.test", "/blobs/"):
        sim.respond(pattern, echo)
        store = sim.store("app", _logged_in(sim, tmp_path))
        with pytest.raises(AuthenticationFailed) as e:
            store.fetch("1")
        text = _all_text(e.value)
        for secret in (PASSWORD, ALICE.removeprefix("Basic "), "token-1"):
            assert secret not in text
        assert "you sent Basic …, that is …" in str(e.value)


def test_a_token_repeated_by_the_registry_is_not_shown(tmp_path: Path) -> None:
    sim = Simulator()
    sim.require_token()
    sim.respond(
        "/manifests/2", lambda seen: error_answer(400, "NAME_INVALID", f"bad request with {seen.authorization}")
    )
    sim.put_image("app", tag="1")
    store = sim.store("app", _logged_in(sim, tmp_path))
    store.fetch("1")
    with pytest.raises(ImgsignError) as e:
        store.fetch("2")
    assert str(e.value) == (
        "registry.test answered 400 to GET manifest 2 of app (NAME_INVALID: bad request with Bearer …)"
    )
    assert "token-1" not in _all_text(e.value)


def test_a_helper_that_is_configured_is_never_passed_over(tmp_path: Path) -> None:
    sim = Simulator()
    sim.require_token()
    sim.put_image("app", tag="1")
    (tmp_path / "config.json").write_text('{"credsStore": "desktop"}')
    with pytest.raises(AuthenticationFailed, match=r"there is no program docker-credential-desktop in PATH$"):
        sim.store("app", sim.transport(environ={"DOCKER_CONFIG": str(tmp_path)})).fetch("1")
    assert sim.seen("auth.registry.test") == []


def test_cookies_are_not_sent_back(tmp_path: Path) -> None:
    sim = Simulator()
    sim.alter("/v2/", lambda a: a.with_header("Set-Cookie", "session=1"))
    sim.put_image("app", tag="1")
    store = sim.store("app")
    store.fetch("1")
    store.fetch("1")
    assert ["cookie" in s.headers for s in sim.requests_seen] == [False, False]
