"""``imgsign policy``: one file a subcommand."""

from __future__ import annotations

import typer

from imgsign.cli.policy import check, diff, edit, explain, import_policy, init, trial

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
app.command("test")(trial.command)
app.command("diff")(diff.command)
app.command("add-key")(edit.add_key)
app.command("retire-key")(edit.retire_key)
app.command("advance")(edit.advance)
