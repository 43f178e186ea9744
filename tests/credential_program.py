"""A credential helper for the tests: docker's protocol, its secrets in a JSON file beside it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

_PROGRAM = """\
#!{python}
import json, pathlib, sys
kept = pathlib.Path({kept!r})
log = pathlib.Path({log!r})
action, said = sys.argv[1], sys.stdin.read()
entries = json.loads(kept.read_text())
server = json.loads(said)["ServerURL"] if action == "store" else said.strip()
with log.open("a") as out:
    out.write(action + " " + server + "\\n")
if action == "store":
    entries[server] = json.loads(said)
elif server not in entries:
    sys.exit(print("credentials not found in native keychain") or 1)
elif action == "get":
    print(json.dumps(entries[server]))
else:
    del entries[server]
kept.write_text(json.dumps(entries))
"""


class CredentialProgram:
    """``docker-credential-<suffix>`` in a directory for PATH."""

    def __init__(self, base: Path, suffix: str = "test") -> None:
        base.mkdir(parents=True, exist_ok=True)
        self.directory = base
        self._kept, self._log = base / f"{suffix}.json", base / f"{suffix}.log"
        self._kept.write_text("{}")
        self.write(_PROGRAM.format(python=sys.executable, kept=str(self._kept), log=str(self._log)), suffix)

    def write(self, text: str, suffix: str) -> None:
        """Write the program itself: for one that misbehaves, a shell script."""
        path = self.directory / f"docker-credential-{suffix}"
        path.write_text(text)
        path.chmod(0o755)

    @property
    def kept(self) -> dict[str, dict[str, str]]:
        """What it keeps, by server."""
        entries: dict[str, dict[str, str]] = json.loads(self._kept.read_text())
        return entries

    def keep(self, server: str, user: str, secret: str) -> None:
        """Keep a credential, as if somebody had stored it."""
        entry = {"ServerURL": server, "Username": user, "Secret": secret}
        self._kept.write_text(json.dumps({**self.kept, server: entry}))

    @property
    def calls(self) -> list[str]:
        """What was asked of it, in order: ``get registry.test``."""
        return self._log.read_text().splitlines() if self._log.exists() else []
