"""One wanted image of one review, with all that its judgement depends on; pure."""

from __future__ import annotations

from dataclasses import field

from imgsign.admission.cache import VerdictKey
from imgsign.admission.plan import Wanted
from imgsign.policy.model import Policy
from imgsign.record import record
from imgsign.reference import Digest, Reference
from imgsign.trust import TrustStore


@record
class NamedPolicy:
    """A policy with its keys; ``policy_digest`` is what sha256sum says of its file."""

    name: str
    policy: Policy
    trust: TrustStore
    policy_digest: str
    trust_digest: str


@record
class Asked:
    """One wanted image with the policy of its review, and whose pull secrets it may be read with.

    ``verdict_key`` is under what its judgement is remembered; ``None`` until its digest is known.
    """

    wanted: Wanted
    policy: NamedPolicy
    namespace: str = ""
    secrets: tuple[str, ...] = ()
    verdict_key: VerdictKey | None = field(init=False)

    def __post_init__(self) -> None:
        digest = self.wanted.reference.digest
        # Once here: an image of a running workload is asked for again and again.
        object.__setattr__(self, "verdict_key", None if digest is None else self.key_of(digest))

    @property
    def reference(self) -> Reference:
        """The image's name as the container runtime completes it."""
        return self.wanted.reference

    @property
    def identity(self) -> tuple[str, ...]:
        """Whose credentials it is read with."""
        return (self.namespace, *self.secrets) if self.secrets else ()

    def key_of(self, digest: Digest) -> VerdictKey:
        """Say under what the judgement of a digest is remembered: R:T and R:T@D share it."""
        named = str(self.wanted.reference.name)
        return VerdictKey(self.policy.policy_digest, self.policy.trust_digest, str(digest), named)
