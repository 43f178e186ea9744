"""What is known about one predicate type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from imgsign.record import record
from imgsign.wire import Node


@record
class PredicateKind:
    """One predicate type under the short name people use.

    ``check`` refuses a predicate that is plainly of another type; it reads members named in ``members`` only,
    so that nothing else of a large document is kept. It is for who writes an attestation: a verifier judges
    what a policy asks for, not whether a document is complete.
    """

    alias: str
    uri: str
    title: str
    members: frozenset[str]
    check: Callable[[Node], None] = field(repr=False)
