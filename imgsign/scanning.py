"""Files that name images, read with limits and scanned: the shell around :mod:`imgsign.images`.

Finds the kind of each file, gives its scanner what the file refers to (``.env``, other files of the run), and
follows the Dockerfiles that a compose file builds. What cannot be read or understood is a :class:`Problem` of its
file. Directories are refused: which of their files are deployed is not for this tool to guess.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

from imgsign.errors import DestinationError, UsageError
from imgsign.images import Build, Problem, Scan, Spot
from imgsign.images.kinds import FileKind, detect
from imgsign.images.yamltext import TEXT_LIMIT
from imgsign.record import record
from imgsign.signers.disk import read_file
from imgsign.wire import printable, quote

ENV_LIMIT = 256 * 1024  # bytes of a .env file
FILES_LIMIT = 10_000  # of one run, builds included
TOTAL_LIMIT = 256 * 1024 * 1024  # bytes of all files of one run, which are kept until it ends


@record
class Options:
    """How files are read: ``kind`` for all of them; for manifests patterns by kind and ``strict``; for Dockerfiles
    what ``docker build`` is given; for compose files the variables, and the files of them in place of ``.env``.

    ``named`` are all files of the run: one that a compose file includes is looked at by itself.
    """

    kind: FileKind | None = None
    image_paths: Mapping[str, Sequence[str]] = field(default_factory=dict, hash=False)
    strict: bool = False
    arguments: Mapping[str, str | None] = field(default_factory=dict, hash=False)
    contexts: Mapping[str, str] = field(default_factory=dict, hash=False)
    target: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict, hash=False)
    env_files: tuple[str, ...] | None = None
    named: frozenset[str] = frozenset()


@record
class File:
    """One file that was read.

    ``path`` is ``None`` for standard input; ``options`` are those it was scanned with; ``given``: it was named by
    the user; ``inline``: it is a text inside the file of that name.
    """

    name: str
    path: Path | None
    raw: bytes = field(repr=False)
    kind: FileKind | None
    scan: Scan
    options: Options = field(repr=False)
    given: bool = True
    inline: bool = False

    @property
    def text(self) -> str:
        """The text that was scanned."""
        return self.raw.decode("utf-8")


Scanner = Callable[[str, Options, Path], Scan]
"""Text, options and the file's directory to what is in the text."""


def _scan_kubernetes(text: str, options: Options, base: Path) -> Scan:
    from imgsign.images import kubernetes

    return kubernetes.scan(text, image_paths=options.image_paths, strict=options.strict)


def _scan_kustomization(text: str, options: Options, base: Path) -> Scan:
    from imgsign.images import kustomize

    return kustomize.scan(text)


def _scan_dockerfile(text: str, options: Options, base: Path) -> Scan:
    from imgsign.images import dockerfile

    return dockerfile.scan(text, arguments=options.arguments, target=options.target, contexts=options.contexts)


def _scan_compose(text: str, options: Options, base: Path) -> Scan:
    """Interpolate by ``.env`` and what was given by option, never by this process' environment.

    Whoever writes the file chooses which variables it uses: a secret of the pipeline could become a part of
    a reference, be printed, and be sent to a registry.
    """
    from imgsign.images import compose

    values: dict[str, str | None] = {}
    problems: list[Problem] = []
    for name in (str(base / ".env"),) if options.env_files is None else options.env_files:
        if options.env_files is None and not _is_inside(Path(name), base):
            problems.append(_at_top("outside", f"{quote(name)} leads out of this directory", "give it with --env-file"))
            continue
        try:
            env_text = read_file(Path(name), limit=ENV_LIMIT).decode("utf-8")
        except (DestinationError, UnicodeDecodeError) as e:
            if options.env_files is not None or os.path.lexists(name):
                problems.append(_at_top("env-file", e.message if isinstance(e, DestinationError) else "not UTF-8"))
            continue
        known: dict[str, str | None] = {**values, **options.variables}
        found = compose.parse_env_file(env_text, environment=known)
        values.update(found.values)
        problems += (_at_top(p.code, f"{name}:{p.spot.line}: {p.message}") for p in found.problems)
    scan = compose.scan(
        text,
        environment={**values, **options.variables},
        is_checked=lambda name: os.path.normpath(base / name) in options.named,
    )
    return replace(scan, problems=(*problems, *scan.problems))


def _is_inside(path: Path, base: Path) -> bool:
    """Whether a file lies below this directory or ``base``, links followed.

    A file that is only named by another one must not be any file of this machine: its words would end in
    reports, and its values in references that registries are asked for.
    """
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(os.path.realpath(root)) for root in (Path(), base))


def _at_top(code: str, message: str, hint: str | None = None) -> Problem:
    return Problem(code=code, message=message, spot=Spot(0, 0, 1, 1), hint=hint)


SCANNERS: dict[FileKind, Scanner] = {
    FileKind.KUBERNETES: _scan_kubernetes,
    FileKind.KUSTOMIZATION: _scan_kustomization,
    FileKind.DOCKERFILE: _scan_dockerfile,
    FileKind.COMPOSE: _scan_compose,
}
"""One line a kind of file."""


def read(paths: Sequence[str], options: Options, *, stdin: bytes | None = None, stdin_name: str = "-") -> list[File]:
    """Read and scan files; ``-`` is ``stdin``. A file that cannot be read or understood is a problem of its own.

    Raises:
        UsageError: a directory, or too many or too long files.
    """
    if len(paths) > FILES_LIMIT:
        raise UsageError(f"more than {FILES_LIMIT} files")
    options = replace(options, named=frozenset(os.path.normpath(p) for p in paths))
    found: list[File] = []
    for name in dict.fromkeys(paths):
        if name == "-":
            found += _with_builds(scan_file(stdin_name, None, stdin or b"", options), options)
            continue
        path = Path(name)
        if _is_directory(path):
            hint = f"name the files: imgsign check {name.rstrip('/')}/*.yaml"
            raise UsageError(f"{quote(name)} is a directory", hint=hint)
        try:
            raw = read_file(path, limit=TEXT_LIMIT)
        except DestinationError as e:
            found.append(_unusable(name, path, "unreadable", e.message))
            continue
        found += _with_builds(scan_file(name, path, raw, options), options)
        if len(found) > FILES_LIMIT:
            raise UsageError(f"more than {FILES_LIMIT} files")
        if sum(len(f.raw) for f in found if not f.inline) > TOTAL_LIMIT:
            raise UsageError(f"the files are more than {TOTAL_LIMIT} bytes together")
    return found


def _with_builds(file: File, options: Options) -> list[File]:
    """Add the Dockerfiles that a file builds; one that is not there is a problem of that file."""
    built: dict[tuple[object, ...], File] = {}
    base = Path() if file.path is None else file.path.parent
    problems: list[Problem] = []
    for build in file.scan.builds:
        given = replace(
            options,
            kind=FileKind.DOCKERFILE,
            arguments={**build.arguments, **options.arguments},
            contexts=build.contexts,
            target=build.target,
        )
        if build.inline is not None:
            inline = scan_file(file.name, None, build.inline.encode("utf-8", "replace"), given)
            built[(id(build),)] = replace(
                inline, path=file.path, raw=file.raw, given=False, inline=True, scan=_at(inline.scan, build)
            )
            continue
        path = _dockerfile(file.path, build)
        key = (str(path), *sorted(build.arguments.items()), build.target, *sorted(build.contexts.items()))
        try:
            if not _is_inside(path, base) and os.path.normpath(path) not in options.named:
                hint = f"run it where both are below, or name it too: imgsign check … {printable(str(path))}"
                raise DestinationError(f"{quote(str(path))} leads out of this directory", hint=hint)
            raw = read_file(path, limit=TEXT_LIMIT)
        except DestinationError as e:
            message = f"the Dockerfile it builds: {e.message}"
            problems.append(
                Problem(code="unreadable", message=message, spot=build.spot, hint=e.hint, subject=build.subject)
            )
            continue
        built[key] = replace(scan_file(str(path), path, raw, given), given=False)
    scan = replace(file.scan, problems=(*file.scan.problems, *problems))
    return [replace(file, scan=scan), *built.values()]


def _dockerfile(origin: Path | None, build: Build) -> Path:
    """Where a build's Dockerfile is: below its context, which is below the file that names it."""
    base = Path() if origin is None else origin.parent
    context = Path(os.path.normpath(base / build.context))
    if build.dockerfile is not None:
        return Path(os.path.normpath(context / build.dockerfile))
    usual, lower = context / "Dockerfile", context / "dockerfile"
    return lower if not usual.exists() and lower.exists() else usual


def _at(scan: Scan, build: Build) -> Scan:
    """Move what was found in a text inside a file to where that text stands; it cannot be pinned there."""
    reason = "it stands in dockerfile_inline"
    return Scan(
        found=tuple(
            replace(f, spot=build.spot, pin=None, unpinnable=reason, subject=build.subject) for f in scan.found
        ),
        problems=tuple(replace(p, spot=build.spot, subject=build.subject) for p in scan.problems),
        notes=scan.notes,
    )


def scan_file(name: str, path: Path | None, raw: bytes, options: Options) -> File:
    """Find the kind of a file and scan it."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as e:
        return _unusable(name, path, "not-text", f"not UTF-8 at byte {e.start}")
    # Without a name, standard input is what `helm template` prints.
    kind = options.kind or (FileKind.KUBERNETES if name == "-" else detect(name, text))
    scanner = None if kind is None else SCANNERS.get(kind)
    if scanner is None:
        kinds = ", ".join(k.value for k in FileKind)
        what = "not a kind of file that is understood" if kind is None else f"{kind.value} files are not understood"
        return _unusable(name, path, "unknown-file", what, f"say what it is with --as: {kinds}")
    base = Path() if path is None else path.parent
    return File(name=name, path=path, raw=raw, kind=kind, options=options, scan=scanner(text, options, base))


def _unusable(name: str, path: Path | None, code: str, message: str, hint: str | None = None) -> File:
    scan = Scan(problems=(_at_top(code, message, hint),))
    return File(name=name, path=path, raw=b"", kind=None, options=Options(), scan=scan)


def _is_directory(path: Path) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return False
