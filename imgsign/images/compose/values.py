"""Values of a compose file: interpolated, with their place, or a problem; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

from imgsign.images import Build, Found, Problem, Scan, Spot
from imgsign.images.compose.interpolate import Interpolated, InvalidTemplate, interpolate
from imgsign.images.yamltext import Lines, Node, Scalar, Table, content
from imgsign.wire import printable

MAX_FOUND = 5_000
MAX_PROBLEMS = 500
MAX_NOTES = 200
MAX_WORK = 2_000_000  # characters interpolated, every alias counted
MAX_REFERENCE = 4_096  # characters; a name, a tag and a digest need under 600
_SHOWN = 240  # characters of foreign text in one message


def is_table(node: Node) -> TypeGuard[Table]:
    return isinstance(node, Table)


@dataclass(slots=True)
class Values:
    """Reads values of one file and collects what was found."""

    source: str
    lines: Lines
    environment: Mapping[str, str | None]
    found: list[Found] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    builds: list[Build] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    work: int = 0

    def scan(self) -> Scan:
        """Return all of it in the order of the file."""
        return Scan(
            found=tuple(sorted(self.found, key=lambda f: f.spot)),
            problems=tuple(sorted(self.problems, key=lambda p: p.spot)),
            builds=tuple(self.builds),
            notes=tuple(dict.fromkeys(printable(note, limit=_SHOWN) for note in self.notes[:MAX_NOTES])),
        )

    def spot(self, node: Node) -> Spot:
        """Where a person looks: the text of a scalar without its quotes, the start of anything else."""
        stretch = content(self.source, node) if isinstance(node, Scalar) else None
        if stretch is not None:
            return self.lines.spot(*stretch)
        return self.lines.spot(node.start, node.end if isinstance(node, Scalar) else node.start)

    def interpolated(self, node: Node, path: str, subject: str | None) -> Interpolated | None:
        """A scalar's text with its variables replaced; ``None``, and a problem, where Compose refuses it."""
        if not isinstance(node, Scalar) or node.kind != "str":
            self.problem("not-text", f"{path} is not text", node, path, subject=subject)
            return None
        self.work += len(node.text)
        if self.work > MAX_WORK:
            self._full("values that are too long all together", self.lines.spot(node.start))
            return None
        try:
            return interpolate(node.text, self.environment)
        except InvalidTemplate as e:
            hint = "write $$ for a dollar sign"
            self.problem("bad-interpolation", f"{path}: {e.message}", node, path, hint=hint, subject=subject)
            return None

    def text(self, node: Node, path: str, subject: str | None) -> str | None:
        """As :meth:`interpolated`, but a missing value is a problem too."""
        value = self.interpolated(node, path, subject)
        if value is None:
            return None
        if value.missing:
            names = ", ".join(value.missing)
            hint = f"set {value.missing[0]} in the environment or in .env"
            self.problem("unset-variable", f"{path}: no value for {names}", node, path, hint=hint, subject=subject)
            return None
        return value.text

    def image(self, node: Node, path: str, role: str, subject: str | None, *, unpinnable: str | None = None) -> None:
        """Add the image that a scalar names."""
        text = self.text(node, path, subject)
        if text is None or not isinstance(node, Scalar):
            return
        if not text:
            self.problem("no-image", f"{path} is blank", node, path, subject=subject)
            return
        if len(text) > MAX_REFERENCE:
            message = f"{path} has more than {MAX_REFERENCE} characters"
            self.problem("no-image", message, node, path, subject=subject)
            return
        stretch = content(self.source, node)
        if unpinnable is None and "$" in node.text:
            unpinnable = "it is interpolated"
        elif unpinnable is None and (stretch is None or self.source[slice(*stretch)] != text):
            unpinnable = "it is written with escapes or over several lines"
        if node.aliases and unpinnable is None:
            line = self.lines.spot(node.start).line
            self.notes.append(f"the value in line {line} has an anchor: pinning it pins every alias of it")
        pin = self.lines.spot(*stretch) if stretch is not None and unpinnable is None else None
        self.add(text, self.spot(node), path, role, subject, pin=pin, unpinnable=unpinnable)

    def add(
        self,
        text: str,
        spot: Spot,
        path: str,
        role: str,
        subject: str | None,
        *,
        pin: Spot | None = None,
        unpinnable: str | None = None,
    ) -> None:
        """Add an image whose text is known."""
        if len(self.found) == MAX_FOUND:
            self._full(f"more than {MAX_FOUND} images", spot)
            return
        path = printable(path, limit=_SHOWN)
        subject = None if subject is None else printable(subject, limit=_SHOWN)
        self.found.append(
            Found(text=text, path=path, role=role, spot=spot, pin=pin, unpinnable=unpinnable, subject=subject)
        )

    def problem(
        self, code: str, message: str, node: Node, path: str, *, hint: str | None = None, subject: str | None = None
    ) -> None:
        """Add a problem at a node."""
        spot = self.spot(node)
        if len(self.problems) >= MAX_PROBLEMS:
            self._full(f"more than {MAX_PROBLEMS} problems", spot)
            return
        self.problems.append(
            Problem(
                code=code,
                message=printable(message, limit=_SHOWN),
                spot=spot,
                path=printable(path, limit=_SHOWN),
                hint=None if hint is None else printable(hint, limit=_SHOWN),
                subject=None if subject is None else printable(subject, limit=_SHOWN),
            )
        )

    def _full(self, message: str, spot: Spot) -> None:
        if not any(p.code == "too-many" for p in self.problems):
            self.problems.append(Problem(code="too-many", message=f"{message}: not all are listed", spot=spot))
