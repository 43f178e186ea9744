"""``imgsign demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from imgsign.errors import DestinationError


def command(
    directory: Annotated[
        str | None,
        typer.Argument(
            metavar="DIR",
            help="Keep the files here (made if absent). Default: a temporary directory.",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Play the main job and four attacks on it, in a directory, without registry or network.

    Makes an image, keys and a policy; signs, verifies and pulls; then changes a byte, moves a tag back,
    signs with a stranger's key and asks for two signatures where there is one. Takes a few seconds.
    """
    from imgsign.cli import main
    from imgsign.demo import play

    try:
        return play(main, None if directory is None else Path(directory))
    except FileExistsError as e:
        raise DestinationError(str(e), hint="name a new directory") from e
