"""The floor of a cold command: typer with verify's options, requests imported, one public key loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def verify(
    refs: Annotated[list[str], typer.Argument(metavar="REF…", help="Image references.")],
    policy: Annotated[str | None, typer.Option("--policy", "-p", metavar="FILE", envvar="BARE_POLICY")] = None,
    key: Annotated[list[str] | None, typer.Option("--key", "-k", metavar="KEY")] = None,
    name: Annotated[str, typer.Option("--name", metavar="exact|repository|unsafe-any")] = "exact",
    output: Annotated[str, typer.Option("--output", "-o", metavar="text|json")] = "text",
    quiet: Annotated[bool, typer.Option("--quiet", "-q")] = False,
    identity: Annotated[str | None, typer.Option("--identity", metavar="REF")] = None,
    insecure_http: Annotated[list[str] | None, typer.Option("--insecure-http", metavar="HOST[:PORT]")] = None,
) -> None:
    """Judge images by a key policy."""
    import requests
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    for path in key or []:
        load_pem_public_key(Path(path).read_bytes())
    typer.echo(f"{requests.__name__} {refs[0]}")


if __name__ == "__main__":
    app()
