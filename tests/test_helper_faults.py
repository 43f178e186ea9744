"""sign, verify and pull with a credential helper that fails in each of its ways, against a hand-written table.

A configured helper that fails stops everything: nothing goes out anonymously or as somebody else
(CVE-2021-41092), and what is wrong with the helper is never told as "unsigned". The one answer that is no
failure, "credentials not found", makes the command anonymous, which this registry refuses by its own words.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imgsign.transport import Transport
from imgsign.transport.config import program as program_module
from tests.credential_program import CredentialProgram
from tests.fault_matrix import Cell
from tests.test_fault_matrix import AUTH, MARK, REGISTRY, World, check_files

SECRET = f"{MARK}Helper77"
ANONYMOUS = f"UNAUTHORIZED: incorrect username or password), asked without credentials (none for '{REGISTRY}' in "

# what it does, what is said of it
FAULTS = {
    "exit": ("echo locked; exit 1", "'get' fails: locked"),
    "exit and a secret": (f'echo \'{{"Secret":"{SECRET}"}}\'; exit 1', "'get' fails: exit status 1"),
    "killed": ("kill -9 $$", "'get' fails: exit status -9"),
    "hang": ("exec /bin/sleep 60", "it has not answered within 0 s"),
    "garbage": (f"echo {SECRET}", "its answer to 'get' is not the JSON of the protocol"),
    "truncated": (f'printf \'{{"Username":"a","Secret":"{SECRET}\'', "its answer to 'get' is not the JSON of the"),
    "silence": ("exit 0", "its answer to 'get' is not the JSON of the protocol"),
    "no user": (f'echo \'{{"Secret":"{SECRET}"}}\'', "its answer to 'get' has no Username"),
    "no secret": ('echo \'{"Username":"alice"}\'', "its answer to 'get' has no Secret"),
    "endless": ("exec /usr/bin/yes", "it prints more than the limit of 65536 bytes"),
    "absent": (None, "there is no program docker-credential-faulty in PATH"),
}


def _cell(command: str, has: str) -> Cell:
    return Cell(command=command, what="", pattern="", has=has, fault="", outcome="e", least=0, most=0, phrase="")


class HelpedWorld(World):
    """A registry whose credentials are in a helper's keeping."""

    def transport(self) -> Transport:
        config = self.base / "docker" / "config.json"
        config.parent.mkdir(exist_ok=True)
        config.write_text(json.dumps({"credHelpers": {REGISTRY: "faulty"}}))
        environ = {"DOCKER_CONFIG": str(config.parent), "PATH": str(self.base / "bin")}
        return self.sim.transport(environ=environ)


def _run(command: str, base: Path, script: str | None) -> tuple[HelpedWorld, str]:
    has = "a" if command == "sign" else "ab"
    world = HelpedWorld.build(has, base)
    assert isinstance(world, HelpedWorld)
    helper = CredentialProgram(base / "bin")
    if script is not None:
        helper.write(f"#!/bin/sh\n{script}\n", "faulty")
    return world, world.run(_cell(command, has))


@pytest.mark.parametrize("command", ["verify", "pull", "sign"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_helper_that_fails_stops_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, fault: str
) -> None:
    monkeypatch.setattr(program_module, "TIMEOUT", 0.3 if fault == "hang" else 30.0)
    script, said = FAULTS[fault]
    world, letter = _run(command, tmp_path, script)
    text = "\n".join(world.texts)
    assert (letter, world.code) == ("e", 3)
    assert f"cannot use credential helper 'faulty' of '{tmp_path}/docker/config.json' for '{REGISTRY}': {said}" in text
    assert MARK not in text
    # The bare request that was challenged, and nothing after it: neither anonymously nor as somebody else.
    assert [(s.host, s.authorization) for s in world.sim.requests_seen] == [(REGISTRY, None)]
    check_files(world, pulled=False)


@pytest.mark.parametrize("command", ["verify", "pull", "sign"])
def test_a_helper_without_the_credential_is_anonymous_and_the_refusal_says_so(tmp_path: Path, command: str) -> None:
    world, letter = _run(command, tmp_path, "echo credentials not found in native keychain; exit 1")
    assert (letter, world.code) == ("e", 3)
    assert ANONYMOUS in "\n".join(world.texts)
    assert {s.authorization for s in world.sim.requests_seen if s.host == AUTH} == {None}
    check_files(world, pulled=False)
