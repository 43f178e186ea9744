"""config.json as docker login leaves it, and never anonymous by mistake."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from imgsign.errors import AuthenticationFailed
from imgsign.transport.credentials import CONFIG_LIMIT, Credential, Credentials, Kind

HOST = "registry.test"
PASSWORD = "pass:word-123"


def _auth(text: str = f"alice:{PASSWORD}") -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def _find(tmp_path: Path, config: object, registry: str = HOST) -> Credential | None:
    raw = config if isinstance(config, bytes) else json.dumps(config).encode()
    (tmp_path / "config.json").write_bytes(raw)
    return Credentials({"DOCKER_CONFIG": str(tmp_path)}).find(registry)


def _pair(found: Credential | None) -> tuple[str, str] | None:
    return None if found is None else (found.user, found.password)


def test_password_may_hold_colons(tmp_path: Path) -> None:
    assert _pair(_find(tmp_path, {"auths": {HOST: _auth()}})) == ("alice", PASSWORD)


def test_trailing_nuls_are_padding(tmp_path: Path) -> None:
    assert _pair(_find(tmp_path, {"auths": {HOST: _auth("alice:secret\0\0")}})) == ("alice", "secret")


def test_user_and_password_may_be_written_out(tmp_path: Path) -> None:
    entry = {"username": "alice", "password": "secret"}
    assert _pair(_find(tmp_path, {"auths": {HOST: entry}})) == ("alice", "secret")


@pytest.mark.parametrize("key", [HOST, f"https://{HOST}", f"https://{HOST}/v1/", f"http://{HOST}/v2/", f"{HOST}/v1/"])
def test_keys_are_reduced_to_their_host(tmp_path: Path, key: str) -> None:
    assert _pair(_find(tmp_path, {"auths": {key: _auth()}})) == ("alice", PASSWORD)


@pytest.mark.parametrize("key", [f"{HOST}:443", f"{HOST}/namespace", "registry.test.evil", "test", f"x{HOST}"])
def test_keys_of_another_host_or_of_less_than_a_host_do_not_count(tmp_path: Path, key: str) -> None:
    assert _find(tmp_path, {"auths": {key: _auth()}}) is None


def test_the_exact_key_wins(tmp_path: Path) -> None:
    config = {"auths": {f"https://{HOST}/v1/": _auth("old:old"), HOST: _auth("new:new")}}
    assert _pair(_find(tmp_path, config)) == ("new", "new")


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io"])
def test_docker_hub_has_several_keys(tmp_path: Path, key: str) -> None:
    assert _pair(_find(tmp_path, {"auths": {key: _auth()}}, "docker.io")) == ("alice", PASSWORD)


def test_home_is_used_without_docker_config(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": {HOST: _auth()}}))
    assert _pair(Credentials({"HOME": str(tmp_path), "DOCKER_CONFIG": ""}).find(HOST)) == ("alice", PASSWORD)


def test_no_file_is_anonymous(tmp_path: Path) -> None:
    assert Credentials({"DOCKER_CONFIG": str(tmp_path)}).find(HOST) is None
    assert Credentials({}).find(HOST) is None


@pytest.mark.parametrize("config", [{}, {"auths": {}}, {"auths": None}, {"auths": {HOST: {}}}])
def test_no_entry_is_anonymous(tmp_path: Path, config: object) -> None:
    assert _find(tmp_path, config) is None


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"auths": {HOST: {"auth": "?secret?"}}}, "not standard base64"),
        ({"auths": {HOST: _auth("nocolon")}}, "'auth' is not base64 of user:password"),
        ({"auths": {HOST: _auth(":secret")}}, "'auth' is not base64 of user:password"),
        ({"auths": {HOST: _auth("alice:")}}, "'auth' has no password"),
        ({"auths": {HOST: {"auth": "/////w=="}}}, "'auth' is not base64 of UTF-8 text"),
        ({"auths": {HOST: {"identitytoken": "a\nb"}}}, "'identitytoken' holds blanks or control characters"),
        ({"auths": {HOST: {"registrytoken": "a b"}}}, "'registrytoken' holds blanks or control characters"),
    ],
)
def test_what_cannot_be_used_is_an_error_not_anonymous(tmp_path: Path, config: object, reason: str) -> None:
    with pytest.raises(AuthenticationFailed) as e:
        _find(tmp_path, config)
    path = tmp_path / "config.json"
    assert str(e.value) == f"cannot use the credentials for 'registry.test' from '{path}': {reason}"
    assert e.value.hint == "imgsign login registry.test"


@pytest.mark.parametrize("user", ["", "00000000-0000-0000-0000-000000000000"])
def test_an_identity_token_stands_in_place_of_the_password(tmp_path: Path, user: str) -> None:
    entry = {"identitytoken": "refresh", **(_auth(f"{user}:") if user else {})}
    found = _find(tmp_path, {"auths": {HOST: entry}})
    assert found is not None
    assert (found.kind, found.user, found.secret) == (Kind.IDENTITY_TOKEN, user or "<token>", "refresh")
    assert found.password == ""


def test_a_registry_token_wins_over_all_else(tmp_path: Path) -> None:
    found = _find(tmp_path, {"auths": {HOST: {**_auth(), "identitytoken": "i", "registrytoken": "r"}}})
    assert found is not None
    assert (found.kind, found.secret) == (Kind.REGISTRY_TOKEN, "r")


def test_a_helper_for_another_host_does_not_matter(tmp_path: Path) -> None:
    assert _find(tmp_path, {"credHelpers": {"other.test": "ecr-login"}}) is None


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"{", "not JSON: expecting property name enclosed in double quotes at line 1 column 2"),
        (b"[]", "expected object, got list at $"),
        (b'{"auths": []}', "expected object, got list at $.auths"),
        (b'{"credsStore": 1}', "expected string, got integer at $.credsStore"),
        (b'{"CredsStore": "x"}', "key 'CredsStore' differs from 'credsStore' only by case at $"),
        (b" " * (CONFIG_LIMIT + 1), f"{CONFIG_LIMIT + 1} bytes are more than the limit of {CONFIG_LIMIT}"),
    ],
)
def test_a_malformed_file_is_an_error_that_names_it(tmp_path: Path, raw: bytes, reason: str) -> None:
    with pytest.raises(AuthenticationFailed) as e:
        _find(tmp_path, raw)
    assert str(e.value) == f"cannot use '{tmp_path / 'config.json'}': {reason}"


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(AuthenticationFailed, match=r"^cannot read credentials from '.*config.json': Is a directory$"):
        Credentials({"DOCKER_CONFIG": str(tmp_path)}).find(HOST)


def test_secrets_are_not_in_the_repr(tmp_path: Path) -> None:
    found = _find(tmp_path, {"auths": {HOST: _auth()}})
    assert found is not None
    assert repr(found) == (f"Credential(source=\"'{tmp_path / 'config.json'}'\", kind=<Kind.PASSWORD: 'password'>)")


def test_basic_is_utf8() -> None:
    credential = Credential(user="a", secret="ü", source="")
    assert credential.basic == "Basic YTrDvA=="
