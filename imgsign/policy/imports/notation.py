"""Notation's ``trustpolicy.json``.

Source: notaryproject/specifications, trust-store-trust-policy.md (version 1.0). Its signatures are made with
certificates in JWS or COSE, which imgsign does not judge: a statement of another level than ``skip`` rejects its
scopes. ``skip`` accepts anything, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence

from imgsign.errors import Malformed
from imgsign.policy.imports.draft import ACCEPT, CARRIED, REFUSED, REJECT, Drafted, Wanted
from imgsign.reference import is_scope
from imgsign.wire import Node, quote


def convert(documents: Sequence[Node], wanted: Wanted) -> Drafted:
    """Convert one trust policy document.

    Raises:
        Malformed: it is none.
    """
    if len(documents) != 1:
        raise Malformed("a trust policy is one document")
    drafted = Drafted()
    top = documents[0].fields(("version", "trustPolicies"), ())
    for statement in top["trustPolicies"].items():
        members = statement.fields(
            ("name", "registryScopes", "signatureVerification"), ("trustStores", "trustedIdentities")
        )
        level = members["signatureVerification"].fields(("level",), ("override", "verifyTimestamp"))["level"].text()
        everywhere = [s.text() for s in members["registryScopes"].items()] == ["*"]
        skip = level == "skip" and everywhere
        if skip:
            drafted.say(statement.path, CARRIED, "level 'skip' accepts anything")
        elif level == "skip":
            # A scope there is one repository; ours would open the ones below it as well.
            text = "level 'skip' is carried for the scope '*' only: the rule rejects instead"
            drafted.say(statement.path, REFUSED, text)
        else:
            text = "Notary Project signatures are not judged by imgsign: the rule rejects instead"
            drafted.say(statement.path, REFUSED, text)
        for scope in members["registryScopes"].items():
            text = scope.text()
            if not is_scope(text):
                scope.refuse(f"scope {quote(text)} can never match an image")
            if text in drafted.scopes:
                scope.refuse(f"scope {quote(text)} stands in two statements")
            drafted.scopes[text] = ACCEPT if skip else REJECT
    return drafted
