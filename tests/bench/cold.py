"""Cold commands: whole processes, from a person's return key to the exit code; bytecode is warm."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.bench.measure import IMGSIGN, Row, Work, medians, process, ratio
from tests.bench.servers import running, unpatched_skopeo

BARE = (sys.executable, "-m", "tests.bench.bare")


def verify_cold(runs: int, directory: Path | None) -> list[Row]:
    """Verify a small image on loopback; the floor does all of that but the verifying and the requests."""
    with running(directory) as bench:
        name = bench.push_small("cold")
        options = (str(name), "--key", bench.key)
        commands: dict[str, Work] = {
            "imgsign": process(*IMGSIGN, "verify", *options),
            "bare": process(*BARE, *options),
        }
        copy = bench.base / "copy"
        skopeo = unpatched_skopeo()
        if skopeo is not None:
            arguments = ("--src-tls-verify=false", "--remove-signatures", f"docker://{name}", f"oci:{copy}:1")
            commands["skopeo"] = process(skopeo, *bench.skopeo_policy(name), "copy", *arguments)
        found = medians(commands, runs, lambda: shutil.rmtree(copy, ignore_errors=True))
        if skopeo is not None:
            # The same must fail under a name that nobody signed, or nothing was verified above.
            other = str(name).removesuffix(":1") + ":2"
            process(skopeo, "copy", "--src-tls-verify=false", "--dest-tls-verify=false",
                    "--insecure-policy", f"docker://{name}", f"docker://{other}")()  # fmt: skip
            denied = ("--src-tls-verify=false", "--remove-signatures", f"docker://{other}", f"oci:{copy}:2")
            process(skopeo, *bench.skopeo_policy(name), "copy", *denied, fails=True)()
    rows = [
        Row("imgsign verify, a small image", _ms(found["imgsign"])),
        Row(
            "bare typer command: the same options, requests, one key",
            _ms(found["bare"]),
            *ratio(found["imgsign"] / found["bare"], at_most=1.25),
        ),
    ]
    if skopeo is not None:
        rows.append(Row("fact: skopeo's verified copy of it (unpatched, Go)", _ms(found["skopeo"])))
    return rows


def help_cold(runs: int, directory: Path | None) -> list[Row]:
    """Print help; the floor is what typer prints by itself, without Rich."""
    found = medians(
        {
            "imgsign": process(*IMGSIGN, "--help"),
            "command": process(*IMGSIGN, "verify", "--help"),
            "bare": process(*BARE, "--help"),
        },
        runs,
    )
    return [
        Row("imgsign --help", _ms(found["imgsign"])),
        Row(
            "bare typer command's --help, Rich off",
            _ms(found["bare"]),
            *ratio(found["imgsign"] / found["bare"], at_most=0.6),
        ),
        Row("fact: imgsign verify --help", _ms(found["command"])),
    ]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
