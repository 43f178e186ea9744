"""A cluster's webhook without a server: reviews are read, planned, judged at a registry in memory, and answered.

``registry.test`` asks for signatures of ``release``; ``registry.test/open`` accepts unsigned images;
``registry.test/shut`` rejects all; no other scope is named.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from imgsign.admission.answer import answer, audit_fields
from imgsign.admission.judgement import Judgement
from imgsign.admission.plan import Gate, Plan, Rulebook, Wanted, plan
from imgsign.admission.review import Response, parse_review
from imgsign.admission.settings import NamespaceRules, Settings
from imgsign.errors import ImgsignError
from imgsign.oci import Manifest
from imgsign.policy.model import Policy, Reject, Rule, SignedBy, UnsafeAcceptUnsigned
from imgsign.reference import Reference
from imgsign.signing import SignOptions, sign
from imgsign.trust import Keys, TrustedKey, TrustStore
from imgsign.workflow import verify
from tests.admission.objects import REQUEST, RESPONSE, Json, to_bytes
from tests.signing_keys import public, signer
from tests.simulator import Simulator

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
D = "sha256:" + "ab" * 32
"""A digest of nothing."""


def rule(scope: str | None, *required: SignedBy | UnsafeAcceptUnsigned | Reject) -> Rule:
    return Rule(scope=scope, require=required)


POLICY = Policy(
    default=rule(None, Reject()),
    scopes={
        "registry.test": rule("registry.test", SignedBy(anchors=("release",))),
        "registry.test/open": rule("registry.test/open", UnsafeAcceptUnsigned()),
        "registry.test/shut": rule("registry.test/shut", Reject()),
    },
)
TRUST = TrustStore(anchors={"release": Keys(name="release", keys=(TrustedKey(key=public("release")),))})


def settings(**rules: Any) -> Settings:
    """Settings whose defaults are these rules."""
    return Settings(default=NamespaceRules(policy="policy.toml", **rules))


@dataclass(slots=True)
class Asked:
    """One answer with everything on the way to it."""

    plan: Plan
    response: Response
    audit: Json

    @property
    def body(self) -> Json:
        """The AdmissionReview as the API server reads it."""
        found: Json = json.loads(self.response.to_json())
        RESPONSE.validate(found)
        response: Json = found["response"]
        return response

    @property
    def allowed(self) -> bool:
        allowed: bool = self.body["allowed"]
        return allowed

    @property
    def message(self) -> str:
        message: str = self.body["status"]["message"]
        return message

    @property
    def first_line(self) -> str:
        return self.message.splitlines()[0]

    @property
    def patch(self) -> list[Json]:
        body = self.body
        if "patch" not in body:
            return []
        found: list[Json] = json.loads(base64.b64decode(body["patch"], validate=True))
        return found


@dataclass(slots=True)
class Cluster:
    """Settings, one policy, and a registry."""

    sim: Simulator = field(default_factory=Simulator)
    settings: Settings = field(default_factory=settings)
    policy: Policy = POLICY
    policies: dict[str, Policy] = field(default_factory=dict)
    judged: list[Wanted] = field(default_factory=list)

    def image(self, path: str, tag: str, *, signed: bool = True, key: str = "release") -> str:
        """Push an image, sign it as path:tag, and return its digest."""
        manifest: Manifest = self.sim.put_image(path, tag=tag, salt=f"{path}:{tag}")
        if signed:
            self.sign(f"registry.test/{path}:{tag}", key)
        return str(manifest.digest)

    def sign(self, name: str, key: str = "release") -> None:
        transport = self.sim.transport()
        sign(
            [Reference.parse(name)],
            signer(key),
            SignOptions(),
            locate=lambda r: self.sim.store(r.path, transport),
            now=NOW,
        )

    def ask(self, gate: Gate, review: Json) -> Asked:
        """Send a review to one of the webhooks; what is sent and what comes back follow their schemas."""
        REQUEST.validate(review)
        book = Rulebook(self.settings, dict.fromkeys(self.settings.policies, self.policy) | self.policies)
        planned = plan(parse_review(to_bytes(review)), gate, book)
        found = {w.key: self.judge(w, book) for w in planned.wanted}
        response = answer(planned, found)
        RESPONSE.validate(json.loads(response.to_json()))
        audit = json.loads(json.dumps(audit_fields(planned, found, response)))
        return Asked(planned, response, audit)

    def validate(self, review: Json) -> Asked:
        return self.ask(Gate.VALIDATE, review)

    def mutate(self, review: Json) -> Asked:
        return self.ask(Gate.MUTATE, review)

    def judge(self, wanted: Wanted, book: Rulebook) -> Judgement:
        self.judged.append(wanted)
        transport = self.sim.transport()
        try:
            decision = verify(
                wanted.reference,
                book.policies[wanted.policy],
                TRUST,
                locate=lambda r: self.sim.store(r.path, transport),
                now=NOW,
            )
        except ImgsignError as e:
            return Judgement.failed(wanted.reference, e)
        return Judgement.of(wanted.reference, decision)

    @property
    def requests(self) -> list[str]:
        """What the registry saw, without what made the images."""
        return [str(s) for s in self.sim.requests_seen]

    def forget_requests(self) -> None:
        self.sim.requests_seen.clear()
