"""Every console block of the README is run, in order, and its output compared.

``registry.example.com`` stands for the registry of the test run. Digests, fingerprints and times are
compared as such, not by value.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.e2e import images, parts

EXAMPLE = "registry.example.com"
BLOCK = re.compile(r"<!-- run -->\n```console\n(.*?)```", re.DOTALL)
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


def normal(text: str) -> str:
    """Replace what differs from run to run by its kind."""
    text = re.sub(r"SHA256:[A-Za-z0-9+/…]+", "SHA256:KEY", text)
    text = re.sub(r"sha256([:-])(?:[0-9a-f]{64}|[0-9a-f]{4}…[0-9a-f]{4})", r"sha256\1HEX", text)
    text = re.sub(r"\(\d+ bytes,", "(N bytes,", text)
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)


def steps(block: str) -> list[tuple[str, str]]:
    """Split a block into commands and what each prints."""
    found = []
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        found.append((command, output))
    return found


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text()


def test_readme_is_short_enough(readme: str) -> None:
    assert len(readme.splitlines()) <= 250


def test_every_console_block_does_what_it_shows(readme: str, registry: parts.Registry, tmp_path: Path) -> None:
    images.push_small(tmp_path, f"{registry.host}/shop/app:1.4", "app")
    parts.run(
        "skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false",
        f"docker://{registry.host}/shop/app:1.4", f"docker://{registry.host}/shop/app:latest",
    )  # fmt: skip
    images.push_small(tmp_path, f"{registry.host}/shop/web:2", "web")
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "imgsign"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m imgsign "$@"\n')
    script.chmod(0o755)
    env = {"IMGSIGN_PASSWORD": "secret", "PATH": f"{script.parent}:{os.environ['PATH']}"}
    work = tmp_path / "work"
    work.mkdir()
    ran = 0
    blocks = [*BLOCK.findall(readme), *BLOCK.findall((ROOT / "docs" / "signing.md").read_text())]
    for block in blocks:
        for command, expected in steps(block):
            if (shown_file := re.fullmatch(r"cat ([a-z]+\.[a-z]+)", command)) is not None:
                (work / shown_file[1]).write_text(expected.replace(EXAMPLE, registry.host))
            done = parts.run("sh", "-c", command.replace(EXAMPLE, registry.host), check=False, env=env, cwd=work)
            shown = done.stdout.replace(registry.host, EXAMPLE)
            assert sorted(normal(shown).splitlines()) == sorted(normal(expected).splitlines()), command + done.stderr
            ran += 1
    assert ran >= 10
    (program,) = PYTHON.findall(readme)
    (work / "program.py").write_text(program.replace(EXAMPLE, registry.host))
    done = parts.run(sys.executable, "program.py", env=env, cwd=work)
    assert done.stdout.startswith("Verdict.ALLOW")
    assert f"{registry.host}/shop/app:1.4@sha256:" in done.stdout
    assert (work / "app" / "index.json").is_file()
