"""Images with things attached, in simulated registries, for the tests of copying, cleaning and auditing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

from imgsign.oci import EMPTY_CONFIG, OCI_INDEX, OCI_MANIFEST, Manifest
from imgsign.reference import Digest, Reference
from imgsign.signing import SignOptions, sign
from tests.signing_keys import signer
from tests.simulator import Simulator, manifest_bytes

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
DSSE = "application/vnd.dsse.envelope.v1+json"
SPDX = "application/spdx+json"


def put_index(sim: Simulator, path: str, tag: str, *, platforms: tuple[str, ...] = ("amd64", "arm64")) -> Manifest:
    """Store an index with one small image for each platform."""
    entries = []
    for platform in platforms:
        child = sim.put_image(path, salt=f"{tag} {platform}")
        entries.append({**child.descriptor.to_json(), "platform": {"os": "linux", "architecture": platform}})
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    sim.put_manifest(path, raw, OCI_INDEX, tag=tag)
    return Manifest.parse(raw, OCI_INDEX)


def put_tagged(sim: Simulator, path: str, tag: str, media_type: str, *contents: bytes) -> Digest:
    """Store a manifest with these layers under a tag, as cosign does for attestations and SBOMs."""
    sim.put_blob(path, EMPTY_CONFIG.raw)
    layers = [{"mediaType": media_type, "digest": str(sim.put_blob(path, raw)), "size": len(raw)} for raw in contents]
    return sim.put_manifest(path, manifest_bytes(layers=layers), OCI_MANIFEST, tag=tag)


def attach_all(sim: Simulator, path: str, tag: str, image: Manifest) -> None:
    """Sign in both formats, add an SBOM as referrer with a referrer of its own, and cosign's other tags."""
    store = sim.store(path)
    name = Reference.parse(f"{sim.host}/{path}:{tag}")
    sign([name], signer("release"), SignOptions(formats=("bundle", "simple")), locate=lambda r: store, now=NOW)
    sbom = sim.put_referrer(path, image.descriptor, salt="an sbom", artifactType=SPDX)
    on_sbom = sim.put_referrer(path, sbom.descriptor, salt="a signature of the sbom")
    if not sim.referrers_api:
        listed = [e.descriptor.to_json() for e in (sbom,)]
        standing = json.loads(store.fetch(image.digest.tag).raw)["manifests"]
        sim.put_fallback(path, image.digest, [*standing, *listed])
        sim.put_fallback(path, sbom.digest, [on_sbom.descriptor.to_json()])
    put_tagged(sim, path, f"{image.digest.tag}.att", DSSE, b'{"an": "attestation"}')
    put_tagged(sim, path, f"{image.digest.tag}.sbom", "text/spdx+json", b'{"spdx": 1}')


def contents(sim: Simulator, path: str) -> dict[str, bytes]:
    """Every manifest and blob of a repository but fallback indexes, by digest."""
    found = sim.repository(path)
    manifests = {d: raw for d, (kind, raw) in found.manifests.items() if kind != OCI_INDEX or b'"platform"' in raw}
    return {**manifests, **found.blobs}


def cosign_tags(sim: Simulator, path: str) -> dict[str, str]:
    """cosign's tags and what they point to."""
    return {t: d for t, d in sim.repository(path).tags.items() if t.endswith((".sig", ".att", ".sbom"))}


@contextmanager
def pooled() -> Iterator[ThreadPoolExecutor]:
    """Four threads."""
    with ThreadPoolExecutor(4) as pool:
        yield pool
