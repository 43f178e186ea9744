"""``imgsign admission review``: what the webhook would answer, for a saved review or a plain object."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imgsign.cli import DENIED, OK, UNDECIDED
from imgsign.cli.options import (
    TIMEOUT,
    CertificateAuthority,
    InsecureHttp,
    Mirror,
    Output,
    PolicyFile,
    Timeout,
    TrustedRealm,
    check_output,
    choose_policy,
    registries,
)
from imgsign.errors import InvalidReview, UsageError
from imgsign.record import record
from imgsign.wire import printable, quote

if TYPE_CHECKING:
    from imgsign.admission.judgement import Judgement
    from imgsign.admission.plan import Plan, Rulebook, Wanted
    from imgsign.admission.review import Response, Review
    from imgsign.policy.model import Policy
    from imgsign.stores import Locate
    from imgsign.trust import TrustStore

THREADS = 8  # images judged at once

_ALLOWED = {
    "allowed": "allowed",
    "warned": "allowed with warnings",
    "noted": "allowed, noted in the audit log",
    "exempt": "allowed, the namespace is exempt",
}


@record
class _World:
    """What a review is judged with; ``locate`` ``None``: no requests."""

    rulebook: Rulebook
    trusts: Mapping[str, tuple[Policy, TrustStore]]
    locate: Locate | None


def command(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A saved AdmissionReview, or a plain Pod or workload, in JSON or YAML; '-' is standard input.",
            show_default=False,
        ),
    ],
    policy: PolicyFile = None,
    settings: Annotated[
        str | None,
        typer.Option(
            "--settings",
            metavar="FILE",
            help="The webhook's settings; the policies they name lie beside them. In place of --policy.",
            show_default=False,
        ),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            "--namespace",
            "-n",
            metavar="NAME",
            help="Of a plain object. Default: what it says itself, else 'default'.",
            show_default=False,
        ),
    ] = None,
    gate: Annotated[
        str,
        typer.Option(
            "--gate",
            metavar="both|validate|mutate",
            help="Ask one webhook alone; 'both' asks mutate, patches, then asks validate, as a cluster does.",
        ),
    ] = "both",
    offline: Annotated[
        bool, typer.Option("--offline", help="Make no request: what needs one is undecided.", show_default=False)
    ] = False,
    output: Output = "text",
    insecure_http: InsecureHttp = None,
    trusted_realm: TrustedRealm = None,
    mirror: Mirror = None,
    ca: CertificateAuthority = None,
    timeout: Timeout = TIMEOUT,
) -> int:
    """Show what the webhook would answer to an AdmissionReview, or to the creation of an object.

    Exit code: 0 allowed (with or without warnings), 1 denied, 3 could not be decided.
    """
    as_json = check_output(output)
    if gate not in ("both", "validate", "mutate"):
        raise UsageError(f"unknown gate {quote(gate)}", hint="use both, validate or mutate")
    review = _read_review(file, namespace)
    found = None if offline else registries(insecure_http, timeout, trusted_realm, mirror=mirror, ca=ca)
    world = _load_world(policy, settings, found)
    return _show(_ask(review, world, gate), as_json=as_json)


def _read_review(file: str, namespace: str | None) -> Review:
    from imgsign.admission.review import REVIEW_LIMIT, parse_review, review_of

    if file == "-":
        raw, name = sys.stdin.buffer.read(REVIEW_LIMIT + 1), "standard input"
    else:
        from imgsign.signers.disk import read_file

        raw, name = read_file(Path(file), REVIEW_LIMIT), quote(file)
    try:
        document = _load(raw, REVIEW_LIMIT)
        if document.get("kind") != "AdmissionReview":
            return review_of(document, _namespace(document, namespace))
        if namespace is not None:
            raise UsageError("--namespace goes with a plain object; a review says its own")
        # NOTE: a review in YAML is read as the JSON that the API server would have sent.
        return parse_review(raw if raw.lstrip()[:1] == b"{" else json.dumps(document, default=str).encode())
    except InvalidReview as e:
        raise InvalidReview(f"{name}: {e.message}", hint=e.hint) from e


def _load(raw: bytes, limit: int) -> dict[str, object]:
    """Read one object, JSON or YAML; a key given twice is an error in both."""
    from imgsign.wire import load_json

    if raw.lstrip()[:1] == b"{":
        value = load_json(raw, limit=limit, error=InvalidReview, any_depth=True).value
    else:
        value = _load_yaml(raw, limit)
    if not isinstance(value, dict):
        raise InvalidReview("neither an AdmissionReview nor an object of Kubernetes")
    return value


def _load_yaml(raw: bytes, limit: int) -> object:
    import yaml

    if len(raw) > limit:
        raise InvalidReview(f"{len(raw)} bytes are more than the limit of {limit}")

    class Strict(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
            merge = "tag:yaml.org,2002:merge"
            keys = [self.construct_object(k, deep=True) for k, _ in node.value if k.tag != merge]
            if len({k for k in keys if isinstance(k, str)}) != len(keys):
                raise yaml.MarkedYAMLError(problem="a key twice, or one that is not text", problem_mark=node.start_mark)
            return super().construct_mapping(node, deep)

    try:
        documents = [d for d in yaml.load_all(raw, Loader=Strict) if d is not None]
    except yaml.MarkedYAMLError as e:
        line = "" if e.problem_mark is None else f" at line {e.problem_mark.line + 1}"
        raise InvalidReview(f"not YAML: {printable(e.problem or 'cannot be read')}{line}") from e
    except (yaml.YAMLError, RecursionError, ValueError) as e:
        raise InvalidReview("not YAML: cannot be read") from e
    if len(documents) != 1:
        hint = "imgsign check reads files of many objects"
        raise InvalidReview(f"{len(documents)} documents, where one object is asked for", hint=hint)
    found: object = documents[0]
    return found


def _namespace(document: Mapping[str, object], given: str | None) -> str:
    metadata = document.get("metadata")
    own = metadata.get("namespace") if isinstance(metadata, dict) else None
    if given is not None and isinstance(own, str) and own != given:
        raise UsageError(f"the object is of namespace {quote(own)}, not {quote(given)}")
    return given or (own if isinstance(own, str) and own else "default")


def _load_world(policy: str | None, settings: str | None, locate: Locate | None) -> _World:
    from imgsign.admission.plan import Rulebook
    from imgsign.admission.settings import SETTINGS_LIMIT, NamespaceRules, Settings, parse_settings
    from imgsign.errors import InvalidPolicy
    from imgsign.load import load_policy
    from imgsign.signers.disk import read_file
    from imgsign.wire import load_json, load_toml

    if settings is None:
        chosen = choose_policy(policy, None, "exact")
        name = Path(policy).name if policy else "policy.toml"
        rulebook = Rulebook(Settings(default=NamespaceRules(policy=name)), {name: chosen[0]})
        return _World(rulebook=rulebook, trusts={name: chosen}, locate=locate)
    if policy is not None and policy != os.environ.get("IMGSIGN_POLICY"):
        raise UsageError("--policy and --settings exclude each other", hint="settings name their policies")
    path = Path(settings)
    raw = read_file(path, SETTINGS_LIMIT)
    try:
        if path.suffix == ".json":
            node = load_json(raw, limit=SETTINGS_LIMIT, error=InvalidPolicy)
        else:
            node = load_toml(raw, limit=SETTINGS_LIMIT)
        parsed = parse_settings(node)
    except InvalidPolicy as e:
        raise InvalidPolicy(f"settings {quote(settings)}: {e.message}", hint=e.hint) from e
    trusts = {n: load_policy(path.parent / n, environ=os.environ) for n in sorted(parsed.policies)}
    return _World(rulebook=Rulebook(parsed, {n: p for n, (p, _) in trusts.items()}), trusts=trusts, locate=locate)


def _ask(review: Review, world: _World, gate: str) -> list[tuple[Plan, Response]]:
    """Ask mutate, then validate of what it made of the object, as the API server does."""
    from imgsign.admission.answer import answer
    from imgsign.admission.plan import Gate, plan

    found: list[tuple[Plan, Response]] = []
    known: dict[str, Judgement] = {}
    for asked in Gate.MUTATE, Gate.VALIDATE:
        if gate not in ("both", asked.value):
            continue
        planned = plan(review, asked, world.rulebook)
        missing = [w for w in planned.wanted if w.key not in known]
        with ThreadPoolExecutor(max_workers=THREADS) as pool:
            known.update((j.text, j) for j in pool.map(lambda w: _judge(w, world), missing))
        response = answer(planned, known)
        found.append((planned, response))
        if not response.allowed:
            break  # the API server asks no further
        review = _patched(review, response)
    return found


def _judge(wanted: Wanted, world: _World) -> Judgement:
    from imgsign.admission.judgement import Judgement
    from imgsign.errors import ImgsignError
    from imgsign.gather import GATE_LIMITS
    from imgsign.workflow import verify

    if world.locate is None:
        return Judgement.undecided(wanted.reference, "offline", "needs a request, and --offline allows none")
    policy, trust = world.trusts[wanted.policy]
    try:
        decision = verify(
            wanted.reference, policy, trust, locate=world.locate, now=datetime.now(UTC), limits=GATE_LIMITS
        )
    except ImgsignError as e:
        return Judgement.failed(wanted.reference, e)
    return Judgement.of(wanted.reference, decision)


def _patched(review: Review, response: Response) -> Review:
    """Put the digests of a patch into a review."""
    from imgsign.admission.answer import pointer

    values = {op["path"]: op["value"] for op in response.patch}
    images = tuple(replace(p, text=values.get(pointer(p), p.text)) for p in review.images)
    return replace(review, images=images)


def _show(found: list[tuple[Plan, Response]], *, as_json: bool) -> int:
    if as_json:
        answers = {plan.gate.value: json.loads(response.to_json()) for plan, response in found}
        print(json.dumps({"format": 1, **answers}, indent=2))
    else:
        for plan, response in found:
            _print(plan, response)
    last = found[-1][1]
    if last.allowed:
        return OK
    return UNDECIDED if last.verdict == "undecided" else DENIED


def _print(plan: Plan, response: Response) -> None:
    gate = plan.gate.value
    if not response.allowed:
        print(f"{gate}: {response.verdict}\n{response.message}")
        return
    if plan.gate.value == "validate":
        subject = printable(plan.review.subject)
        count = len(plan.images)
        print(f"{gate}: {_ALLOWED[response.verdict]}: {subject}, {count} image{'' if count == 1 else 's'} judged")
    else:
        print(f"{gate}: {len(response.patch)} of {len(plan.review.images)} images pinned")
    for op in response.patch:
        print(f"  {op['path']} {printable(op['value'])}")
    for warning in response.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for name, value in response.annotations.items():
        if name in ("unchanged", "findings"):
            print(f"  {name}: {value}")
