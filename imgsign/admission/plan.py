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
from datetime import UTC, datetime

from imgsign.admission.hosts import host_problem
from imgsign.admission.judgement import Judgement
from imgsign.admission.review import Review
from imgsign.admission.settings import Mode, NamespaceRules, Settings
from imgsign.decision import Evidence
from imgsign.errors import InvalidPolicy, InvalidReference
from imgsign.evaluate import evaluate
from imgsign.images.workloads import ImagePlace
from imgsign.oci import Image
from imgsign.policy.model import Policy, Reject, Rule
from imgsign.record import record
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


@record(kw_only=False)
class Wanted:
    """One reference to be judged under one policy. ``key`` is its canonical text: judgements are found by it."""

    key: str
    reference: Reference
    policy: str
    need: Need


@record(kw_only=False)
class Planned:
    """One image text: settled, or wanted, or neither (nothing to do at this gate).

    ``pinnable`` is the text that a digest is added to: as it was written, with the tag that the runtime
    would complete, so that what was judged as ``nginx:latest`` is not later judged as any ``nginx``.
    """

    text: str
    settled: Judgement | None = None
    wanted: Wanted | None = None
    pinnable: str = ""


@record
class Plan:
    """What is to be done with one review. ``images`` are the changed ones that concern the gate."""

    review: Review
    gate: Gate
    rules: NamespaceRules
    images: tuple[tuple[ImagePlace, Planned], ...] = ()
    unchanged: tuple[ImagePlace, ...] = ()
    wanted: tuple[Wanted, ...] = ()


class Rulebook:
    """Settings and the policies they name, as one snapshot; a reload makes a new one.

    Plans of image texts are remembered, up to a number: a text means the same for the whole life of a snapshot.
    """

    def __init__(self, settings: Settings, policies: Mapping[str, Policy]) -> None:
        """Take a snapshot; ``policies`` must hold every name of ``settings.policies``."""
        missing = sorted(settings.policies - policies.keys())
        if missing:
            raise InvalidPolicy(f"the settings name policy {quote(missing[0])}, which was not loaded")
        self.settings = settings
        self.policies = dict(policies)
        self._remembered: dict[tuple[NamespaceRules, Gate, bool], dict[str, Planned]] = {}

    def plan_text(self, text: str, rules: NamespaceRules, gate: Gate, *, is_pod: bool) -> Planned:
        """Plan one image text of a namespace with these rules."""
        return _plan_text(text, self, rules, gate, is_pod=is_pod)

    def remembered(self, rules: NamespaceRules, gate: Gate, *, is_pod: bool) -> dict[str, Planned]:
        """Return the plans kept for this case; once full it starts over, so that nobody can fill memory with names."""
        known = self._remembered.setdefault((rules, gate, is_pod), {})
        if len(known) >= _REMEMBERED:
            known.clear()
        return known


def plan(review: Review, gate: Gate, rulebook: Rulebook) -> Plan:
    """Find out what has to be asked to answer a review; asks nothing."""
    rules = rulebook.settings.rules_for(review.namespace)
    if rules.exempt or (gate is Gate.MUTATE and not _may_patch(review, rules)):
        return Plan(review=review, gate=gate, rules=rules)
    remembered = rulebook.remembered(rules, gate, is_pod=review.is_pod)
    images: list[tuple[ImagePlace, Planned]] = []
    unchanged: list[ImagePlace] = []
    wanted: dict[str, Wanted] = {}
    for place in review.images:
        if place.path in review.unchanged:
            unchanged.append(place)
            continue
        planned = remembered.get(place.text)
        if planned is None:
            planned = rulebook.plan_text(place.text, rules, gate, is_pod=review.is_pod)
            if len(remembered) < _REMEMBERED:
                remembered[place.text] = planned
        if planned.wanted is not None:
            wanted[planned.wanted.key] = planned.wanted
        images.append((place, planned))
    return Plan(
        review=review,
        gate=gate,
        rules=rules,
        images=tuple(images),
        unchanged=tuple(unchanged),
        wanted=tuple(wanted.values()),
    )


def _may_patch(review: Review, rules: NamespaceRules) -> bool:
    """Whether mutate may write into the object at all.

    Never into what a controller owns: a Deployment compares its ReplicaSets with its own template and would make
    new ones without end. Never into a Job but a new one: its template is immutable. Never into a mirror Pod: it
    shows what the kubelet already runs.
    """
    if rules.mode is Mode.AUDIT or not rules.pin or review.is_mirror:
        return False
    if review.is_pod:
        return True
    return rules.mutate_workloads and not review.owner and (review.kind != "Job" or review.operation == "CREATE")


def _plan_text(text: str, rulebook: Rulebook, rules: NamespaceRules, gate: Gate, *, is_pod: bool) -> Planned:
    settings = rulebook.settings
    try:
        if len(text) > _TEXT_LIMIT:
            raise InvalidReference(f"image text of {len(text)} characters")
        written = Reference.parse(text)
    except InvalidReference as e:
        refused = Judgement.denied(text, "invalid-reference", e.message, e.hint)
        return Planned(text, settled=refused if gate is Gate.VALIDATE else None)
    reference = written.tag_or_latest()
    key = str(reference)
    scope = settings.scope_rules(reference.repository)
    if gate is Gate.MUTATE and (reference.digest is not None or not scope.pin):
        return Planned(text)
    pinnable = text if written.tag is not None else f"{text}:latest"
    if settings.refuse_short_names and _is_short(text):
        hint = f"write it in full: {key}"
        return Planned(text, settled=Judgement.denied(key, "short-name", "names no registry", hint))
    rule = rulebook.policies[rules.policy].rule_for(reference.repository)
    if any(isinstance(r, Reject) for r in rule.require):
        return Planned(text, settled=_rejected(reference, rule))
    needs_digest = is_pod and not (rules.unsafe_allow_tags or scope.unsafe_allow_tags)
    if gate is Gate.VALIDATE and needs_digest and reference.digest is None:
        return Planned(text, settled=_not_pinned(key, pins=rules.pin and scope.pin))
    if gate is Gate.VALIDATE and not rule.needs_evidence:
        return Planned(text, settled=Judgement.unsigned(key, rule))
    registry = reference.repository.registry
    if registry not in settings.local_hosts and (problem := host_problem(registry)) is not None:
        hint = f"if a registry is really there: unsafe-local-hosts = [{quote(registry)}] in the webhook's settings"
        refused = Judgement.denied(key, "host-not-allowed", f"registry {quote(registry)} {problem}", hint)
        return Planned(text, settled=refused)
    need = Need.VERDICT if rule.needs_evidence else Need.DIGEST
    return Planned(text, wanted=Wanted(key, reference, rules.policy, need), pinnable=pinnable)


def _rejected(reference: Reference, rule: Rule) -> Judgement:
    """Let ``evaluate`` say it, with what rejects alone: no keys and no time are needed for that."""
    only = Rule(scope=rule.scope, require=(Reject(),))
    policy = Policy(default=only, scopes={})
    image = Image(name=reference, manifest=None)
    return Judgement.of(reference, evaluate(policy, TrustStore(anchors={}), image, Evidence(), now=_ANY_TIME))


def _not_pinned(key: str, *, pins: bool) -> Judgement:
    hint = "write it as repo:tag@sha256:…"
    if pins:
        hint = "enable the mutating webhook, which writes the judged digest, or write it as repo:tag@sha256:…"
    return Judgement.denied(key, "not-pinned", "names a tag, which can move after it was judged, and no digest", hint)


def _is_short(text: str) -> bool:
    """Whether a reader would have to complete the registry."""
    first, slash, _ = text.partition("/")
    return not slash or not ("." in first or ":" in first or first == "localhost" or first != first.lower())
