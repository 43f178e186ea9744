"""A large pull into an empty OCI layout, against skopeo's copy of the same image to the same place.

The layers are gzip already, as a registry's are: skopeo would pack others first, and lose by that. It
verifies nothing here, while imgsign judges the image. skopeo syncs every blob it writes; imgsign syncs all
blobs and their directories before it lists the image, and is timed a second time without any fsync.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tests.bench.measure import IMGSIGN, Row, Work, medians, peak_memory, process, ratio
from tests.bench.servers import running, skopeos

UNSYNCED = (sys.executable, "-m", "tests.bench.nosync")
MEMORY_LIMIT = 128  # MiB


def pull(runs: int, directory: Path | None, *, layers: int = 8, size: int = 128 * 1024 * 1024) -> list[Row]:
    """Pull 1 GiB in 8 layers."""
    with running(directory) as bench:
        name = bench.push_large(layers, size)
        place = bench.base / "place"
        ours = ("pull", str(name), f"oci:{place}", "--key", bench.key)
        commands: dict[str, Work] = {"imgsign": process(*IMGSIGN, *ours), "unsynced": process(*UNSYNCED, *ours)}
        witnesses = skopeos()
        for label, skopeo in witnesses.items():
            arguments = ("--insecure-policy", "copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{place}:1")
            commands[label] = process(skopeo, *arguments)

        def empty() -> None:
            shutil.rmtree(place, ignore_errors=True)
            os.sync()  # nobody pays for what the one before left to be written

        found = medians(commands, runs, empty)
        empty()
        memory = peak_memory(*IMGSIGN, *ours)
    rows = [
        Row("imgsign pull, judged, hashed, synced", f"{found['imgsign']:.2f} s"),
        Row("imgsign pull, the same without fsync", f"{found['unsynced']:.2f} s"),
    ]
    for label in witnesses:
        synced, unsynced = (ratio(found[label] / found[n], at_least=1.3) for n in ("imgsign", "unsynced"))
        rows.append(Row(f"{label} copy, not judged, hashed, synced", f"{found[label]:.2f} s", *synced))
        rows.append(Row("  against imgsign without fsync", "", unsynced[0]))
    limit = f"at most {MEMORY_LIMIT}"
    rows.append(Row("imgsign pull, peak resident memory", f"{memory} MiB", "", limit, memory <= MEMORY_LIMIT))
    return rows
