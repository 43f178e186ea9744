"""``imgsign audit`` and ``imgsign clean`` as processes, against a real registry."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imgsign.reference import Reference
from imgsign.signing import SignOptions, sign
from imgsign.stores.locate import Registries
from tests.bench.filled import Spec, fill, specs
from tests.e2e import images, parts
from tests.signing_keys import signer

COUNT = 120


@dataclass(frozen=True, slots=True)
class World:
    """A registry with 120 signed images and one that is not, and the key of those that are."""

    registry: parts.Registry
    key: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    base = tmp_path_factory.mktemp("fleet")
    key = base / "bench.pub"
    key.write_bytes(signer("bench").public_key.to_pem())
    with parts.registry(base) as registry:
        unsigned = Spec(name=Reference.parse(f"{registry.host}/team0/bare:1"), key=None)
        fill(registry.storage, [*specs(registry.host, 6, COUNT // 6), unsigned])
        yield World(registry, key)


def rows(file: Path) -> list[dict[str, object]]:
    """All lines but the header, whose time differs."""
    return [json.loads(line) for line in file.read_text().splitlines()[1:]]


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("whole") / "whole.jsonl"
    done = parts.imgsign("audit", f"{world.registry.host}/", "-k", world.key, "--jsonl", file, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == f"{COUNT + 1} images: {COUNT} allowed, 1 denied"
    return file


def test_killed_and_resumed_it_ends_in_the_same_report(world: World, whole: Path, tmp_path: Path) -> None:
    part = tmp_path / "part.jsonl"
    line = [sys.executable, "-m", "imgsign", "audit", f"{world.registry.host}/", "-k", str(world.key)]
    process = subprocess.Popen([*line, "--resume", str(part)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while time.monotonic() < end and (not part.exists() or part.read_bytes().count(b"\n") < 20):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    killed = part.read_bytes().count(b"\n")
    assert 20 <= killed < COUNT
    done = parts.run(*line, "--resume", part, "--html", tmp_path / "report.html", check=False)
    assert done.returncode == 1
    assert rows(part) == rows(whole)
    assert "of 121 images are allowed; 1 are not." in (tmp_path / "report.html").read_text()


def test_four_shards_merged_are_the_single_run(world: World, whole: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"part-{i}.jsonl" for i in range(4)]
    for index, file in enumerate(files):
        line = ("audit", f"{world.registry.host}/", "-k", world.key, "--shard", f"{index}/4", "--jsonl", file)
        assert parts.imgsign(*line, check=False).returncode in (0, 1)
    merged = tmp_path / "merged.jsonl"
    assert parts.imgsign("audit", "merge", *files, "--jsonl", merged, check=False).returncode == 1
    assert rows(merged) == rows(whole)


def test_clean_removes_from_a_real_registry_and_says_where_it_cannot(
    registry: parts.Registry, world: World, tmp_path: Path
) -> None:
    with parts.registry(tmp_path, deletes=True) as deleting:
        for there in (deleting, registry):
            images.push(there, "clean/app", "1")
            name = Reference.parse(f"{there.host}/clean/app:1")
            for age in (timedelta(days=2), timedelta()):
                options = SignOptions(formats=("bundle", "simple"), force=True, lifetime=timedelta(days=9))
                sign([name], signer("bench"), options, locate=Registries({}), now=datetime.now(UTC) - age)
        line = ("clean", f"{deleting.host}/clean/app:1", "-k", world.key, "--superseded")
        shown = parts.imgsign(*line)
        assert shown.stdout.count("would remove ") == 2
        removed = parts.imgsign(*line, "--yes")
        assert removed.stdout.count("removed ") == 2
        assert parts.imgsign(*line).stdout == ""
        assert parts.imgsign("verify", f"{deleting.host}/clean/app:1", "-k", world.key).returncode == 0
        tree = parts.imgsign("tree", f"{deleting.host}/clean/app:1").stdout
        assert tree.count("sigstore bundle") == 1
    kept = ("clean", f"{registry.host}/clean/app:1", "-k", world.key, "--superseded", "--yes")
    refused = parts.imgsign(*kept, check=False)
    assert refused.returncode == 3
    assert "does not delete manifests" in refused.stderr
    assert "storage.delete.enabled: true" in refused.stderr


def test_the_images_of_an_engine_are_judged_by_their_digests_and_those_without_are_named(
    world: World, docker_host: str, release_key: Path, tmp_path: Path
) -> None:
    name = f"{world.registry.host}/engine/app:1.0"
    digest = images.build_and_push(tmp_path / "pushed", docker_host, name)
    parts.imgsign("sign", name, "-k", release_key, env={"IMGSIGN_PASSWORD": "test"})
    env = {"DOCKER_HOST": docker_host, "DOCKER_BUILDKIT": "0"}
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "Dockerfile").write_text(f"FROM {name}\nENV ONLY=here\n")
    parts.run("docker", "build", "--network", "none", "-t", "only/here:1", tmp_path / "local", env=env)
    file = tmp_path / "engine.jsonl"
    key = release_key.with_suffix(".pub")
    done = parts.imgsign("audit", "docker:", "-k", key, "--jsonl", file, env=env, check=False)
    judged = {row["reference"]: row for row in rows(file) if "reference" in row}
    assert judged[f"{name}@{digest}"]["verdict"] == "allowed"
    local = judged["docker.io/only/here:1"]
    assert (local["verdict"], local["hint"]) == ("error", "docker push docker.io/only/here:1, or pull it again")
    assert "no-repository-digest" in str(local["reasons"])
    assert done.returncode == 3
