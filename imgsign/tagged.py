"""Signatures as layers of one manifest under a tag: cosign's ``.sig`` and ``.att`` tags.

Source: cosign ``pkg/oci/mutate`` and its written manifests. One more signature is one more layer; everything
that stands already is kept. The config is an image config, byte for byte as cosign writes it: registries
check that it is one.

Refused: a tag that holds anything but layers of the same kind, so that nothing is overwritten by mistake.
"""

from __future__ import annotations

from typing import cast

from imgsign.errors import InvalidManifest
from imgsign.oci import MANIFEST_LIMIT, OCI_CONFIG, OCI_MANIFEST, Artifact, Blob, Descriptor, Manifest
from imgsign.wire import dump_json, load_json

SIGNATURE_KEY = "dev.cosignproject.cosign/signature"
LAYERS_LIMIT = 1000  # cosign's own limit of signatures in one manifest

_SECOND_0 = "0001-01-01T00:00:00Z"


def append_layer(previous: Artifact | None, blob: Blob) -> Artifact:
    """Return what the tag shall hold: all that ``previous`` holds, and ``blob`` as one more layer.

    Returns ``previous`` itself if it holds this very signature already.

    Raises:
        InvalidManifest: the tag holds something else, or LAYERS_LIMIT layers already.
    """
    if previous is not None and any(_is_same(d, blob.descriptor) for d in previous.manifest.layers):
        return previous
    if previous is None:
        manifest: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {},
            "layers": [],
        }
        media_type, kept = OCI_MANIFEST, tuple[Blob, ...]()
    else:
        manifest, media_type = _open(previous, blob.descriptor.media_type)
        kept = tuple(b for b in previous.blobs if b.descriptor.media_type != OCI_CONFIG)
    layers = cast(list[object], manifest["layers"])  # a list by _open, or the one just written
    layers.append(blob.descriptor.to_json())
    config = Blob.of(_config([str(d["digest"]) for d in layers if isinstance(d, dict)]), OCI_CONFIG)
    manifest["config"] = config.descriptor.to_json()
    return Artifact(manifest=Manifest.parse(dump_json(manifest), media_type), blobs=(*kept, config, blob))


def relayer(standing: Manifest, layers: list[object]) -> Artifact:
    """Make a manifest of cosign's tags with other layers, each the JSON it was; all else is kept.

    For whoever takes layers away or joins two lists; no blob but the config is in the artifact.
    """
    value = load_json(standing.raw, limit=MANIFEST_LIMIT, error=InvalidManifest).value
    manifest = dict(cast(dict[str, object], value))  # an object: Manifest.parse has read it
    config = Blob.of(_config([str(d["digest"]) for d in layers if isinstance(d, dict)]), OCI_CONFIG)
    manifest["layers"], manifest["config"] = layers, config.descriptor.to_json()
    return Artifact(manifest=Manifest.parse(dump_json(manifest), standing.descriptor.media_type), blobs=(config,))


def layers_json(standing: Manifest) -> list[object]:
    """The layers of a manifest as the JSON values they are."""
    members = load_json(standing.raw, limit=MANIFEST_LIMIT, error=InvalidManifest).entries()
    value = members["layers"].value if "layers" in members else None
    return list(value) if isinstance(value, list) else []


def _is_same(standing: Descriptor, ours: Descriptor) -> bool:
    # Several signatures may be over one payload: the signature stands in an annotation.
    same = standing.annotations.get(SIGNATURE_KEY) == ours.annotations.get(SIGNATURE_KEY)
    return standing.digest == ours.digest and same


def _open(previous: Artifact, layer_type: str) -> tuple[dict[str, object], str]:
    """Return the standing manifest as JSON, everything in it kept, ready for one more layer."""
    standing = previous.manifest
    if standing.is_index or any(d.media_type != layer_type for d in standing.layers):
        raise InvalidManifest("the signature tag holds something that is not a list of signatures; nothing was changed")
    if len(standing.layers) >= LAYERS_LIMIT:
        raise InvalidManifest(f"the signature tag holds {LAYERS_LIMIT} signatures already", hint="use --format bundle")
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
