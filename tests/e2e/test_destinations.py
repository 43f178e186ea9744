"""``imgsign pull`` into what docker has: an archive it loads, and the engine itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import images, parts

PASSWORD = {"IMGSIGN_PASSWORD": "test"}


@pytest.fixture(scope="module")
def built(registry: parts.Registry, docker_host: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A multi-stage image that docker built and pushed and then forgot."""
    name = f"{registry.host}/dest/app:1.0"
    digest = images.build_and_push(tmp_path_factory.mktemp("build"), docker_host, name, "for a destination")
    forget(docker_host, name)
    return name, digest


def docker(docker_host: str, *arguments: str | Path, check: bool = True) -> str:
    return parts.run("docker", *arguments, check=check, env={"DOCKER_HOST": docker_host}).stdout


def forget(docker_host: str, name: str) -> None:
    docker(docker_host, "image", "prune", "--all", "--force")
    assert name not in docker(docker_host, "images", "--format", "{{.Repository}}:{{.Tag}}")


def test_unsigned_image_reaches_neither_archive_nor_engine(
    built: tuple[str, str], docker_host: str, release_key: Path, tmp_path: Path
) -> None:
    name, _ = built
    public = release_key.with_suffix(".pub")
    before = docker(docker_host, "images", "--all", "--quiet")
    for destination in (f"docker-archive:{tmp_path}/refused.tar", "docker:"):
        done = parts.imgsign("pull", name, destination, "-k", public, check=False, env={"DOCKER_HOST": docker_host})
        assert done.returncode == 1
        assert "no signatures found" in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert docker(docker_host, "images", "--all", "--quiet") == before


def test_archive_is_loaded_and_runs_what_was_built(
    built: tuple[str, str], docker_host: str, release_key: Path, tmp_path: Path
) -> None:
    name, digest = built
    parts.imgsign("sign", name, "-k", release_key, env=PASSWORD)
    public = release_key.with_suffix(".pub")
    pulled = parts.imgsign("pull", name, f"docker-archive:{tmp_path}/app.tar", "-k", public)
    assert pulled.stdout == f"{name.rpartition(':')[0]}@{digest}\n"
    forget(docker_host, name)
    docker(docker_host, "load", "--input", tmp_path / "app.tar")
    assert docker(docker_host, "run", "--rm", "--network", "none", name) == "built in a stage: for a destination\n"


def test_engine_pulls_the_judged_digest_and_runs_it(
    built: tuple[str, str], docker_host: str, release_key: Path
) -> None:
    name, digest = built
    parts.imgsign("sign", name, "-k", release_key, env=PASSWORD)
    forget(docker_host, name)
    env = {"DOCKER_HOST": docker_host}
    pulled = parts.imgsign("pull", name, "docker:", "-k", release_key.with_suffix(".pub"), env=env)
    pinned = f"{name.rpartition(':')[0]}@{digest}"
    assert pulled.stdout == f"{pinned}\n"
    assert "note:" not in pulled.stderr
    assert pinned in docker(docker_host, "image", "inspect", "--format", "{{.RepoDigests}}", name)
    for reference in (name, pinned):
        run = docker(docker_host, "run", "--rm", "--network", "none", reference)
        assert run == "built in a stage: for a destination\n"


def test_sign_of_a_local_name_says_what_the_engine_pushed(
    built: tuple[str, str], docker_host: str, release_key: Path
) -> None:
    name, digest = built
    docker(docker_host, "pull", name)
    docker(docker_host, "tag", name, "app:1.0")
    env = {"DOCKER_HOST": docker_host, "IMGSIGN_DEFAULT_REGISTRY": f"127.0.0.1:{parts.free_port()}", **PASSWORD}
    done = parts.imgsign("sign", "app:1.0", "-k", release_key, check=False, env=env)
    assert done.returncode == 3
    repository = name.rpartition(":")[0]
    assert f"hint: the local engine pushed or pulled it as: imgsign sign {repository}:1.0@{digest}" in done.stderr


def test_local_image_that_was_never_pushed_is_not_signed(
    built: tuple[str, str], docker_host: str, release_key: Path
) -> None:
    name, _ = built
    docker(docker_host, "pull", name)
    source = docker(docker_host, "create", name, "x").strip()
    docker(docker_host, "commit", source, "local:1")
    docker(docker_host, "rm", source)
    env = {"DOCKER_HOST": docker_host, "IMGSIGN_DEFAULT_REGISTRY": f"127.0.0.1:{parts.free_port()}", **PASSWORD}
    done = parts.imgsign("sign", "local:1", "-k", release_key, check=False, env=env)
    assert done.returncode == 3
    assert "local:1 is only in the local engine: docker tag and docker push it to a registry first" in done.stderr
