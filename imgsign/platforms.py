"""Platforms: which image of an index is meant for a machine.

Sources: image-spec v1.1.1 image-index.md "platform" and "Platform Variants"; containerd's ``platforms``
package for the spellings of a machine and for which variant runs which (there is no specification).

    wanted             accepted, the best first
    linux/amd64/v3     amd64/v3, amd64/v2, amd64 (the same as amd64/v1)
    linux/arm64        arm64 (the same as arm64/v8)
    linux/arm64/v9     arm64/v9, arm64/v8
    linux/arm/v7       arm/v7 (the same as arm), arm/v6, arm/v5
    any other          the same variant only

Unlike containerd, another architecture is never taken instead (386 for amd64, arm for arm64): who names
a platform gets it or hears what there is. Of several equally good images the first is taken, as docker
does; ``os.version``, by which Windows images differ, is not looked at.
"""

from __future__ import annotations

import re

from imgsign.errors import UsageError
from imgsign.oci import MANIFEST_TYPES, Descriptor, Manifest, Platform
from imgsign.wire import printable, quote

_SHOWN = 20  # platforms listed in a message

_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "amd64": "amd64",
    "i386": "386",
    "i486": "386",
    "i586": "386",
    "i686": "386",
    "x86": "386",
    "386": "386",
    "aarch64": "arm64",
    "arm64": "arm64",
    "arm": "arm",
    "loongarch64": "loong64",
    "loong64": "loong64",
    "mips64": "mips64",
    "mips64le": "mips64le",
    "ppc64le": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
"""Spellings by ``uname -m``, by Go and by people, with the one that images use (Go's GOARCH)."""

_ARM_ABI = {"armhf": "v7", "armel": "v6"}  # Debian's names of the two ABIs, as containerd reads them
_ARM = re.compile(r"armv(?P<version>[5-8])[a-z]*")

_SYSTEMS = {"linux": "linux", "darwin": "linux", "windows": "windows", "freebsd": "freebsd"}
"""By ``uname -s``. NOTE: containers of a Mac run in a Linux machine."""

_BASE_LEVEL = {"amd64": 1, "arm": 7, "arm64": 8}
"""What an absent variant means; variants of these architectures run those of a lower number."""


def host_platform(machine: str, system: str) -> Platform:
    """Return the platform of a machine as ``uname -m`` and ``uname -s``, or an engine, call it.

    Raises:
        UsageError: for a machine or system that is not known here.
    """
    os = _SYSTEMS.get(system.lower())
    architecture, variant = _architecture(machine)
    if os is None or architecture is None:
        raise UsageError(
            f"no platform is known for machine {quote(machine)} with system {quote(system)}",
            hint="name it: --platform linux/amd64",
        )
    return Platform(os=os, architecture=architecture, variant=variant)


def choose(index: Manifest, wanted: Platform) -> Descriptor:
    """Return the child of an index that suits a platform best; it may be an index itself.

    The one image of an index that says nothing of platforms suits all.

    Raises:
        UsageError: none does; the message lists what is there.
    """
    found: tuple[int, Descriptor] | None = None
    for child in index.manifests:
        distance = None if child.platform is None else _distance(child.platform, wanted)
        if distance is not None and (found is None or distance < found[0]):
            found = distance, child
    if found is not None:
        return found[1]
    images = [d for d in index.manifests if _is_image(d)]
    if len(images) == 1 and images[0].platform is None:
        return images[0]
    names = list(dict.fromkeys(str(d.platform) for d in images if d.platform is not None))
    there = printable(", ".join(names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")
    raise UsageError(
        f"index {index.digest} has no image for {printable(str(wanted))}; it has {there or 'none with a platform'}",
        hint=f"--platform {printable(names[0])}" if names else None,
    )


def suits(offered: Platform, wanted: Platform) -> bool:
    """Whether an image for one platform is what somebody who wants the other may get."""
    return _distance(offered, wanted) is not None


def _distance(offered: Platform, wanted: Platform) -> int | None:
    """How far an image is from what is wanted: 0 the same, ``None`` unsuitable."""
    one, other = _normal(offered), _normal(wanted)
    if (one.os, one.architecture) != (other.os, other.architecture):
        return None
    low, high = _level(one), _level(other)
    if low is None or high is None:
        return 0 if one.variant == other.variant else None
    return high - low if low <= high else None


def _normal(platform: Platform) -> Platform:
    """Spell a platform as most images do; unknown names only become lower case."""
    architecture, variant = _architecture(platform.architecture)
    return Platform(
        os=platform.os.lower(),
        architecture=architecture or platform.architecture.lower(),
        variant=(platform.variant or variant or "").lower() or None,
    )


def _architecture(text: str) -> tuple[str | None, str | None]:
    """Return architecture and variant of a machine's name; ``(None, None)`` for an unknown one."""
    name = text.lower()
    if (match := _ARM.fullmatch(name)) is not None:
        return "arm", f"v{match['version']}"
    if name in _ARM_ABI:
        return "arm", _ARM_ABI[name]
    return _ARCHITECTURES.get(name), None


def _level(platform: Platform) -> int | None:
    """The number of a variant where numbers are ordered, else ``None`` (``v8.2`` is only itself)."""
    base = _BASE_LEVEL.get(platform.architecture)
    if base is None or platform.variant is None:
        return base
    match = re.fullmatch(r"v?([0-9]{1,2})", platform.variant, re.ASCII)
    return None if match is None else int(match[1])


def _is_image(child: Descriptor) -> bool:
    """Whether an entry of an index may be an image: no artifact, no attestation (unknown/unknown)."""
    if child.media_type not in MANIFEST_TYPES or child.artifact_type is not None:
        return False
    return child.platform is None or child.platform.os != "unknown"
