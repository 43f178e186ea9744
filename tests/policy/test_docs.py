"""Every example of docs/policy.md: policies are parsed, commands run in order, in a directory with a signed image."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from imgsign.cli import COMMANDS, main
from imgsign.cli.policy import app
from imgsign.demo import make_image
from imgsign.policy.model import NameRule
from imgsign.policy.parse import parse_policy
from imgsign.predicates import PREDICATES
from imgsign.wire import load_toml
from tests.conftest import ROOT

TEXT = (ROOT / "docs/policy.md").read_text("utf-8")
KEYS = ROOT / "keys-test"
REF = "registry.example/shop/app:1"


def normal(text: str) -> str:
    text = re.sub(r"sha256:[0-9a-f]{64}", "sha256:HEX", text)
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text).rstrip()


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL))
def test_every_policy_is_one(block: str) -> None:
    policy = parse_policy(load_toml(block.encode(), limit=100_000))
    assert policy.scopes


def test_every_command_prints_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMGSIGN_PASSWORD", "test")
    make_image(Path("image"), "1", "hello\n")
    for name in ("release-a.pub", "release-b.pub"):
        Path(name).write_bytes((KEYS / name).read_bytes())
    assert main(["sign", "oci:image:1", "--identity", REF, "-k", str(KEYS / "release-a.key")]) == 0
    assert main(["policy", "init", "registry.example/shop", "-k", "release-a.pub"]) == 0
    capsys.readouterr()
    ran = 0
    for block in re.findall(r"<!-- run -->\n```console\n(.*?)```", TEXT, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            program, *words = shlex.split(command)
            if program == "cat":
                Path(words[0]).write_text(expected)
                continue
            assert program == "imgsign"
            assert main(words) == 0, command
            assert normal(capsys.readouterr().out) == normal(expected), command
            ran += 1
    assert ran == 7


def test_everything_there_is_is_named() -> None:
    for word in (*(r.value for r in NameRule), *PREDICATES):
        assert f"`{word}`" in TEXT
    for command in app.registered_commands:
        assert f"imgsign policy {command.name}" in TEXT or command.name == "init"
    assert "imgsign evidence save" in TEXT
    assert "evidence" in COMMANDS
