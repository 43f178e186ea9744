"""Large images of random data, pushed to a registry: gzip layers that no tool can shrink and none compresses again.

Written to disk and sent from there, so that making them takes little memory: what a program started later
is said to have used at most includes what its parent used before it.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import json
import os
import tarfile
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import urlsplit

_PIECE = 1024 * 1024
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def push_random(host: str, path: str, tag: str, *, layers: int, size: int, base: Path) -> None:
    """Push ``layers`` layers of ``size`` random bytes each to a registry without credentials, over http.

    ``base`` holds one layer at a time.
    """
    descriptors, diffs = [], []
    for number in range(layers):
        file = base / "layer"
        diffs.append(_write_layer(file, f"random{number}", size))
        with file.open("rb") as stream:
            descriptors.append({"mediaType": LAYER, **_push_blob(host, path, stream)})
        file.unlink()
    config = {"os": "linux", "architecture": "amd64", "config": {}, "rootfs": {"type": "layers", "diff_ids": diffs}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, **_push_blob(host, path, io.BytesIO(json.dumps(config).encode()))},
        "layers": descriptors,
    }
    _ask(host, "PUT", f"/v2/{path}/manifests/{tag}", json.dumps(manifest).encode(), MANIFEST)


class _Random(io.RawIOBase):
    """A file of so many random bytes."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1) -> bytes:
        count = self._left if size < 0 else min(size, self._left)
        self._left -= count
        return os.urandom(count)


class _Hashing(io.RawIOBase):
    """Hashes what is written through it."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self.hasher = hashlib.sha256()

    def write(self, raw: object) -> int:
        piece = cast(bytes, raw)
        self.hasher.update(piece)
        return self._out.write(piece)


def _write_layer(file: Path, name: str, size: int) -> str:
    """Write a gzip layer with one file of random bytes, stored without compressing; returns its diff ID."""
    with file.open("wb") as raw, gzip.GzipFile("", "wb", 0, raw, 0) as zipped:
        out = _Hashing(cast(BinaryIO, zipped))
        with tarfile.open(fileobj=cast(BinaryIO, out), mode="w|", bufsize=_PIECE) as tar:
            info = tarfile.TarInfo(name)
            info.size = size
            tar.addfile(info, cast(BinaryIO, _Random(size)))
    return f"sha256:{out.hasher.hexdigest()}"


def _push_blob(host: str, path: str, stream: io.BufferedReader | io.BytesIO) -> dict[str, object]:
    """Store a blob in one upload; returns digest and size."""
    digest = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    location = urlsplit(_ask(host, "POST", f"/v2/{path}/blobs/uploads/", b"", ""))
    target = f"{location.path}?{location.query}{'&' if location.query else ''}digest={digest}"
    _ask(host, "PUT", target, stream, "application/octet-stream", size)
    return {"digest": digest, "size": size}


def _ask(host: str, method: str, target: str, body: bytes | BinaryIO, media_type: str, size: int | None = None) -> str:
    """Send one request; returns the Location it is answered with."""
    connection = http.client.HTTPConnection(host, timeout=60, blocksize=_PIECE)
    length = len(body) if isinstance(body, bytes) else size
    connection.request(method, target, body, {"Content-Type": media_type, "Content-Length": str(length)})
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    if answer.status not in (201, 202):
        raise AssertionError(f"{method} {target} was answered {answer.status} {said!r}")
    return answer.headers.get("Location", "")
