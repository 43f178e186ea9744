"""``imgsign completion``."""

from __future__ import annotations

from typing import Annotated

import typer

from imgsign.errors import UsageError
from imgsign.wire import quote

SHELLS = ("bash", "zsh", "fish")


def command(
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", help="The shell.", show_default=False)],
) -> int:
    """Print a completion script for a shell.

    bash: imgsign completion bash > ~/.local/share/bash-completion/completions/imgsign
    zsh: imgsign completion zsh > a directory of $fpath, as _imgsign
    fish: imgsign completion fish > ~/.config/fish/completions/imgsign.fish
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # re-exported without saying so

    from imgsign.cli import COMPLETE_VARIABLE

    if shell not in SHELLS:
        raise UsageError(f"no completion for {quote(shell)}", hint=f"use one of {', '.join(SHELLS)}")
    print(get_completion_script(prog_name="imgsign", complete_var=COMPLETE_VARIABLE, shell=shell))
    return 0
