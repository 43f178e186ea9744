"""Which images a Dockerfile (or Containerfile) names, as BuildKit resolves them; pure: text in, places out.

Sources: BuildKit 73ed682, frontend/dockerfile/{parser,instructions,shell,dockerfile2llb,builder} and
frontend/dockerui. A word is, in this order:

    FROM x                  a stage of exactly that name *before* it; ``scratch``; a named context; else an image
                            (x is not lower-cased, a number is an image, variables are those before the first FROM)
    COPY --from=x           a number is a stage; a stage of any place, any case; ``scratch``; a context; an image
    RUN --mount=…,from=x    as COPY, but a number is an image
    ONBUILD of these        resolved by the build that comes after; here: an image, unless only this file uses it
    # syntax=x              an image that *runs* as the build program

Every stage is looked at, also those that BuildKit would skip (the legacy builder builds all), unless
``target`` narrows. A word that cannot be resolved (no value, a bad one) is a problem, and so is every
instruction that cannot be read: something may hide behind it.

Not done here: whether a text is a valid reference, files that git or http contexts bring, ONBUILD triggers
inside base images, and whether another frontend reads the file otherwise (a note says so).
"""

from __future__ import annotations

from collections.abc import Mapping

from imgsign.images import Scan
from imgsign.images.dockerfile.arguments import Arguments
from imgsign.images.dockerfile.report import Report
from imgsign.images.dockerfile.resolve import Resolver, last_name, resolve_sbom, resolve_syntax
from imgsign.images.dockerfile.stages import Outline

__all__ = ["scan"]


def scan(
    text: str,
    *,
    arguments: Mapping[str, str | None] | None = None,
    target: str | None = None,
    contexts: Mapping[str, str] | None = None,
) -> Scan:
    """List the images that a Dockerfile names.

    ``arguments`` are ``--build-arg`` (``None``: given, but not known here), ``contexts`` are
    ``--build-context`` (name -> value), ``target`` is the stage to build; without it every stage is looked at.
    """
    given = arguments or {}
    report = Report.start(text, contexts or {})
    resolve_sbom(report, given)
    if resolve_syntax(report, text, given):
        outline = Outline()
        outline.read(text)
        scope = Arguments.start(given, outline.escape, (target or "") or last_name(outline))
        Resolver(report, outline, scope, target or None).run()
    return report.result()
