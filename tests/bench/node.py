"""The node's plug-in: what each pull waits for, beside the command that judges the same image."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.bench.measure import IMGSIGN, Row, medians, process, ratio
from tests.bench.servers import running
from tests.e2e import bindir, parts

START = "from imgsign.containerd import run; run()"


def node_cold(runs: int, directory: Path | None) -> list[Row]:
    """Ask the installed plug-in as containerd does, and `imgsign verify` with the same policy."""
    with running(directory) as bench:
        name = bench.push_small("node")
        status, raw = parts.Registry(bench.host, bench.base).get(
            f"/v2/node/manifests/{name.tag}", "application/vnd.oci.image.manifest.v1+json"
        )
        assert status == 200
        descriptor = bindir.describe(raw)
        (bench.base / "policy.toml").write_text(
            f'version = 1\ndefault = "reject"\n[anchors.release]\nkeys = ["{bench.key}"]\n'
            f'[scopes."{bench.host}"]\nrequire = [{{ signed-by = "release" }}]\n'
        )
        config = bench.base / "containerd.toml"
        config.write_text('policy = "policy.toml"\n')
        parts.run(sys.executable, "-c", START, "--install", bench.base / "bin", "--config", config)

        def pull() -> None:
            found = bindir.verify_image(bench.base / "bin", str(name.name), descriptor)
            if not found.ok:
                raise RuntimeError(found.reason)

        pinned = f"{name.name}@{descriptor['digest']}"
        verify = process(*IMGSIGN, "verify", pinned, "--policy", bench.base / "policy.toml")
        found = medians({"plug-in": pull, "verify": verify}, runs)
    return [
        Row("imgsign-containerd, a small signed image", f"{found['plug-in'] * 1000:.0f} ms"),
        Row(
            "imgsign verify of it",
            f"{found['verify'] * 1000:.0f} ms",
            *ratio(found["plug-in"] / found["verify"], at_most=1.0),
        ),
    ]
