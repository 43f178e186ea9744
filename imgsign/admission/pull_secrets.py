"""The imagePullSecrets of a Pod, read through the Kubernetes API: off unless asked for.

A Secret is read with the service account's own token (kubernetes.io docs "Accessing the API from a Pod"), which
goes to the API server and to nobody else; what the Secret holds for the image's registry goes to that registry
and to nobody else: not to a mirror, not to another image's host, and the server's own credentials are not
tried in its place or after it. A tenant's Secret can name users and passwords only; credential helpers in it
are refused, since they are programs.

As the kubelet does, a Secret that is not there is passed over, and the first in the Pod's order with an entry
for the registry counts. A Secret that may not be read, or is malformed, is an error that says so. What was read
is kept for :data:`FRESH` seconds.
"""

from __future__ import annotations

import http.client
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from imgsign.admission.cache import Bounded
from imgsign.admission.review import REVIEW_LIMIT
from imgsign.errors import AuthenticationFailed, DestinationError, Malformed, Unavailable
from imgsign.signers.disk import read_file
from imgsign.transport.config.docker import find_entry
from imgsign.transport.config.entry import CONFIG_LIMIT, Credential
from imgsign.wire import Node, b64decode, load_json, quote

MOUNTED = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts ``token`` and ``ca.crt``."""

FRESH = 60.0
"""Seconds what a Secret held is used again."""

_SECRETS = 1024  # kept at most
_SECRETS_OF_A_POD = 16  # read for one image; a Pod with more is misconfigured, or wants to make us work
_LIMIT = 4 * 1024 * 1024  # bytes of an answer: a Secret holds at most 1 MiB, in base64, with its metadata
_TIMEOUT = 5.0  # seconds for one request to the API server
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")  # DNS-1123 subdomain: safe in a path
_KINDS = {"kubernetes.io/dockerconfigjson": ".dockerconfigjson", "kubernetes.io/dockercfg": ".dockercfg"}

_SPECS = (
    ("spec", "template", "spec"),
    ("spec", "jobTemplate", "spec", "template", "spec"),
    ("template", "spec"),
    ("spec",),
)

Auths = Mapping[str, Node]


class OneRegistry:
    """Knows one credential for one registry, and nothing for any other (see ``transport.credentials.Known``)."""

    def __init__(self, registry: str, credential: Credential) -> None:
        """Keep it for ``registry``, as references name it."""
        self._registry = registry
        self._credential = credential

    @property
    def places(self) -> str:
        """Where it is from."""
        return self._credential.source

    def find(self, registry: str, path: str = "") -> Credential | None:
        """Return it to the registry it is for."""
        return self._credential if registry == self._registry else None


class PullSecrets:
    """Reads Secrets; thread-safe."""

    def __init__(
        self,
        server: str,
        *,
        token: Path = MOUNTED / "token",
        ca: Path = MOUNTED / "ca.crt",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask the API server at ``server``: ``host:port``."""
        self._server = server
        self._token, self._ca = token, ca
        self._kept: Bounded[tuple[str, str], tuple[str, Auths]] = Bounded(_SECRETS, clock)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], account: Path = MOUNTED) -> PullSecrets:
        """Find the API server as every Pod does; ``account`` has the token and the CA.

        Raises:
            DestinationError: this is no Pod.
        """
        host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
        if not host or not port:
            raise DestinationError(
                "imagePullSecrets need the Kubernetes API, and KUBERNETES_SERVICE_HOST is not set",
                hint="run it in a Pod whose service account token is mounted",
            )
        server = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return cls(server, token=account / "token", ca=account / "ca.crt")

    def find(self, namespace: str, names: Sequence[str], registry: str) -> Credential | None:
        """Return what the first Secret with an entry for a registry holds; ``None`` if none has one.

        Raises:
            AuthenticationFailed: a Secret may not be read or is malformed.
            Unavailable: the API server did not answer.
        """
        for name in names[:_SECRETS_OF_A_POD]:
            source, auths = self._auths(namespace, name)
            found = find_entry(auths, registry, source)
            if found is not None:
                return found
        return None

    def _auths(self, namespace: str, name: str) -> tuple[str, Auths]:
        kept = self._kept.get((namespace, name))
        if kept is None:
            source = f"secret {quote(f'{namespace}/{name}')}"
            if _NAME.fullmatch(namespace) is None or _NAME.fullmatch(name) is None:
                raise AuthenticationFailed(f"{source} is not a name that Kubernetes allows")
            raw = self._fetch(f"/api/v1/namespaces/{namespace}/secrets/{name}", source)
            try:
                kept = source, {} if raw is None else _read(raw)
            except Malformed as e:
                raise AuthenticationFailed(f"cannot use {source}: {e.message}") from None  # its context has the bytes
            self._kept.put((namespace, name), kept, FRESH)
        return kept

    def _fetch(self, path: str, source: str) -> bytes | None:
        """GET; ``None`` if there is no such Secret."""
        try:
            token = read_file(self._token, limit=64 * 1024).decode("ascii").strip()  # it is replaced every hour
            context = ssl.create_default_context(cafile=str(self._ca))
        except (DestinationError, OSError, UnicodeDecodeError) as e:
            raise Unavailable(
                f"cannot read {source}: no service account token or CA ({e.__class__.__name__})"
            ) from None
        connection = http.client.HTTPSConnection(self._server, timeout=_TIMEOUT, context=context)
        try:
            headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            raw = answer.read(_LIMIT + 1)
        except (OSError, http.client.HTTPException) as e:
            raise Unavailable(f"cannot read {source}: the API server did not answer ({e.__class__.__name__})") from None
        finally:
            connection.close()
        if answer.status == 404:
            return None
        if answer.status in (401, 403):
            hint = "grant its service account get on that secret"
            raise AuthenticationFailed(f"imgsign may not read {source} (HTTP {answer.status})", hint=hint)
        if answer.status != 200 or len(raw) > _LIMIT:
            raise Unavailable(f"cannot read {source}: the API server answered HTTP {answer.status}")
        return raw


def secrets_named(raw: bytes) -> tuple[str, ...]:
    """Return the names in ``imagePullSecrets`` of a review's Pod or template; none where nothing of that shape is."""
    try:
        found = load_json(raw, limit=REVIEW_LIMIT).value
    except Malformed:
        return ()
    for path in _SPECS:
        spec: object = found
        for key in ("request", "object", *path):
            spec = spec.get(key) if isinstance(spec, dict) else None
        listed = spec.get("imagePullSecrets") if isinstance(spec, dict) else None
        if isinstance(listed, list):
            names = (entry.get("name") for entry in listed[:_SECRETS_OF_A_POD] if isinstance(entry, dict))
            return tuple(n for n in names if isinstance(n, str) and n)
    return ()


def _read(raw: bytes) -> Auths:
    """Take the entries out of a Secret.

    Raises:
        Malformed: without any of its content.
    """
    secret = load_json(raw, limit=_LIMIT).fields(("kind", "type"), ("data",), closed=False)
    key = _KINDS.get(secret["type"].text())
    if secret["kind"].text() != "Secret" or key is None:
        raise Malformed("it is no Secret of type kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg")
    data = secret["data"].fields((key,), (), closed=False)
    node = load_json(b64decode(data[key].text()), limit=CONFIG_LIMIT)
    if key == ".dockercfg":
        return node.entries()
    members = node.fields((), ("auths", "credHelpers", "credsStore"), closed=False)
    if "credHelpers" in members or "credsStore" in members:
        raise Malformed("it names credential helpers, which are programs")
    return members["auths"].entries() if "auths" in members else {}
