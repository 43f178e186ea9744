"""The places credentials are looked for: docker's variable and file, then podman's files."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from imgsign.errors import AuthenticationFailed
from imgsign.transport.config import containers
from imgsign.transport.credentials import Credentials
from tests.credential_program import CredentialProgram

HOST = "registry.test"


def _entry(user: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:secret-of-{user}".encode()).decode()}


def _write(path: Path, user: str, key: str = HOST) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"auths": {key: _entry(user)}}))
    return path


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Every place has an entry of its own."""
    monkeypatch.setattr(containers, "_PER_USER", f"{tmp_path}/run-{{uid}}/auth.json")
    _write(tmp_path / "docker/config.json", "docker")
    _write(tmp_path / "explicit.json", "explicit")
    _write(tmp_path / "run/containers/auth.json", "runtime")
    _write(tmp_path / "config/containers/auth.json", "config")
    _write(tmp_path / "home/.docker/config.json", "docker-home")
    _write(tmp_path / "home/.config/containers/auth.json", "config-home")
    return {
        "DOCKER_AUTH_CONFIG": json.dumps({"auths": {HOST: _entry("variable")}}),
        "DOCKER_CONFIG": str(tmp_path / "docker"),
        "REGISTRY_AUTH_FILE": str(tmp_path / "explicit.json"),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "HOME": str(tmp_path / "home"),
    }


def _user(environ: dict[str, str], path: str = "") -> str | None:
    found = Credentials(environ).find(HOST, path)
    return None if found is None else found.user


def test_the_places_in_their_order(environ: dict[str, str], tmp_path: Path) -> None:
    assert _user(environ) == "variable"
    del environ["DOCKER_AUTH_CONFIG"]
    assert _user(environ) == "docker"
    del environ["DOCKER_CONFIG"]
    assert _user(environ) == "docker-home"
    (tmp_path / "home/.docker/config.json").unlink()
    assert _user(environ) == "explicit"
    del environ["REGISTRY_AUTH_FILE"]
    assert _user(environ) == "runtime"
    (tmp_path / "run/containers/auth.json").unlink()
    assert _user(environ) == "config"
    del environ["XDG_CONFIG_HOME"]
    assert _user(environ) == "config-home"
    del environ["HOME"]
    assert _user(environ) is None


def test_without_a_runtime_directory_the_one_by_user_id_is_read(environ: dict[str, str], tmp_path: Path) -> None:
    _write(tmp_path / f"run-{os.getuid()}" / "auth.json", "by-id")
    assert _user({}) == "by-id"


def test_the_source_says_which_place_it_was(environ: dict[str, str], tmp_path: Path) -> None:
    found = Credentials(environ).find(HOST)
    assert found is not None
    assert found.source == "DOCKER_AUTH_CONFIG"
    del environ["DOCKER_AUTH_CONFIG"]
    found = Credentials(environ).find(HOST)
    assert found is not None
    assert found.source == f"'{tmp_path}/docker/config.json'"


def test_an_explicit_auth_file_is_the_only_one_of_its_kind(environ: dict[str, str], tmp_path: Path) -> None:
    _write(tmp_path / "explicit.json", "explicit", key="other.test")
    environ = {k: v for k, v in environ.items() if k not in ("DOCKER_AUTH_CONFIG", "DOCKER_CONFIG", "HOME")}
    assert _user(environ) is None


def test_an_explicit_auth_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AuthenticationFailed) as e:
        _user({"REGISTRY_AUTH_FILE": str(tmp_path / "gone.json")})
    assert str(e.value) == f"REGISTRY_AUTH_FILE names '{tmp_path}/gone.json', which does not exist"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON: expecting property name enclosed in double quotes at line 1 column 2"),
        ('{"auths": {}, "credsStore": "x"}', "unknown key 'credsStore' at $"),
        (
            '{"auths": {"registry.test": {"auth": "", "username": "a"}}}',
            "unknown key 'username' at $.auths.'registry.test'",
        ),
    ],
)
def test_the_variable_holds_entries_and_nothing_else(text: str, reason: str) -> None:
    with pytest.raises(AuthenticationFailed) as e:
        _user({"DOCKER_AUTH_CONFIG": text})
    assert str(e.value) == f"cannot use DOCKER_AUTH_CONFIG: {reason}"


@pytest.mark.parametrize(
    ("path", "user"),
    [
        ("team/app", "app"),
        ("team/app/sub", "app"),
        ("team/web", "team"),
        ("other/app", "host"),
        ("teamster/x", "host"),
        ("", "host"),
    ],
)
def test_the_longest_namespace_of_an_auth_file_counts(tmp_path: Path, path: str, user: str) -> None:
    auths = {f"{HOST}/team/app": _entry("app"), HOST: _entry("host"), f"{HOST}/team": _entry("team")}
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({"auths": auths}))
    assert _user({"REGISTRY_AUTH_FILE": str(file)}, path) == user


def test_a_namespace_is_not_the_whole_registry(tmp_path: Path) -> None:
    file = _write(tmp_path / "auth.json", "team", key=f"{HOST}/team")
    assert _user({"REGISTRY_AUTH_FILE": str(file)}, "other/app") is None


@pytest.mark.parametrize(
    "key", ["docker.io", "https://index.docker.io/v1/", "docker.io/library", "registry-1.docker.io"]
)
def test_docker_hub_in_an_auth_file(tmp_path: Path, key: str) -> None:
    file = _write(tmp_path / "auth.json", "hub", key=key)
    found = Credentials({"REGISTRY_AUTH_FILE": str(file)}).find("docker.io", "library/busybox")
    assert found is not None


def test_a_helper_of_an_auth_file_is_asked_and_credsstore_is_not(tmp_path: Path) -> None:
    CredentialProgram(tmp_path / "bin").keep(HOST, "kept", "secret")
    file = tmp_path / "auth.json"
    environ = {"REGISTRY_AUTH_FILE": str(file), "PATH": str(tmp_path / "bin")}
    file.write_text(json.dumps({"credHelpers": {HOST: "test"}, "auths": {HOST: _entry("plain")}}))
    assert _user(environ, "any/repo") == "kept"
    file.write_text(json.dumps({"credsStore": "test", "auths": {HOST: _entry("plain")}}))
    assert _user(environ) == "plain"


def test_places_are_named_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "_PER_USER", f"{tmp_path}/none-{{uid}}")
    assert Credentials({}).places == ""
    environ = {"DOCKER_CONFIG": "/d", "DOCKER_AUTH_CONFIG": "{}", "REGISTRY_AUTH_FILE": "/r"}
    assert Credentials(environ).places == "DOCKER_AUTH_CONFIG, '/d/config.json', '/r'"
