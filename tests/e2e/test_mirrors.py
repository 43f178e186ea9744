"""Real mirrors: a pull-through docker-registry, and one that is down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import images, parts


@pytest.fixture(scope="module")
def mirror(registry: parts.Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[parts.Registry]:
    """A pull-through cache of the registry."""
    with parts.registry(tmp_path_factory.mktemp("mirror"), upstream=registry.url) as found:
        yield found


def _config(base: Path, registry: str, mirror: str, more: str = "") -> dict[str, str]:
    path = base / "registries.conf"
    path.write_text(
        f'[[registry]]\nlocation = "{registry}"\n[[registry.mirror]]\nlocation = "{mirror}"\n{more}\n', "utf-8"
    )
    return {"CONTAINERS_REGISTRIES_CONF": str(path)}


def _prepare(registry: parts.Registry, path: str, key: Path) -> str:
    images.push(registry, path, "1")
    name = f"{registry.host}/{path}:1"
    parts.imgsign("sign", name, "-k", key, env={"IMGSIGN_PASSWORD": "test"})
    return name


def test_a_pull_through_mirror_serves_the_image_under_its_logical_name(
    registry: parts.Registry, mirror: parts.Registry, release_key: Path, tmp_path: Path
) -> None:
    name, key = _prepare(registry, "cached", release_key), release_key.with_suffix(".pub")
    environ = _config(tmp_path, registry.host, mirror.host)
    done = parts.imgsign("pull", name, f"oci:{tmp_path}/layout", "-k", key, env=environ)
    assert done.stdout.startswith(f"{registry.host}/cached@sha256:")
    kept = list((mirror.storage / "docker/registry/v2/repositories/cached/_manifests").iterdir())
    assert kept  # what the mirror keeps has gone through it
    assert "passed over" not in done.stderr


def test_the_option_asks_the_mirror_for_content_and_the_registry_for_tags(
    registry: parts.Registry, mirror: parts.Registry, release_key: Path, tmp_path: Path
) -> None:
    name, key = _prepare(registry, "optional", release_key), release_key.with_suffix(".pub")
    done = parts.imgsign(
        "pull", name, f"oci:{tmp_path}/layout", "-k", key, "--mirror", f"{registry.host}={mirror.host}"
    )
    assert done.stdout.startswith(f"{registry.host}/optional@sha256:")
    tags = mirror.storage / "docker/registry/v2/repositories/optional/_manifests/tags"
    assert not (tags / "1").exists()
    assert (mirror.storage / "docker/registry/v2/repositories/optional/_layers").is_dir()


def test_a_mirror_that_is_down_is_passed_over_and_reported(
    registry: parts.Registry, release_key: Path, tmp_path: Path
) -> None:
    name, key = _prepare(registry, "down", release_key), release_key.with_suffix(".pub")
    gone = f"127.0.0.1:{parts.free_port()}"
    done = parts.imgsign("verify", name, "-k", key, env=_config(tmp_path, registry.host, gone))
    assert done.stdout.startswith(f"allowed {name}@sha256:")
    assert f"note: mirror {gone}/down was passed over: cannot reach {gone}: connection refused" in done.stderr


def test_a_mirror_without_signatures_is_passed_over_and_reported(
    registry: parts.Registry, release_key: Path, tmp_path: Path
) -> None:
    name, key = _prepare(registry, "unsigned", release_key), release_key.with_suffix(".pub")
    with parts.registry(tmp_path / "copy") as copy:
        images.push(copy, "unsigned", "1")
        done = parts.imgsign("verify", name, "-k", key, env=_config(tmp_path, registry.host, copy.host))
    assert done.stdout.startswith(f"allowed {name}@sha256:")
    assert (
        f"note: mirror {copy.host}/unsigned was passed over: it lacks signatures that the registry has" in done.stderr
    )


def test_a_blocked_registry_is_refused(registry: parts.Registry, release_key: Path, tmp_path: Path) -> None:
    environ = _config(tmp_path, registry.host, "mirror.test")
    path = Path(environ["CONTAINERS_REGISTRIES_CONF"])
    path.write_text(f'[[registry]]\nlocation = "{registry.host}"\nblocked = true\n', "utf-8")
    key = release_key.with_suffix(".pub")
    done = parts.imgsign("verify", f"{registry.host}/app:1", "-k", key, check=False, env=environ)
    assert done.returncode == 3
    assert f"{registry.host}/app is blocked by '{path}' (prefix '{registry.host}')" in done.stderr
