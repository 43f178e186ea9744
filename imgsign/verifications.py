"""Signature verifications of one decision: each (candidate, key) pair at most once, up to a limit.

Pairs that the candidate hints at have a limit of their own: a stranger's junk, gathered first or judged for
another requirement, must not leave nothing for a signature that says whose it is.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from imgsign.claim import Candidate, Claim
from imgsign.decision import Check
from imgsign.errors import InvalidEnvelope, UntrustedSigner
from imgsign.trust import TrustedKey
from imgsign.wire import Node

VERIFICATIONS_LIMIT = 2000
"""Signature verifications one decision may cost (law 9): 100 candidates against 20 keys."""


class Untried(enum.Enum):
    """Stands for a pair that was not verified, because the limit had been reached."""

    UNTRIED = "untried"


@dataclass(slots=True)
class Verifications:
    """Results of (candidate, key) pairs, so that none is computed twice in one decision.

    May be kept over the rounds in which the evidence for one image grows, and so may what was read of a
    verified claim's predicate.
    """

    limit: int = VERIFICATIONS_LIMIT
    done: dict[tuple[int, str, str | None], Claim | Check | None] = field(default_factory=dict)
    kept: dict[int, Candidate] = field(default_factory=dict)
    hinted: int = 0
    others: int = 0
    exhausted: bool = False
    picked: dict[tuple[int, frozenset[str]], tuple[Claim, Node | InvalidEnvelope]] = field(default_factory=dict)

    def result(self, candidate: Candidate, trusted: TrustedKey) -> Claim | Check | Untried | None:
        """Return a claim, a failed check (verified, but unacceptable), or ``None`` (another key's)."""
        key = (id(candidate), trusted.key.digest, trusted.hash)
        if key in self.done:
            return self.done[key]
        is_hinted = candidate.key_hint == trusted.key.hint
        if (self.hinted if is_hinted else self.others) >= self.limit:
            self.exhausted = True
            return Untried.UNTRIED
        if is_hinted:
            self.hinted += 1
        else:
            self.others += 1
        found: Claim | Check | None
        try:
            found = candidate.verify(trusted)
        except UntrustedSigner:
            found = None
        except InvalidEnvelope as e:
            found = Check(code="bad-claim", passed=False, about=str(candidate.place), message=e.message, hint=e.hint)
        self.done[key] = found
        self.kept[id(candidate)] = candidate  # an id stays unique only while its object lives
        return found

    def pick(self, claim: Claim, names: frozenset[str]) -> Node | InvalidEnvelope:
        """Read the members of these names from a verified claim's predicate; an error is a result as well."""
        key = (id(claim), names)
        if key not in self.picked:
            found: Node | InvalidEnvelope = Node(None, "$", InvalidEnvelope)
            try:
                if claim.predicate is not None:
                    found = claim.predicate.pick(names)
            except InvalidEnvelope as e:
                found = e
            self.picked[key] = (claim, found)  # with the claim, whose id is the key
        return self.picked[key][1]
