"""``imgsign logout``."""

from __future__ import annotations

import os
import sys

from imgsign.cli.login import Registry


def command(registry: Registry) -> int:
    """Remove what login stored for a registry, from docker's config.json and the helper it names."""
    from imgsign.login import log_out, parse_registry

    done = log_out(parse_registry(registry), environ=os.environ)
    for note in done.notes:
        print(f"warning: {note}", file=sys.stderr)
    print(f"logged out of {done.registry}" if done.done else f"not logged in to {done.registry}")
    return 0
