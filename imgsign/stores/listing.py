"""Seeing to it that a pushed manifest is found by its subject.

Sources: distribution-spec v1.1.1 "Pushing Manifests with Subject", "Referrers Tag Schema".

``OCI-Subject`` in the answer to a PUT is a hint only: ECR and Docker Hub have sent it without having the
API (docker/hub-feedback#2372, "data loss"). So the API is asked, and if it does not list the manifest,
the entry goes under the fallback tag, which every reader merges.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from imgsign.errors import RegistryError, TooLarge
from imgsign.oci import MANIFEST_LIMIT, OCI_INDEX, Artifact, Descriptor, Manifest
from imgsign.reference import Digest
from imgsign.stores.manifests import Manifests
from imgsign.stores.referrers import LISTED_LIMIT, list_from_api
from imgsign.wire import dump_json, load_json

_LAG = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between looks at an API that said it would list a manifest: listings are often indexed later."""

_LAG_UNSAID = (0.2,)
"""The same where it did not say so."""


def is_listed(manifests: Manifests, subject: Digest, stored: Digest, *, promised: bool) -> bool:
    """Whether the referrers API lists a manifest, allowing it some time if it ``promised`` to.

    Raises:
        RegistryError: if the listing cannot be read, which says neither yes nor no.
    """
    registry = manifests.repository.registry
    for wait in (*(_LAG if promised else _LAG_UNSAID), None):
        try:
            if any(d.digest == stored for d in list_from_api(manifests, subject, [])):
                return True
        except TooLarge:
            return False  # readers stop here as well, and then read the tag
        if wait is None or manifests.transport.memory.lacks_referrers(registry):
            return False
        manifests.transport.pause(wait)
    return False


def unlisted(manifests: Manifests, subject: Digest, stored: Sequence[Manifest]) -> list[Manifest]:
    """Which of the stored manifests a reader of the list of ``subject`` would not find.

    Raises:
        RegistryError: if the listing cannot be read, which says neither yes nor no.
    """
    problems: list[RegistryError] = []
    listed = {d.digest for d in list_from_api(manifests, subject, problems)}
    lacking = [m for m in stored if m.digest not in listed]
    # An API may list late (see _LAG): waiting for the last one is waiting for all.
    if lacking and not manifests.transport.memory.lacks_referrers(manifests.repository.registry):
        is_listed(manifests, subject, lacking[-1].digest, promised=True)
        listed = {d.digest for d in list_from_api(manifests, subject, problems)}
        lacking = [m for m in lacking if m.digest not in listed]
    return lacking


def entry_of(manifest: Manifest) -> Descriptor:
    """Return the descriptor a listing must hold: with the artifact type and all annotations of the manifest.

    Without an artifact type, the config's media type stands for it (distribution-spec "Listing Referrers").
    """
    fallback = None if manifest.config is None else manifest.config.media_type
    return replace(
        manifest.descriptor,
        annotations=manifest.annotations,
        artifact_type=manifest.artifact_type or fallback,
    )


class EditList:
    """The edit of a fallback tag that adds and drops entries, and keeps every other that was ever seen there.

    The entries of others are kept as the JSON values they are, also what this program does not know of
    them. An entry that another writer's race has dropped since it was seen is put back.
    """

    def __init__(self, subject: Digest, add: Iterable[Descriptor], *, drop: Iterable[Digest] = (), where: str) -> None:
        """Change the list of ``subject``; ``where`` names the repository in messages."""
        self._subject = subject
        self._add = tuple(add)
        self._drop = frozenset(str(d) for d in drop)
        self._where = where
        self._seen: dict[str, object] = {}

    def __call__(self, current: Artifact | None) -> Artifact | None:
        """Return the index to store, or ``None`` if what stands is complete.

        Raises:
            RegistryError: if what stands is no OCI index: it is somebody's, and not overwritten.
            TooLarge: if the index would be larger than registries store, or than is read of it.
        """
        document: dict[str, object] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
        listed: dict[str, object] = {}
        if current is not None:
            self._check(current.manifest)
            document, listed = self._parse(current.manifest)
        self._seen.update(listed)
        lost = {d: v for d, v in self._seen.items() if d not in listed and d not in self._drop}
        lost.update((str(e.digest), e.to_json()) for e in self._add if str(e.digest) not in self._seen)
        if not lost and not self._drop & listed.keys():
            return None
        standing = document["manifests"]
        kept = [e for e in (standing if isinstance(standing, list) else []) if _digest_of(e) not in self._drop]
        entries = [*kept, *lost.values()]
        if len(entries) > LISTED_LIMIT:
            raise self._full()  # readers would stop before our entry
        return Artifact(manifest=self._make({**document, "manifests": entries}))

    def _check(self, manifest: Manifest) -> None:
        tag = self._subject.tag
        if self._subject in (manifest.digest, Digest.of(manifest.raw, self._subject.algorithm)):
            # GitLab (oras-project/oras#2148). Writing there would move the image's own name.
            raise RegistryError(
                f"{self._where} answers tag {tag!r} with the subject itself, so it cannot list referrers"
            )
        if manifest.descriptor.media_type != OCI_INDEX:
            raise RegistryError(
                f"tag {tag!r} in {self._where} holds {manifest.descriptor.media_type}, not an index of referrers; "
                "it is not overwritten"
            )

    def _parse(self, manifest: Manifest) -> tuple[dict[str, object], dict[str, object]]:
        """Return the document's members, and its entries by digest; the manifest was parsed before."""
        members = {k: n.value for k, n in load_json(manifest.raw, limit=MANIFEST_LIMIT).entries().items()}
        values = members.get("manifests")
        entries = values if isinstance(values, list) else []
        return members, {str(d.digest): v for d, v in zip(manifest.manifests, entries, strict=True)}

    def _make(self, document: dict[str, object]) -> Manifest:
        raw = dump_json(document)
        if len(raw) > MANIFEST_LIMIT:
            raise self._full()
        return Manifest.parse(raw, OCI_INDEX)

    def _full(self) -> TooLarge:
        return TooLarge(f"the list of referrers under tag {self._subject.tag!r} in {self._where} is full")


def _digest_of(entry: object) -> object:
    return entry.get("digest") if isinstance(entry, dict) else None
