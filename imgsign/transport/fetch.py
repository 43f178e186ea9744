"""Asking a token server: one bounded request, whose errors name the registry it is for.

Source: distribution's token specifications (``docs/content/spec/auth/token.md``, ``oauth.md``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from imgsign.errors import AuthenticationFailed, RegistryError, Unavailable
from imgsign.transport.auth import Authorization
from imgsign.transport.replies import Body, failure, refuse_encoding
from imgsign.transport.request import Request
from imgsign.transport.tokens import TOKEN_LIMIT, Purpose, TokenQuery

Send = Callable[[Request, str, Authorization | None], Body]
"""Send a request to a URL; redirects of reads are followed, and authorization stays at the first origin."""


class Retry(Protocol):
    """Does work until it ends in anything but a ``Transient``."""

    def __call__(self, work: Callable[[], bytes], /) -> bytes: ...


def fetch_token(
    query: TokenQuery, purpose: Purpose, *, send: Send, retry: Retry, secrets: tuple[str, ...] = ()
) -> bytes:
    """Ask a token server. A definite no, and be it 404, is never "the image is not there".

    ``secrets`` are kept out of errors, and so is the credential.

    Raises:
        AuthenticationFailed: it refuses.
        Unavailable: it does not answer, also after the retries.
    """
    registry = purpose.repository.registry
    credential = purpose.credential
    secrets += () if credential is None else credential.secrets
    authorization = None
    if credential is not None and query.form is None:
        authorization = Authorization(header=credential.basic, secrets=secrets, final=True)
    request = Request(
        repository=purpose.repository,
        target=query.url,
        method="GET" if query.form is None else "POST",
        what=f"token for {registry}",
        headers={} if query.form is None else {"Content-Type": "application/x-www-form-urlencoded"},
        body=query.form,
        stay=query.stay,
    )

    def once() -> bytes:
        with send(request, query.url, authorization) as body:
            if body.status == 200:
                return refuse_encoding(body).read(TOKEN_LIMIT)
            raise failure(body, method=request.method, what=request.what, registry=registry, secrets=secrets)

    try:
        return retry(once)
    except (Unavailable, AuthenticationFailed):
        raise
    except RegistryError as e:
        raise AuthenticationFailed(e.message, status=e.status, codes=e.codes, url=e.url) from e
