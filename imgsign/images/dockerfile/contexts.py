"""Named contexts, which stand in for stages and images: ``docker build --build-context NAME=VALUE``; pure.

BuildKit's dockerui/config.go and namedcontext.go: a name is looked up as docker shows it, without
``:latest``; ``NAME::PLATFORM`` holds for one platform. ``docker-image://`` is an image; ``oci-layout://`` and
``input:`` hold images that cannot be judged here; git, http and paths hold files; ``target:`` (bake) and
``service:`` (compose) are other builds of the same run.
"""

from __future__ import annotations

from collections.abc import Mapping

from imgsign.errors import InvalidReference
from imgsign.record import record
from imgsign.reference import DOCKER_HUB, Reference


@record(kw_only=False)
class Standing:
    """What stands in for a name: ``values`` of its contexts; ``whole`` unless they hold for some platforms only."""

    values: tuple[str, ...]
    whole: bool


@record(kw_only=False)
class Contexts:
    """All named contexts of one build, by familiar name."""

    by_name: Mapping[str, Standing]

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Contexts:
        """Take them as typed."""
        found: dict[str, list[str]] = {}
        whole: set[str] = set()
        for name, value in given.items():
            plain, platform, _ = name.partition("::")
            familiar = familiar_name(plain) or plain
            found.setdefault(familiar, []).append(value)
            if not platform:
                whole.add(familiar)
        return cls({name: Standing(tuple(values), name in whole) for name, values in found.items()})

    def find(self, name: str) -> Standing | None:
        """Look up a stage's name or an image's."""
        if not self.by_name or name.lower() in ("scratch", "context"):
            return None
        return self.by_name.get(familiar_name(name) or name)


def familiar_name(text: str) -> str | None:
    """A reference as docker shows it, without ``:latest``; ``None`` for what is none."""
    try:
        reference = Reference.parse(text)
    except InvalidReference:
        return None
    name = reference.repository.path
    if reference.repository.registry != DOCKER_HUB:
        name = str(reference.repository)
    elif name.startswith("library/") and name.count("/") == 1:
        name = name.removeprefix("library/")
    tag = f":{reference.tag}" if reference.tag is not None else ""
    return f"{name}{tag}@{reference.digest}" if reference.digest is not None else (name + tag).removesuffix(":latest")


def image_of(value: str) -> str | None:
    """The image that a context's value names, ``""`` for the empty one, ``None`` for what is no image."""
    scheme, _, rest = value.partition(":")
    if scheme != "docker-image":
        return None
    reference = rest.removeprefix("//")
    return "" if reference == "scratch" else reference


def hides_image(value: str) -> bool:
    """Whether a context's value is an image that has no name to judge it by."""
    return value.partition(":")[0] in ("oci-layout", "input")
