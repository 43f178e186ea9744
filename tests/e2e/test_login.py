"""``imgsign login`` with real registries: what it writes serves docker and skopeo, and what docker writes serves it."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.credential_program import CredentialProgram
from tests.e2e import images, parts
from tests.e2e.token_server import TokenServer, token_server

USER, PASSWORD = "user", "secret"
HTPASSWD = "user:$2b$05$hEG3uunBdoMnTzu7X3OsNuOx0zAAV0tVaZCEIifoROxatw7pntFPy\n"  # of "secret"
KEY = {"IMGSIGN_PASSWORD": "test"}


@dataclass(frozen=True, slots=True)
class Place:
    """A registry that asks for credentials, and a configuration directory that holds none yet."""

    host: str
    config: Path
    tokens: TokenServer | None

    @property
    def env(self) -> dict[str, str]:
        return {"DOCKER_CONFIG": str(self.config), "IMGSIGN_PASSWORD": "test"}

    @property
    def stored(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.config / "config.json").read_text())
        return found

    def login(self, password: str = PASSWORD, **env: str) -> tuple[int, str, str]:
        done = parts.imgsign(
            "login", self.host, "--username", USER, "--password-stdin",
            input=f"{password}\n", env={**self.env, **env}, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(params=["htpasswd", "token", "identity"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Basic by htpasswd, Bearer for a password, Bearer for an identity token."""
    config = tmp_path / "docker"
    if request.param == "htpasswd":
        passwords = tmp_path / "htpasswd"
        passwords.write_text(HTPASSWD)
        with parts.registry(tmp_path, htpasswd=passwords) as found:
            yield Place(found.host, config, None)
        return
    with token_server(tmp_path, {USER: PASSWORD}) as tokens:
        tokens.gives_identity = request.param == "identity"
        with parts.registry(tmp_path, auth=tokens.auth) as found:
            yield Place(found.host, config, tokens)


def test_a_wrong_password_is_told_and_not_stored(place: Place) -> None:
    code, out, err = place.login("wrong-password")
    assert (code, out) == (3, "")
    assert err.startswith(
        f"error: {place.host} does not accept this user and password, nothing was stored: "
    )  # fmt: skip
    assert err.endswith("hint: check the user name and password\n")
    assert "wrong-password" not in err
    assert not place.config.exists()


def test_what_login_wrote_serves_docker_skopeo_and_imgsign(
    place: Place, docker_host: str, release_key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = place.login()
    path = place.config / "config.json"
    assert (code, out) == (0, f"logged in to {place.host}, stored in '{path}'\n")
    assert "is stored unencrypted in" in err
    assert path.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("DOCKER_CONFIG", str(place.config))
    name = f"{place.host}/shop/app:1"
    digest = images.build_and_push(tmp_path / "build", docker_host, name)
    images.push_small(tmp_path, f"{place.host}/shop/small:1")
    signed = parts.imgsign("sign", name, "-k", release_key, env=place.env)
    assert signed.stdout.startswith(f"signed {name}@{digest} with key ")
    verified = parts.imgsign("verify", "-q", name, "--key", release_key.with_suffix(".pub"), env=place.env)
    assert verified.stdout == f"{place.host}/shop/app@{digest}\n"
    pulled = parts.imgsign(
        "pull", name, "docker:", "--key", release_key.with_suffix(".pub"), env={**place.env, "DOCKER_HOST": docker_host}
    )
    assert pulled.stdout == f"{place.host}/shop/app@{digest}\n"
    assert "the engine did not pull" not in pulled.stderr
    if place.tokens is not None:
        kind = "POST refresh_token" if place.tokens.gives_identity else "GET /token"
        assert any(r.startswith(kind) and "pull,push" in r.replace("%2C", ",") for r in place.tokens.requests)
        assert ("identitytoken" in str(place.stored)) is place.tokens.gives_identity
        assert (PASSWORD in str(place.stored)) is False

    out = parts.imgsign("logout", place.host, env=place.env).stdout
    assert out == f"logged out of {place.host}\n"
    assert place.stored["auths"] == {}
    refused = parts.imgsign("verify", name, "--key", release_key.with_suffix(".pub"), env=place.env, check=False)
    assert refused.returncode == 3
    assert "asked without credentials" in refused.stderr
    assert f"hint: imgsign login {place.host}\n" in refused.stderr
    assert parts.imgsign("logout", place.host, env=place.env).stdout == f"not logged in to {place.host}\n"


def test_what_docker_login_wrote_serves_imgsign(place: Place, docker_host: str, release_key: Path) -> None:
    # With a file that holds nothing at all docker's client would pick a helper it finds, such as pass.
    place.config.mkdir()
    (place.config / "config.json").write_text('{"auths": {"other.example.com": {}}}')
    parts.run(
        "docker", "login", place.host, "-u", USER, "--password-stdin",
        input=PASSWORD, env={**place.env, "DOCKER_HOST": docker_host},
    )  # fmt: skip
    done = parts.imgsign(
        "verify", f"{place.host}/shop/none:1", "--key", release_key.with_suffix(".pub"), env=place.env, check=False
    )
    assert done.returncode == 3
    assert f"{place.host} has no manifest 1 of shop/none" in done.stderr


def test_one_helper_serves_imgsign_and_docker(
    place: Place, docker_host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = CredentialProgram(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    place.config.mkdir()
    (place.config / "config.json").write_text('{"credsStore": "test"}')
    code, out, err = place.login()
    source = f"credential helper 'test' of '{place.config / 'config.json'}'"
    assert (code, out, err) == (0, f"logged in to {place.host}, stored in {source}\n", "")
    assert place.stored == {"credsStore": "test", "auths": {place.host: {}}}
    identity = place.tokens is not None and place.tokens.gives_identity
    assert helper.kept[place.host]["Username"] == ("<token>" if identity else USER)
    monkeypatch.setenv("DOCKER_CONFIG", str(place.config))
    images.build_and_push(tmp_path / "build", docker_host, f"{place.host}/helped/app:1")
    parts.imgsign("logout", place.host, env=place.env)
    assert helper.kept == {}


def test_a_helper_that_hangs_ends_with_the_commands_deadline(
    place: Place, release_key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    CredentialProgram(tmp_path / "bin").write("#!/bin/sh\nexec sleep 60\n", "slow")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    place.config.mkdir()
    (place.config / "config.json").write_text('{"credsStore": "slow"}')
    began = time.monotonic()
    done = parts.imgsign(
        "verify", f"{place.host}/shop/app:1", "-k", release_key.with_suffix(".pub"), "--timeout", "2s",
        env=place.env, check=False,
    )  # fmt: skip
    assert time.monotonic() - began < 20  # the helper alone would have had 30
    assert done.returncode == 3
    assert "the deadline has passed while asking credential helper 'slow' of " in done.stderr


def test_skopeo_login_serves_imgsign_by_its_auth_file(place: Place, release_key: Path, tmp_path: Path) -> None:
    file = tmp_path / "auth.json"
    command = ("skopeo", "login", "--tls-verify=false", "--authfile", file, "-u", USER, "--password-stdin", place.host)
    parts.run(*command, input=PASSWORD)
    env = {**place.env, "REGISTRY_AUTH_FILE": str(file)}
    done = parts.imgsign(
        "verify", f"{place.host}/shop/none:1", "--key", release_key.with_suffix(".pub"), env=env, check=False
    )
    assert f"{place.host} has no manifest 1 of shop/none" in done.stderr


def test_without_a_terminal_nothing_is_asked(tmp_path: Path) -> None:
    env = {"DOCKER_CONFIG": str(tmp_path), "IMGSIGN_PASSWORD": "of-a-key"}
    done = parts.imgsign("login", "localhost:1", check=False, env=env)
    assert (done.returncode, done.stderr) == (
        2, "error: no user name was given for localhost:1\nhint: --username USER\n",
    )  # fmt: skip
    done = parts.imgsign("login", "localhost:1", "--username", "a", check=False, env=env)
    assert (done.returncode, done.stderr) == (
        2, "error: no password was given for localhost:1\nhint: use --password-stdin\n",
    )  # fmt: skip
    done = parts.imgsign("login", "localhost:1", "-u", "a", "--password-stdin", input="\n", check=False, env=env)
    assert (done.returncode, done.stderr) == (2, "error: the password for localhost:1 is empty\n")


def test_a_password_cannot_be_given_as_an_argument(tmp_path: Path) -> None:
    for flag in ("--password", "-p"):
        done = parts.imgsign("login", "localhost:1", "-u", "a", flag, "in-the-process-list", check=False)
        assert done.returncode == 2
        assert "in-the-process-list" not in done.stdout + done.stderr


@pytest.fixture
def password_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """``pass`` with a throw-away GPG key of its own; its home is short, since sockets lie in it."""
    parts.need("gpg", "gpgconf", "pass", "docker-credential-pass")
    with tempfile.TemporaryDirectory(prefix="imgsign-") as gpg:
        monkeypatch.setenv("GNUPGHOME", gpg)
        monkeypatch.setenv("PASSWORD_STORE_DIR", str(tmp_path / "store"))
        user = "throw-away@example.com"
        parts.run("gpg", "--batch", "--passphrase", "", "--quick-generate-key", user, "default", "default", "never")
        parts.run("pass", "init", user)
        try:
            yield tmp_path / "store"
        finally:
            parts.run("gpgconf", "--kill", "all")


def test_dockers_helper_for_pass_keeps_what_login_gives_it_and_serves_docker_and_imgsign(
    place: Place, password_store: Path, docker_host: str, release_key: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    place.config.mkdir()
    (place.config / "config.json").write_text('{"credsStore": "pass"}')
    code, out, err = place.login()
    source = f"credential helper 'pass' of '{place.config / 'config.json'}'"
    assert (code, out, err) == (0, f"logged in to {place.host}, stored in {source}\n", "")
    assert place.stored == {"credsStore": "pass", "auths": {place.host: {}}}
    kept = [p for p in password_store.rglob("*.gpg") if p.is_file()]
    assert len(kept) == 1
    identity = place.tokens is not None and place.tokens.gives_identity
    assert kept[0].stem == ("<token>" if identity else USER)
    assert PASSWORD.encode() not in kept[0].read_bytes()
    monkeypatch.setenv("DOCKER_CONFIG", str(place.config))
    name = f"{place.host}/pass/app:1"
    digest = images.build_and_push(tmp_path / "build", docker_host, name)
    signed = parts.imgsign("sign", name, "-k", release_key, env=place.env)
    assert signed.stdout.startswith(f"signed {name}@{digest} with key ")
    assert parts.imgsign("logout", place.host, env=place.env).stdout == f"logged out of {place.host}\n"
    assert list(password_store.rglob("*.gpg")) == []
    refused = parts.imgsign("verify", name, "-k", release_key.with_suffix(".pub"), env=place.env, check=False)
    assert refused.returncode == 3
    assert "asked without credentials" in refused.stderr
