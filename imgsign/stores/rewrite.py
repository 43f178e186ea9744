"""Changing what a tag holds where others change it too, without losing anybody's change.

Sources: distribution-spec v1.1.1 "Referrers Tag Schema" (which names the race and offers no remedy).

Registries have no compare-and-swap: docker-registry 2.8.2 ignores ``If-Match`` on PUT, so the last
writer wins, and of eight naive parallel writers two or three survive. So:

1. Read the tag, let ``edit`` make of it what it should hold, store that under the tag. The PUT leaves
   only within a short *window* after the read (``STALE_LIMIT``, or 1.5 times the read where reads are
   slow); else it is read again. A PUT is never repeated blindly: by then its content is old.
2. Read back at once. If another writer, who had read before our PUT, has overwritten it since, ``edit``
   wants to change it again: wait a random, growing time, and begin anew.
3. Read back a second time after at least ``SECOND_LOOK``.

Why twice: a writer that had read before our PUT may write after our first look. Why 300 ms: such a
writer's PUT leaves at most its read plus its window after that read, so about 100 ms after ours; what
comes later has seen our change and keeps it. The second look is three times later than that, and where
the registry is slow (everybody's reads and windows are longer then) at least ``SLOW_FACTOR`` times the
slowest cycle of read and PUT seen here.

What this does not prove: a PUT that hangs longer than that on its way (in a proxy, in a process that is
suspended while sending) can still undo a change whose writer has gone; and a writer that does not play
by these rules (cosign, oras) can do so at any time. Nothing stored is ever lost by that, only the
listing; running the same command again lists it again. Where a registry has the referrers API, none of
this is needed.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from imgsign.errors import InvalidManifest, NotFound, RegistryError, Unavailable
from imgsign.oci import Artifact, Blob, Descriptor, Manifest
from imgsign.reference import Digest
from imgsign.stores import Edit
from imgsign.stores.manifests import BlobUnknown, Manifests
from imgsign.transport import TooLate, Transient
from imgsign.transport.retry import delay

STALE_LIMIT = 0.1
"""Seconds after a read within which a PUT made from it may leave."""

STALE_FACTOR = 1.5
"""The same in durations of that read, where that is longer."""

FIRST_LOOK = (0.05, 0.2)
"""Seconds after a PUT at which it is read back, at random."""

SECOND_LOOK = 0.3
"""Least seconds between the two looks at a change that stands."""

SLOW_FACTOR = 4.0
"""The same in durations of the slowest cycle of read and PUT seen, where that is longer."""

BUDGET = 60.0
"""Seconds after which a change that does not stand is given up; the transport's deadline may end it sooner."""

_UNKNOWN_LIMIT = 5  # times the registry may miss a blob of what it is to store; then it really does
_BACKOFF = 0.1  # seconds, doubled for each loss
_BACKOFF_LIMIT = 3.0  # seconds


class Rewrite:
    """One change of one tag; made for :meth:`run`, once."""

    def __init__(
        self,
        manifests: Manifests,
        tag: str,
        edit: Edit,
        *,
        push_blob: Callable[[Blob], None],
        stored: Digest | None = None,
    ) -> None:
        """Prepare; ``stored`` is what errors name as stored but not listed, by default the last PUT."""
        self._manifests = manifests
        self._transport = manifests.transport
        self._tag = tag
        self._edit = edit
        self._push_blob = push_blob
        self._pushed: set[Digest] = set()
        self._stored = stored
        self._slowest = 0.0
        self._losses = 0
        self._unsure = False  # whether the last PUT has not been looked at yet
        self._unknown = 0
        self._last = "it was overwritten every time"

    def run(self) -> Descriptor:
        """Change the tag; return what it holds once that stands.

        Raises:
            Unavailable: the change did not come to stand; names what was stored.
            RegistryError: the registry refuses, or what stands at the tag cannot be extended.
        """
        repository = self._manifests.repository
        try:
            # Writers of one process need not race: they take turns.
            name = ("tag", repository.registry, repository.path, self._tag)
            with self._transport.memory.turn(*name, left=self._transport.left()):
                end = self._transport.clock() + BUDGET
                while self._transport.clock() < end:
                    try:
                        if (standing := self._cycle()) is not None:
                            return standing
                    except Transient as e:
                        self._wait_for(e)
                raise Unavailable(f"gave up after {BUDGET:.0f} s, {self._last}")
        except RegistryError as e:
            raise self._explain(e) from e

    def _cycle(self) -> Descriptor | None:
        """Read, edit, store, look twice; return ``None`` where it all has to begin anew."""
        standing = False
        while True:
            began = self._transport.clock()
            current, took = self._read()
            window = self._transport.clock() + max(STALE_LIMIT, STALE_FACTOR * took)
            wanted = self._edit(current)
            if wanted is None:
                if current is None:
                    raise NotFound(f"tag {self._tag!r} in {self._manifests.repository} is not there, nor wanted")
                self._unsure = False
                if standing:
                    return current.manifest.descriptor
                standing = True
                self._slowest = max(self._slowest, 2 * took)
                self._pause(max(SECOND_LOOK, SLOW_FACTOR * self._slowest), 1.25)
                continue
            if standing or self._unsure:
                self._unsure = False
                self._losses += 1
                # Uniform from zero: whoever draws the shortest time has the tag for itself.
                self._transport.pause(random.uniform(0, min(_BACKOFF_LIMIT, _BACKOFF * 2**self._losses)))  # noqa: S311  # spreads load
                return None
            if not self._store(wanted, began, window):
                return None

    def _read(self) -> tuple[Artifact | None, float]:
        found, took = self._manifests.look(self._tag)
        if found is None:
            return None, took
        try:
            return Artifact(manifest=Manifest.parse(found.untrusted_raw, found.media_type)), took
        except InvalidManifest as e:
            raise RegistryError(
                f"what tag {self._tag!r} in {self._manifests.repository} holds is not overwritten: {e.message}"
            ) from e

    def _store(self, wanted: Artifact, began: float, window: float) -> bool:
        """Store blobs and manifest; false if the window closed before the manifest could leave."""
        for blob in wanted.blobs:
            if blob.descriptor.digest not in self._pushed:
                self._push_blob(blob)
                self._pushed.add(blob.descriptor.digest)
        try:
            self._manifests.put(wanted.manifest, self._tag, send_before=window)
        except TooLate:
            return False  # the blobs are there now, so it will be quicker
        except BlobUnknown:
            self._pushed.clear()
            self._unknown += 1
            raise
        self._unsure = True
        if self._stored is None:
            self._stored = wanted.manifest.digest
        self._slowest = max(self._slowest, self._transport.clock() - began)
        self._pause(FIRST_LOOK[0], FIRST_LOOK[1] / FIRST_LOOK[0])
        return True

    def _pause(self, least: float, spread: float) -> None:
        self._transport.pause(least * random.uniform(1, spread))  # noqa: S311  # spreads load

    def _wait_for(self, failure: Transient) -> None:
        """Wait as long as a failed request asks for, or raise it."""
        self._losses += 1
        self._last = failure.message
        wait = delay(failure, min(self._losses, 8))
        if wait is None or self._unknown == _UNKNOWN_LIMIT:
            raise Unavailable(failure.message, status=failure.status, codes=failure.codes, url=failure.url)
        self._transport.pause(wait)

    def _explain(self, error: RegistryError) -> RegistryError:
        """Say what was stored, whatever failed after that."""
        if self._stored is None:
            return error
        where = f"tag {self._tag!r} in {self._manifests.repository}"
        kind = Unavailable if isinstance(error, Unavailable) else type(error)
        return kind(
            f"stored as {self._stored} but not listed under {where}: {error.message}; run the same command again",
            status=error.status,
            codes=error.codes,
            url=error.url,
            hint=error.hint,
        )
