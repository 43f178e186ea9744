"""The printed objects, laid out as the kubelet mounts them, start the server that the API server would ask."""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from imgsign.oci import OCI_MANIFEST
from imgsign.reference import Digest
from tests.e2e import images, parts

PASSWORD = {"IMGSIGN_PASSWORD": "test"}


def mount(directory: Path, files: dict[str, str]) -> None:
    """As the kubelet does: ``name -> ..data/name``, ``..data -> ..<time>``."""
    (directory / "..2026_11_24").mkdir(parents=True)
    (directory / "..data").symlink_to("..2026_11_24")
    for name, text in files.items():
        (directory / "..data" / name).write_text(text)
        (directory / name).symlink_to(f"..data/{name}")


def post(port: int, authority: str, path: str, review: dict[str, object]) -> dict[str, Any]:
    """Ask over TLS as the API server does: its name is the service's, its authority the caBundle's."""
    context = ssl.create_default_context(cadata=authority)
    body = json.dumps(review).encode()
    head = f"POST {path}?timeout=10s HTTP/1.1\r\nHost: imgsign.imgsign.svc:443\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    plain = socket.create_connection(("127.0.0.1", port), 10)
    with context.wrap_socket(plain, server_hostname="imgsign.imgsign.svc") as connection:
        connection.sendall(head.encode() + body)
        raw = b"".join(iter(lambda: connection.recv(65536), b""))
    status, _, answer = raw.partition(b"\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 200 "), raw
    found: dict[str, Any] = json.loads(answer)["response"]
    return found


def pod(image: str) -> dict[str, object]:
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    resource = {"group": "", "version": "v1", "resource": "pods"}
    spec = {"containers": [{"name": "web", "image": image}]}
    request = {
        "uid": "7", "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
        "name": "web", "namespace": "shop", "operation": "CREATE", "userInfo": {"username": "tenant"},
        "object": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"}, "spec": spec},
        "oldObject": None, "dryRun": False,
    }  # fmt: skip
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def test_what_is_printed_starts_a_server_that_judges(
    registry: parts.Registry, release_key: Path, tmp_path: Path
) -> None:
    images.push(registry, "printed/signed", "1")
    images.push(registry, "printed/unsigned", "1")
    name = f"{registry.host}/printed/signed:1"
    parts.imgsign("sign", name, "-k", release_key, env=PASSWORD)
    (tmp_path / "policy.toml").write_text(
        f'version = 1\ndefault = "reject"\n[anchors.release]\nkeys = ["{release_key.with_suffix(".pub")}"]\n'
        f'[scopes."{registry.host}"]\nrequire = [{{ signed-by = "release" }}]\n'
    )
    (tmp_path / "settings.toml").write_text(
        f'version = 1\npolicy = "policy.toml"\nunsafe-local-hosts = ["{registry.host}"]\n'
    )
    printed = parts.imgsign(
        "admission", "manifests", "--image", "registry.example.com/imgsign:1", "--self-signed",
        "--settings", tmp_path / "settings.toml",
    ).stdout  # fmt: skip
    found = {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(printed)}
    secret = found["Secret", "imgsign-tls"]["stringData"]
    (container,) = found["Deployment", "imgsign"]["spec"]["template"]["spec"]["containers"]
    files = {m["name"]: tmp_path / m["mountPath"].lstrip("/") for m in container["volumeMounts"]}
    mount(
        files["policy"], found["ConfigMap", "imgsign-settings"]["data"] | found["ConfigMap", "imgsign-policy"]["data"]
    )
    mount(files["tls"], secret)
    port, admin = parts.free_port(), parts.free_port()
    text = "\n".join(container["args"]).replace("=/etc/", f"={tmp_path}/etc/").replace("--drain=20s", "--drain=0s")
    text = text.replace("0.0.0.0:8443", f"127.0.0.1:{port}").replace("0.0.0.0:8080", f"127.0.0.1:{admin}")
    arguments = text.splitlines()

    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    log = tmp_path / "serve.log"
    environment = {"DOCKER_CONFIG": str(files["registries"]), "HOME": os.fspath(tmp_path)}
    with parts.started([sys.executable, "-m", "imgsign", "admission", "serve", *arguments], log, environment):
        parts.wait_for(ready, log)
        pinned = post(port, secret["ca.crt"], "/mutate", pod(name))
        denied = post(port, secret["ca.crt"], "/validate", pod(f"{registry.host}/printed/unsigned@{_digest(registry)}"))
    assert pinned["allowed"] is True
    assert pinned["patchType"] == "JSONPatch"
    assert denied["allowed"] is False
    assert denied["status"]["code"] == 403
    assert "signed-by release: 0 of 1 needed" in denied["status"]["message"]


def _digest(registry: parts.Registry) -> str:
    status, raw = registry.get("/v2/printed/unsigned/manifests/1", OCI_MANIFEST)
    assert status == 200
    return str(Digest.of(raw))
