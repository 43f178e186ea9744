"""Logging in: tried for real, stored where docker keeps it, nothing else changed, nothing leaked."""

from __future__ import annotations

import base64
import json
import os
import stat
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from imgsign.errors import AuthenticationFailed, DestinationError, ImgsignError, UsageError
from imgsign.login import Outcome, log_in, log_out, parse_registry
from imgsign.transport import Transport
from imgsign.transport.config.rewrite import put_entry
from imgsign.transport.credentials import Credential, Credentials, Known
from imgsign.transport.tokens import Token
from tests import leaks
from tests.answers import Answer, Seen, error_answer
from tests.credential_program import CredentialProgram
from tests.simulator import Simulator

HOST = "registry.test"
PASSWORD = "correct:horse-1"
WRONG = "wrong-password"
AUTH = base64.b64encode(f"alice:{PASSWORD}".encode()).decode()


def _log_in(
    sim: Simulator, base: Path, password: str = PASSWORD, registry: str = HOST, trusted: frozenset[str] = frozenset()
) -> Outcome:
    def connect(credentials: Known, keep_identity: Callable[[str], None]) -> Transport:
        return Transport(
            environ={},
            adapter=sim,
            clock=sim.clock,
            sleep=sim.clock.sleep,
            credentials=credentials,
            keep_identity=keep_identity,
            trusted_realms=trusted,
        )

    return log_in(registry, "alice", password, environ=_environ(base), connect=connect)


def _environ(base: Path) -> dict[str, str]:
    return {"DOCKER_CONFIG": str(base / "docker"), "PATH": str(base / "bin")}


def _config(base: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((base / "docker/config.json").read_bytes())
    return found


def _write(base: Path, config: object) -> Path:
    path = base / "docker/config.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return path


def _basic() -> Simulator:
    sim = Simulator()
    sim.require_basic("alice", PASSWORD)
    return sim


def _token() -> Simulator:
    sim = Simulator()
    sim.require_token(users={"alice": PASSWORD})
    return sim


def test_basic_is_tried_and_stored_in_a_file_only_the_owner_reads(tmp_path: Path) -> None:
    sim = _basic()
    done = _log_in(sim, tmp_path)
    path = tmp_path / "docker/config.json"
    assert done.place == f"'{path}'"
    assert done.notes == (f"the password is stored unencrypted in '{path}'",)
    assert _config(tmp_path) == {"auths": {HOST: {"auth": AUTH}}}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [(str(s), s.authorization) for s in sim.requests_seen] == [
        ("GET https://registry.test/v2/", None),
        ("GET https://registry.test/v2/", f"Basic {AUTH}"),
    ]


def test_a_token_is_fetched_for_the_user_without_a_scope_and_tried(tmp_path: Path) -> None:
    sim = _token()
    _log_in(sim, tmp_path)
    (asked,) = sim.seen("auth.registry.test")
    assert asked.query == {
        "service": [HOST], "account": ["alice"], "client_id": ["imgsign"], "offline_token": ["true"],
    }  # fmt: skip
    assert sim.requests_seen[-1].authorization == "Bearer token-1"
    assert _config(tmp_path) == {"auths": {HOST: {"auth": AUTH}}}


def test_an_identity_token_is_stored_in_place_of_the_password(tmp_path: Path) -> None:
    sim = _token()
    sim.gives_identity = "refresh-1"
    done = _log_in(sim, tmp_path)
    user = base64.b64encode(b"alice:").decode()
    assert _config(tmp_path) == {"auths": {HOST: {"auth": user, "identitytoken": "refresh-1"}}}
    assert done.notes[0].startswith("the identity token is stored unencrypted in ")


@pytest.mark.parametrize("make", [_basic, _token])
def test_a_wrong_password_says_so_and_stores_nothing(tmp_path: Path, make: Callable[[], Simulator]) -> None:
    with pytest.raises(AuthenticationFailed) as e:
        _log_in(make(), tmp_path, WRONG)
    assert str(e.value).startswith(
        "registry.test does not accept this user and password, nothing was stored: "
    )  # fmt: skip
    assert str(e.value).endswith(", asked with the credentials from the command line")
    assert e.value.hint == "check the user name and password"
    assert WRONG not in "".join(traceback.format_exception(e.value))
    assert not (tmp_path / "docker").exists()


def test_a_wrong_password_leaves_the_old_one(tmp_path: Path) -> None:
    path = _write(tmp_path, {"auths": {HOST: {"auth": AUTH}}})
    before = path.read_bytes()
    with pytest.raises(AuthenticationFailed):
        _log_in(_basic(), tmp_path, WRONG)
    assert path.read_bytes() == before


def test_a_strange_token_server_gets_no_password_and_an_anonymous_token_is_no_login(tmp_path: Path) -> None:
    sim = Simulator()
    sim.require_token(realm="https://auth.evil.example/token")  # which would give a token to everybody
    with pytest.raises(AuthenticationFailed) as e:
        _log_in(sim, tmp_path)
    assert "its credentials were not sent to token server 'auth.evil.example'" in str(e.value)
    assert e.value.hint == "if that is where they belong: --trusted-realm auth.evil.example"
    assert sim.seen("evil") == []
    assert not (tmp_path / "docker").exists()
    _log_in(sim, tmp_path, trusted=frozenset({"auth.evil.example"}))
    assert _config(tmp_path) == {"auths": {HOST: {"auth": AUTH}}}


def test_a_token_server_that_redirects_elsewhere_proves_nothing(tmp_path: Path) -> None:
    sim = _token()
    sim.redirect("auth.registry.test", "https://elsewhere.example/token")
    with pytest.raises(AuthenticationFailed, match=r", nothing was stored$"):
        _log_in(sim, tmp_path)
    assert sim.seen("elsewhere") == []


def test_a_registry_that_asks_for_nothing_is_reported(tmp_path: Path) -> None:
    done = _log_in(Simulator(), tmp_path)
    assert done.notes[0] == "registry.test asks for no credentials, so they were not checked"


def test_a_host_without_a_registry_is_an_error(tmp_path: Path) -> None:
    sim = Simulator()
    sim.fail("/v2/$", 404)
    with pytest.raises(UsageError, match=r"^registry\.test is not a registry: registry\.test has no /v2/"):
        _log_in(sim, tmp_path)


def test_everything_else_in_the_file_is_kept(tmp_path: Path) -> None:
    text = (
        '{"HttpHeaders":{"X":"\\u00e9"},"auths":{"other.test":{"auth":"eDp5"},'
        '"registry.test":{"auth":"b2xkOm9sZA==","email":"a@b"},"https://registry.test/v1/":{"auth":"b2xkOm9sZA=="}},'
        '"unknown":[1.10,1e400000,-0,12345678901234567890123,null,true,{"z":1,"a":2}],"proxies":{}}'
    ).replace("1e400000", "1e3")
    path = _write(tmp_path, text)
    path.chmod(0o644)
    _log_in(_basic(), tmp_path)
    written = path.read_text()
    assert "".join(written.split()) == (
        '{"HttpHeaders":{"X":"é"},"auths":{"other.test":{"auth":"eDp5"},'
        f'"registry.test":{{"email":"a@b","auth":"{AUTH}"}},"https://registry.test/v1/":{{}}}},'
        '"unknown":[1.10,1e3,-0,12345678901234567890123,null,true,{"z":1,"a":2}],"proxies":{}}'
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["config.json"]


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    real.write_text("{}")
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/config.json").symlink_to(real)
    _log_in(_basic(), tmp_path)
    assert (tmp_path / "docker/config.json").is_symlink()
    assert json.loads(real.read_text()) == {"auths": {HOST: {"auth": AUTH}}}


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": []}', '{"auths": {}, "auths": {}}'])
def test_a_malformed_file_is_left_alone_and_nothing_is_sent(tmp_path: Path, text: str) -> None:
    path = _write(tmp_path, text)
    sim = _basic()
    with pytest.raises(AuthenticationFailed, match=r"^cannot use '.*config\.json': "):
        _log_in(sim, tmp_path)
    assert path.read_text() == text
    assert sim.requests_seen == []


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("a file")
    with pytest.raises(DestinationError, match=r"^cannot write '.*config\.json': "):
        _log_in(_basic(), tmp_path)


def test_the_helper_keeps_it_when_one_is_configured(tmp_path: Path) -> None:
    helper = CredentialProgram(tmp_path / "bin")
    path = _write(tmp_path, {"credsStore": "test", "auths": {HOST: {"auth": "b2xkOm9sZA=="}}})
    done = _log_in(_basic(), tmp_path)
    assert (done.place, done.notes) == (f"credential helper 'test' of '{path}'", ())
    assert helper.kept == {HOST: {"ServerURL": HOST, "Username": "alice", "Secret": PASSWORD}}
    assert _config(tmp_path) == {"credsStore": "test", "auths": {HOST: {}}}
    assert Credentials(_environ(tmp_path)).find(HOST) == Credential(user="alice", secret=PASSWORD, source=done.place)


def test_the_helper_gets_an_identity_token_under_the_user_token(tmp_path: Path) -> None:
    helper = CredentialProgram(tmp_path / "bin")
    _write(tmp_path, {"credHelpers": {HOST: "test"}})
    sim = _token()
    sim.gives_identity = "refresh-1"
    _log_in(sim, tmp_path)
    assert helper.kept[HOST] == {"ServerURL": HOST, "Username": "<token>", "Secret": "refresh-1"}


def test_a_helper_that_is_missing_stores_nothing_in_the_file(tmp_path: Path) -> None:
    path = _write(tmp_path, {"credsStore": "gone"})
    with pytest.raises(AuthenticationFailed, match=r"there is no program docker-credential-gone in PATH$"):
        _log_in(_basic(), tmp_path)
    assert json.loads(path.read_text()) == {"credsStore": "gone"}


def test_docker_hub_is_written_under_the_name_docker_looks_up(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    put_entry(path, "docker.io", "https://index.docker.io/v1/", Credential(user="a", secret="b", source=""))
    assert json.loads(path.read_text()) == {"auths": {"https://index.docker.io/v1/": {"auth": "YTpi"}}}


@pytest.mark.parametrize(
    ("text", "registry"),
    [
        ("docker.io", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("https://registry.test", HOST),
        ("registry.test:5000", "registry.test:5000"),
        ("localhost", "localhost"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_names_of_registries(text: str, registry: str) -> None:
    assert parse_registry(text) == registry


@pytest.mark.parametrize("text", ["registry.test/app", "registry", "", "http://registry.test", "a b.test", "-x.test"])
def test_what_is_no_registry_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_registry(text)


def test_a_user_name_with_a_colon_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^not a user name: 'a:b'$"):
        log_in(HOST, "a:b", PASSWORD, environ=_environ(tmp_path), connect=lambda c, k: Simulator().transport())


def test_logout_removes_every_spelling_and_nothing_else(tmp_path: Path) -> None:
    other = {"other.test": {"auth": "eDp5"}, f"{HOST}:443": {"auth": "eDp5"}}
    _write(tmp_path, {"auths": {HOST: {"auth": AUTH}, f"https://{HOST}/v1/": {"auth": AUTH}, **other}, "x": 1})
    done = log_out(HOST, environ=_environ(tmp_path))
    assert (done.done, done.notes) == (True, ())
    assert _config(tmp_path) == {"auths": other, "x": 1}
    assert log_out(HOST, environ=_environ(tmp_path)).done is False


def test_logout_erases_at_the_helper(tmp_path: Path) -> None:
    helper = CredentialProgram(tmp_path / "bin")
    helper.keep(HOST, "alice", PASSWORD)
    _write(tmp_path, {"credsStore": "test", "auths": {HOST: {}}})
    assert log_out(HOST, environ=_environ(tmp_path)).done is True
    assert helper.kept == {}
    assert _config(tmp_path) == {"credsStore": "test", "auths": {}}


def test_logout_says_what_it_does_not_remove(tmp_path: Path) -> None:
    auths = json.dumps({"auths": {HOST: {"auth": AUTH}}})
    done = log_out(HOST, environ={**_environ(tmp_path), "DOCKER_AUTH_CONFIG": auths})
    assert (done.done, done.notes) == (
        False,
        ("credentials for registry.test are still there, from DOCKER_AUTH_CONFIG",),
    )


SECRETS = {
    "file": "SECRET-file-1", "variable": "SECRET-variable-2", "helper": "SECRET-helper-3", "auth": "SECRET-authfile-4",
    "identity": "SECRET-identity-5", "registry": "SECRET-registry-6", "token": "SECRET-token-7",
}  # fmt: skip


def _places(base: Path) -> dict[str, dict[str, str]]:
    """An environment for each place a secret may be in."""

    def entry(secret: str) -> dict[str, str]:
        return {"auth": base64.b64encode(f"alice:{secret}".encode()).decode()}

    contents: dict[str, object] = {
        "file": {"auths": {HOST: entry(SECRETS["file"])}},
        "identity": {"auths": {HOST: {"identitytoken": SECRETS["identity"]}}},
        "registry": {"auths": {HOST: {"registrytoken": SECRETS["registry"]}}},
        "helper": {"credsStore": "leak"},
    }
    CredentialProgram(base / "bin", "leak").keep(HOST, "alice", SECRETS["helper"])
    found = {}
    for name, content in contents.items():
        (base / name).mkdir()
        (base / name / "config.json").write_text(json.dumps(content))
        found[name] = {"DOCKER_CONFIG": str(base / name), "PATH": str(base / "bin")}
    found["variable"] = {"DOCKER_AUTH_CONFIG": json.dumps({"auths": {HOST: entry(SECRETS["variable"])}})}
    (base / "auth.json").write_text(json.dumps({"auths": {f"{HOST}/app": entry(SECRETS["auth"])}}))
    found["auth"] = {"REGISTRY_AUTH_FILE": str(base / "auth.json")}
    return found


def _spellings(secret: str) -> list[str]:
    return [secret, base64.b64encode(f"alice:{secret}".encode()).decode(), secret.replace("-", "%2D")]


@pytest.mark.parametrize("name", ["file", "variable", "helper", "auth", "identity", "registry"])
@pytest.mark.parametrize("attack", ["realm", "redirect", "redirected-token", "echo", "echo-token", "storage"])
def test_no_secret_reaches_a_foreign_host_or_a_text(tmp_path: Path, name: str, attack: str) -> None:
    sim = Simulator()
    evil = "https://evil.example"
    sim.site("evil.example", lambda seen: error_answer(401, "UNAUTHORIZED", _echo(seen)).with_header(
        "WWW-Authenticate", f'Bearer realm="{evil}/token", Basic realm="x"'))  # fmt: skip
    sim.require_token(realm=f"{evil}/token" if attack == "realm" else "https://auth.registry.test/token")
    if attack != "realm":
        sim.site("auth.registry.test", lambda seen: Answer(body=json.dumps({"token": SECRETS["token"]}).encode()))
    if attack == "redirect":
        sim.redirect("/manifests/", f"{evil}/x")
    elif attack == "redirected-token":
        sim.redirect("auth.registry.test", f"{evil}/token")
    elif attack == "echo":
        sim.respond("//registry.test", lambda seen: error_answer(403, "DENIED", _echo(seen)))
    elif attack == "echo-token":
        sim.respond("auth.registry.test", lambda seen: error_answer(403, "DENIED", _echo(seen)))
    elif attack == "storage":
        sim.tokens[SECRETS["token"]] = sim.tokens[SECRETS["registry"]] = {"repository:app:pull"}
        sim.put_image("app", tag="1")
        sim.redirect("/manifests/1", f"{evil}/storage")
    transport = sim.transport(environ=_places(tmp_path)[name])
    texts = [repr(transport), repr(vars(transport))]
    try:
        sim.store("app", transport).fetch("1")
    except ImgsignError as e:
        texts += ["".join(traceback.format_exception(e)), repr(e), str(e), str(e.hint), repr(vars(e))]
    texts += leaks.texts(transport)
    foreign = [f"{s} {dict(s.headers)} {s.body.decode()}" for s in sim.seen("evil.example")]
    for secret in SECRETS.values():
        for spelling in _spellings(secret):
            assert [t for t in texts + foreign if spelling in t] == []


@pytest.mark.parametrize("name", ["file", "variable", "helper", "auth", "identity", "registry"])
def test_what_is_kept_of_secrets_does_not_show_them(tmp_path: Path, name: str) -> None:
    sim = Simulator()
    sim.require_token()
    sim.identity_tokens = {SECRETS["identity"]}
    sim.site("auth.registry.test", lambda seen: Answer(body=json.dumps({"token": SECRETS["token"]}).encode()))
    sim.tokens[SECRETS["token"]] = sim.tokens[SECRETS["registry"]] = {"repository:app:pull"}
    sim.put_image("app", tag="1")
    transport = sim.transport(environ=_places(tmp_path)[name])
    sim.store("app", transport).fetch("1")
    found = leaks.reachable(transport)
    # The probe has got to where the secrets are.
    kept = [f.secret for f in found if isinstance(f, Credential)] + [f.value for f in found if isinstance(f, Token)]
    assert SECRETS[name] in kept
    assert name == "registry" or SECRETS["token"] in kept
    shown = leaks.texts(transport)
    for secret in SECRETS.values():
        for spelling in _spellings(secret):
            assert [t for t in shown if spelling in t] == []


def _echo(seen: Seen) -> str:
    return f"you sent {seen.authorization} and {seen.body.decode()}"
