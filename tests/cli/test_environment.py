"""Which options an environment variable may set: a pipeline's convenience, never its undoing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import typer

from imgsign.cli import COMMANDS, _app
from imgsign.cli.sign import parse_digest_file
from imgsign.errors import UsageError
from imgsign.reference import Digest

NEVER = {"--insecure-http", "--trusted-realm", "--identity", "--name", "--at", "--force", "--evidence"}
"""Options that weaken a verdict, say where secrets go, or say what is judged: to be read in the command itself."""

DIGEST = "sha256:" + "5f" * 32
OTHER = "sha256:" + "60" * 32


def options(command: object, path: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Every option of a command and its subcommands: path, spellings, variables."""
    for name, sub in getattr(command, "commands", {}).items():
        yield from options(sub, f"{path} {name}".strip())
    for parameter in getattr(command, "params", []):
        spellings = [*parameter.opts, *parameter.secondary_opts]
        variables = parameter.envvar or []
        if any(s.startswith("--") for s in spellings):
            yield path, spellings, [variables] if isinstance(variables, str) else list(variables)


ALL = list(options(typer.main.get_command(_app(*COMMANDS)), ""))


def test_there_are_options_to_look_at() -> None:
    assert len(ALL) > 50
    assert any(variables for _, _, variables in ALL)


@pytest.mark.parametrize(("path", "spellings", "variables"), ALL, ids=[f"{p} {s[0]}" for p, s, _ in ALL])
def test_no_variable_weakens_a_verdict(path: str, spellings: list[str], variables: list[str]) -> None:
    if NEVER & set(spellings) or any(word in s for s in spellings for word in ("unsafe", "insecure")):
        assert variables == []
    else:
        names = {"IMGSIGN_" + s.removeprefix("--").replace("-", "_").upper() for s in spellings}
        assert set(variables) <= names


@pytest.mark.parametrize(
    "text",
    [
        DIGEST,
        f"{DIGEST}\n",
        f'{{"containerimage.digest": "{DIGEST}", "image.name": "registry.example/app:1"}}',
        f'{{"app": {{"containerimage.digest": "{DIGEST}"}}, "buildx.build.warnings": []}}',
        f"The push refers to repository [r.example/app]\n8d3ac3489996: Pushed\n1.0: digest: {DIGEST} size: 528\n",
        f"1.0: digest: {DIGEST} size: 528\r\nlatest: digest: {DIGEST} size: 528\r\n",
    ],
    ids=["plain", "line", "buildx", "bake", "docker push", "docker push of two tags"],
)
def test_a_digest_is_read_from_what_pipelines_write(text: str) -> None:
    assert parse_digest_file(text.encode(), "file") == Digest.parse(DIGEST)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'file' holds no digest: not a digest: ''"),
        (f"{DIGEST}\n{DIGEST}", "'file' holds no digest"),
        (f"1.0: digest: {DIGEST} size: 1\n2.0: digest: {OTHER} size: 1\n", "'file' holds 2 digests"),
        (
            f'{{"a": {{"containerimage.digest": "{DIGEST}"}}, "b": {{"containerimage.digest": "{OTHER}"}}}}',
            "'file' holds 2 digests",
        ),
        ('{"image.name": "registry.example/app:1"}', "'file' has no key 'containerimage.digest'"),
        ("The push refers to repository [registry.example/app]\n8d3ac3489996: Pushed\n", "'file' holds no digest"),
    ],
    ids=["empty", "two lines", "two pushed", "two targets", "no digest in metadata", "push that failed"],
)
def test_a_file_without_one_digest_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as e:
        parse_digest_file(text.encode(), "file")
    assert e.value.message.startswith(message)
