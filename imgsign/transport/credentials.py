"""Who one is at a registry: the places where credentials are looked for, and their order.

1. ``DOCKER_AUTH_CONFIG``, as docker's client does                        :mod:`.config.docker`
2. docker's ``config.json``, with its helpers                             :mod:`.config.docker`
3. ``REGISTRY_AUTH_FILE``; only if that is not set, podman's files        :mod:`.config.containers`

The first place that has an entry decides. A place is read once, and only when a registry asks for
credentials; helpers are asked again after :data:`FRESH` seconds, since what they give may end.

Refused with an error, never by going on with the next place or anonymously (CVE-2021-41092): a malformed
file or entry, and a configured helper that cannot be run or fails.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from math import inf
from typing import Protocol

from imgsign.errors import AuthenticationFailed, Unavailable
from imgsign.transport.config.containers import VARIABLE as AUTH_FILE
from imgsign.transport.config.containers import AuthFile, auth_paths, load_auth_file
from imgsign.transport.config.docker import VARIABLE, DockerConfig, config_path, find_entry, load_docker, load_variable
from imgsign.transport.config.entry import CONFIG_LIMIT, Credential, Kind
from imgsign.wire import Node, quote

__all__ = ["CONFIG_LIMIT", "Credential", "Credentials", "Given", "Kind", "Known"]

FRESH = 300.0
"""Seconds an answer is used again; ECR's tokens live 12 hours, but were not fetched just now."""


class Known(Protocol):
    """Somebody who knows credentials."""

    @property
    def places(self) -> str:
        """Where they are looked for, in words; empty if nowhere."""

    def find(self, registry: str, path: str = "", *, left: float = inf) -> Credential | None:
        """Return the credential for a repository of a registry; ``None``: anonymous. ``left``: seconds to take."""


class Given:
    """One credential that was typed, for whatever asks."""

    def __init__(self, credential: Credential) -> None:
        """Offer this one only."""
        self._credential = credential
        self.was_asked = False

    @property
    def places(self) -> str:
        """Where it is from."""
        return self._credential.source

    def find(self, registry: str, path: str = "", *, left: float = inf) -> Credential | None:
        """Return it."""
        self.was_asked = True
        return self._credential


class Credentials:
    """The credentials an environment leads to; thread-safe."""

    def __init__(self, environ: Mapping[str, str], *, clock: Callable[[], float] = time.monotonic) -> None:
        """Read nothing yet."""
        self._environ = environ
        self._clock = clock
        self._lock = threading.Lock()
        self._variable: Mapping[str, Node] | None = None
        self._docker: DockerConfig | None = None
        self._files: tuple[AuthFile, ...] | None = None
        self._answers: dict[tuple[str, str | None], tuple[float | None, Credential | AuthenticationFailed | None]] = {}

    @property
    def places(self) -> str:
        """Where credentials are looked for, in words: what is set or exists, and config.json."""
        found = [VARIABLE] if self._environ.get(VARIABLE) else []
        docker = config_path(self._environ)
        found += [] if docker is None else [quote(str(docker))]
        named = bool(self._environ.get(AUTH_FILE))
        found += [quote(str(p)) for p in auth_paths(self._environ) if named or p.exists()]
        return ", ".join(found)

    def find(self, registry: str, path: str = "", *, left: float = inf) -> Credential | None:
        """Return the credential for a repository of a registry as references name it; ``None``: anonymous.

        Raises:
            AuthenticationFailed: if a place or its entry cannot be used; the message names it.
            Unavailable: nothing was found out within ``left`` seconds.
        """
        end = time.monotonic() + left
        # One thread asks at a time: a helper may ask a person, and once is enough.
        if not self._lock.acquire(timeout=-1 if left == inf else left):
            raise Unavailable("the deadline has passed while another thread was asking for credentials")
        try:
            if self._variable is None:
                self._variable = load_variable(self._environ)
            found = find_entry(self._variable, registry, VARIABLE)
            found = found or self._fresh((registry, None), lambda: self._in_docker(registry, end))
            return found or self._fresh((registry, path), lambda: self._in_containers(registry, path, end))
        finally:
            self._lock.release()

    def _fresh(self, key: tuple[str, str | None], ask: Callable[[], Credential | None]) -> Credential | None:
        """Return the answer of the last time, errors included, while it is fresh."""
        asked, answer = self._answers.get(key, (None, None))
        if asked is None or self._clock() - asked >= FRESH:
            try:
                answer = ask()
            except AuthenticationFailed as e:
                answer = e
            self._answers[key] = self._clock(), answer
        if isinstance(answer, AuthenticationFailed):
            raise AuthenticationFailed(answer.message, hint=answer.hint)
        return answer

    def _in_docker(self, registry: str, end: float) -> Credential | None:
        if self._docker is None:
            self._docker = load_docker(self._environ)
        return self._docker.find(registry, end=end)

    def _in_containers(self, registry: str, path: str, end: float) -> Credential | None:
        if self._files is None:
            loaded = (load_auth_file(p, self._environ) for p in auth_paths(self._environ))
            self._files = tuple(f for f in loaded if f is not None)
        answers = (f.find(registry, path, end=end) for f in self._files)
        return next((a for a in answers if a is not None), None)
