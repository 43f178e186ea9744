"""``imgsign policy``: one file a subcommand."""

from __future__ import annotations

import typer

from imgsign.cli.policy import check, explain, import_policy, init

app = typer.Typer(
    name="policy",
    help="Write, import and test key policies.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _group() -> None:
    """Write, import and test key policies."""


app.command("init")(init.command)
app.command("import")(import_policy.command)
app.command("check")(check.command)
app.command("explain")(explain.command)
