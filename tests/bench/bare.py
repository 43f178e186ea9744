"""The floor of a cold ``imgsign verify``: a typer command with the same options that loads requests and one key.

It asks nobody and verifies nothing. It must not import imgsign.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def verify(
    refs: Annotated[list[str], typer.Argument(metavar="REF…", help="Image references.", show_default=False)],
    policy: Annotated[
        str | None, typer.Option("--policy", "-p", metavar="FILE", envvar="BARE_POLICY", help="Policy.")
    ] = None,
    key: Annotated[list[str] | None, typer.Option("--key", "-k", metavar="KEY", help="A public key.")] = None,
    name: Annotated[str, typer.Option("--name", metavar="exact|repository|unsafe-any", help="Rule.")] = "exact",
    output: Annotated[str, typer.Option("--output", "-o", metavar="text|json", help="Form.")] = "text",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the digest.")] = False,
    identity: Annotated[str | None, typer.Option("--identity", metavar="REF", help="The name.")] = None,
    insecure_http: Annotated[
        list[str] | None, typer.Option("--insecure-http", metavar="HOST[:PORT]", help="Plain http.")
    ] = None,
) -> None:
    """Judge images by a key policy."""
    import requests
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    for path in key or []:
        load_pem_public_key(Path(path).read_bytes())
    print(f"{requests.__name__} {refs[0]}")


if __name__ == "__main__":
    app()
