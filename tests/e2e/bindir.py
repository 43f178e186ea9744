"""containerd's side of the image verifier protocol, for tests.

Does what containerd 2.4 ``pkg/imageverifier/bindir/bindir.go`` does: every entry of the directory by name,
three arguments, the descriptor as Go's encoder writes it, a process group of its own that is killed when
the time is over, the first 32 KiB of standard output, and no pull after anything but exit code 0.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from imgsign.reference import Digest

OUTPUT_LIMIT = 1 << 15  # outputLimitBytes


@dataclass(frozen=True, slots=True)
class Judgement:
    """``ok`` whether containerd goes on; ``code`` the exit code of who refused, ``None`` if there is none."""

    ok: bool
    code: int | None
    reason: str
    seconds: float


def describe(raw: bytes) -> dict[str, object]:
    """What a resolver finds of a manifest: media type, digest and size."""
    return {"mediaType": json.loads(raw)["mediaType"], "digest": str(Digest.of(raw)), "size": len(raw)}


def verify_image(directory: Path, name: str, descriptor: dict[str, object], *, timeout: float = 10.0) -> Judgement:
    """Ask every verifier of the directory."""
    reasons = []
    start = time.monotonic()
    entries = sorted(os.listdir(directory)) if directory.exists() else []
    for entry in entries:
        code, said = _run(directory / entry, name, descriptor, timeout)
        if code != 0:
            return Judgement(False, code, said, time.monotonic() - start)
        reasons.append(f"{entry} => {said}")
    return Judgement(True, 0, ", ".join(reasons), time.monotonic() - start)


def _run(path: Path, name: str, descriptor: dict[str, object], timeout: float) -> tuple[int | None, str]:
    arguments = ["-name", name, "-digest", str(descriptor["digest"])]
    try:
        process = subprocess.Popen(
            [path, *arguments, "-stdin-media-type", "application/vnd.oci.descriptor.v1+json"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as e:
        return None, f"failed to call verifier {path.name}: {e.strerror}"
    raw = json.dumps(descriptor, separators=(",", ":")).encode()
    raw = raw.replace(b"<", b"\\u003c").replace(b">", b"\\u003e").replace(b"&", b"\\u0026") + b"\n"
    try:
        out, _ = process.communicate(raw, timeout)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None, "signal: killed"
    said = out[:OUTPUT_LIMIT].decode("utf-8", "replace").strip()
    if len(out) > OUTPUT_LIMIT:
        said += "(stdout truncated)"
    return (process.returncode, said) if process.returncode >= 0 else (None, f"signal: {-process.returncode}")
