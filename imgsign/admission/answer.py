"""Judgements -> the answer to a review, and its line in the audit log; pure.

``validate`` judges the final object alone. ``mutate`` writes digests of allowed images and denies a Pod whose
image it could not pin, with the real reason, since validate would only say that it is not pinned; templates
it leaves to validate. A workload's template is denied for what is sure, and warned about where nothing was
decided: its Pods are judged anyway.

What is wanted and was not judged is undecided, and what is undecided is denied: nothing is allowed by absence.
"""

from __future__ import annotations

from collections.abc import Mapping

from imgsign.admission.judgement import Judgement, Ruling
from imgsign.admission.plan import Gate, Plan, Planned
from imgsign.admission.review import Response
from imgsign.admission.settings import Mode
from imgsign.admission.texts import annotation, denial, one_line, warnings
from imgsign.images.workloads import ImagePlace, ShapeProblem, show_path
from imgsign.record import record


@record(kw_only=False)
class Finding:
    """One image that is not allowed, with all its places, or one thing that could not be read."""

    judgement: Judgement
    written: str
    places: tuple[ImagePlace, ...] = ()
    path: str = ""


def answer(plan: Plan, judgements: Mapping[str, Judgement]) -> Response:
    """Answer a review; ``judgements`` by ``Wanted.key``."""
    if plan.rules.exempt:
        note = {"verdict": "exempt"}
        return Response(uid=plan.review.uid, allowed=True, annotations=note, verdict="exempt")
    if plan.gate is Gate.MUTATE:
        return _mutate(plan, judgements)
    return _validate(plan, judgements)


def judgement_of(planned: Planned, judgements: Mapping[str, Judgement]) -> Judgement:
    """Find the judgement of an image; one that is wanted and not there is undecided."""
    if planned.settled is not None:
        return planned.settled
    if planned.wanted is None:
        return Judgement.denied(planned.text, "not-judged", "was not judged")
    found = judgements.get(planned.wanted.key)
    asked = planned.wanted.reference.digest
    # A judgement of something else, by whatever mistake, is none.
    if found is None or found.text != planned.wanted.key or asked not in (None, found.digest or asked):
        return Judgement.undecided(planned.wanted.reference, "not-judged", "was not judged")
    return found


def refuse(uid: str, code: str, message: str, hint: str | None = None) -> Response:
    """Deny a review that could not be read, or was not worked on: overload, an internal error."""
    lines = f"{one_line(message)} [{code}]" + ("" if hint is None else f"\nhint: {one_line(hint)}")
    note = {"verdict": "denied", "codes": code}
    return Response(uid=uid, allowed=False, message=lines, annotations=note, verdict="denied", codes=(code,))


def audit_fields(plan: Plan, judgements: Mapping[str, Judgement], response: Response) -> dict[str, object]:
    """Say in fields of JSON who asked for what and what was answered, for the line in the audit log.

    Foreign text (name, user, image) stands as it is: a JSON encoder makes it safe. The caller adds the policy's
    digest and the time it took.
    """
    review = plan.review
    images: list[dict[str, object]] = []
    for place, planned in plan.images:
        if planned.settled is None and planned.wanted is None:
            continue
        found = judgement_of(planned, judgements)
        images.append(
            {
                "image": place.text,
                "digest": None if found.digest is None else str(found.digest),
                "verdict": found.ruling.value,
                "code": found.code,
                "cached": found.cached,
            }
        )
    return {
        "uid": review.uid,
        "gate": plan.gate.value,
        "operation": review.operation,
        "kind": review.kind or review.resource,
        "subresource": review.subresource,
        "namespace": review.namespace,
        "name": review.name,
        "owner": review.owner,
        "user": review.user,
        "dry_run": review.dry_run,
        "mode": plan.rules.mode.value,
        "policy": plan.rules.policy,
        "verdict": response.verdict,
        "codes": response.codes,
        "images": images,
        "unchanged": len(plan.unchanged),
        "patched": len(response.patch),
    }


def pointer(place: ImagePlace) -> str:
    """Write a path as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in place.path)


def _validate(plan: Plan, judgements: Mapping[str, Judgement]) -> Response:
    """Deny for every image that is not allowed and everything that could not be read; warn in the softer modes."""
    findings = _findings(plan, judgements)
    review = plan.review
    notes: dict[str, str] = {}
    if plan.unchanged:
        notes["unchanged"] = annotation(", ".join(p.name for p in plan.unchanged))
    if not findings:
        notes["verdict"] = "allowed"
        return Response(uid=review.uid, allowed=True, annotations=notes)
    refused = [f for f in findings if review.is_pod or _is_sure(f)]
    codes = tuple(dict.fromkeys(f.judgement.code for f in findings))
    notes["codes"] = annotation(", ".join(codes))
    if plan.rules.mode is Mode.ENFORCE and refused:
        sure = any(_is_sure(f) for f in refused)
        notes["verdict"] = verdict = "denied" if sure else "undecided"
        text = denial(plan, refused)
        return Response(uid=review.uid, allowed=False, message=text, annotations=notes, verdict=verdict, codes=codes)
    silent = plan.rules.mode is Mode.AUDIT
    notes["verdict"] = verdict = "noted" if silent else "warned"
    notes["findings"] = annotation("; ".join(warnings(findings, would=bool(refused))))
    shown = () if silent else warnings(findings, would=bool(refused))
    return Response(uid=review.uid, allowed=True, warnings=shown, annotations=notes, verdict=verdict, codes=codes)


def _mutate(plan: Plan, judgements: Mapping[str, Judgement]) -> Response:
    """Write the digest that was judged into every image that is to be pinned and is allowed."""
    review = plan.review
    patch: list[dict[str, str]] = []
    for place, planned in plan.images:
        if planned.wanted is None:
            continue
        found = judgement_of(planned, judgements)
        if found.ruling is Ruling.ALLOWED and found.digest is not None:
            value = f"{planned.pinnable}@{found.digest}"
            patch.append({"op": "replace", "path": pointer(place), "value": value})
    if review.is_pod and plan.rules.mode is Mode.ENFORCE:
        refused = _findings(plan, judgements, mutating=True)
        if refused:
            codes = tuple(dict.fromkeys(f.judgement.code for f in refused))
            verdict = "denied" if any(_is_sure(f) for f in refused) else "undecided"
            notes = {"verdict": verdict, "codes": annotation(", ".join(codes))}
            text = denial(plan, refused)
            return Response(
                uid=review.uid, allowed=False, message=text, annotations=notes, verdict=verdict, codes=codes
            )
    pinned = {"pinned": annotation(", ".join(dict.fromkeys(p["value"] for p in patch)))} if patch else {}
    return Response(uid=review.uid, allowed=True, annotations=pinned, patch=tuple(patch))


def _findings(plan: Plan, judgements: Mapping[str, Judgement], *, mutating: bool = False) -> list[Finding]:
    """List what is not allowed, each image once, after what could not be read."""
    found = [] if mutating else [_problem(p) for p in plan.review.problems]
    by_text: dict[str, tuple[Judgement, list[ImagePlace]]] = {}
    for place, planned in plan.images:
        if mutating and planned.settled is None and planned.wanted is None:
            continue  # needs no digest, or is no reference: validate says so
        judged = judgement_of(planned, judgements)
        if judged.ruling is Ruling.ALLOWED and (judged.digest is not None or not mutating):
            continue
        if judged.ruling is Ruling.ALLOWED:
            judged = Judgement.denied(judged.text, "not-judged", "was accepted without a digest to pin")
        by_text.setdefault(place.text, (judged, []))[1].append(place)
    found.extend(Finding(judged, text, tuple(places)) for text, (judged, places) in by_text.items())
    return found


def _problem(problem: ShapeProblem) -> Finding:
    path = show_path(problem.path)
    judged = Judgement.denied(path, problem.code, problem.message)
    return Finding(judged, problem.name, path=path)


def _is_sure(finding: Finding) -> bool:
    """Whether a finding denies a template too: not what was not decided, nor an image that is filled in later."""
    return finding.judgement.ruling is Ruling.DENIED and finding.judgement.code != "image-missing"
