"""What each word of a Dockerfile is: a stage, nothing, or an image; pure.

BuildKit's dockerfile2llb/convert.go (buildDispatchStates, toCommand, resolveBaseImage) and convert_runmount.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from imgsign.errors import InvalidReference
from imgsign.images.dockerfile.arguments import Arguments, Pin, literal_pin
from imgsign.images.dockerfile.marked import Unreadable, lower
from imgsign.images.dockerfile.report import Place, Report
from imgsign.images.dockerfile.shell import Shell
from imgsign.images.dockerfile.stages import Named, Outline, Stage
from imgsign.images.dockerfile.syntax import argument_syntax, detect_syntax
from imgsign.images.dockerfile.words import ExpansionFault
from imgsign.reference import Reference

SCRATCH = "scratch"
_STANDARD = ("docker.io/docker/dockerfile", "docker.io/docker/dockerfile-upstream")
_LARGEST_INDEX = 2**63 - 1
_SBOM_SCANNER = "docker/buildkit-syft-scanner:stable-1"


def resolve_syntax(report: Report, text: str, given: Mapping[str, str | None]) -> bool:
    """Report the build program; false if the file is written in another language for it."""
    try:
        detected = detect_syntax(text)
    except Unreadable as e:
        report.fault(e, "syntax")
        return False
    if "BUILDKIT_SYNTAX" in given:
        named = argument_syntax(given["BUILDKIT_SYNTAX"] or "")
        place = Place(None, "BUILDKIT_SYNTAX", "syntax")
        if named == "":
            report.problem("bad-argument", "BUILDKIT_SYNTAX is blank or not known", place)
        elif named is not None:
            report.image(place, named, Pin(None, unpinnable="it is a build argument, not in the file"))
        if detected is not None:
            report.notes.append("the build argument BUILDKIT_SYNTAX overrides the syntax that the file names")
        return True
    if detected is None:
        return True
    place = Place(detected.written, "syntax", "syntax")
    pin = Pin(None, unpinnable="it stands in JSON")
    if detected.written is not None:
        pin = literal_pin(detected.written, detected.text)
    report.image(place, detected.text, pin)
    if detected.foreign:
        message = "the file is read by a build program of its own: which images that uses is not known"
        report.problem("foreign-frontend", message, place)
    elif not _is_standard(detected.text):
        report.notes.append("read as a Dockerfile; the build program that it names may read it otherwise")
    return not detected.foreign


def resolve_sbom(report: Report, given: Mapping[str, str | None]) -> None:
    """Report the scanner image that the build argument BUILDKIT_ATTEST_SBOM runs (frontend/attestations/parse.go)."""
    if "BUILDKIT_ATTEST_SBOM" not in given:
        return
    value = given["BUILDKIT_ATTEST_SBOM"]
    place = Place(None, "BUILDKIT_ATTEST_SBOM", "sbom")
    if value is None or '"' in value:
        report.problem("bad-argument", "BUILDKIT_ATTEST_SBOM is not known, or has quotes", place)
        return
    named = [field.partition("=")[2] for field in value.split(",") if field.startswith("generator=")]
    text = named[-1] if named else _SBOM_SCANNER
    report.image(place, text, Pin(None, unpinnable="it is a build argument, not in the file"))


@dataclass(slots=True)
class Resolver:
    """One scan of the stages of one file."""

    report: Report
    outline: Outline
    scope: Arguments
    target: str | None
    _texts: list[str | None] = field(default_factory=list)
    _bases: list[int | None] = field(default_factory=list)
    _names: dict[str, int] = field(default_factory=dict)

    def run(self) -> None:
        """Report every stage that counts."""
        for fault in self.outline.faults:
            self.report.fault(fault)
        for word in self.outline.arguments:
            try:
                self.scope.declare(word)
            except Unreadable as e:
                self.report.fault(e, "ARG")
                if e.code == "too-large":
                    return
        for stage in self.outline.stages:
            self._texts.append(self._base(stage))
            self._bases.append(self._names.get(self._texts[-1] or ""))
            if stage.name:
                self._names[stage.name] = stage.number
        for number in self._wanted():
            self._stage(self.outline.stages[number])

    def _base(self, stage: Stage) -> str | None:
        place = Place(stage.base, f"FROM {stage.number}", "base", stage.subject)
        try:
            expanded = self.scope.expand(stage.base)
        except Unreadable as e:
            self.report.fault(e, place.path, place.subject)
            return None
        if expanded.missing:
            hint = self.scope.hint(expanded.used)
            self.report.problem("unset-argument", f"FROM {stage.base.text}: {expanded.missing[0]}", place, hint=hint)
            return None
        if not expanded.text:
            self.report.problem("bad-from", f"base name ({stage.base.text}) should not be blank", place)
            return None
        return expanded.text

    def _wanted(self) -> list[int]:
        stages = self.outline.stages
        if self.target is None:
            return list(range(len(stages)))
        first = self._names.get(lower(self.target))
        if first is None:
            place = Place(None, "target", "target")
            hint = f"stages are: {', '.join(self._names) or 'all without a name'}"
            self.report.problem("no-such-target", f"no stage is named {self.target!r}", place, hint=hint)
            return list(range(len(stages)))
        wanted, todo = set[int](), [first]
        while todo:
            number = todo.pop()
            if number in wanted:
                continue
            wanted.add(number)
            base = self._bases[number]
            others = [self._stage_of(named) for named in stages[number].named]
            todo.extend(n for n in (base, *others) if n is not None and 0 <= n < len(stages))
        return sorted(wanted)

    def _stage(self, stage: Stage) -> None:
        text = self._texts[stage.number]
        place = Place(stage.base, f"FROM {stage.number}", "base", stage.subject)
        standing = self.report.contexts.find(stage.name) if stage.name else None
        for value in standing.values if standing is not None else ():
            self.report.context(place, value)
        if standing is not None and standing.whole:
            pass  # BuildKit takes the context and leaves FROM alone
        elif text is not None and self._bases[stage.number] is None and text != SCRATCH:
            platforms = " ".join(s.platform for s in self.outline.stages)
            self.report.image(place, text, self.scope.pin(stage.base, text, platforms, self.outline.inherited))
        for named in stage.named:
            self._named(stage, named)

    def _named(self, stage: Stage, named: Named) -> None:
        text = named.word.text
        kind = "COPY --from" if named.role == "copy" else "RUN --mount=from"
        path = f"stage {stage.number} {'ONBUILD ' if named.onbuild else ''}{kind}"
        place = Place(named.word, path, named.role, stage.subject)
        if named.role == "copy" and not self._is_plain(named):
            message = f"--from={text}: variables, quotes and escapes are not supported here"
            hint = "define a stage with FROM and name that"
            self.report.problem("bad-copy-from", message, place, hint=hint)
            return
        exported = named.onbuild and stage.number == self._exported()
        number = self._stage_of(named)
        if number is not None and named.role == "copy" and _index(text) is not None:
            if not named.onbuild and not 0 <= number < len(self.outline.stages):
                self.report.problem("bad-stage-index", f"--from={text}: no stage has this number", place)
            return
        if text == SCRATCH and SCRATCH not in self._names:
            return
        if number is not None and not exported:
            return
        if named.onbuild:
            self.report.notes.append("ONBUILD names are images here; a later build may have stages of these names")
        self.report.image(place, text, literal_pin(named.word, text))

    def _stage_of(self, named: Named) -> int | None:
        index = _index(named.word.text) if named.role == "copy" else None
        return index if index is not None else self._names.get(lower(named.word.text))

    def _exported(self) -> int:
        last = len(self.outline.stages) - 1
        return self._names.get(lower(self.target), last) if self.target is not None else last

    def _is_plain(self, named: Named) -> bool:
        try:
            return Shell("\\" if named.onbuild else self.outline.escape).word(named.word.text).text == named.word.text
        except ExpansionFault:
            return False


def last_name(outline: Outline) -> str:
    """The name of the stage that is built by default."""
    return outline.stages[-1].name if outline.stages else ""


def _index(text: str) -> int | None:
    """A number as Go's strconv.Atoi reads it."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits.isascii() or not digits.isdecimal():
        return None
    digits = digits.lstrip("0")
    if len(digits) > len(str(_LARGEST_INDEX)):
        return None
    number = int(digits or "0")
    if number > _LARGEST_INDEX:
        return None
    return -number if text.startswith("-") else number


def _is_standard(text: str) -> bool:
    try:
        return str(Reference.parse(text).repository) in _STANDARD
    except InvalidReference:
        return False
