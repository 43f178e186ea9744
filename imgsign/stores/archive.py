"""Archives: one image in one tar file, which ``docker load`` reads, and skopeo and podman as ``docker-archive:``.

Sources: Docker image specification v1.2 "Combined Image JSON + Filesystem Changeset Format"
(``manifest.json``); image-spec v1.1.1 image-layout.md; moby ``image/tarexport``; containers/image
``docker/internal/tarfile``; POSIX.1-1988 ustar with GNU's extensions for long names and large files.

    oci-layout, index.json          the same content as an OCI layout: engines that keep images by the
                                    digest of their manifest (Docker 25 and newer, containerd) read these
    manifest.json                   [{"Config": path, "RepoTags": [name:tag], "Layers": [path, …]}]
    blobs/<algorithm>/<hex>         the manifest, the config, and the layers as they are

Layers stay compressed as the registry has them: what is written is what was hashed. ``docker load`` 20.10
reads plain and gzip layers; zstd takes Docker 23. Equal input gives equal bytes: no times, no owners.

The place of each blob in the file follows from the sizes in the manifest, so several are written at once.
The file has another name until it is complete, hashed and on disk; an existing one is replaced only
then, in one step. Refused: an index (choose one of its images first), an artifact that is no image.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

from imgsign.errors import DestinationError, InvalidManifest, TooLarge, UsageError
from imgsign.oci import OCI_CONFIG, OCI_INDEX, Artifact, Blob, Descriptor, Manifest, Platform
from imgsign.platforms import choose, host_platform, suits
from imgsign.record import record
from imgsign.reference import Digest, Reference
from imgsign.stores import Store
from imgsign.stores.blobfiles import Progress, quiet
from imgsign.stores.layout import disk
from imgsign.stores.layout_index import LAYOUT_FILE, REF_NAME
from imgsign.stores.replacing import replacing
from imgsign.stores.tar import Copy, head_of, path_of, rounded, run_copies, write_at
from imgsign.wire import Node, dump_json, load_json, printable, quote

SCHEME = "docker-archive:"
CONFIG_LIMIT = 4 * 1024 * 1024
"""Bytes of an image's config; the limit of containers/image (``iolimits.MaxConfigBodySize``)."""

_CONFIG_TYPES = (OCI_CONFIG, "application/vnd.docker.container.image.v1+json")
_IMAGE_NAME = "io.containerd.image.name"  # containerd ``images/annotations.go``; OCI has tags only
_SIZE_LIMIT = 2**62  # bytes of one archive: what any file system's offsets can count


def parse_location(text: str) -> Path:
    """Read ``docker-archive:FILE``.

    Raises:
        UsageError: another scheme, no file, or skopeo's ``FILE:NAME``, which would become part of the
            file's name here.
    """
    rest = text.removeprefix(SCHEME)
    if not text.startswith(SCHEME) or not rest or rest.endswith("/"):
        raise UsageError(f"not an archive: {quote(text)}", hint=f"write it as {SCHEME}FILE")
    if ":" in rest:
        raise UsageError(
            f"{quote(text)} holds a colon after the scheme", hint="the archive takes the name of the reference"
        )
    return Path(rest)


@record
class ImageConfig:
    """The checked config of an image; ``identifier`` is the image ID of engines that go by configs."""

    blob: Blob
    identifier: Digest


def fetch_config(source: Store, manifest: Manifest, wanted: Platform | None) -> ImageConfig:
    """Fetch an image's config and see that engines can use the image; ``wanted`` of ``None``: any platform.

    Raises:
        UsageError: an index, an artifact, or an image for another platform.
        InvalidManifest: config and manifest contradict each other.
    """
    if manifest.config is None:
        raise UsageError(f"{manifest.digest} is an index: one of its images must be chosen", hint="--platform …")
    if manifest.config.media_type not in _CONFIG_TYPES:
        raise UsageError(f"{manifest.digest} is not an image: its config is {quote(manifest.config.media_type)}")
    blob = source.blob(manifest.config, limit=CONFIG_LIMIT)
    node = load_json(blob.raw, limit=CONFIG_LIMIT, error=InvalidManifest)
    members = node.fields(("os", "architecture", "rootfs"), ("variant",), closed=False)
    rootfs = members["rootfs"].fields((), ("diff_ids",), closed=False)
    count = len(rootfs["diff_ids"].items()) if _present(rootfs, "diff_ids") else 0
    if count != len(manifest.layers):
        raise InvalidManifest(f"image {manifest.digest} has {len(manifest.layers)} layers, its config lists {count}")
    found = Platform(
        os=members["os"].text(),
        architecture=members["architecture"].text(),
        variant=members["variant"].text() if _present(members, "variant") else None,
    )
    # Many configs leave the variant out.
    if wanted is not None and not suits(found if found.variant else replace(found, variant=wanted.variant), wanted):
        raise UsageError(f"image {manifest.digest} is for {printable(str(found))}, not for {printable(str(wanted))}")
    return ImageConfig(blob=blob, identifier=Digest.of(blob.raw))


def _present(members: Mapping[str, Node], key: str) -> bool:
    return key in members and members[key].value is not None


class ArchiveDestination:
    """A tar file with one image; fills :class:`imgsign.workflow.Destination`.

    ``name`` goes into the archive if it has a tag; ``platform`` of ``None`` is this machine's, and an
    image that is not in an index is then taken whatever its platform. Nothing is fetched or written
    before :meth:`finish`, so that one block sees to the file from its first byte to its name.
    """

    keeps_signatures = False
    notes: tuple[str, ...] = ()  # nothing to say: an archive always gets all

    def __init__(
        self, file: Path, name: Reference | None = None, platform: Platform | None = None, progress: Progress = quiet
    ) -> None:
        self._file = file
        self._name = None if name is None or name.tag is None else name.name
        self._platform = platform
        self._asked = platform  # of an image that is not in an index
        self._progress = progress
        self._taken: tuple[Store, Manifest, Executor | None] | None = None

    def __str__(self) -> str:
        return f"{SCHEME}{self._file}"

    def choose(self, index: Manifest) -> Descriptor:
        """Return the one child of an index that goes into the archive."""
        here = os.uname()
        self._asked = None  # the index says what its images are for
        return choose(index, self._platform or host_platform(here.machine, here.sysname))

    def open(self) -> None:
        """See that the file can be written or replaced.

        Raises:
            DestinationError: there is no such directory, or another kind of file has that name.
        """
        if not self._file.parent.is_dir():
            raise DestinationError(f"{str(self._file.parent)!r} is not a directory")
        with disk(self._file):
            try:
                mode = os.lstat(self._file).st_mode
            except FileNotFoundError:
                return
        if not stat.S_ISREG(mode):
            raise DestinationError(f"{str(self._file)!r} is not a regular file")

    def put(self, source: Store, manifest: Manifest, pool: Executor | None) -> None:
        """Take note of the one image and where its content is."""
        if self._taken is not None:
            raise UsageError(f"{self} takes one image only")
        self._taken = source, manifest, pool

    def keep(self, signature: Artifact, tag: str | None) -> None:
        """Refuse: an archive has no place for signatures."""
        raise UsageError(f"{self} keeps no signatures")

    def finish(self, manifest: Manifest) -> None:
        """Fetch, hash and write everything, put it on disk, then give it its name."""
        if self._taken is None or (not manifest.is_index and manifest.digest != self._taken[1].digest):
            raise RuntimeError("finish follows put of the image")
        source, image, pool = self._taken
        config = fetch_config(source, image, self._asked)
        members, size = _lay_out(image, config, self._name)
        with disk(self._file), replacing(self._file) as handle:
            os.ftruncate(handle, size)
            self._progress(config.blob.descriptor.size)
            blobs = []
            for member in members:
                write_at(handle, member.head, member.start)
                if member.blob is not None:
                    blobs.append(Copy(handle, member.start + len(member.head), member.blob, source, self._progress))
            run_copies(blobs, pool)


@record
class _Member:
    """One member of the tar: ``head`` is its header and, unless a ``blob`` is to follow, its content."""

    head: bytes
    start: int  # offset in the file
    blob: Descriptor | None = None


def _lay_out(image: Manifest, config: ImageConfig, name: Reference | None) -> tuple[list[_Member], int]:
    """Decide where everything lies, and the size of the whole file; gaps are zero, as tar wants them.

    Raises:
        TooLarge: the sizes add up to more than a file can have.
    """
    listed = image.descriptor.to_json()
    if name is not None:
        listed["annotations"] = {_IMAGE_NAME: str(name), REF_NAME: name.tag}
    entry = {
        "Config": path_of(config.blob.descriptor.digest),
        "RepoTags": [] if name is None else [str(name)],
        "Layers": [path_of(layer.digest) for layer in image.layers],
    }
    contents: dict[str, bytes | Descriptor] = {
        "oci-layout": LAYOUT_FILE,
        "index.json": dump_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [listed]}),
        "manifest.json": dump_json([entry]),
        path_of(image.digest): image.raw,
        path_of(config.blob.descriptor.digest): config.blob.raw,
    }
    for layer in image.layers:
        contents.setdefault(path_of(layer.digest), layer)  # a layer that is there twice is kept once
    members, end = [], 0
    for path, content in contents.items():
        size = content.size if isinstance(content, Descriptor) else len(content)
        if end + size > _SIZE_LIMIT:
            raise TooLarge(f"the layers of image {image.digest} are larger than a file can be")
        head = head_of(path, size)
        if isinstance(content, Descriptor):
            members.append(_Member(head=head, start=end, blob=content))
        else:
            members.append(_Member(head=head + content, start=end))
        end += len(head) + rounded(size, tarfile.BLOCKSIZE)
    return members, rounded(end + 2 * tarfile.BLOCKSIZE, tarfile.RECORDSIZE)
