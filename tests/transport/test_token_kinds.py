"""Identity tokens, registry tokens, trusted realms, and errors that say which credential was used."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from imgsign.errors import AuthenticationFailed, Unavailable
from imgsign.transport import Transport
from imgsign.transport.hosts import Origin
from imgsign.transport.realms import Realms, resolve
from tests.answers import Answer, Respond, Seen, error_answer, json_answer
from tests.simulator import Simulator

PASSWORD = "correct-horse-1"
REFRESH = "refresh+token/1"


def _transport(sim: Simulator, tmp_path: Path, entry: dict[str, str], **options: frozenset[str]) -> Transport:
    (tmp_path / "config.json").write_text(json.dumps({"auths": {sim.host: entry}}))
    return Transport(
        environ={"DOCKER_CONFIG": str(tmp_path)},
        adapter=sim,
        clock=sim.clock,
        sleep=sim.clock.sleep,
        **options,  # type: ignore[arg-type]  # sets of hosts only
    )


def _password() -> dict[str, str]:
    return {"auth": base64.b64encode(f"alice:{PASSWORD}".encode()).decode()}


def _simulator(**options: str) -> Simulator:
    sim = Simulator()
    sim.require_token(users={"alice": PASSWORD}, **options)
    sim.identity_tokens = {REFRESH}
    sim.put_image("app", tag="1")
    return sim


def test_an_identity_token_is_exchanged_by_post_and_in_its_body_only(tmp_path: Path) -> None:
    sim = _simulator()
    sim.store("app", _transport(sim, tmp_path, {"identitytoken": REFRESH})).fetch("1")
    (asked,) = sim.seen("auth.registry.test")
    assert (str(asked), asked.authorization) == ("POST https://auth.registry.test/token", None)
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert asked.body == (
        b"grant_type=refresh_token&client_id=imgsign&refresh_token=refresh%2Btoken%2F1"
        b"&service=registry.test&scope=repository%3Aapp%3Apull"
    )
    assert {s.authorization for s in sim.seen("//registry.test")} == {None, "Bearer token-1"}


@pytest.mark.parametrize("status", [404, 405])
def test_a_token_server_without_post_is_asked_by_get(tmp_path: Path, status: int) -> None:
    sim = _simulator()
    sim.refuses_post = status
    basic = "Basic " + base64.b64encode(f"<token>:{REFRESH}".encode()).decode()
    sim.require_token(users={"<token>": REFRESH})
    sim.store("app", _transport(sim, tmp_path, {"identitytoken": REFRESH})).fetch("1")
    assert [(s.method, s.authorization) for s in sim.seen("auth.registry.test")] == [("POST", None), ("GET", basic)]


def test_an_identity_token_that_is_refused_is_named_and_not_shown(tmp_path: Path) -> None:
    sim = _simulator()
    sim.identity_tokens = set()
    with pytest.raises(AuthenticationFailed) as e:
        sim.store("app", _transport(sim, tmp_path, {"identitytoken": REFRESH})).fetch("1")
    assert str(e.value) == (
        "auth.registry.test (for registry.test) answered 401 to POST token for registry.test "
        f"(UNAUTHORIZED: invalid refresh token), asked with the identity token from '{tmp_path}/config.json'"
    )
    assert e.value.hint == "imgsign login registry.test"
    assert len(sim.seen("auth.registry.test")) == 1


def test_an_identity_token_does_not_follow_a_redirect(tmp_path: Path) -> None:
    sim = _simulator()
    sim.redirect("POST", "https://elsewhere.example/token", status=307)
    with pytest.raises(Unavailable) as e:
        sim.store("app", _transport(sim, tmp_path, {"identitytoken": REFRESH})).fetch("1")
    assert e.value.status == 307
    assert sim.seen("elsewhere.example") == []


def test_an_identity_token_never_reaches_a_strange_realm(tmp_path: Path) -> None:
    sim = _simulator(realm="https://auth.evil.example/token")
    with pytest.raises(AuthenticationFailed, match="its credentials were not sent to token server"):
        sim.store("app", _transport(sim, tmp_path, {"identitytoken": REFRESH})).fetch("1")
    (asked,) = sim.seen("evil")
    assert (asked.method, asked.authorization, asked.body) == ("GET", None, b"")


def test_an_identity_token_is_no_password_for_basic(tmp_path: Path) -> None:
    sim = Simulator()
    sim.require_basic("alice", PASSWORD)
    with pytest.raises(AuthenticationFailed) as e:
        sim.store("app", _transport(sim, tmp_path, {"identitytoken": REFRESH})).fetch("1")
    assert str(e.value).endswith(
        f"the identity token from '{tmp_path}/config.json' is no password, which it wants"
    )  # fmt: skip
    assert [s.authorization for s in sim.requests_seen] == [None]


def test_a_registry_token_goes_to_the_registry_and_no_token_server_is_asked(tmp_path: Path) -> None:
    sim = _simulator()
    sim.tokens["ready"] = {"repository:app:pull"}
    sim.store("app", _transport(sim, tmp_path, {"registrytoken": "ready"})).fetch("1")
    assert [s.authorization for s in sim.requests_seen] == [None, "Bearer ready"]


def test_a_registry_token_that_is_refused_is_sent_once(tmp_path: Path) -> None:
    sim = _simulator()
    with pytest.raises(AuthenticationFailed, match=r"asked with the registry token from '.*config\.json'$") as e:
        sim.store("app", _transport(sim, tmp_path, {"registrytoken": "worn-out"})).fetch("1")
    assert "worn-out" not in str(e.value)
    assert len(sim.requests_seen) == 2


def test_a_listed_realm_sees_the_credentials(tmp_path: Path) -> None:
    sim = _simulator(realm="https://sso.partner.example/token")
    trusted = frozenset({"sso.partner.example"})
    sim.store("app", _transport(sim, tmp_path, _password(), trusted_realms=trusted)).fetch("1")
    assert len(sim.seen("sso.partner.example")) == 1


@pytest.mark.parametrize("listed", ["partner.example", "sso.partner.example:8443", "sso.partner.example.evil"])
def test_a_listed_realm_means_that_host_and_port(tmp_path: Path, listed: str) -> None:
    sim = _simulator(realm="https://sso.partner.example/token")
    with pytest.raises(AuthenticationFailed) as e:
        sim.store("app", _transport(sim, tmp_path, _password(), trusted_realms=frozenset({listed}))).fetch("1")
    assert e.value.hint == "if that is where they belong: --trusted-realm sso.partner.example"
    assert [s.authorization for s in sim.seen("sso")] == [None]


@pytest.mark.parametrize(
    ("realm", "registry", "addresses", "allowed"),
    [
        ("https://10.0.0.2", "https://registry.test", ("10.0.0.1",), True),
        ("https://[fd00::2]", "https://registry.test", ("fd00::1",), True),
        ("https://10.0.0.2", "https://10.0.0.1", (), True),
        ("https://10.0.0.2", "https://registry.test", ("10.0.0.1", "93.184.216.34"), False),
        ("https://10.0.0.2", "https://registry.test", ("93.184.216.34",), False),
        ("https://10.0.0.2", "https://registry.test", (), False),
        ("https://169.254.169.254", "https://registry.test", ("10.0.0.1",), False),
        ("https://127.0.0.1", "https://registry.test", ("10.0.0.1",), False),
        ("https://10.0.0.2", "https://registry.test", ("127.0.0.1",), False),
    ],
)
def test_a_private_realm_needs_a_private_registry(
    realm: str, registry: str, addresses: tuple[str, ...], allowed: bool
) -> None:
    rules = Realms(insecure_http=frozenset(), trusted=frozenset(), resolve=lambda host: addresses)
    if allowed:
        rules.check(Origin.parse(realm), Origin.parse(registry))
        return
    with pytest.raises(AuthenticationFailed) as e:
        rules.check(Origin.parse(realm), Origin.parse(registry))
    assert str(e.value) == f"token server {Origin.parse(realm)} of {registry} refused: it is in a private network"
    assert e.value.hint == f"if it is meant to be there: --trusted-realm {Origin.parse(realm).authority}"


def test_a_listed_private_realm_is_asked_but_never_over_plain_http() -> None:
    rules = Realms(insecure_http=frozenset(), trusted=frozenset({"10.0.0.2"}), resolve=lambda host: ())
    rules.check(Origin.parse("https://10.0.0.2"), Origin.parse("https://registry.test"))
    with pytest.raises(AuthenticationFailed, match=r"refused: it is plain http$"):
        rules.check(Origin.parse("http://10.0.0.2"), Origin.parse("https://registry.test"))


def test_a_name_that_cannot_be_a_host_has_no_addresses() -> None:
    assert resolve("a" * 64 + ".test") == ()


def test_a_403_says_whose_credentials_were_not_enough(tmp_path: Path) -> None:
    sim = _simulator()
    transport = _transport(sim, tmp_path, _password())
    sim.store("app", transport).fetch("1")
    sim.fail("/manifests/", 403)
    with pytest.raises(AuthenticationFailed) as e:
        sim.store("app", transport).fetch("1")
    assert str(e.value) == (
        f"registry.test answered 403 to GET manifest 1 of app, asked with the credentials from '{tmp_path}/config.json'"
    )
    assert e.value.hint == "if they lack the right, use others: imgsign login registry.test"
    assert len(sim.seen("GET .*/manifests/")) == 3  # a 403 without a challenge is final


WIDER = (
    'Bearer realm="https://auth.registry.test/token",service="registry.test",'
    'error="insufficient_scope",scope="repository:app:pull,delete repository:base:pull"'
)


def _wants_more(sim: Simulator) -> None:
    """Refuse manifests to tokens without the scopes of :data:`WIDER`, and say so."""

    def respond(seen: Seen, normally: Respond) -> Answer:
        granted = sim.tokens.get((seen.authorization or "").removeprefix("Bearer "), set())
        if "repository:base:pull" in granted or not granted:
            return normally(seen)
        return error_answer(403, "DENIED", "more is needed").with_header("WWW-Authenticate", WIDER)

    sim.wrap(r"//registry\.test/.*/manifests/", respond)


def test_a_403_that_names_the_missing_scope_is_asked_again_with_it(tmp_path: Path) -> None:
    sim = _simulator()
    _wants_more(sim)
    transport = _transport(sim, tmp_path, _password())
    sim.store("app", transport).fetch("1")
    assert [(s.host, s.query.get("scope")) for s in sim.requests_seen] == [
        ("registry.test", None),
        ("auth.registry.test", ["repository:app:pull"]),
        ("registry.test", None),
        ("auth.registry.test", ["repository:app:pull", "repository:app:pull,delete", "repository:base:pull"]),
        ("registry.test", None),
    ]
    sim.requests_seen.clear()
    sim.store("app", transport).fetch("1")  # from then on at once
    assert [s.authorization for s in sim.requests_seen] == ["Bearer token-2"]


def test_a_403_after_the_wider_scope_ends_the_matter(tmp_path: Path) -> None:
    sim = _simulator()
    sim.fail("//registry.test/.*/manifests/", 403, WWW_Authenticate=WIDER)
    with pytest.raises(AuthenticationFailed) as e:
        sim.store("app", _transport(sim, tmp_path, _password())).fetch("1")
    assert str(e.value).endswith(f" to GET manifest 1 of app, asked with the credentials from '{tmp_path}/config.json'")
    assert e.value.status == 403
    assert [s.host for s in sim.requests_seen] == ["registry.test", "auth.registry.test", "registry.test"]


def test_a_registry_that_names_ever_more_scopes_is_asked_once_more_only(tmp_path: Path) -> None:
    sim = _simulator()
    count = iter(range(1000))

    def never_enough(seen: Seen) -> Answer:
        if seen.authorization is None:
            return error_answer(401, "UNAUTHORIZED").with_header("WWW-Authenticate", WIDER)
        challenge = WIDER.replace(":base:", f":base{next(count)}:")
        return error_answer(403, "DENIED").with_header("WWW-Authenticate", challenge)

    sim.respond("//registry.test/.*/manifests/", never_enough)
    with pytest.raises(AuthenticationFailed, match=r"registry\.test answered 403"):
        sim.store("app", _transport(sim, tmp_path, _password())).fetch("1")
    assert len(sim.seen("//registry.test/")) == 3
    assert len(sim.seen("auth.registry.test")) == 2


def test_a_wider_scope_that_the_token_server_refuses_leaves_the_403(tmp_path: Path) -> None:
    sim = _simulator()
    _wants_more(sim)
    sim.fail("auth.registry.test.*base", 403)
    transport = _transport(sim, tmp_path, _password())
    for _ in range(2):
        with pytest.raises(AuthenticationFailed, match=r"registry\.test answered 403 to GET manifest 1") as e:
            sim.store("app", transport).fetch("1")
        assert "auth.registry.test" not in str(e.value)
    assert len(sim.seen("auth.registry.test.*base")) == 2  # it is tried again another time, and costs no more


@pytest.mark.parametrize(
    "challenge",
    [
        'Basic realm="x"',
        'Bearer realm="https://auth.registry.test/token"',
        WIDER.replace("https://auth.registry.test", "https://127.0.0.1"),
        WIDER.replace("https://", "http://"),
        WIDER.replace("https://auth.registry.test", "not a url"),
    ],
)
def test_a_403_whose_challenge_leads_nowhere_is_final(tmp_path: Path, challenge: str) -> None:
    sim = _simulator()
    transport = _transport(sim, tmp_path, _password())
    sim.store("app", transport).fetch("1")
    sim.requests_seen.clear()
    sim.fail("//registry.test/.*/manifests/", 403, WWW_Authenticate=challenge)
    with pytest.raises(AuthenticationFailed, match=r"registry\.test answered 403"):
        sim.store("app", transport).fetch("1")
    assert len(sim.requests_seen) == 1


def test_a_wider_scope_is_not_asked_of_a_strange_realm_with_the_password(tmp_path: Path) -> None:
    sim = _simulator()
    transport = _transport(sim, tmp_path, _password())
    sim.store("app", transport).fetch("1")
    sim.site("evil.example", lambda seen: json_answer({"token": "anonymous"}))
    evil = WIDER.replace("auth.registry.test", "evil.example")
    sim.fail("//registry.test/.*/manifests/", 403, WWW_Authenticate=evil)
    with pytest.raises(AuthenticationFailed):
        sim.store("app", transport).fetch("1")
    assert [s.authorization for s in sim.seen("evil.example")] == [None]


def test_a_storage_host_cannot_ask_for_a_wider_scope(tmp_path: Path) -> None:
    sim = _simulator()
    transport = _transport(sim, tmp_path, _password())
    sim.store("app", transport).fetch("1")
    sim.requests_seen.clear()
    sim.redirect("//registry.test/.*/manifests/", "https://storage.test/x")
    headers = (("WWW-Authenticate", WIDER),)
    sim.site("storage.test", lambda seen: Answer(status=403, headers=headers))
    with pytest.raises(AuthenticationFailed, match=r"storage\.test .* answered 403"):
        sim.store("app", transport).fetch("1")
    assert sim.seen("auth.registry.test") == []


def test_credentials_of_a_namespace_get_a_token_of_their_own(tmp_path: Path) -> None:
    sim = Simulator()
    sim.require_token(users={"alice": PASSWORD, "bob": "bobs-password"})
    auths = {
        "registry.test/team": _password(),
        "registry.test": {"auth": base64.b64encode(b"bob:bobs-password").decode()},
    }
    (tmp_path / "auth.json").write_text(json.dumps({"auths": auths}))
    transport = sim.transport(environ={"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")})
    for path in ("team/app", "other/app"):
        sim.put_image(path, tag="1")
        sim.store(path, transport).fetch("1")
    assert [s.query["account"] for s in sim.seen("auth.registry.test")] == [["alice"], ["bob"]]
