"""Credential helpers: programs that keep credentials, spoken to over standard input and output.

Source: docker/docker-credential-helpers README "Development" and its ``client`` and ``credentials``
packages; there is no specification.

    docker-credential-<suffix> get      stdin: the server      stdout: {"ServerURL", "Username", "Secret"}
    docker-credential-<suffix> store    stdin: that object     stdout: nothing
    docker-credential-<suffix> erase    stdin: the server      stdout: nothing
    suffix := 1*(ALPHA | DIGIT | "." | "_" | "-")

A failure is an exit status other than 0 with a message on standard *output*. Only one message is not an
error: "credentials not found in native keychain". A helper that was configured and cannot be run, hangs or
answers something else stops everything: going on with another credential, or with none, has sent
credentials to the wrong registry (CVE-2021-41092).

The suffix comes from a file, so it cannot hold a path; the program is looked up in the absolute directories
of PATH only (a checked-out repository must not bring its own) and started without a shell. Standard error
is thrown away. What a successful helper prints never reaches a message; the message of a failed one does,
one printable line of it, unless it looks like an answer.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import field
from math import inf
from typing import IO, cast

from imgsign.errors import AuthenticationFailed, Malformed, Unavailable
from imgsign.record import record
from imgsign.transport.config.entry import TOKEN_USER, Credential, Kind, text_of
from imgsign.wire import dump_json, load_json, printable, quote

PREFIX = "docker-credential-"

TIMEOUT = 30.0
"""Seconds a helper may take: secretservice hangs without D-Bus, and a person may have to type a PIN.
The command's own deadline can only cut it."""

OUTPUT_LIMIT = 64 * 1024
"""Bytes read of a helper; identity tokens take a few KiB."""

_INPUT_LIMIT = 32 * 1024  # bytes written to a helper; less than a pipe holds, so that writing never blocks
_NOT_FOUND = "credentials not found in native keychain"
_SUFFIX = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SAID_LIMIT = 200  # characters quoted of a message


@record
class Program:
    """The credential helper a file names for a server; ``server`` is what the helper knows it by."""

    suffix: str
    server: str
    named_in: str
    environ: Mapping[str, str] = field(repr=False)

    @property
    def source(self) -> str:
        """What to call it in messages."""
        return f"credential helper {quote(self.suffix)} of {self.named_in}"

    def get(self, *, end: float = inf) -> Credential | None:
        """Ask for the credential; ``None``: the helper has none.

        ``end``: the time of ``time.monotonic`` at which the command gives up, and the helper with it.

        Raises:
            AuthenticationFailed: naming the helper and the file that names it.
            Unavailable: it has not answered by ``end``, which says nothing against the helper.
        """
        raw = self._run("get", self.server.encode(), end=end)
        if raw is None:
            return None
        try:
            members = load_json(raw, limit=OUTPUT_LIMIT).fields((), ("ServerURL", "Username", "Secret"), closed=False)
            user, secret = text_of(members, "Username"), text_of(members, "Secret")
        except Malformed:
            # The reason is left out: it could quote what was printed.
            raise self._failed("its answer to 'get' is not the JSON of the protocol") from None
        if not user and not secret:
            return None  # what docker's client takes for "none"
        if not user or not secret:
            raise self._failed(f"its answer to 'get' has no {'Secret' if user else 'Username'}")
        kind = Kind.IDENTITY_TOKEN if user == TOKEN_USER else Kind.PASSWORD
        return Credential(user=user, secret=secret, source=self.source, kind=kind)

    def store(self, user: str, secret: str, *, end: float = inf) -> None:
        """Give a credential into the helper's keeping.

        Raises:
            AuthenticationFailed, Unavailable: see :meth:`get`.
        """
        raw = dump_json({"ServerURL": self.server, "Username": user, "Secret": secret})
        if self._run("store", raw, secret=secret, end=end) is None:
            raise self._failed(f"'store' fails: {_NOT_FOUND}")

    def erase(self) -> bool:
        """Have a credential forgotten; returns whether the helper does not say that it had none.

        Raises:
            AuthenticationFailed: see :meth:`get`.
        """
        return self._run("erase", self.server.encode()) is not None

    def _run(self, action: str, raw: bytes, *, secret: str = "", end: float = inf) -> bytes | None:
        """Return what the helper prints, ``None`` if it has no such credential."""
        own_end = time.monotonic() + TIMEOUT
        if len(raw) > _INPUT_LIMIT:
            raise self._failed(f"{len(raw)} bytes are more than the limit of {_INPUT_LIMIT}")
        try:
            process = subprocess.Popen(
                [self._find(), action],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=dict(self.environ),
            )
        except (OSError, ValueError) as e:  # ValueError: a NUL in the environment
            reason = e.strerror if isinstance(e, OSError) else "its environment holds a NUL"
            raise self._failed(f"it cannot be run: {reason}") from e
        with process:
            try:
                output, status = self._talk(process, raw, min(end, own_end))
            finally:
                process.kill()  # nothing, if it has ended
        if status is None and end < own_end:
            raise Unavailable(f"the deadline has passed while asking {self.source}")
        if status is None:
            raise self._failed(f"it has not answered within {TIMEOUT:.0f} s")
        if status == 0:
            return output
        said = output.decode("utf-8", "replace").strip()
        if said == _NOT_FOUND:
            return None
        line = said.partition("\n")[0]
        if not line or "{" in line or (secret and secret in line):
            line = f"exit status {status}"
        raise self._failed(f"{action!r} fails: {printable(line, limit=_SAID_LIMIT)}")

    def _find(self) -> str:
        if _SUFFIX.fullmatch(self.suffix) is None:
            raise self._failed("its name may hold only A-Z a-z 0-9 . _ -")
        directories = [d for d in self.environ.get("PATH", "").split(os.pathsep) if os.path.isabs(d)]
        path = shutil.which(PREFIX + self.suffix, path=os.pathsep.join(directories)) if directories else None
        if path is None:
            raise self._failed(f"there is no program {PREFIX}{self.suffix} in PATH")
        return path

    def _talk(self, process: subprocess.Popen[bytes], raw: bytes, end: float) -> tuple[bytes, int | None]:
        """Write, read to the end and return output and exit status; ``None``: it was not done by ``end``."""
        stdin, stdout = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)  # both are pipes
        with suppress(BrokenPipeError):  # it may not care to read; its answer counts
            stdin.write(raw)
            stdin.flush()
        with suppress(BrokenPipeError):
            stdin.close()
        output = b""
        while select.select([stdout], [], [], max(0.0, end - time.monotonic()))[0]:
            part = os.read(stdout.fileno(), OUTPUT_LIMIT)
            output += part
            if len(output) > OUTPUT_LIMIT:
                raise self._failed(f"it prints more than the limit of {OUTPUT_LIMIT} bytes")
            if not part:
                try:
                    return output, process.wait(max(0.1, end - time.monotonic()))
                except subprocess.TimeoutExpired:
                    break
        return output, None

    def _failed(self, reason: str) -> AuthenticationFailed:
        hint = f"{PREFIX}{self.suffix} list" if _SUFFIX.fullmatch(self.suffix) else None
        return AuthenticationFailed(f"cannot use {self.source} for {quote(self.server)}: {reason}", hint=hint)
