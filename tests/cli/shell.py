"""Runs ``imgsign`` commands in an empty directory, without terminals."""

from __future__ import annotations

import io
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from imgsign.cli import main
from imgsign.keys import PublicKey
from imgsign.signers.disk import Source
from imgsign.signers.keyfile import parse_private, public_key_of


class Shell:
    """One directory to type commands in."""

    def __init__(self, base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.base, self._monkeypatch, self._capsys = base, monkeypatch, capsys
        monkeypatch.chdir(base)

    def run(
        self, line: str, environ: Mapping[str, str] | None = None, *, stdin: bytes | None = None
    ) -> tuple[int, str, str]:
        """Return exit code, stdout and stderr; without ``stdin`` reading it is a failure."""
        with self._monkeypatch.context() as patch:
            for name, value in (environ or {}).items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", Unreadable() if stdin is None else io.TextIOWrapper(io.BytesIO(stdin)))
            code = main(["key", *shlex.split(line)])
        return code, *self._capsys.readouterr()

    def files(self) -> list[str]:
        return sorted(p.name for p in self.base.iterdir())

    def private(self, name: str, password: bytes = b"test") -> PublicKey:
        return public_key_of(parse_private(Source(name, (self.base / name).read_bytes()), lambda _: password))

    def public(self, name: str) -> PublicKey:
        return PublicKey.from_pem((self.base / name).read_bytes())


class Unreadable(io.TextIOBase):
    """An open standard input nobody writes to: reading it would hang."""

    @property
    def buffer(self) -> io.BufferedIOBase:
        raise AssertionError("standard input was read")

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]  # never returns
        raise AssertionError("standard input was read")
