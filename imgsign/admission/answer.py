"""Judgements -> the answer to a review, and its line in the audit log; pure.

``validate`` judges the final object alone. ``mutate`` writes digests of allowed images and denies a Pod whose
image it could not pin, with the real reason, since validate would only say that it is not pinned.

What is wanted and was not judged is undecided, and what is undecided is denied: nothing is allowed by absence.
"""

from __future__ import annotations

from collections.abc import Mapping

from imgsign.admission.judgement import Judgement
from imgsign.admission.plan import Plan
from imgsign.admission.review import Response


def answer(plan: Plan, judgements: Mapping[str, Judgement]) -> Response:
    """Answer a review; ``judgements`` by ``Wanted.key``."""
    raise NotImplementedError


def refuse(uid: str, message: str, hint: str | None = None) -> Response:
    """Deny a review that could not be read, or was not worked on: overload, an internal error."""
    raise NotImplementedError


def audit_fields(plan: Plan, judgements: Mapping[str, Judgement], response: Response) -> dict[str, object]:
    """Say in fields of JSON who asked for what and what was answered, for the line in the audit log.

    uid, gate, kind, namespace, name, operation, subresource, user, dry_run, mode, verdict (allowed | denied |
    undecided | warned | exempt), codes, images [{image, digest, verdict, code, cached}], unchanged, patched.
    The caller adds the policy's digest and the time it took.
    """
    raise NotImplementedError
