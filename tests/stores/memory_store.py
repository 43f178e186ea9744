"""A store in memory that can misbehave, and images for it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping

from imgsign.errors import NotFound, Unavailable
from imgsign.oci import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Artifact, Blob, Descriptor, Manifest
from imgsign.reference import Digest
from imgsign.stores import Edit, Piece, Room

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def sha256(raw: bytes) -> str:
    """The digest of bytes as text, computed without imgsign."""
    return "sha256:" + hashlib.sha256(raw).hexdigest()


def layer(name: str, content: bytes) -> bytes:
    """A tar with one file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


class MemoryStore:
    """Fills :class:`imgsign.stores.Store` for reading; ``spoil`` replaces what is streamed for a digest."""

    def __init__(self) -> None:
        self.manifests: dict[str, Manifest] = {}
        self.blobs: dict[str, bytes] = {}
        self.spoil: dict[str, Callable[[bytes, int], Iterator[bytes]]] = {}
        self.streamed: list[tuple[str, int]] = []

    def add_image(
        self, *layers: bytes, compress: bool = True, tag: str = "1", config: Mapping[str, object] = {}
    ) -> Manifest:
        """Store an image of these tars; ``config`` overrides members of its config."""
        stored = [gzip.compress(raw, mtime=0) if compress else raw for raw in layers]
        body: dict[str, object] = {
            "os": "linux",
            "architecture": "amd64",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [sha256(raw) for raw in layers]},
        }
        config_raw = json.dumps({k: v for k, v in {**body, **config}.items() if v is not None}).encode()
        media_type = LAYER if compress else LAYER.removesuffix("+gzip")
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": self.add_blob(config_raw, OCI_CONFIG),
            "layers": [self.add_blob(raw, media_type) for raw in stored],
        }
        return self.add_manifest(json.dumps(manifest).encode(), OCI_MANIFEST, tag)

    def add_index(self, *children: tuple[Manifest, str], tag: str = "index") -> Manifest:
        """Store an index of images, each with its ``os/architecture``."""
        entries = []
        for child, platform in children:
            os, architecture = platform.split("/")
            entry = child.descriptor.to_json()
            entries.append({**entry, "platform": {"os": os, "architecture": architecture}})
        body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        return self.add_manifest(json.dumps(body).encode(), OCI_INDEX, tag)

    def add_blob(self, raw: bytes, media_type: str) -> dict[str, object]:
        """Store a blob; returns its descriptor as JSON."""
        self.blobs[sha256(raw)] = raw
        return {"mediaType": media_type, "digest": sha256(raw), "size": len(raw)}

    def add_manifest(self, raw: bytes, media_type: str, tag: str) -> Manifest:
        """Store a manifest under a tag and its digest."""
        found = Manifest.parse(raw, media_type)
        self.manifests[tag] = self.manifests[str(found.digest)] = found
        return found

    def fetch(self, what: str | Digest) -> Manifest:
        if str(what) not in self.manifests:
            raise NotFound(f"no {what}")
        return self.manifests[str(what)]

    def blob(self, descriptor: Descriptor, *, limit: int) -> Blob:
        assert descriptor.size <= limit
        return Blob.checked(descriptor, b"".join(self.stream(descriptor)))

    def stream(self, descriptor: Descriptor, *, start: int = 0, room: Room | None = None) -> Iterator[Piece]:
        digest = str(descriptor.digest)
        self.streamed.append((digest, start))
        raw = self.blobs[digest]
        if digest in self.spoil:
            yield from self.spoil[digest](raw, start)
            return
        for at in range(start, len(raw), 1000):
            yield raw[at : at + 1000]

    def referrers(self, subject: Digest) -> Iterator[Descriptor]:
        yield from ()

    def has(self, descriptor: Descriptor) -> bool:
        return str(descriptor.digest) in self.blobs

    def push(self, artifact: Artifact, *, tag: str | None = None) -> Descriptor:
        raise NotImplementedError

    def rewrite(self, tag: str, edit: Edit) -> Descriptor:
        raise NotImplementedError


def breaking(*, after: int) -> Callable[[bytes, int], Iterator[bytes]]:
    """A connection that ends after so many bytes, each time."""

    def stream(raw: bytes, start: int) -> Iterator[bytes]:
        yield raw[start : start + after]
        if start + after < len(raw):
            raise Unavailable("the connection broke")

    return stream


def sending(replace: Callable[[bytes], bytes]) -> Callable[[bytes, int], Iterator[bytes]]:
    """A registry that sends other bytes."""

    def stream(raw: bytes, start: int) -> Iterator[bytes]:
        yield replace(raw)[start:]

    return stream
