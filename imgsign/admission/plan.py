"""Which images of a review have to be asked for: scope first, network second; pure.

:func:`plan` sorts every image of a review into *unchanged* (see :mod:`imgsign.admission.review`), *settled*
(its answer needs no request: a scope that rejects or that accepts unsigned images, a name that no scope
covers under ``default = "reject"``, text that is no reference, a Pod's tag where a digest is due) and *wanted*.
So what a tenant writes never makes the webhook talk to a host that no scope names.

One reference is wanted once, however many containers and spellings name it: it is resolved once, and the
digest that is patched is the digest that was judged (CVE-2022-47633).

Names are judged as the container runtime completes them (``nginx`` is ``docker.io/library/nginx:latest``).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from imgsign.admission.hosts import host_problem
from imgsign.admission.judgement import Judgement
from imgsign.admission.review import Review
from imgsign.admission.settings import Mode, NamespaceRules, Settings
from imgsign.decision import Evidence
from imgsign.errors import InvalidReference
from imgsign.evaluate import evaluate
from imgsign.images.workloads import ImagePlace
from imgsign.oci import Image
from imgsign.policy.model import Policy, Reject, Rule, UnsafeAcceptUnsigned
from imgsign.reference import Reference
from imgsign.trust import TrustStore
from imgsign.wire import quote

_TEXT_LIMIT = 600  # characters of an image text: name (255), tag (128) and a sha512 digest (135) fit in
_REMEMBERED = 4096  # image texts whose plan is kept, a namespace's rules and a gate

_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)  # a rule that rejects does so at every time


class Gate(enum.Enum):
    """The two questions of the API server."""

    VALIDATE = "validate"
    MUTATE = "mutate"


class Need(enum.Enum):
    """What has to be asked of the registry: the digest alone (to pin what is accepted unsigned), or all evidence."""

    DIGEST = "digest"
    VERDICT = "verdict"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One reference to be judged under one policy. ``key`` is its canonical text: judgements are found by it."""

    key: str
    reference: Reference
    policy: str
    need: Need


@dataclass(frozen=True, slots=True)
class Planned:
    """One image text: settled, or wanted, or neither (nothing to do at this gate)."""

    text: str
    reference: Reference | None = None
    settled: Judgement | None = None
    wanted: Wanted | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done with one review. ``images`` are the changed ones that concern the gate."""

    review: Review
    gate: Gate
    rules: NamespaceRules
    images: tuple[tuple[ImagePlace, Planned], ...] = ()
    unchanged: tuple[ImagePlace, ...] = ()
    wanted: tuple[Wanted, ...] = ()


@dataclass(slots=True)
class Rulebook:
    """Settings and the policies they name, as one snapshot; a reload makes a new one.

    ``policies`` must hold every name of ``settings.policies``. Plans of image texts are remembered: a text
    means the same for the whole life of a snapshot.
    """

    settings: Settings
    policies: Mapping[str, Policy]
    _remembered: dict[tuple[int, Gate, bool], dict[str, Planned]] = field(default_factory=dict, repr=False)


def plan(review: Review, gate: Gate, rulebook: Rulebook) -> Plan:
    """Find out what has to be asked to answer a review; asks nothing."""
    raise NotImplementedError
