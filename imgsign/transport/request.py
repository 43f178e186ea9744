"""What is asked of a registry, as a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Protocol

from imgsign.record import record
from imgsign.reference import Repository
from imgsign.transport.auth import Access
from imgsign.transport.replies import ERROR_LIMIT
from imgsign.transport.retry import TRIES, Transient


class Streamed(Protocol):
    """A body that is made while it is sent: of a known length, begun anew by each ``iter``."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[bytes]: ...


@record
class Request:
    """One request to a registry.

    ``target`` is below ``/v2/<name>/``, a path of the registry if it begins with ``/``, or an absolute URL
    that came from the registry and has passed ``hosts.check_hop``. ``headers`` never hold credentials.
    ``what`` names the target in messages.
    ``limit`` is in bytes of the answer's body. ``tries``: 1 for what must not be repeated.
    ``send_before``: a time of the transport's clock after which the request is not sent any more.
    ``stay``: a redirect to another origin is an error (with its 3xx as status) instead of followed.
    """

    repository: Repository
    target: str = field(repr=False)
    method: str = "GET"
    what: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Streamed | None = field(default=None, repr=False)
    access: Access = Access.PULL
    expect: frozenset[int] = frozenset({200})
    limit: int = ERROR_LIMIT
    tries: int = TRIES
    send_before: float | None = None
    stay: bool = False

    @property
    def description(self) -> str:
        """What was asked for, as messages say it."""
        return self.what or f"{self.target} of {self.repository.path}"


class TooLate(Transient):
    """The request was not sent since its ``send_before`` had passed."""
