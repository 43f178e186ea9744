"""Signatures as layers of one manifest under a tag: cosign's ``.sig`` and ``.att`` tags.

Source: cosign ``pkg/oci/mutate`` and its written manifests. One more signature is one more layer; everything
that stands already is kept. The config is an image config, byte for byte as cosign writes it: registries
check that it is one.

Refused: a tag that holds anything but layers of the same kind, so that nothing is overwritten by mistake.
"""

from __future__ import annotations

from typing import cast

from imgsign.errors import InvalidManifest
from imgsign.oci import MANIFEST_LIMIT, OCI_CONFIG, OCI_MANIFEST, Artifact, Blob, Manifest
from imgsign.wire import dump_json, load_json

_SECOND_0 = "0001-01-01T00:00:00Z"


def append_layer(previous: Artifact | None, blob: Blob, *, limit: int) -> Artifact:
    """Return what the tag shall hold: all that ``previous`` holds, and ``blob`` as one more layer.

    Raises:
        InvalidManifest: the tag holds something else, or ``limit`` layers already.
    """
    if previous is None:
        manifest: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {},
            "layers": [],
        }
        media_type, kept = OCI_MANIFEST, tuple[Blob, ...]()
    else:
        manifest, media_type = _open(previous, blob.descriptor.media_type, limit)
        kept = tuple(b for b in previous.blobs if b.descriptor.media_type != OCI_CONFIG)
    layers = cast(list[object], manifest["layers"])  # a list by _open, or the one just written
    layers.append(blob.descriptor.to_json())
    config = Blob.of(_config([str(d["digest"]) for d in layers if isinstance(d, dict)]), OCI_CONFIG)
    manifest["config"] = config.descriptor.to_json()
    return Artifact(manifest=Manifest.parse(dump_json(manifest), media_type), blobs=(*kept, config, blob))


def _open(previous: Artifact, layer_type: str, limit: int) -> tuple[dict[str, object], str]:
    """Return the standing manifest as JSON, everything in it kept, ready for one more layer."""
    standing = previous.manifest
    if standing.is_index or any(d.media_type != layer_type for d in standing.layers):
        raise InvalidManifest("the signature tag holds something that is not a list of signatures; nothing was changed")
    if len(standing.layers) >= limit:
        raise InvalidManifest(f"the signature tag holds {limit} signatures already", hint="use --format bundle")
    value = load_json(standing.raw, limit=MANIFEST_LIMIT, error=InvalidManifest).value
    manifest = cast(dict[str, object], value)  # an object: Manifest.parse has read it
    if manifest.get("layers") is None:
        manifest["layers"] = []
    return manifest, standing.descriptor.media_type


def _config(layers: list[str]) -> bytes:
    return dump_json(
        {
            "architecture": "",
            "created": _SECOND_0,
            "history": [{"created": _SECOND_0} for _ in layers],
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": layers},
            "config": {},
        }
    )
