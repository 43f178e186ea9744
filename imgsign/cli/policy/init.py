"""``imgsign policy init``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from imgsign.errors import UsageError
from imgsign.reference import DOCKER_HUB, is_scope
from imgsign.wire import quote


def command(
    scopes: Annotated[
        list[str],
        typer.Argument(
            metavar="REGISTRY…",
            help="Scopes: a registry, a namespace of it, a repository, or *.example.com.",
            show_default=False,
        ),
    ],
    key: Annotated[
        list[str],
        typer.Option(
            "--key",
            "-k",
            metavar="KEY.pub",
            help="A public key; its text goes into the policy. Repeatable.",
            show_default=False,
        ),
    ],
    file: Annotated[str, typer.Option("--file", metavar="FILE", help="Where to write; '-' is standard output.")] = (
        "policy.toml"
    ),
    anchor: Annotated[str, typer.Option("--anchor", metavar="NAME", help="What to call the keys.")] = "release",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.", show_default=False)] = False,
) -> int:
    """Write a commented policy: these keys must have signed what these registries hold.

    Everything else is rejected. The file holds the keys themselves, so it can be copied anywhere.
    """
    from imgsign.load import load_policy, load_public_key
    from imgsign.signers.disk import NewFile, write_files

    if not anchor or not anchor.replace("-", "").replace("_", "").isalnum() or not anchor.isascii():
        raise UsageError(f"not a plain name for an anchor: {quote(anchor)}", hint="use letters, digits, - and _")
    for scope in scopes:
        if not is_scope(scope):
            hint = f"Docker Hub is {DOCKER_HUB}; a tag cannot be a scope"
            raise UsageError(f"scope {quote(scope)} can never match an image", hint=hint)
    keys = [load_public_key(k, environ=os.environ, base=None) for k in key]
    text = _text(scopes, [(k.fingerprint, k.scheme.title, k.to_pem().decode("ascii")) for k in keys], anchor)
    if file == "-":
        print(text, end="")
        return 0
    path = Path(file)
    write_files(NewFile(path, text.encode("utf-8"), 0o644), force=force)
    load_policy(path, environ=os.environ)  # what was written reads back
    print(f"policy  {path}")
    print(f"next    imgsign verify {_example(scopes[0])} --policy {path}")
    return 0


def _text(scopes: list[str], keys: list[tuple[str, str, str]], anchor: str) -> str:
    lines = [
        "# Who must have signed which images. Exactly one scope applies to an image: the most specific.",
        "version = 1",
        "",
        "# An image that no scope below covers is denied, without a request.",
        'default = "reject"',
        "",
        "# Any one of these keys may sign.",
        f"[anchors.{anchor}]",
        "keys = [",
    ]
    for fingerprint, title, pem in keys:
        lines += [f"  # {title}, {fingerprint}", '  """', pem.rstrip(), '""",']
    lines += ["]", "# not-after = 2030-01-01T00:00:00Z      # the day the keys retire", ""]
    for scope in dict.fromkeys(scopes):
        lines += [
            f'[scopes."{scope}"]',
            "require = [",
            "  # exact: the signed name, tag included, must be the asked one. Also possible in the braces:",
            '  # threshold = 2, max-age = "90d", min-sequence = 41, annotations = { channel = "stable" }',
            f'  {{ signed-by = "{anchor}", name = "exact" }},',
            "]",
            "",
        ]
    return "\n".join(lines)


def _example(scope: str) -> str:
    if scope == "*" or scope.startswith("*."):
        return "REF"
    return f"{scope}/IMAGE:TAG" if "/" not in scope else f"{scope}:TAG"
