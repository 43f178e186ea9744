"""imgsign's command line with fsync taken away: what a pull costs without durability, as skopeo's copy."""

from __future__ import annotations

import os

from imgsign.cli import run

if __name__ == "__main__":
    os.fsync = lambda fd: None
    run()
