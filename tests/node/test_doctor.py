"""``imgsign doctor --containerd``: each way in which containerd does not ask, and none of them silent."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imgsign.cli import main
from imgsign.doctor import Finding, State
from imgsign.node.doctor import examine
from imgsign.node.launcher import Launcher, install
from imgsign.node.settings import CRI, IMAGES

BINDIR = "io.containerd.image-verifier.v1.bindir"
POLICY = """
version = 1
default = "reject"
[scopes."registry.k8s.io/pause"]
require = [{ unsafe-accept-unsigned = true }]
"""


class Node:
    """A node's files; healthy until a test spoils one thing."""

    def __init__(self, base: Path) -> None:
        self.bin_dir = base / "verifier" / "bin"
        self.config = base / "config.toml"
        self.own = base / "containerd.toml"
        self.own.write_text('policy = "policy.toml"\n')
        self.policy = base / "policy.toml"
        self.policy.write_text(POLICY)
        self.entry = install(self.bin_dir, Launcher(python=sys.executable, config=str(self.own)))
        self.version: str | None = "containerd github.com/containerd/containerd/v2 v2.1.4 75cb2b7193e4e490e9fbdc2"
        self.starts = True
        self.configure("")

    def configure(self, text: str, verifier: str = "") -> None:
        section = f'[plugins."{BINDIR}"]\nbin_dir = "{self.bin_dir}"\n{verifier}\n'
        self.config.write_text(f"version = 3\n{text}\n{section}")

    def run(self, command: list[str]) -> str | None:
        if command == ["containerd", "--version"]:
            return self.version
        assert command == [str(self.entry), "--check"]
        return "ok" if self.starts else None

    def bad(self) -> list[tuple[str, str]]:
        return [(f.label, f.text) for f in self.examine() if f.state is State.BAD]

    def examine(self) -> tuple[Finding, ...]:
        return examine(self.config, run=self.run, environ={})


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_healthy_node_has_nothing_bad_and_says_what_was_looked_at(node: Node) -> None:
    assert [(f.label, f.state) for f in node.examine()] == [
        (label, State.OK)
        for label in ("containerd", "config", "options", "bin_dir", "entry", "imgsign", "deadline", "pause image")
    ]


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (None, "its version cannot be told: `containerd --version` gives none"),
        ("containerd github.com/containerd/containerd 1.7.27 abc", "1.7.27 has no image verifiers at all"),
        (
            "containerd github.com/containerd/containerd/v2 v2.0.5 abc",
            "2.0.5 asks verifiers, but not for Kubernetes' pulls",
        ),
    ],
)
def test_a_containerd_that_does_not_ask_is_bad(node: Node, said: str | None, text: str) -> None:
    node.version = said
    assert node.bad() == [("containerd", text)]


@pytest.mark.parametrize(
    ("section", "key", "line"),
    [
        (IMAGES, "use_local_image_pull", "use_local_image_pull = true"),
        (IMAGES, "disable_snapshot_annotations", "disable_snapshot_annotations = false"),
        (IMAGES, "discard_unpacked_layers", "discard_unpacked_layers = true"),
        (IMAGES, "max_concurrent_downloads", "max_concurrent_downloads = 4"),
        (IMAGES, "image_pull_with_sync_fs", "image_pull_with_sync_fs = true"),
        (IMAGES, "registry.mirrors", 'registry.mirrors."docker.io".endpoint = ["https://m.example"]'),
        (IMAGES, "registry.configs", 'registry.configs."h".tls.insecure_skip_verify = true'),
        (IMAGES, "registry.auths", 'registry.auths."https://h".username = "u"'),
        (CRI, "max_concurrent_downloads", "max_concurrent_downloads = 10"),
        (CRI, "registry.mirrors", 'registry.mirrors."docker.io".endpoint = ["https://m.example"]'),
        (CRI, "containerd.discard_unpacked_layers", "containerd.discard_unpacked_layers = true"),
        (CRI, "containerd.disable_snapshot_annotations", "containerd.disable_snapshot_annotations = false"),
    ],
)
def test_each_option_that_takes_pulls_past_verifiers_is_bad(node: Node, section: str, key: str, line: str) -> None:
    node.configure(f'[plugins."{section}"]\n{line}')
    assert node.bad() == [
        ("options", f"{key} in {node.config}: Kubernetes' pulls pass no verifier, silently"),
    ]


def test_what_containerd_prints_as_its_defaults_switches_nothing_off(node: Node) -> None:
    node.configure(
        f'[plugins."{IMAGES}"]\nuse_local_image_pull = false\ndisable_snapshot_annotations = true\n'
        "discard_unpacked_layers = false\nmax_concurrent_downloads = 3\nimage_pull_with_sync_fs = false\n"
        f'[plugins."{IMAGES}".registry]\nconfig_path = ""\n[plugins."{IMAGES}".registry.mirrors]\n'
    )
    assert node.bad() == []


def test_a_switch_in_an_imported_file_is_bad_though_another_file_says_otherwise(node: Node) -> None:
    drop = node.config.parent / "conf.d" / "site.toml"
    drop.parent.mkdir()
    drop.write_text(f'version = 3\n[plugins."{IMAGES}"]\nuse_local_image_pull = true\n')
    node.configure(f'imports = ["conf.d/*.toml"]\n[plugins."{IMAGES}"]\nuse_local_image_pull = false\n')
    assert node.bad() == [("options", f"use_local_image_pull in {drop}: Kubernetes' pulls pass no verifier, silently")]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (BINDIR, "no verifier is run at all"),
        ("io.containerd.transfer.v1.local", "pulls do not pass verifiers"),
        (IMAGES, "this containerd pulls nothing for Kubernetes"),
        (CRI, "this containerd pulls nothing for Kubernetes"),
    ],
)
def test_a_disabled_plugin_is_bad(node: Node, name: str, reason: str) -> None:
    node.configure(f'disabled_plugins = ["{name}"]')
    assert node.bad() == [("options", f"disabled_plugins of {node.config} holds {name}: {reason}")]


def test_an_absent_or_empty_directory_allows_every_image(node: Node) -> None:
    node.entry.unlink()
    assert node.bad() == [("bin_dir", f"{node.bin_dir} is empty: every image is allowed")]
    node.bin_dir.rmdir()
    assert node.bad() == [("bin_dir", f"{node.bin_dir} is absent: every image is allowed")]


def _file(path: Path) -> None:
    path.write_text("")


@pytest.mark.parametrize(
    ("name", "make", "problem"),
    [
        ("README", _file, "not executable"),
        ("old", Path.mkdir, "a directory"),
        ("..data", lambda p: p.symlink_to("gone"), "no such file or directory"),
        ("pipe", os.mkfifo, "not a regular file"),
    ],
)
def test_an_entry_that_is_no_program_fails_every_pull(
    node: Node, name: str, make: Callable[[Path], None], problem: str
) -> None:
    make(node.bin_dir / name)
    assert node.bad() == [("entry", f"'{name}' is {problem}: every pull on this node fails")]


@pytest.mark.parametrize("limit", [0, 1])
def test_a_skipped_launcher_is_bad(node: Node, limit: int) -> None:
    node.configure("", f"max_verifiers = {limit}")
    other = node.bin_dir / "a-first"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    assert node.bad() == [
        ("entry", f"'imgsign' is skipped: max_verifiers is {limit}"),
        ("imgsign", f"no entry of {node.bin_dir} that containerd runs is imgsign's"),
    ]


def test_a_negative_limit_is_none(node: Node) -> None:
    node.configure("", "max_verifiers = -1")
    assert node.bad() == []


def test_a_deadline_of_containerd_that_ends_first_is_bad(node: Node) -> None:
    node.configure("", 'per_verifier_timeout = "5s"')
    assert node.bad() == [("deadline", "imgsign's 8 s, containerd's 5 s: containerd kills it before it can say why")]


def test_a_launcher_that_does_not_start_is_bad(node: Node) -> None:
    node.starts = False
    assert node.bad() == [("imgsign", f"imgsign does not start: {sys.executable} is gone or has no imgsign")]


def test_a_policy_that_cannot_be_read_is_bad(node: Node) -> None:
    node.policy.unlink()
    assert node.bad() == [
        ("imgsign", f"every pull on this node fails: cannot read '{node.policy}': no such file or directory")
    ]


def test_a_policy_that_rejects_the_pause_image_is_bad(node: Node) -> None:
    node.policy.write_text('version = 1\ndefault = "reject"\n')
    assert node.bad() == [
        ("pause image", "registry.k8s.io/pause is rejected by scope (default): no pod starts on a new node")
    ]


def test_the_pause_image_is_the_configured_one(node: Node) -> None:
    node.configure(f'[plugins."{IMAGES}".pinned_images]\nsandbox = "registry.lan/pause:3.9"')
    assert node.bad() == [
        ("pause image", "registry.lan/pause is rejected by scope (default): no pod starts on a new node")
    ]


@pytest.mark.parametrize("what", ["bin_dir", "entry", "own", "policy"])
def test_what_others_may_write_is_bad(node: Node, what: str) -> None:
    path: Path = getattr(node, what)
    path.chmod(path.stat().st_mode | 0o020)
    found = node.bad()
    assert len(found) >= 1
    assert "may be written by others than root" in found[0][1]


def test_a_configuration_that_is_not_toml_is_bad_and_named(node: Node) -> None:
    node.config.write_text("version = ")
    ((label, text),) = node.bad()
    assert label == "config"
    assert text.startswith(f"'{node.config}': not TOML: ")


def test_what_cannot_be_looked_at_is_bad_and_no_crash(node: Node) -> None:
    node.config = Path("/" + "x" * 5000)
    ((label, text),) = node.bad()
    assert label == "config"
    assert text.endswith(": file name too long")


def test_the_command_prints_a_line_a_finding_and_exits_3(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    node.configure("", 'per_verifier_timeout = "5s"')
    assert main(["doctor", "--containerd", "--containerd-config", str(node.config)]) == 3
    shown = capsys.readouterr().out.splitlines()
    assert "! deadline     imgsign's 8 s, containerd's 5 s: containerd kills it before it can say why" in shown
    assert '               hint: raise per_verifier_timeout to 10s, or set timeout = "4s"' in shown


def test_the_command_speaks_json(
    node: Node, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # no containerd of this machine's
    assert main(["doctor", "--containerd", "-o", "json", "--containerd-config", str(node.config)]) == 3
    body = json.loads(capsys.readouterr().out)
    assert (body["format"], body["reference"], body["healthy"]) == (1, None, False)
    assert {"label": "config", "state": "ok", "text": f"'{node.config}'", "hint": None} in body["findings"]


def test_an_image_and_the_node_are_two_questions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--containerd", "app:1"]) == 2
    assert capsys.readouterr().err == "error: REF and --containerd exclude each other\n"
    assert main(["doctor"]) == 2
    assert "no image was given" in capsys.readouterr().err
