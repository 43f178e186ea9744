"""Credential helpers: asked by docker's protocol, and never passed over when they fail."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from imgsign.errors import AuthenticationFailed, Unavailable
from imgsign.transport.config import program as program_module
from imgsign.transport.config.program import OUTPUT_LIMIT, Program
from imgsign.transport.credentials import Credential, Credentials, Kind
from tests.credential_program import CredentialProgram

HOST = "registry.test"
SECRET = "s3cr3t-of-helper"


def _program(directory: Path, suffix: str = "test") -> Program:
    return Program(suffix=suffix, server=HOST, named_in="'config.json'", environ={"PATH": str(directory)})


def _script(tmp_path: Path, *lines: str) -> Program:
    CredentialProgram(tmp_path).write("\n".join(("#!/bin/sh", *lines)), "bad")
    return _program(tmp_path, "bad")


def _failure(program: Program) -> str:
    with pytest.raises(AuthenticationFailed) as e:
        program.get()
    prefix = "cannot use credential helper 'bad' of 'config.json' for 'registry.test': "
    assert str(e.value).startswith(prefix)
    assert SECRET not in str(e.value) + repr(e.value) + str(e.value.hint)
    return str(e.value).removeprefix(prefix)


def test_get_store_erase(tmp_path: Path) -> None:
    helper = CredentialProgram(tmp_path)
    program = _program(tmp_path)
    assert program.get() is None
    program.store("alice", SECRET)
    assert helper.kept == {HOST: {"ServerURL": HOST, "Username": "alice", "Secret": SECRET}}
    source = "credential helper 'test' of 'config.json'"
    assert program.get() == Credential(user="alice", secret=SECRET, source=source)
    assert program.erase() is True
    assert program.erase() is False
    assert helper.calls == [f"{a} {HOST}" for a in ("get", "store", "get", "erase", "erase")]


def test_the_token_user_means_an_identity_token(tmp_path: Path) -> None:
    CredentialProgram(tmp_path).keep(HOST, "<token>", SECRET)
    found = _program(tmp_path).get()
    assert found is not None
    assert found.kind is Kind.IDENTITY_TOKEN


@pytest.mark.parametrize("suffix", ["../evil", "a/b", "", "a b", "x;id", "$(id)", "a\n"])
def test_a_suffix_that_is_no_name_runs_nothing(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(AuthenticationFailed, match=r"its name may hold only A-Z a-z 0-9 \. _ -$"):
        _program(tmp_path, suffix).get()


@pytest.mark.parametrize("path", ["", ".", ":.:bin"])
def test_relative_directories_of_path_are_not_searched(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    CredentialProgram(tmp_path / "bin")
    CredentialProgram(tmp_path)
    monkeypatch.chdir(tmp_path)
    program = Program(suffix="test", server=HOST, named_in="'config.json'", environ={"PATH": path})
    with pytest.raises(AuthenticationFailed, match=r"there is no program docker-credential-test in PATH$"):
        program.get()


def test_a_helper_that_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    CredentialProgram(tmp_path).write("#!/no/such/interpreter\n", "bad")
    assert _failure(_program(tmp_path, "bad")) == "it cannot be run: No such file or directory"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (("echo 'password store is empty'; exit 1",), "'get' fails: password store is empty"),
        (("printf 'a\\033[31mb\\nsecond line'; exit 1",), "'get' fails: a\\x1b[31mb"),
        ((f'echo \'{{"Secret":"{SECRET}"}}\'; exit 3',), "'get' fails: exit status 3"),
        ((f"echo {SECRET} >&2; exit 2",), "'get' fails: exit status 2"),
        ((f"echo {SECRET}",), "its answer to 'get' is not the JSON of the protocol"),
        (('echo \'{"Username":"alice"}\'',), "its answer to 'get' has no Secret"),
        ((f'echo \'{{"Secret":"{SECRET}"}}\'',), "its answer to 'get' has no Username"),
        (("kill -9 $$",), "'get' fails: exit status -9"),
        (
            ("while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxx; done",),
            f"it prints more than the limit of {OUTPUT_LIMIT} bytes",
        ),
    ],
)
def test_a_helper_that_fails_is_an_error_that_names_it(tmp_path: Path, lines: tuple[str, ...], reason: str) -> None:
    assert _failure(_script(tmp_path, *lines)) == reason


def test_a_helper_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_module, "TIMEOUT", 0.2)
    assert _failure(_script(tmp_path, "exec /bin/sleep 60")) == "it has not answered within 0 s"
    assert _failure(_script(tmp_path, "exec >&-", "exec /bin/sleep 60")) == "it has not answered within 0 s"


def test_the_deadline_of_the_command_ends_a_helper_too(tmp_path: Path) -> None:
    program = _script(tmp_path, "exec /bin/sleep 60")
    began = time.monotonic()
    with pytest.raises(Unavailable) as e:
        program.get(end=began + 0.2)
    assert time.monotonic() - began < 10
    assert str(e.value) == "the deadline has passed while asking credential helper 'bad' of 'config.json'"
    with pytest.raises(Unavailable):
        program.store("alice", SECRET, end=began)


def test_a_deadline_that_ended_a_helper_is_not_remembered_as_its_failure(tmp_path: Path) -> None:
    # A server lives longer than the one request that was short of time.
    CredentialProgram(tmp_path / "bin").keep(HOST, "alice", SECRET)
    (tmp_path / "config.json").write_text('{"credsStore": "test"}')
    credentials = Credentials({"DOCKER_CONFIG": str(tmp_path), "PATH": str(tmp_path / "bin")})
    with pytest.raises(Unavailable):
        credentials.find(HOST, left=0)
    found = credentials.find(HOST)
    assert found is not None
    assert found.secret == SECRET


def test_a_helper_that_does_not_read_may_still_answer(tmp_path: Path) -> None:
    program = _script(tmp_path, "exec <&-", 'echo \'{"Username":"a","Secret":"b"}\'')
    assert program.get() is not None


def test_a_failed_store_does_not_repeat_the_secret(tmp_path: Path) -> None:
    program = _script(tmp_path, f"echo cannot keep {SECRET}; exit 1")
    with pytest.raises(AuthenticationFailed, match=r"'store' fails: exit status 1$"):
        program.store("alice", SECRET)


def _credentials(tmp_path: Path, config: object) -> Credentials:
    (tmp_path / "config.json").write_text(json.dumps(config))
    return Credentials({"DOCKER_CONFIG": str(tmp_path), "PATH": str(tmp_path / "bin")})


def test_a_helper_for_one_registry_wins_over_the_store_and_that_over_entries(tmp_path: Path) -> None:
    CredentialProgram(tmp_path / "bin", "one").keep(HOST, "one", "1")
    CredentialProgram(tmp_path / "bin", "all").keep(HOST, "all", "2")
    auths = {HOST: {"auth": "ZmlsZToz"}}

    def user(config: object) -> str | None:
        found = _credentials(tmp_path, config).find(HOST)
        return None if found is None else found.user

    assert user({"credHelpers": {HOST: "one"}, "credsStore": "all", "auths": auths}) == "one"
    assert user({"credHelpers": {"other.test": "one"}, "credsStore": "all", "auths": auths}) == "all"
    assert user({"credHelpers": {"other.test": "one"}, "auths": auths}) == "file"


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io"])
def test_docker_hub_is_asked_for_by_its_old_url(tmp_path: Path, key: str) -> None:
    helper = CredentialProgram(tmp_path / "bin")
    helper.keep("https://index.docker.io/v1/", "alice", SECRET)
    assert _credentials(tmp_path, {"credHelpers": {key: "test"}}).find("docker.io") is not None


def test_a_helper_that_has_nothing_is_anonymous_and_plain_entries_do_not_count(tmp_path: Path) -> None:
    CredentialProgram(tmp_path / "bin")
    config = {"credsStore": "test", "auths": {HOST: {"auth": "ZmlsZTpz"}}}
    assert _credentials(tmp_path, config).find(HOST) is None


def test_a_broken_helper_is_never_passed_over_for_a_later_place(tmp_path: Path) -> None:
    later = tmp_path / "containers"
    later.mkdir()
    (later / "auth.json").write_text(json.dumps({"auths": {HOST: {"auth": "ZmlsZTpz"}}}))
    (tmp_path / "config.json").write_text('{"credsStore": "gone"}')
    credentials = Credentials({"DOCKER_CONFIG": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)})
    for _ in range(2):
        with pytest.raises(AuthenticationFailed) as e:
            credentials.find(HOST)
        assert str(e.value) == (
            f"cannot use credential helper 'gone' of '{tmp_path / 'config.json'}' for 'registry.test': "
            "there is no program docker-credential-gone in PATH"
        )


def test_a_helper_is_asked_once_for_many_repositories_and_again_after_five_minutes(tmp_path: Path) -> None:
    helper = CredentialProgram(tmp_path / "bin")
    helper.keep(HOST, "alice", SECRET)
    (tmp_path / "config.json").write_text('{"credsStore": "test"}')
    now = [0.0]
    environ = {"DOCKER_CONFIG": str(tmp_path), "PATH": str(tmp_path / "bin")}
    credentials = Credentials(environ, clock=lambda: now[0])
    for path in ("a", "b", "a"):
        credentials.find(HOST, path)
    assert len(helper.calls) == 1
    now[0] = 300.0
    credentials.find(HOST, "a")
    assert len(helper.calls) == 2
