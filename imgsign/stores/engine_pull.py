"""A docker engine as the place a pull puts an image: ``docker:``.

Sources: Docker Engine API v1.24 and newer, ``ImageCreate``, ``ImageLoad``, ``ImageTag``, ``ImageInspect``;
moby ``api/types/registry`` (``AuthConfig``), docker/cli ``cli/config/credentials`` for ``X-Registry-Auth``.

The engine is asked to pull ``repo@digest`` of the judged digest, with the credentials imgsign itself has
for that repository: a password, an identity token or a registry token, each under its own name. What it
then has is checked: its image ID must be a digest of what was verified (the config's, where an engine keeps
images by config, else the manifest's), and its RepoDigests must hold the judged digest. Only then does it
get the tag, and both are checked again under the tag.

An engine that cannot pull (no way to the registry, no right to read there, the image is in an OCI layout)
is given an archive made of content that was hashed here, without a name in it; the image ID is checked in
the same way, and then it gets its tag. Its RepoDigests lack the judged digest then, which :class:`Outcome`
says.

No tag ever names what failed a check: a tag that had to be taken back names again what it named before.

NOTE: an engine is trusted to keep images under the digests of their content, as everyone is who runs
containers with it. What the checks find is another image, by accident or by another client's doing.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path

from imgsign.errors import AuthenticationFailed, DestinationError, UsageError
from imgsign.oci import Artifact, Descriptor, Manifest, Platform
from imgsign.platforms import choose
from imgsign.record import record
from imgsign.reference import Digest, Reference, Repository
from imgsign.stores import Store
from imgsign.stores.archive import ArchiveDestination, ImageConfig, fetch_config
from imgsign.stores.blobfiles import Progress, quiet
from imgsign.stores.engine import Engine, EngineImage, RegistryAuth
from imgsign.stores.engine_progress import LayerProgress
from imgsign.stores.layout import disk
from imgsign.transport.config.docker import server_of
from imgsign.transport.config.entry import TOKEN_USER, Credential, Kind
from imgsign.wire import dump_json

SCHEME = "docker:"

FindLogin = Callable[[Repository], Credential | None]
"""Finds who one is for a repository; ``None``: anonymous. May raise ``AuthenticationFailed``."""

_MEMBERS = {
    Kind.PASSWORD: "password",
    Kind.IDENTITY_TOKEN: "identitytoken",
    Kind.REGISTRY_TOKEN: "registrytoken",
}
"""Where ``X-Registry-Auth`` has a secret: an engine sends a token that stands as password to the wrong place."""


@record
class Outcome:
    """What an engine has after a pull: the image under its ID, and the names it knows it by.

    ``pinned`` is ``repo@digest`` of the judged digest if the engine lists it. ``not_pulled`` says why the
    engine did not pull (``None``: it did); it was given an archive then, unless it had the image already.
    """

    identifier: Digest
    tagged: Reference | None
    pinned: Reference | None
    not_pulled: str | None
    archived: bool

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know, one line each."""
        if self.not_pulled is None:
            return ()
        instead = "was given an archive" if self.archived else "had the image already"
        found = [f"the engine did not pull, and {instead}: {self.not_pulled}"]
        if self.pinned is None:
            name = self.identifier if self.tagged is None else self.tagged
            found.append(f"the engine knows the image as {name}, not by the digest that was judged (no RepoDigests)")
        return tuple(found)


class EngineDestination:
    """A docker engine; fills :class:`imgsign.workflow.Destination`.

    ``name`` says where the engine may pull from, and its tag is what the image is called there;
    ``platform`` of ``None`` is the engine's. Nothing is asked of the engine before the image is allowed.
    ``scratch`` is where an archive is made if one is needed (``None``: the system's place for that).
    """

    keeps_signatures = False

    def __init__(
        self,
        engine: Engine,
        name: Reference | None,
        *,
        platform: Platform | None = None,
        find_login: FindLogin = lambda repository: None,
        progress: Progress = quiet,
        scratch: Path | None = None,
    ) -> None:
        self._engine = engine
        self._name = name
        self._platform = platform
        self._find_login = find_login
        self._progress = progress
        self._scratch = scratch
        self._chosen: Descriptor | None = None
        self._taken: _Taken | None = None
        self.outcome: Outcome | None = None

    def __str__(self) -> str:
        return str(self._engine)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know after ``finish``, one line each."""
        return () if self.outcome is None else self.outcome.notes

    def choose(self, index: Manifest) -> Descriptor:
        """Return the one child of an index that the engine is to have."""
        self._chosen = choose(index, self._platform or self._engine.platform())
        return self._chosen

    def open(self) -> None:
        """See that the engine answers, before anything is fetched for it."""
        self._engine.check()

    def put(self, source: Store, manifest: Manifest, pool: Executor | None) -> None:
        """Take note of the one image and where its content is; its config tells the image ID to expect."""
        if self._taken is not None:
            raise UsageError(f"{self} takes one image at a time")
        asked = self._platform if self._chosen is None else None
        config = fetch_config(source, manifest, asked)
        self._taken = _Taken(source=source, image=manifest, pool=pool, config=config)

    def keep(self, signature: Artifact, tag: str | None) -> None:
        """Refuse: an engine has no place for signatures."""
        raise UsageError(f"{self} keeps no signatures")

    def finish(self, manifest: Manifest) -> None:
        """Let the engine pull the judged digest or load an archive; check what it has, then tag it.

        Raises:
            DestinationError: it can do neither, or has another image than was judged. No tag is left then.
        """
        taken = self._taken
        if taken is None or (not manifest.is_index and manifest.digest != taken.image.digest):
            raise RuntimeError("finish follows put of the image")
        accepted = frozenset((taken.config.identifier, taken.image.digest, manifest.digest))
        pinned = None if self._name is None else Reference(repository=self._name.repository, digest=manifest.digest)
        not_pulled: str | None = "the image has no name"
        found: EngineImage | None = None
        if pinned is not None:
            found, not_pulled = self._pull(taken, pinned, accepted)
        archived = False
        if found is None:
            found = self._has(taken, accepted)
            if found is not None:
                LayerProgress(taken.image, self._progress).complete()
        if found is None:
            found, archived = self._load(taken, accepted, not_pulled), True
        tagged = None if self._name is None or self._name.tag is None else self._name.name
        if tagged is not None:
            found = self._tag(found, tagged, pinned if not_pulled is None else None)
        self.outcome = Outcome(
            identifier=found.digest or taken.config.identifier,
            tagged=tagged,
            pinned=pinned if pinned is not None and found.is_known_as(pinned) else None,
            not_pulled=not_pulled,
            archived=archived,
        )

    def _pull(
        self, taken: _Taken, pinned: Reference, accepted: frozenset[Digest]
    ) -> tuple[EngineImage | None, str | None]:
        """Let the engine pull; the checked image, or why it could not."""
        try:
            login = self._find_login(pinned.repository)
        except AuthenticationFailed as e:
            return None, e.message  # going on without would ask as somebody else
        before = self._engine.image(pinned)
        platform = None if self._chosen is None else self._chosen.platform
        auth = None if login is None else registry_auth(pinned.repository.registry, login)
        layers = LayerProgress(taken.image, self._progress)
        failure = self._engine.pull(pinned, platform=platform, auth=auth, seen=layers.seen)
        if failure is not None:
            layers.forget()
            return None, failure
        try:
            found = self._engine.image(pinned)
            if found is None or found.digest not in accepted or not found.is_known_as(pinned):
                raise _mismatch(self._engine, str(pinned), found, accepted)
        except DestinationError:
            if before is None:
                with suppress(DestinationError):  # what went wrong before is what matters
                    self._engine.remove(pinned)
            raise
        layers.complete()
        return found, None

    def _load(self, taken: _Taken, accepted: frozenset[Digest], why: str | None) -> EngineImage:
        """Give the engine an archive of the content, without a name."""
        scratch = Path(tempfile.gettempdir()) if self._scratch is None else self._scratch
        with disk(scratch), tempfile.TemporaryDirectory(prefix="imgsign-", dir=scratch) as directory:
            file = Path(directory) / "image.tar"
            archive = ArchiveDestination(file, progress=self._progress)
            archive.open()
            archive.put(taken.source, taken.image, taken.pool)
            archive.finish(taken.image)
            with file.open("rb") as opened:
                failure = self._engine.load(opened, file.stat().st_size)
        if failure is not None:
            raise DestinationError(f"{self} can neither pull {taken.image.digest} ({why}) nor load it: {failure}")
        if (found := self._has(taken, accepted)) is None:
            raise _mismatch(self._engine, str(taken.config.identifier), None, accepted)
        return found

    def _has(self, taken: _Taken, accepted: frozenset[Digest]) -> EngineImage | None:
        """The image under one of the IDs an engine may give it: config's or manifest's digest."""
        for identifier in (taken.config.identifier, taken.image.digest):
            found = self._engine.image(identifier)
            if found is not None and found.digest in accepted:
                return found
        return None

    def _tag(self, image: EngineImage, name: Reference, pinned: Reference | None) -> EngineImage:
        """Tag a checked image, and check it again under its tag; ``pinned`` must be among its names."""
        accepted = frozenset(d for d in (image.digest,) if d is not None)
        before = self._engine.image(name)
        try:
            self._engine.tag(image, name)
            found = self._engine.image(name)
            unknown = pinned is not None and (found is None or not found.is_known_as(pinned))
            if found is None or found.digest not in accepted or unknown:
                raise _mismatch(self._engine, str(name), found, accepted)
        except BaseException:
            self._take_back(name, before, image)
            raise
        return found

    def _take_back(self, name: Reference, before: EngineImage | None, image: EngineImage) -> None:
        """Let a tag name again what it named before, or nothing."""
        try:
            if before is None or before.identifier == image.identifier:
                self._engine.remove(name)
            else:
                self._engine.tag(before, name)
        except DestinationError as e:
            raise DestinationError(
                f"{self} may still have the tag {name} on an image that failed its check: {e.message}",
                hint=f"docker rmi {name}",
            ) from e


@record
class _Taken:
    """The image that was put, and where its content is."""

    source: Store
    image: Manifest
    pool: Executor | None
    config: ImageConfig


def registry_auth(registry: str, login: Credential) -> RegistryAuth:
    """Write credentials as docker's client does: base64url (padded) of JSON."""
    members = {} if login.user == TOKEN_USER else {"username": login.user}
    raw = dump_json({**members, _MEMBERS[login.kind]: login.secret, "serveraddress": server_of(registry)})
    return RegistryAuth(header=base64.urlsafe_b64encode(raw).decode("ascii"), secrets=login.secrets)


def _mismatch(engine: Engine, name: str, found: EngineImage | None, accepted: frozenset[Digest]) -> DestinationError:
    expected = " or ".join(sorted(str(d) for d in accepted))
    if found is None:
        return DestinationError(f"{engine} says it has taken the image, but has no {name}; expected {expected}")
    if found.digest is None or found.digest not in accepted:
        there = "something that is no digest" if found.digest is None else str(found.digest)
        return DestinationError(f"{engine} has another image as {name}: {there}, expected {expected}")
    return DestinationError(f"{engine} has {found.digest} as {name}, but not under the digest that was judged")
