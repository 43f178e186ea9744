"""What /etc says about registries, honoured by real processes.

Where these files are cannot be changed by an option or a variable, since whoever edits a pipeline must not
choose them. So each command here runs in a mount namespace of its own, in which the test's files lie over
/etc; nothing outside of it sees them.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.e2e import images, parts
from tests.e2e.certificates import Authority

OVER_ETC = 'mount -t overlay overlay -o "lowerdir=$1:/etc" /etc && shift && exec "$@"'
HEADER_SECRET = "header-secret-77aa"


def with_etc(etc: Path, *command: str | Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command that sees the files of a directory in /etc."""
    return parts.run("unshare", "-m", "sh", "-c", OVER_ETC, "sh", etc, *command, check=False, env=env)


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """A directory to lie over /etc; skips where that takes rights we do not have."""
    parts.need("unshare")
    found = tmp_path / "etc"
    found.mkdir()
    (found / "of-the-test").write_text("seen")
    tried = with_etc(found, "cat", "/etc/of-the-test")
    if (tried.returncode, tried.stdout) != (0, "seen"):
        pytest.skip(f"no mount namespace with an overlay over /etc: {tried.stderr.strip() or 'not seen'}")
    assert not Path("/etc/of-the-test").exists()
    return found


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def imgsign(
    etc: Path, *arguments: str | Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    home = {"HOME": str(etc.parent), "XDG_CONFIG_HOME": "", **(env or {})}
    return with_etc(etc, sys.executable, "-m", "imgsign", *arguments, env=home)


def sign(name: str, key: Path, *options: str | Path) -> None:
    parts.imgsign("sign", name, "-k", key, *options, env={"IMGSIGN_PASSWORD": "test"})


@pytest.fixture
def plain_elsewhere(tmp_path: Path) -> Iterator[parts.Registry]:
    """A registry over plain http at this machine's own address, which is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; TEST-NET-1
        address = str(probe.getsockname()[0])
    with parts.registry(tmp_path / "plain", address=address) as found:
        yield found


def test_hosts_toml_of_containerd_names_the_mirror_and_its_header(
    etc: Path, registry: parts.Registry, release_key: Path, tmp_path: Path
) -> None:
    digest = images.push(registry, "toml", "1")
    name, key = f"{registry.host}/toml:1", release_key.with_suffix(".pub")
    sign(name, release_key)
    front = (
        f'listen 127.0.0.1:PORT; location / {{ if ($http_x_mirror_key != "{HEADER_SECRET}") {{ return 403; }}'
        f" proxy_pass {registry.url}; }}"
    )
    with parts.nginx(tmp_path / "nginx", front) as port:
        hosts = write(
            etc / "containerd/certs.d" / f"{registry.host.replace(':', '_')}_" / "hosts.toml",
            f'[host."http://127.0.0.1:{port}"]\ncapabilities = ["pull", "resolve"]\ndial_timeout = "2s"\n'
            f'[host."http://127.0.0.1:{port}".header]\nx-mirror-key = ["{HEADER_SECRET}"]\n',
        )
        done = imgsign(etc, "verify", name, "-k", key)
        asked = (tmp_path / "nginx/access.log").read_text()
        doctor = imgsign(etc, "doctor", name)
        hosts.write_text(hosts.read_text().replace(HEADER_SECRET, "another"))
        refused = imgsign(etc, "verify", name, "-k", key)
    assert done.stdout.startswith(f"allowed {name}@sha256:"), done.stderr
    assert "passed over" not in done.stderr
    assert f'"GET /v2/toml/manifests/1?ns={registry.host} HTTP/1.1" 200' in asked
    (listed,) = [line for line in doctor.stdout.splitlines() if line.startswith("  host files ")]
    assert f"'/etc/{hosts.relative_to(etc)}'" in listed
    (mirror,) = [line for line in doctor.stdout.splitlines() if line[2:].startswith("mirror 1 ")]
    where = f"127.0.0.1:{port}/toml (from /etc/{hosts.relative_to(etc)})"
    assert mirror == f"  mirror 1     {where} answers 200, resolves 1 to {digest}"
    assert refused.stdout.startswith(f"allowed {name}@sha256:")
    assert f"note: mirror 127.0.0.1:{port}/toml was passed over: 127.0.0.1:{port} answered 403" in refused.stderr
    for said in (done, doctor, refused):
        assert HEADER_SECRET not in said.stdout + said.stderr


def test_daemon_json_of_docker_names_the_mirrors_of_docker_hub(
    etc: Path, registry: parts.Registry, release_key: Path
) -> None:
    digest = images.push(registry, "library/mirrored", "1")
    key = release_key.with_suffix(".pub")
    sign(f"{registry.host}/library/mirrored:1", release_key)
    write(etc / "docker/daemon.json", json.dumps({"debug": True, "registry-mirrors": [registry.url]}))
    # Signed under the mirror's name, which a rule about names would refuse: the mirror is only a place.
    done = imgsign(etc, "verify", "mirrored:1", "-k", key, "--name", "unsafe-any")
    assert done.stdout.startswith(f"allowed docker.io/library/mirrored:1@{digest}"), done.stderr
    denied = imgsign(etc, "verify", "mirrored:1", "-k", key, "--timeout", "5s")
    assert "allowed" not in denied.stdout
    assert denied.returncode == 3  # Docker Hub, which might have another signature, cannot be asked here


def test_daemon_json_allows_plain_http_and_nothing_else_does(
    etc: Path, plain_elsewhere: parts.Registry, release_key: Path
) -> None:
    images.push(plain_elsewhere, "insecure", "1")
    name, key = f"{plain_elsewhere.host}/insecure:1", release_key.with_suffix(".pub")
    sign(name, release_key, "--insecure-http", plain_elsewhere.host)
    refused = imgsign(etc, "verify", name, "-k", key)
    assert refused.returncode == 3
    assert f"hint: if it is meant to speak plain http: --insecure-http {plain_elsewhere.host}" in refused.stderr
    write(etc / "docker/daemon.json", json.dumps({"insecure-registries": [plain_elsewhere.host]}))
    done = imgsign(etc, "verify", name, "-k", key)
    assert done.stdout.startswith(f"allowed {name}@sha256:"), done.stderr


def test_registries_conf_names_mirrors_and_blocks(
    etc: Path, registry: parts.Registry, release_key: Path, tmp_path: Path
) -> None:
    images.push(registry, "conf", "1")
    name, key = f"{registry.host}/conf:1", release_key.with_suffix(".pub")
    sign(name, release_key)
    location = f'[[registry]]\nlocation = "{registry.host}"\n'
    with parts.registry(tmp_path / "mirror", upstream=registry.url) as mirror:
        write(etc / "containers/registries.conf", f'{location}[[registry.mirror]]\nlocation = "{mirror.host}"\n')
        done = imgsign(etc, "pull", name, f"oci:{tmp_path}/layout", "-k", key)
        assert done.stdout.startswith(f"{registry.host}/conf@sha256:"), done.stderr
        assert (mirror.storage / "docker/registry/v2/repositories/conf/_manifests/tags/1").is_dir()
    write(etc / "containers/registries.conf.d/50-block.conf", f"{location}blocked = true\n")
    blocked = imgsign(etc, "verify", name, "-k", key)
    assert blocked.returncode == 3
    assert f"{registry.host}/conf is blocked by '/etc/containers/registries.conf.d/50-block.conf'" in blocked.stderr


@pytest.mark.parametrize("program", ["docker", "containers"])
def test_certs_d_of_the_machine_vouches_for_a_registry(
    etc: Path, release_key: Path, tmp_path: Path, program: str
) -> None:
    authority = Authority(tmp_path / "authority")
    pair = authority.issue("registry", "127.0.0.1")
    with parts.registry(tmp_path / "tls", tls=(*pair, authority.file)) as secure:
        images.push(secure, "vouched", "1")
        name, key = f"{secure.host}/vouched:1", release_key.with_suffix(".pub")
        sign(name, release_key, "--ca", authority.file)
        refused = imgsign(etc, "verify", name, "-k", key)
        write(etc / program / "certs.d" / secure.host / "ca.crt", authority.file.read_text())
        done = imgsign(etc, "verify", name, "-k", key)
    assert refused.returncode == 3
    assert "its certificate is not trusted" in refused.stderr
    assert done.stdout.startswith(f"allowed {name}@sha256:"), done.stderr
