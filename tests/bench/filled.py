"""Fills a registry with many small signed images, quickly: written into its storage as the registry would.

Source: distribution 2.8 ``registry/storage/paths.go``. Pushing two thousand signed images by requests takes
minutes, most of them waiting for disks. What is stored is what ``imgsign sign -f bundle -f simple`` stores on a
registry without the referrers API; that the registry serves it is seen by whoever audits it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from imgsign.claim import Draft
from imgsign.formats import FORMATS
from imgsign.oci import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, Artifact, Descriptor, Manifest
from imgsign.reference import Digest, Reference
from imgsign.stores.listing import entry_of
from tests.signing_keys import signer

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One image to be: ``key`` of ``None`` leaves it unsigned; ``age`` is that of its signatures."""

    name: Reference
    key: str | None = "bench"
    age: timedelta = timedelta(hours=1)
    expires: timedelta | None = None


def specs(host: str, repositories: int, tags: int, prefix: str = "team") -> list[Spec]:
    """So many repositories with so many tags each, all well signed."""
    return [
        Spec(name=Reference.parse(f"{host}/{prefix}{r % 5}/app{r}:{t}"))
        for r in range(repositories)
        for t in range(tags)
    ]


def fill(storage: Path, wanted: Sequence[Spec]) -> None:
    """Store and sign everything below a registry's root directory."""
    filler = _Filler(storage / "docker" / "registry" / "v2")
    for spec in wanted:
        filler.put(spec)


class _Filler:
    """Writes blobs and links."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, spec: Spec) -> None:
        path = spec.name.repository.path
        config = self._blob(path, json.dumps({"os": "linux", "architecture": "amd64", "of": str(spec.name)}).encode())
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, **config},
            "layers": [{"mediaType": LAYER, **self._blob(path, f"layer of {path}".encode())}],
        }
        image = Manifest.parse(json.dumps(document).encode(), OCI_MANIFEST)
        self._manifest(path, image, str(spec.name.tag))
        if spec.key is not None:
            for artifact, tag in _signatures(spec, image.descriptor):
                for blob in artifact.blobs:
                    self._blob(path, blob.raw)
                self._manifest(path, artifact.manifest, tag)
                if tag is None:
                    self._list(path, image.digest, artifact.manifest)

    def _list(self, path: str, subject: Digest, referrer: Manifest) -> None:
        entries = [entry_of(referrer).to_json()]
        raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
        self._manifest(path, Manifest.parse(raw, OCI_INDEX), subject.tag)

    def _blob(self, path: str, raw: bytes) -> dict[str, object]:
        digest = Digest.of(raw)
        self._write(f"blobs/sha256/{digest.hex[:2]}/{digest.hex}/data", raw)
        self._write(f"repositories/{path}/_layers/sha256/{digest.hex}/link", str(digest).encode())
        return {"digest": str(digest), "size": len(raw)}

    def _manifest(self, path: str, manifest: Manifest, tag: str | None) -> None:
        digest, at = manifest.digest, f"repositories/{path}/_manifests"
        self._write(f"blobs/sha256/{digest.hex[:2]}/{digest.hex}/data", manifest.raw)
        self._write(f"{at}/revisions/sha256/{digest.hex}/link", str(digest).encode())
        if tag is not None:
            self._write(f"{at}/tags/{tag}/current/link", str(digest).encode())
            self._write(f"{at}/tags/{tag}/index/sha256/{digest.hex}/link", str(digest).encode())

    def _write(self, name: str, raw: bytes) -> None:
        path = self._root / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(raw)


def _signatures(spec: Spec, image: Descriptor) -> Iterator[tuple[Artifact, str | None]]:
    """Sign in both formats; with the tag each goes under, or ``None`` for a referrer."""
    key = signer(spec.key or "")
    signed_at = (datetime.now(UTC) - spec.age).replace(microsecond=0)
    expires = None if spec.expires is None else signed_at + spec.age + spec.expires
    draft = Draft(names=(spec.name.name,), signed_at=signed_at, expires_at=expires)
    for label, tag in (("bundle", None), ("simple", f"{image.digest.tag}.sig")):
        for unsigned in FORMATS[label].draft(image, draft, key.public_key):
            signature = key.sign(unsigned.message, unsigned.scheme)
            yield FORMATS[label].attach(unsigned, signature, previous=None), tag
