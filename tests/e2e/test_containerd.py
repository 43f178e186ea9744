"""``imgsign-containerd`` by containerd's protocol, installed as an operator does, against a real registry."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from imgsign.node.launcher import read_launcher
from tests.e2e import bindir, images, parts

PASSWORD = {"IMGSIGN_PASSWORD": "test"}
START = "from imgsign.containerd import run; run()"


@dataclass(frozen=True, slots=True)
class Node:
    """A machine with the plug-in: ``bin_dir``, and a signed and an unsigned image at a registry."""

    bin_dir: Path
    registry: parts.Registry
    signed: dict[str, object]
    unsigned: dict[str, object]

    def pull(self, path: str, tag: str | None = "1", **changed: object) -> bindir.Judgement:
        """Ask as containerd does once it resolved a name; without a tag as for a name with a digest."""
        described = (self.signed if path == "node/signed" else self.unsigned) | changed
        suffix = f"@{described['digest']}" if tag is None else f":{tag}"
        return bindir.verify_image(self.bin_dir, f"{self.registry.host}/{path}{suffix}", described)


def describe(registry: parts.Registry, path: str, tag: str) -> dict[str, object]:
    """What a resolver finds: media type, digest and size."""
    status, raw = registry.get(f"/v2/{path}/manifests/{tag}", "application/vnd.oci.image.manifest.v1+json")
    assert status == 200
    return bindir.describe(raw)


def install(base: Path, scopes: str, key: Path, *, config: str = "") -> Path:
    """Write configuration and policy, and install the launcher with the documented command."""
    base.mkdir(parents=True, exist_ok=True)
    policy = f'version = 1\ndefault = "reject"\n[anchors.release]\nkeys = ["{key.with_suffix(".pub")}"]\n{scopes}'
    (base / "policy.toml").write_text(policy)
    (base / "containerd.toml").write_text(f'policy = "policy.toml"\n{config}')
    done = parts.run(
        sys.executable, "-c", START, "--install", base / "verifier/bin", "--config", base / "containerd.toml"
    )
    assert f"installed {base}/verifier/bin/imgsign" in done.stdout
    return base / "verifier/bin"


def scope(host: str) -> str:
    return f'[scopes."{host}"]\nrequire = [{{ signed-by = "release" }}]\n'


@pytest.fixture(scope="module")
def node(registry: parts.Registry, release_key: Path, tmp_path_factory: pytest.TempPathFactory) -> Node:
    """A node whose policy wants signatures of one registry."""
    images.push(registry, "node/signed", "1")
    images.push(registry, "node/unsigned", "1")
    parts.imgsign("sign", f"{registry.host}/node/signed:1", "-k", release_key, env=PASSWORD)
    bin_dir = install(tmp_path_factory.mktemp("node"), scope(registry.host), release_key)
    signed, unsigned = describe(registry, "node/signed", "1"), describe(registry, "node/unsigned", "1")
    return Node(bin_dir, registry, signed, unsigned)


@contextmanager
def silent_server() -> Iterator[str]:
    """Accept every connection and never say a word; yields host:port."""
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
    for connection in kept:
        connection.close()


def test_a_signed_image_is_pulled(node: Node) -> None:
    found = node.pull("node/signed")
    assert found.ok, found.reason
    assert found.reason.startswith(
        f"imgsign => allowed {node.registry.host}/node/signed:1@{node.signed['digest']}  scope {node.registry.host}  "
        "signed by release (key SHA256:"
    )


def test_a_signed_image_is_pulled_by_its_digest_without_a_tag(node: Node) -> None:
    assert node.pull("node/signed", tag=None).ok


def test_an_unsigned_image_is_not_pulled_and_the_first_line_says_why(node: Node) -> None:
    found = node.pull("node/unsigned")
    assert (found.ok, found.code) == (False, 1)
    assert found.reason.splitlines() == [
        f"denied {node.registry.host}/node/unsigned:1@{node.unsigned['digest']}  scope {node.registry.host}: "
        "signed-by release: 0 of 1 needed, no signatures found",
        f'hint: sign it with a key of anchor "release": imgsign sign {node.registry.host}/node/unsigned:1'
        f"@{node.unsigned['digest']} -k KEY",
    ]


def test_a_signed_image_under_a_tag_nobody_signed_is_not_pulled(node: Node) -> None:
    found = node.pull("node/signed", tag="2")
    assert (found.ok, found.code) == (False, 1)
    assert "name" in found.reason


def test_the_digest_judged_is_the_one_given_though_the_tag_names_a_signed_image(node: Node) -> None:
    images_digest = "sha256:" + "0" * 64
    found = node.pull("node/signed", digest=images_digest)
    assert (found.ok, found.code) == (False, 3)
    assert found.reason.startswith(f"undecided: {node.registry.host} has no manifest {images_digest} of node/signed")


def test_a_descriptor_that_calls_the_bytes_something_else_is_not_pulled(node: Node) -> None:
    found = node.pull("node/signed", mediaType="application/vnd.oci.image.index.v1+json")
    assert (found.ok, found.code) == (False, 3)
    told = f"containerd was told 'application/vnd.oci.image.index.v1+json' of {node.signed['size']} bytes"
    assert found.reason.endswith(told)


def test_an_image_of_no_scope_is_not_pulled(node: Node, tmp_path: Path) -> None:
    found = bindir.verify_image(node.bin_dir, "registry.k8s.io/pause:3.10", node.unsigned)
    assert (found.ok, found.code) == (False, 1)


def test_the_pause_image_is_let_through_by_a_scope_though_its_registry_is_dead(
    node: Node, release_key: Path, tmp_path: Path
) -> None:
    host = f"127.0.0.1:{parts.free_port()}"
    free = f'[scopes."{host}/pause"]\nrequire = [{{ unsafe-accept-unsigned = true }}]\n'
    found = bindir.verify_image(install(tmp_path, free, release_key), f"{host}/pause:3.10", node.unsigned)
    assert found.ok, found.reason
    assert found.reason.endswith("accepted unsigned")


def test_a_dead_registry_is_undecided_and_nothing_is_pulled(node: Node, release_key: Path, tmp_path: Path) -> None:
    host = f"127.0.0.1:{parts.free_port()}"
    found = bindir.verify_image(install(tmp_path, scope(host), release_key), f"{host}/app:1", node.unsigned)
    assert (found.ok, found.code) == (False, 3)
    assert found.reason.startswith(f"undecided: cannot reach {host}: connection refused")


def test_a_silent_registry_is_cut_by_the_own_deadline_with_a_reason(
    node: Node, release_key: Path, tmp_path: Path
) -> None:
    with silent_server() as host:
        bin_dir = install(tmp_path, scope(host), release_key, config='timeout = "2s"\n')
        found = bindir.verify_image(bin_dir, f"{host}/app:1", node.unsigned)
    assert (found.ok, found.code) == (False, 3)
    assert found.reason.startswith("undecided")
    assert found.seconds < 4.0


def test_a_killed_plug_in_is_no_verdict_and_leaves_nothing(node: Node, release_key: Path, tmp_path: Path) -> None:
    with silent_server() as host:
        bin_dir = install(tmp_path, scope(host), release_key)
        before = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*"))
        found = bindir.verify_image(bin_dir, f"{host}/app:1", node.unsigned, timeout=1.0)
    assert (found.ok, found.code, found.reason) == (False, None, "signal: killed")
    assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*")) == before


def test_a_file_that_is_no_program_stops_every_pull(node: Node, release_key: Path, tmp_path: Path) -> None:
    # The driver's own check: this is what the launcher's directory check and the doctor are for.
    bin_dir = install(tmp_path, scope(node.registry.host), release_key)
    (bin_dir / "containerd.toml").write_text("")
    found = bindir.verify_image(bin_dir, f"{node.registry.host}/node/signed:1", node.signed)
    assert (found.ok, found.code) == (False, None)


def test_the_launcher_needs_no_environment(node: Node) -> None:
    launcher = read_launcher(node.bin_dir / "imgsign")
    assert launcher is not None
    name = f"{node.registry.host}/node/signed:1"
    done = parts.run(
        "env", "-i", node.bin_dir / "imgsign", "-name", name, "-digest", str(node.signed["digest"]),
        "-stdin-media-type", "application/vnd.oci.descriptor.v1+json",
        input=json.dumps(node.signed), cwd=Path("/"),
    )  # fmt: skip
    assert done.stdout.startswith("allowed ")
