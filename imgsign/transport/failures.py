"""What the failures of a connection mean, in words; loaded when one fails.

The exceptions of requests, urllib3 and ssl quote URLs with their queries, which may be presigned; so
their texts are never used, only their kinds and the words of the operating system and of OpenSSL.
"""

from __future__ import annotations

import errno
import http.client
import os
import socket
import ssl
from collections.abc import Iterator
from typing import TypeVar

import requests
import urllib3.exceptions

from imgsign.errors import RegistryError, Unavailable
from imgsign.transport.certs import certs_d
from imgsign.transport.hosts import Origin
from imgsign.transport.retry import TIMEOUT_COST, Transient
from imgsign.wire import printable, quote, redact

E = TypeVar("E", bound=BaseException)


def explain(error: Exception, origin: Origin, url: str, *, through: str | None) -> RegistryError | None:
    """Turn what the adapter raised into an error of ours; ``None``: it is a defect of a program."""
    where = f"cannot reach {origin.authority}" + ("" if through is None else " through the proxy")
    if not isinstance(error, (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException, UnicodeError)):
        return None
    causes = list(_causes(error))
    text, hint, transient, cost = f"{where}: {_words(causes)}", None, True, 1
    if (bad := _first(causes, ssl.SSLCertVerificationError)) is not None:
        text = f"{where}: its certificate is not trusted: {printable(bad.verify_message, limit=200)}"
        hint, transient = f"if a private authority signs it: --ca ca.pem, or {certs_d(origin)}/ca.crt", False
    elif (tls := _first(causes, ssl.SSLError)) is not None and not isinstance(tls, ssl.SSLEOFError):
        text = f"{where}: TLS fails ({printable(tls.reason or 'unknown reason', limit=100)})"
        hint, transient = f"if it is meant to speak plain http: --insecure-http {origin.authority}", False
    elif (name := _first(causes, socket.gaierror)) is not None:
        text, transient = f"{where}: its name cannot be resolved", name.errno == socket.EAI_AGAIN
    elif _first(causes, requests.exceptions.Timeout) or _first(causes, TimeoutError):
        text, cost = f"{where}: timed out", TIMEOUT_COST
    elif _first(causes, urllib3.exceptions.ProxyError) or _first(causes, requests.exceptions.ProxyError):
        transient = False
    elif _first(causes, ValueError):
        return RegistryError(f"cannot send a request to {quote(redact(url))}", url=redact(url))
    kind = Transient if transient else Unavailable
    made = kind(text, url=redact(url), hint=hint)
    if isinstance(made, Transient):
        made.cost = cost
    return made


def _words(causes: list[BaseException]) -> str:
    """Name a failure of the network in the operating system's words."""
    if _first(causes, ssl.SSLError):  # whose errno is OpenSSL's, not the operating system's
        return "it ended the TLS connection"
    if _first(causes, http.client.RemoteDisconnected) or _first(causes, http.client.IncompleteRead):
        return "it closed the connection without an answer"
    if _first(causes, http.client.HTTPException):
        return "its answer is not HTTP"
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno is not None and cause.errno in errno.errorcode:
            return os.strerror(cause.errno).lower()
    return "the connection failed"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what it wraps, in whichever way: requests and urllib3 use several."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting and len(seen) < 32:  # chains are short; a cycle must end
        found = waiting.pop(0)
        if not isinstance(found, BaseException) or any(found is s for s in seen):
            continue
        seen.append(found)
        yield found
        waiting += [*found.args, getattr(found, "reason", None), found.__cause__, found.__context__]


def _first(causes: list[BaseException], kind: type[E]) -> E | None:
    return next((c for c in causes if isinstance(c, kind)), None)
