"""Servers shared by the end-to-end tests of one run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import parts


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[parts.Registry]:
    """A docker-registry without referrers API, as Debian ships it."""
    with parts.registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture(scope="session")
def docker_host() -> Iterator[str]:
    """A docker engine; in a short directory, since a socket's path is limited to 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="imgsign-") as base, parts.dockerd(Path(base)) as host:
        yield host


@pytest.fixture(scope="session")
def release_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh P-256 key; beside it its .pub. Password: ``test``."""
    base = tmp_path_factory.mktemp("keys")
    parts.imgsign("key", "generate", base / "release", env={"IMGSIGN_PASSWORD": "test"})
    return base / "release.key"
