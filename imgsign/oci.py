"""OCI and Docker schema 2 manifests, indexes, descriptors and blobs, as the bytes they are.

Sources: image-spec v1.1.1 manifest.md, image-index.md, descriptor.md; Docker image manifest version 2
schema 2; distribution-spec v1.1.1.

A :class:`Manifest` keeps the raw bytes received; its descriptor's digest and size are of those bytes,
never of a re-serialised form. Refused: schema 1 (its digest is not of its bytes), a body whose
``mediaType`` is not the one the store declared, a body that could be read both as an image and as an
index (CVE-2021-41190), duplicate and case-variant keys, digests that are not canonical (CVE-2024-3727).
Unknown members are kept in ``raw`` and otherwise ignored, as the specification asks.

Not checked here: that the config and layers exist, or what they hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from imgsign.errors import ContentMismatch, InvalidDigest, InvalidManifest
from imgsign.record import record
from imgsign.reference import Digest, Reference
from imgsign.wire import Node, load_json, quote

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
MANIFEST_TYPES = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST)
INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)
_SCHEMA1_PREFIX = "application/vnd.docker.distribution.manifest.v1+"

MANIFEST_LIMIT = 4 * 1024 * 1024
"""Bytes of one manifest; distribution-spec "Pushing Manifests" names 4 MiB, registries enforce it."""

DESCRIPTOR_LIMIT = 10_000
"""Descriptors in one manifest: far above any real image (127 layers) or index (CVE-2024-29903)."""

_DESCRIPTOR_REQUIRED = ("mediaType", "digest", "size")
_DESCRIPTOR_OPTIONAL = ("annotations", "artifactType", "data", "platform", "urls")
_PLATFORM_OPTIONAL = ("architecture", "os", "os.version", "os.features", "variant", "features")
_MANIFEST_KEYS = ("mediaType", "config", "layers", "manifests", "subject", "artifactType", "annotations")
_V1_KEYS = ("fsLayers", "history", "signatures")


@record
class Platform:
    """An index entry's platform (image-spec image-index.md); attestation entries say unknown/unknown."""

    os: str
    architecture: str
    variant: str | None = None

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}" + (f"/{self.variant}" if self.variant else "")


@record
class Descriptor:
    """A typed, sized content address (image-spec descriptor.md); ``size`` in bytes."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    artifact_type: str | None = None
    platform: Platform | None = None

    @classmethod
    def parse(cls, node: Node) -> Descriptor:
        """Read a descriptor; unknown members are ignored, ``urls`` and ``data`` are never followed."""
        members = node.fields(_DESCRIPTOR_REQUIRED, _DESCRIPTOR_OPTIONAL, closed=False)
        try:
            digest = Digest.parse(members["digest"].text())
        except InvalidDigest as e:
            members["digest"].refuse(e.message)
        annotations = members["annotations"].text_map() if _present(members, "annotations") else {}
        artifact_type = members["artifactType"].text() if _present(members, "artifactType") else None
        return cls(
            media_type=members["mediaType"].text(),
            digest=digest,
            size=members["size"].integer(low=0, high=2**63 - 1),
            annotations=annotations,
            artifact_type=artifact_type or None,
            platform=_parse_platform(members["platform"]) if _present(members, "platform") else None,
        )

    def to_json(self) -> dict[str, object]:
        """Return the JSON form with members in the order of the specification's examples."""
        found: dict[str, object] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.annotations:
            found["annotations"] = dict(sorted(self.annotations.items()))
        if self.platform is not None:
            found["platform"] = {"architecture": self.platform.architecture, "os": self.platform.os}
            if self.platform.variant:
                found["platform"] = {**found["platform"], "variant": self.platform.variant}  # type: ignore[dict-item]  # built one line above
        if self.artifact_type:
            found["artifactType"] = self.artifact_type
        return found


@record
class Manifest:
    """An image manifest or an index: ``raw`` as received and ``descriptor`` computed from it.

    ``manifests`` is filled for an index, ``config`` and ``layers`` for an image.
    """

    raw: bytes = field(repr=False)
    descriptor: Descriptor
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def digest(self) -> Digest:
        """The digest of ``raw``."""
        return self.descriptor.digest

    @property
    def is_index(self) -> bool:
        """Whether this is an OCI index or a Docker manifest list."""
        return self.descriptor.media_type in INDEX_TYPES

    @classmethod
    def parse(cls, raw: bytes, media_type: str | None = None, *, algorithm: str = "sha256") -> Manifest:
        """Parse bytes that a store declared as ``media_type`` (``None``: the store did not say).

        Raises:
            InvalidManifest: if the bytes are not exactly one unambiguous manifest or index.
        """
        node = load_json(raw, limit=MANIFEST_LIMIT, error=InvalidManifest)
        members = node.fields(("schemaVersion",), (*_MANIFEST_KEYS, *_V1_KEYS), closed=False)
        _refuse_schema1(members, media_type)
        found_type = _settle_media_type(node, members, media_type)
        needed: tuple[str, ...]
        if found_type in INDEX_TYPES:
            wrong = [k for k in ("config", "layers", *_V1_KEYS) if k in members]
            needed = ("manifests",)
        else:
            wrong = [k for k in ("manifests", *_V1_KEYS) if k in members]
            needed = ("config", "layers")
        if wrong:
            node.refuse(f"ambiguous: {found_type} with key {wrong[0]!r}")
        for key in needed:
            if key not in members:
                node.refuse(f"missing key {key!r}")
        return cls(
            raw=raw,
            descriptor=Descriptor(media_type=found_type, digest=Digest.of(raw, algorithm), size=len(raw)),
            config=Descriptor.parse(members["config"]) if "config" in members else None,
            layers=_parse_list(members, "layers"),
            manifests=_parse_list(members, "manifests"),
            subject=Descriptor.parse(members["subject"]) if _present(members, "subject") else None,
            artifact_type=(members["artifactType"].text() or None) if _present(members, "artifactType") else None,
            annotations=members["annotations"].text_map() if _present(members, "annotations") else {},
        )


@record
class Blob:
    """Bytes that are known to be what their descriptor says; made only by :meth:`checked`."""

    descriptor: Descriptor
    raw: bytes = field(repr=False)

    @classmethod
    def checked(cls, descriptor: Descriptor, untrusted_raw: bytes) -> Blob:
        """Return the blob if size and digest agree.

        Raises:
            ContentMismatch: otherwise.
        """
        if len(untrusted_raw) != descriptor.size:
            raise ContentMismatch(
                f"blob {descriptor.digest} has {len(untrusted_raw)} bytes, its descriptor says {descriptor.size}"
            )
        actual = Digest.of(untrusted_raw, descriptor.digest.algorithm)
        if actual != descriptor.digest:
            raise ContentMismatch(f"blob {descriptor.digest} has the digest {actual}")
        return cls(descriptor=descriptor, raw=untrusted_raw)

    @classmethod
    def of(cls, raw: bytes, media_type: str, **extra: object) -> Blob:
        """Address our own bytes; ``extra`` goes into the descriptor (``annotations``, ``artifact_type``)."""
        descriptor = Descriptor(media_type=media_type, digest=Digest.of(raw), size=len(raw), **extra)  # type: ignore[arg-type]  # Descriptor's own field types
        return cls(descriptor=descriptor, raw=raw)


@record
class Artifact:
    """A stored signature object: a manifest and those of its blobs that could be had.

    ``missing`` names a blob that was asked for and could not be used, with the reason; ``too_large`` those of
    them that are over a limit.
    """

    manifest: Manifest
    blobs: tuple[Blob, ...] = ()
    missing: tuple[tuple[Digest, str], ...] = ()
    too_large: frozenset[Digest] = frozenset()

    def blob(self, digest: Digest) -> Blob | None:
        """Return the blob of that digest, or ``None``."""
        return next((b for b in self.blobs if b.descriptor.digest == digest), None)

    def why_missing(self, digest: Digest) -> str:
        """Say why the blob is not here."""
        return next((why for d, why in self.missing if d == digest), "was not gathered")

    def missing_code(self, digest: Digest) -> str:
        """The code of a blob that is not here."""
        return "too-large" if digest in self.too_large else "blob-missing"


@record
class Image:
    """What a verdict is about: the manifest whose bytes we hashed, and the name it was asked for by.

    ``name`` is ``None`` for an OCI layout without an identity; ``manifest`` is ``None`` where the policy
    rejected the name before any request was made.
    """

    name: Reference | None
    manifest: Manifest | None

    @property
    def digest(self) -> Digest | None:
        """The digest of the manifest's bytes, if there are any."""
        return None if self.manifest is None else self.manifest.digest

    def __str__(self) -> str:
        if self.name is None:
            return str(self.digest)
        return str(self.name if self.digest is None else self.name.at(self.digest))


EMPTY_CONFIG = Blob.of(b"{}", OCI_EMPTY)
"""The two bytes ``{}`` that stand as config of an artifact (image-spec manifest.md "Guidance")."""


def platform_of(text: str) -> Platform:
    """Parse ``os/architecture[/variant]``.

    Raises:
        InvalidManifest: if it has another shape.
    """
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise InvalidManifest(f"not a platform: {quote(text)}", hint="write it as linux/amd64 or linux/arm/v7")
    return Platform(os=parts[0], architecture=parts[1], variant=parts[2] if len(parts) == 3 else None)


def _present(members: Mapping[str, Node], key: str) -> bool:
    return key in members and members[key].value is not None


def _parse_list(members: Mapping[str, Node], key: str) -> tuple[Descriptor, ...]:
    # NOTE: Go writes an empty list as null; runtimes read both alike.
    if not _present(members, key):
        return ()
    return tuple(Descriptor.parse(n) for n in members[key].items(limit=DESCRIPTOR_LIMIT))


def _parse_platform(node: Node) -> Platform:
    members = node.fields((), _PLATFORM_OPTIONAL, closed=False)
    return Platform(
        os=members["os"].text() if "os" in members else "",
        architecture=members["architecture"].text() if "architecture" in members else "",
        variant=(members["variant"].text() or None) if "variant" in members else None,
    )


def _refuse_schema1(members: Mapping[str, Node], media_type: str | None) -> None:
    version = members["schemaVersion"].integer()
    if version == 1 or (media_type or "").startswith(_SCHEMA1_PREFIX):
        raise InvalidManifest(
            "image manifest schema 1 is not supported: its digest is not the digest of its bytes",
            hint="push the image again with a current docker or skopeo",
        )
    if version != 2:
        members["schemaVersion"].refuse(f"unknown schema version {version}")


def _settle_media_type(node: Node, members: Mapping[str, Node], declared: str | None) -> str:
    """Agree on one media type: body and store must not contradict each other."""
    declared = (declared or "").partition(";")[0].strip() or None
    written = members["mediaType"].text() if _present(members, "mediaType") else None
    # Registries without a better idea say application/json (GAR, containers/image#1953); then the body decides.
    if declared in ("application/json", "application/octet-stream"):
        declared = None
    if written is not None and declared is not None and written != declared:
        node.refuse(f"ambiguous: declared as {quote(declared)} but its mediaType is {quote(written)}")
    found = written or declared
    if found is None:
        node.refuse("no media type, neither declared nor in the body")
    if found not in MANIFEST_TYPES:
        node.refuse(f"unsupported manifest media type {quote(found)}")
    return found
