"""Images for the end-to-end tests, made without a network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from imgsign.oci import OCI_MANIFEST
from imgsign.reference import Digest
from tests.e2e import parts

LAYER = "application/vnd.oci.image.layer.v1.tar"

DOCKERFILE = """\
FROM scratch AS base
COPY busybox /bin/busybox
FROM base AS build
RUN ["/bin/busybox", "sh", "-c", "echo built in a stage: {text} > /message"]
FROM base
COPY --from=build /message /message
CMD ["/bin/busybox", "cat", "/message"]
"""


def build_and_push(context: Path, docker_host: str, name: str, text: str = "one") -> str:
    """Build a multi-stage image with docker and push it; returns its digest as docker printed it."""
    parts.need("busybox")
    context.mkdir(parents=True, exist_ok=True)
    busybox = shutil.which("busybox") or "busybox"
    shutil.copy(busybox, context / "busybox")
    (context / "Dockerfile").write_text(DOCKERFILE.format(text=text))
    env = {"DOCKER_HOST": docker_host, "DOCKER_BUILDKIT": "0"}
    parts.run("docker", "build", "--network", "none", "-t", name, context, env=env)
    pushed = parts.run("docker", "push", name, env=env).stdout
    digest = next(word for line in pushed.splitlines() if "digest: " in line for word in line.split()[2:3])
    assert digest.startswith("sha256:")
    return digest


def push_small(base: Path, name: str, text: str = "small", authfile: Path | None = None) -> str:
    """Make a one-layer image with umoci and push it with skopeo; returns its digest."""
    parts.need("umoci", "skopeo")
    base.mkdir(parents=True, exist_ok=True)
    login = () if authfile is None else ("--dest-authfile", authfile)
    layout = base / f"layout-of-{name.replace('/', '_').replace(':', '_')}"
    parts.run("umoci", "init", "--layout", layout)
    parts.run("umoci", "new", "--image", f"{layout}:a")
    (base / "content").write_text(text)
    parts.run("umoci", "insert", "--rootless", "--image", f"{layout}:a", base / "content", "/content")
    digest_file = base / "digest"
    options = ("--dest-tls-verify=false", *login, "--digestfile", digest_file)
    parts.run("skopeo", "copy", *options, f"oci:{layout}:a", f"docker://{name}")
    return digest_file.read_text().strip()


def push(registry: parts.Registry, path: str, tag: str) -> str:
    """Push a small image by the distribution API alone, the same bytes each time; returns its digest."""
    config, layer = b"{}", b"a layer of the test " * 100
    described = [
        {"mediaType": kind, "digest": str(Digest.of(raw)), "size": len(raw)}
        for kind, raw in (("application/vnd.oci.image.config.v1+json", config), (LAYER, layer))
    ]
    for raw in (config, layer):
        assert registry.upload(path, raw) == 201
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described[0], "layers": described[1:]}
    manifest = json.dumps(document).encode()
    assert registry.put(f"/v2/{path}/manifests/{tag}", manifest, OCI_MANIFEST) == 201
    return str(Digest.of(manifest))
