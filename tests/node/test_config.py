"""The plug-in's configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgsign.errors import DestinationError
from imgsign.node.config import CONFIG_LIMIT, InvalidConfig, NodeConfig, load_config


def written(base: Path, text: str) -> Path:
    path = base / "containerd.toml"
    path.write_text(text, "utf-8")
    return path


def test_one_line_is_enough_and_starts_from_the_files_directory(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, 'policy = "policy.toml"')) == NodeConfig(policy=tmp_path / "policy.toml")


def test_every_key_is_read(tmp_path: Path) -> None:
    text = """
policy = "/srv/policy.toml"
timeout = "5s"
ca = ["ca.pem", "/srv/other.pem"]
docker-config = "docker"
insecure-http = ["registry.lan:5000"]
trusted-realm = ["auth.example.com"]
mirror = ["docker.io=mirror.lan/hub"]
"""
    assert load_config(written(tmp_path, text)) == NodeConfig(
        policy=Path("/srv/policy.toml"),
        timeout=5.0,
        ca=(f"{tmp_path}/ca.pem", "/srv/other.pem"),
        docker_config=f"{tmp_path}/docker",
        insecure_http=frozenset({"registry.lan:5000"}),
        trusted_realms=frozenset({"auth.example.com"}),
        mirrors=("docker.io=mirror.lan/hub",),
    )


def test_a_timeout_that_containerd_would_cut_short_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, 'policy = "p"\ntimeout = "10s"')
    with pytest.raises(InvalidConfig) as caught:
        load_config(path)
    assert caught.value.message == f"configuration '{path}': 10s is longer than 9s at timeout"
    assert caught.value.hint == "containerd kills a verifier after 10 s, and a killed one cannot say why"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "missing key 'policy'"),
        ('policy = ""', "expected a path, got an empty string at policy"),
        ('policy = "p"\npolcy = "q"', "unknown key 'polcy'"),
        ('policy = "p"\nallow = ["registry.k8s.io/pause"]', "unknown key 'allow'"),
        ('policy = ["p"]', "expected string, got list at policy"),
        ('policy = "p"\ntimeout = 8', "expected string, got integer at timeout"),
        ('policy = "p"\ntimeout = "0s"', "not a duration like '90d': '0s' at timeout"),
        ('policy = "p"\ninsecure-http = "host"', "expected list, got string at insecure-http"),
        ('policy = "p"\nmirror = ["http://mirror"]', "at mirror[0]"),
        ('policy = "p"\npolicy = "q"', "not TOML: "),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        load_config(written(tmp_path, text))
    assert message in caught.value.message


def test_a_long_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    with pytest.raises(DestinationError, match=f"is longer than {CONFIG_LIMIT} bytes"):
        load_config(written(tmp_path, "#" * (CONFIG_LIMIT + 1)))


def test_an_absent_file_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(DestinationError) as caught:
        load_config(tmp_path / "containerd.toml")
    assert caught.value.hint == f'write it; one line will do: policy = "{tmp_path}/policy.toml"'
