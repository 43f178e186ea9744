"""copy(): an image with everything attached, from one place to another, byte for byte.

Judged before anything is written, and judged again where it was written to, from what a reader finds
there. Both times under the *source's* name, since that is the name that was signed: a copy changes where
bytes are kept, not what they are called. Whoever later pulls by the destination's name needs a policy that
says so, once, for the whole mirror (``policies/mirror.toml`` and ``policies/air-gap.toml`` are tested)::

    [scopes."mirror.corp/hub"]
    require = [{ signed-by = "release", remap = { "mirror.corp/hub" = "registry.example.com" } }]

Or sign the copy under its new name, with a key of whoever runs the mirror.

One platform of an index is another image with another digest: signatures over the index say nothing of it
and stay behind, which is said. What is judged is what is copied.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from datetime import datetime

from imgsign.decision import Decision
from imgsign.errors import Unavailable, UsageError
from imgsign.fleet.attached import collect, count_attached
from imgsign.oci import Manifest, Platform
from imgsign.platforms import choose
from imgsign.policy.model import Policy
from imgsign.record import record
from imgsign.reference import Digest
from imgsign.resolve import INDEX_DEPTH, Target, wall_clock
from imgsign.stores.blobfiles import Progress, quiet
from imgsign.stores.copying import Cargo, Result, Writer
from imgsign.trust import TrustStore
from imgsign.workflow import check_allowed, verify


@record
class Copied:
    """What was copied. ``decision``: of the source, ``None`` without a policy. ``notes``: for a person."""

    digest: Digest
    cargo: Cargo
    result: Result
    decision: Decision | None
    notes: tuple[str, ...]


def copy(
    source: Target,
    writer: Writer,
    tag: str | None,
    pool: Executor,
    *,
    judge: tuple[Policy, TrustStore] | None = None,
    platform: Platform | None = None,
    now: datetime | None = None,
    expect: Callable[[int], None] = lambda size: None,
    progress: Progress = quiet,
) -> Copied:
    """Copy an image and everything attached to it; ``tag`` is its name at the destination, set last.

    ``judge``: without it nothing is verified, only hashed. ``platform``: take this one image of an index.
    ``expect`` is told how many bytes of configs and layers there are.

    Raises:
        Denied: nothing was written then; or, at the destination, what stands there is not allowed.
        RegistryError: content could not be had or stored. Running the same command again goes on.
    """
    now = now or wall_clock()
    # (1) What is copied, by the digest of bytes hashed here, whatever happens to the tag from now on.
    root, notes = _choose(source, platform)
    pinned = replace(source, what=root.digest)
    # (2) Judge before anything is written.
    decision = None
    if judge is not None:
        decision = verify(pinned, *judge, now=now)
        check_allowed(decision)
    # (3) Collect, then write: children first, the tag last.
    cargo, left = collect(source.store, root, pool)
    expect(cargo.size())
    result = writer.write(source.store, cargo, tag, pool, progress)
    # (4) Read back, as a reader would, and judge again.
    there = writer.store.fetch(root.digest if tag is None else tag)
    if there.digest != root.digest:
        raise Unavailable(f"was copied as {root.digest}, but the tag {tag!r} is {there.digest} by now: it was moved")
    if judge is not None:
        again = verify(replace(pinned, store=writer.store), *judge, now=now)
        check_allowed(again)
    result.left[:0] = left
    return Copied(digest=root.digest, cargo=cargo, result=result, decision=decision, notes=tuple(notes))


def _choose(source: Target, platform: Platform | None) -> tuple[Manifest, list[str]]:
    root = source.store.fetch(source.what)
    if platform is None:
        return root, []
    if not root.is_index:
        raise UsageError(f"{source} is a single image, not an index", hint="leave out --platform")
    index, behind = root, 0
    for _ in range(INDEX_DEPTH):
        behind += count_attached(source.store, root)
        root = source.store.fetch(choose(root, platform).digest)
        if not root.is_index:
            break
    else:
        raise UsageError(f"index {index.digest} is nested deeper than {INDEX_DEPTH}")
    own = count_attached(source.store, root)
    counted = "1 thing" if own == 1 else f"{own} things"
    notes = [
        f"{platform} of index {index.digest} is image {root.digest}: {counted} attached to it "
        f"go along and stay meaningful, {behind} attached to the index stay behind, since they are about the index"
    ]
    return root, notes
