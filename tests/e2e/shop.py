"""A registry full of small multi-arch images with everything attached, made without a network."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from imgsign.oci import EMPTY_CONFIG, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from imgsign.reference import Digest, Reference, Repository
from imgsign.signing import SignOptions, sign
from imgsign.stores.locate import Registries
from imgsign.stores.remote import RemoteStore
from tests.e2e import parts
from tests.signing_keys import signer

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
PLATFORMS = ("amd64", "arm64")


@dataclass(frozen=True, slots=True)
class Made:
    """One image and every manifest that belongs to it, by digest."""

    name: Reference
    index: str
    manifests: dict[str, bytes]
    tags: dict[str, str]


def fill(registry: parts.Registry, count: int) -> list[Made]:
    """Push so many images of two platforms, each with a bundle, ``.sig``, ``.att``, ``.sbom`` and an SBOM referrer."""
    locate = Registries({})
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda number: _make(registry, locate, number), range(count)))


def _make(registry: parts.Registry, locate: Registries, number: int) -> Made:
    path = f"shop/app{number}"
    name = Reference.parse(f"{registry.host}/{path}:1")
    manifests: dict[str, bytes] = {}
    tags: dict[str, str] = {}

    def put(document: dict[str, object], tag: str | None = None) -> dict[str, object]:
        raw = json.dumps(document).encode()
        digest = str(Digest.of(raw))
        media_type = str(document["mediaType"])
        assert registry.put(f"/v2/{path}/manifests/{tag or digest}", raw, media_type) == 201
        manifests[digest] = raw
        if tag is not None:
            tags[tag] = digest
        return {"mediaType": media_type, "digest": digest, "size": len(raw)}

    def blob(raw: bytes, media_type: str) -> dict[str, object]:
        assert registry.upload(path, raw) == 201
        return {"mediaType": media_type, "digest": str(Digest.of(raw)), "size": len(raw)}

    children = []
    for platform in PLATFORMS:
        tarred = _tar(f"{path} {platform}")
        config = {
            "os": "linux",
            "architecture": platform,
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(tarred))]},
        }
        described = blob(json.dumps(config).encode(), OCI_CONFIG)
        layer = blob(gzip.compress(tarred, mtime=0), LAYER)
        child = put({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described, "layers": [layer]})
        children.append({**child, "platform": {"os": "linux", "architecture": platform}})
    index = put({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}, "1")
    sign([name], signer("release"), SignOptions(formats=("bundle", "simple")), locate=locate)
    stem = str(index["digest"]).replace(":", "-")
    empty = blob(b"{}", EMPTY_CONFIG.descriptor.media_type)
    for suffix, media_type in ((".att", "application/vnd.dsse.envelope.v1+json"), (".sbom", "text/spdx+json")):
        content = blob(f'{{"of": "{path}{suffix}"}}'.encode(), media_type)
        put({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": empty, "layers": [content]}, stem + suffix)
    sbom = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/spdx+json",
        "config": empty,
        "layers": [blob(f'{{"spdx": "{path}"}}'.encode(), "application/spdx+json")],
        "subject": index,
        "annotations": {"org.opencontainers.image.created": "2026-11-24T10:00:00Z"},
    }
    put(sbom)
    _list(locate, registry, path, sbom)
    _note_signatures(registry, path, index, children, manifests, tags)
    return Made(name=name, index=str(index["digest"]), manifests=manifests, tags=tags)


def _list(locate: Registries, registry: parts.Registry, path: str, sbom: dict[str, object]) -> None:
    store = RemoteStore(Repository(registry.host, path), locate.transport)
    manifest = store.fetch(Digest.of(json.dumps(sbom).encode()))
    if manifest.subject is not None:
        store.list_all(manifest.subject.digest, [manifest])


def _note_signatures(
    registry: parts.Registry,
    path: str,
    index: dict[str, object],
    children: list[dict[str, object]],
    manifests: dict[str, bytes],
    tags: dict[str, str],
) -> None:
    """Read what was signed, without imgsign."""
    for signed in (index, *children):
        stem = str(signed["digest"]).replace(":", "-")
        status, raw = registry.get(f"/v2/{path}/manifests/{stem}", OCI_INDEX)
        assert status == 200
        for entry in json.loads(raw)["manifests"]:
            manifests[entry["digest"]] = registry.get(f"/v2/{path}/manifests/{entry['digest']}", OCI_MANIFEST)[1]
        status, raw = registry.get(f"/v2/{path}/manifests/{stem}.sig", OCI_MANIFEST)
        assert status == 200
        tags[f"{stem}.sig"] = str(Digest.of(raw))
        manifests[tags[f"{stem}.sig"]] = raw


def _tar(text: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("message")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()
