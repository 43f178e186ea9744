"""``imgsign check`` with a real registry: manifests in a pipe and in files, pinned and checked again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e import images, parts

PASSWORD = {"IMGSIGN_PASSWORD": "test"}

CHART = """\
---
# Source: shop/templates/serviceaccount.yaml
apiVersion: v1
kind: ServiceAccount
metadata:
  name: shop
---
# Source: shop/templates/deployment.yaml
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop
  labels: {{app.kubernetes.io/managed-by: Helm}}
spec:
  template:
    spec:
      initContainers:
        - name: migrate
          image: "{app}"
      containers:
        - name: shop
          image: "{app}"   # rendered
          imagePullPolicy: IfNotPresent
"""


@pytest.fixture(scope="module")
def pushed(
    registry: parts.Registry, release_key: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, str, str]:
    """A signed image, its digest, and an unsigned one."""
    app, web = f"{registry.host}/check/app:1", f"{registry.host}/check/web:1"
    base = tmp_path_factory.mktemp("check")
    digest = images.push_small(base, app, "signed")
    images.push_small(base, web, "unsigned")
    parts.imgsign("sign", app, "-k", release_key, env=PASSWORD)
    return app, digest, web


def test_a_rendered_chart_is_checked_pinned_and_checked_again(
    pushed: tuple[str, str, str], release_key: Path, tmp_path: Path
) -> None:
    app, digest, web = pushed
    key = ("-k", release_key.with_suffix(".pub"))
    chart = CHART.format(app=app)

    piped = parts.imgsign("check", "-", *key, input=chart)
    assert piped.stdout.splitlines()[0].startswith(f"-:19:19: allowed {app}@{digest}  scope *  signed by key (key ")
    assert piped.stdout.splitlines()[-1] == "2 allowed in 1 file"

    pinned = parts.imgsign("check", "-", "--pin", *key, input=chart)
    assert pinned.stdout == chart.replace(app, f"{app}@{digest}")
    again = parts.imgsign("check", "-", "--pin", "--check", *key, input=pinned.stdout)
    assert again.stdout == ""

    mixed = parts.imgsign("check", "-", "--pin", *key, input=f"{chart}        - image: {web}\n", check=False)
    assert (mixed.returncode, mixed.stdout) == (1, "")
    assert f"-:24:18: denied {web}@sha256:" in mixed.stderr


def test_files_of_every_kind_are_pinned_in_place(
    pushed: tuple[str, str, str], release_key: Path, tmp_path: Path
) -> None:
    app, digest, _ = pushed
    repository = app.rpartition(":")[0]
    files = {
        "k8s.yaml": (CHART.format(app=app), CHART.format(app=f"{app}@{digest}")),
        "kustomization.yaml": (
            f"images:\n- name: shop\n  newName: {repository}\n  newTag: '1'\n",
            f"images:\n- name: shop\n  newName: {repository}\n  newTag: '1'\n  digest: {digest}\n",
        ),
        "compose.yaml": (
            f"services:\n  web:\n    image: {app}\n",
            f"services:\n  web:\n    image: {app}@{digest}\n",
        ),
        "Dockerfile": (
            f"FROM {app} AS base\nFROM base\nCOPY --from={app} /content /c\n",
            f"FROM {app}@{digest} AS base\nFROM base\nCOPY --from={app}@{digest} /content /c\n",
        ),
    }
    for name, (before, _) in files.items():
        (tmp_path / name).write_text(before)
    command: list[str | Path] = ["check", *files, "-k", release_key.with_suffix(".pub")]
    would = parts.imgsign(*command, "--pin", "--check", cwd=tmp_path, check=False)
    assert (would.returncode, would.stdout.count(f"@{digest}") + would.stdout.count(f"digest: {digest}")) == (1, 6)
    parts.imgsign(*command, "--pin", cwd=tmp_path)
    assert {name: (tmp_path / name).read_text() for name in files} == {n: after for n, (_, after) in files.items()}
    checked = parts.imgsign(*command, "-o", "json", cwd=tmp_path)
    results = json.loads(checked.stdout)["results"]
    assert [r["verdict"] for r in results] == ["allowed"] * 6
    assert {r["digest"] for r in results} == {digest}
    assert parts.imgsign(*command, "--pin", "--check", cwd=tmp_path).stdout == ""


def test_a_registry_that_is_gone_decides_nothing(registry: parts.Registry, release_key: Path, tmp_path: Path) -> None:
    manifest = CHART.format(app=f"127.0.0.1:{parts.free_port()}/app:1")
    done = parts.imgsign(
        "check", "-", "--pin", "--timeout", "2s", "-k", release_key.with_suffix(".pub"), input=manifest, check=False
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert "not pinned -: not every image in it is allowed" in done.stderr
