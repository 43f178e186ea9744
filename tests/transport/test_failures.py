"""What the exceptions of requests, urllib3, ssl and sockets mean: in our words, without their texts."""

from __future__ import annotations

import http.client
import socket
import ssl

import pytest
import requests.exceptions as rq
import urllib3.exceptions as u3

from imgsign.errors import RegistryError, Unavailable
from imgsign.transport.failures import explain
from imgsign.transport.hosts import Origin
from imgsign.transport.retry import Transient

URL = "https://registry.test/v2/app/blobs/x?sig=secret"
ORIGIN = Origin.parse(URL)


def _verification(message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = message
    return error


def _tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] with secret")
    error.reason = reason
    return error


def _wrapped(inner: Exception) -> Exception:
    """As requests wraps what urllib3 wraps."""
    return rq.ConnectionError(u3.MaxRetryError(None, URL, u3.ProtocolError("Connection aborted.", inner)))  # type: ignore[arg-type]  # urllib3 takes no pool too


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (
            rq.SSLError(u3.MaxRetryError(None, URL, u3.SSLError(_verification("self-signed certificate")))),  # type: ignore[arg-type]  # urllib3 takes no pool too
            Unavailable,
            "its certificate is not trusted: self-signed certificate",
        ),
        (_wrapped(_tls("WRONG_VERSION_NUMBER")), Unavailable, "TLS fails (WRONG_VERSION_NUMBER)"),
        (_wrapped(ssl.SSLEOFError(8, "EOF occurred")), Transient, "it ended the TLS connection"),
        (_wrapped(socket.gaierror(socket.EAI_NONAME, "no")), Unavailable, "its name cannot be resolved"),
        (_wrapped(socket.gaierror(socket.EAI_AGAIN, "no")), Transient, "its name cannot be resolved"),
        (_wrapped(ConnectionRefusedError(111, "x")), Transient, "connection refused"),
        (_wrapped(http.client.RemoteDisconnected("x")), Transient, "it closed the connection without an answer"),
        (_wrapped(http.client.BadStatusLine("\x15\x03")), Transient, "its answer is not HTTP"),
        (rq.ConnectTimeout(URL), Transient, "timed out"),
        (u3.ProtocolError(URL), Transient, "the connection failed"),
        (rq.ProxyError(URL), Unavailable, "the connection failed"),
        (OSError(113, "x"), Transient, "no route to host"),
    ],
)
def test_failures_in_words(error: Exception, kind: type[Exception], text: str) -> None:
    explained = explain(error, ORIGIN, URL, through=None)
    assert type(explained) is kind
    assert str(explained) == f"cannot reach registry.test: {text}"


def test_a_plain_http_server_behind_https_is_guessed() -> None:
    explained = explain(_wrapped(_tls("WRONG_VERSION_NUMBER")), ORIGIN, URL, through=None)
    assert explained is not None
    assert explained.hint == "if it is meant to speak plain http: --insecure-http registry.test"


def test_a_private_authority_is_guessed() -> None:
    explained = explain(_wrapped(_verification("unable to get local issuer certificate")), ORIGIN, URL, through=None)
    assert explained is not None
    assert explained.hint == (
        "if a private authority signs it: --ca ca.pem, or /etc/docker/certs.d/registry.test/ca.crt"
    )


def test_a_proxy_is_mentioned_but_not_its_password() -> None:
    explained = explain(OSError(111, "x"), ORIGIN, URL, through="http://user:secret@proxy.test")
    assert str(explained) == "cannot reach registry.test through the proxy: connection refused"


@pytest.mark.parametrize("error", [rq.InvalidURL(URL), rq.InvalidHeader("secret"), UnicodeError("secret")])
def test_what_cannot_be_sent_is_a_registry_error(error: Exception) -> None:
    explained = explain(error, ORIGIN, URL, through=None)
    assert type(explained) is RegistryError
    assert str(explained) == "cannot send a request to 'https://registry.test/v2/app/blobs/x'"


def test_a_defect_of_a_program_is_not_explained_away() -> None:
    for error in (TypeError("x"), ValueError("x"), KeyError("x")):
        assert explain(error, ORIGIN, URL, through=None) is None


def test_a_cycle_of_causes_ends() -> None:
    one, two = OSError(111, "x"), OSError("y")
    one.__cause__, two.__cause__ = two, one
    assert explain(two, ORIGIN, URL, through=None) is not None
