"""The command line: ``main(argv) -> exit code``.

The only place that reads argv, the environment, the clock and standard input, and that prints. Exit
codes are decided here and nowhere else:

    0    allowed, or done
    1    denied, conclusively
    2    usage
    3    could not decide: registry, files, keys
    70   internal error: an uncaught exception must never look like a verdict
    130  interrupted

One command is one file; a file is imported only when its command is typed, because a verification in a
pipeline should not wait for code it does not use.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import typer

OK, DENIED, USAGE, UNDECIDED, INTERNAL, INTERRUPTED = 0, 1, 2, 3, 70, 130

COMMANDS = {
    "sign": "Sign images and attach the signatures beside them.",
    "attest": "Attest something about images: provenance, SBOMs, scans.",
    "verify": "Judge images by a key policy.",
    "check": "Judge the images that files name, before they are deployed.",
    "pull": "Verify an image, then accept its content by its address.",
    "copy": "Copy an image with everything attached to it.",
    "clean": "Show and remove signatures that are no longer wanted.",
    "audit": "Judge all images of a list, a registry, a cluster, and report.",
    "tree": "Show what is attached to an image.",
    "inspect": "Show what each signature of an image says.",
    "attach": "Attach a signature that was made elsewhere.",
    "login": "Log in to a registry.",
    "logout": "Log out of a registry.",
    "doctor": "Show how an image's registry is reached, and what is wrong.",
    "policy": "Write, import, test and edit key policies.",
    "evidence": "Keep what a judgement was made of.",
    "admission": "Judge images before a cluster runs them.",
    "completion": "Print a completion script for a shell.",
    "demo": "Play the main job and four attacks on it, without a registry.",
    "key": "Make, show and convert keys.",
}
"""Every command with the line that ``imgsign --help`` shows; each is the module of its name."""

_SHOWN = 4096  # characters of an error's message or hint that are printed

COMPLETE_VARIABLE = "_IMGSIGN_COMPLETE"
"""Set by the shell's completion function; see ``imgsign completion``."""

_HELP = """\
Usage: imgsign COMMAND [OPTIONS] …

  Sign container images, verify them against one readable policy, and pull
  only what was verified.

Commands:
{commands}

Options:
  --version  Print the version.
  --help     Print this text; 'imgsign COMMAND --help' explains a command.

Exit codes: 0 allowed or done · 1 denied · 2 usage · 3 could not decide ·
70 internal error · 130 interrupted
"""


def run() -> NoReturn:
    """Be the process: run its command line and end with its exit code.

    The interpreter's own way out takes a fifth of a cold verification: it dismantles every module that
    was imported. All files are closed and all threads joined by then, so only output is left to be flushed.
    """
    # A command's start makes tens of thousands of objects that all stay: looking for garbage among them again and
    # again takes a twentieth of a cold verification.
    gc.set_threshold(100_000, 50, 50)
    code = main()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            code = code or UNDECIDED  # what could not be said was not said: a full disk, a reader that went away
    os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; never raises."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader went away (`| head`): stop quietly, but not as if all had been said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNDECIDED
    except OSError as e:
        # Files and sockets have turned theirs into errors of their own: what is left is the output.
        return _fail(f"cannot write the output: {(e.strerror or str(e)).lower()}", None, UNDECIDED)
    except Exception as e:  # noqa: BLE001  # the last net: see INTERNAL above
        return _internal(e)


def _dispatch(arguments: list[str]) -> int:
    if COMPLETE_VARIABLE in os.environ:
        return _complete()
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        lines = "\n".join(f"  {name:<10}  {text}" for name, text in COMMANDS.items())
        print(_HELP.format(commands=lines), end="", file=sys.stdout if arguments else sys.stderr)
        return OK if arguments else USAGE
    if arguments[0] == "--version":
        from imgsign import __version__

        print(f"imgsign {__version__}")
        return OK
    if arguments[0] not in COMMANDS:
        from imgsign.wire import quote

        return _fail(f"no such command: {quote(arguments[0])}", f"one of {', '.join(COMMANDS)}", USAGE)
    return _run(arguments)


def _complete() -> int:
    """Answer a shell that asks for completions; every command has to be known for that."""
    import typer
    from typer.completion import completion_init  # type: ignore[attr-defined]  # re-exported without saying so

    completion_init()
    command = typer.main.get_command(_app(*COMMANDS))
    try:
        command.main(prog_name="imgsign", complete_var=COMPLETE_VARIABLE, standalone_mode=False)
    except SystemExit:
        pass  # typer leaves this way once it has printed
    return OK


def _app(*names: str) -> typer.Typer:
    import typer

    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback()(_root)
    for name in names:
        add_command(app, name)
    return app


def _run(arguments: list[str]) -> int:
    """Import the one command's module and let typer parse its options."""
    import typer

    from imgsign.errors import ImgsignError

    command = typer.main.get_command(_app(arguments[0]))
    try:
        result = command.main(arguments, prog_name="imgsign", standalone_mode=False)
    except ImgsignError as e:
        return _fail(e.message, e.hint, exit_code(e))
    except typer.Abort:
        return INTERRUPTED
    except Exception as e:
        shown = getattr(e, "format_message", None)
        if shown is None:
            raise
        message = _lower_first(shown())
        if "-----BEGIN" in message:  # a key given where an option was expected must not reach a log
            message = "a key was given where the place of a key is needed"
        return _fail(message, f"imgsign {arguments[0]} --help", USAGE)  # typer's own usage errors
    return result if isinstance(result, int) else OK


def _root() -> None:
    """Sign container images, verify them by policy, pull only what was verified."""


def add_command(app: typer.Typer, name: str) -> None:
    """Register one command: a module with ``app`` (a group) or ``command`` (one function)."""
    module = import_module(f"imgsign.cli.{name}")
    if hasattr(module, "app"):
        app.add_typer(module.app, name=name)
    else:
        app.command(name)(module.command)


def exit_code(error: BaseException) -> int:
    """Map an error to its exit code."""
    from imgsign.errors import Denied, InvalidDigest, InvalidReference, UsageError

    if isinstance(error, Denied):
        return UNDECIDED if error.decision.inconclusive else DENIED
    return USAGE if isinstance(error, (UsageError, InvalidReference, InvalidDigest)) else UNDECIDED


def _fail(message: str, hint: str | None, code: int) -> int:
    from imgsign.wire import printable

    # Messages are safe to print where they are made; this net is for the one that is not.
    print(f"error: {printable(message, limit=_SHOWN)}", file=sys.stderr)
    if hint is not None:
        print(f"hint: {printable(hint, limit=_SHOWN)}", file=sys.stderr)
    return code


def _lower_first(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text[:1].lower() + text[1:]


def _internal(error: Exception) -> int:
    import traceback

    from imgsign.wire import printable

    print(f"internal error: {type(error).__name__}: {printable(str(error), limit=_SHOWN)}", file=sys.stderr)
    if os.environ.get("IMGSIGN_TRACEBACK"):
        traceback.print_exception(error)
    else:
        print("hint: set IMGSIGN_TRACEBACK=1 and report what it prints", file=sys.stderr)
    return INTERNAL
