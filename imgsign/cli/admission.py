"""``imgsign admission``: the gate before deploy in a Kubernetes cluster."""

from __future__ import annotations

import typer

from imgsign.cli import admission_manifests, admission_review, admission_serve

app = typer.Typer(
    name="admission",
    help="Judge images before a cluster runs them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _group() -> None:
    """Judge images before a cluster runs them."""


app.command("serve")(admission_serve.command)
app.command("review")(admission_review.command)
app.command("manifests")(admission_manifests.command)
