"""Platforms: a machine gets the image it can run, or hears what there is."""

from __future__ import annotations

import json

import pytest

from imgsign.errors import UsageError
from imgsign.oci import DOCKER_LIST, OCI_INDEX, OCI_MANIFEST, Manifest, Platform, platform_of
from imgsign.platforms import choose, host_platform, suits

Entry = dict[str, object]


def entry(platform: str | None, fill: str, **more: object) -> Entry:
    found: Entry = {"mediaType": OCI_MANIFEST, "digest": "sha256:" + fill * 64, "size": 3, **more}
    if platform is not None:
        parsed = platform_of(platform)
        found["platform"] = {"os": parsed.os, "architecture": parsed.architecture}
        if parsed.variant:
            found["platform"] = {"os": parsed.os, "architecture": parsed.architecture, "variant": parsed.variant}
    return found


def index(*entries: Entry, media_type: str = OCI_INDEX) -> Manifest:
    body = {"schemaVersion": 2, "mediaType": media_type, "manifests": list(entries)}
    return Manifest.parse(json.dumps(body).encode(), media_type)


def of(*platforms: str) -> Manifest:
    """An index whose entries have the digests aaa…, bbb… in order."""
    return index(*(entry(p, "abcdef"[i]) for i, p in enumerate(platforms)))


@pytest.mark.parametrize(
    ("machine", "system", "expected"),
    [
        ("x86_64", "Linux", "linux/amd64"),
        ("amd64", "linux", "linux/amd64"),
        ("AMD64", "Windows", "windows/amd64"),
        ("i686", "Linux", "linux/386"),
        ("aarch64", "Linux", "linux/arm64"),
        ("arm64", "Darwin", "linux/arm64"),
        ("armv7l", "Linux", "linux/arm/v7"),
        ("armv6l", "Linux", "linux/arm/v6"),
        ("armv5tel", "Linux", "linux/arm/v5"),
        ("armv8l", "Linux", "linux/arm/v8"),
        ("arm", "linux", "linux/arm"),
        ("ppc64le", "Linux", "linux/ppc64le"),
        ("s390x", "Linux", "linux/s390x"),
        ("riscv64", "Linux", "linux/riscv64"),
        ("loongarch64", "Linux", "linux/loong64"),
        ("amd64", "FreeBSD", "freebsd/amd64"),
    ],
)
def test_a_machine_is_a_platform(machine: str, system: str, expected: str) -> None:
    assert str(host_platform(machine, system)) == expected


@pytest.mark.parametrize(
    ("machine", "system"), [("vax", "Linux"), ("x86_64", "Plan9"), ("", "Linux"), ("armv9z", "Linux")]
)
def test_an_unknown_machine_is_not_guessed(machine: str, system: str) -> None:
    with pytest.raises(UsageError, match="no platform is known for machine") as caught:
        host_platform(machine, system)
    assert caught.value.hint == "name it: --platform linux/amd64"


@pytest.mark.parametrize(
    ("wanted", "offered", "letter"),
    [
        ("linux/amd64", ["linux/arm64", "linux/amd64"], "b"),
        ("linux/x86_64", ["linux/arm64", "linux/amd64"], "b"),
        ("linux/amd64", ["linux/amd64/v1"], "a"),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], "b"),
        ("linux/amd64/v3", ["linux/amd64/v4", "linux/amd64"], "b"),
        ("linux/arm64", ["linux/amd64", "linux/arm64/v8"], "b"),
        ("linux/arm64/v8", ["linux/amd64", "linux/arm64"], "b"),
        ("linux/arm64/v9", ["linux/arm64"], "a"),
        ("linux/arm64/v8.2", ["linux/arm64", "linux/arm64/v8.2"], "b"),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"], "c"),
        ("linux/arm/v7", ["linux/arm/v5", "linux/arm/v6"], "b"),
        ("linux/arm/v7", ["linux/arm/v5"], "a"),
        ("linux/arm", ["linux/arm/v6", "linux/arm/v7"], "b"),
        ("linux/armhf", ["linux/arm/v6", "linux/arm/v7"], "b"),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm/v6"], "b"),
        ("linux/ppc64le", ["linux/ppc64le"], "a"),
        ("linux/amd64", ["linux/amd64", "linux/amd64"], "a"),
        ("windows/amd64", ["linux/amd64", "windows/amd64"], "b"),
    ],
)
def test_the_best_image_is_chosen(wanted: str, offered: list[str], letter: str) -> None:
    assert choose(of(*offered), platform_of(wanted)).digest.hex == letter * 64


@pytest.mark.parametrize(
    ("wanted", "offered"),
    [
        ("linux/amd64", ["linux/arm64"]),
        ("linux/amd64", ["linux/386"]),  # a 386 image would run, but was not asked for
        ("linux/amd64", ["linux/amd64/v2"]),  # does not run on the oldest machines
        ("linux/arm64", ["linux/arm/v7"]),
        ("linux/arm64", ["linux/arm64/v9"]),
        ("linux/arm64", ["linux/arm64/v8.2"]),
        ("linux/arm/v6", ["linux/arm/v7", "linux/arm"]),
        ("linux/ppc64le", ["linux/ppc64le/power9"]),
        ("windows/amd64", ["linux/amd64"]),
        ("unknown/amd64", ["unknown/unknown"]),
    ],
)
def test_an_image_that_does_not_suit_is_not_chosen(wanted: str, offered: list[str]) -> None:
    with pytest.raises(UsageError, match="has no image for"):
        choose(of(*offered), platform_of(wanted))


def test_the_error_lists_what_is_there() -> None:
    found = index(
        entry("linux/amd64", "a"), entry("linux/arm/v7", "b"), entry("linux/amd64", "c"), entry("unknown/unknown", "d")
    )
    with pytest.raises(UsageError) as caught:
        choose(found, platform_of("linux/s390x"))
    assert caught.value.message == (
        f"index {found.digest} has no image for linux/s390x; it has linux/amd64, linux/arm/v7"
    )
    assert caught.value.hint == "--platform linux/amd64"


def test_a_long_list_is_cut_and_safe_to_print() -> None:
    entries = [entry(f"linux/cpu{i}", "abcdef"[i % 6]) for i in range(40)]
    evil: Entry = {**entry(None, "a"), "platform": {"os": "li\x1b[31mnux", "architecture": "x\ny"}}
    with pytest.raises(UsageError) as caught:
        choose(index(evil, *entries), platform_of("linux/amd64"))
    assert caught.value.message.isprintable()
    assert caught.value.message.endswith("linux/cpu18, …")
    assert caught.value.hint is not None
    assert caught.value.hint.isprintable()


def test_the_only_image_needs_no_platform() -> None:
    found = index(entry(None, "a"), entry("unknown/unknown", "b"), entry(None, "c", artifactType="application/x"))
    assert choose(found, platform_of("linux/amd64")).digest.hex == "a" * 64


def test_an_index_in_an_index_is_chosen_like_an_image() -> None:
    assert choose(index(entry(None, "a", mediaType=OCI_INDEX)), platform_of("linux/amd64")).media_type == OCI_INDEX


@pytest.mark.parametrize("entries", [[], [entry(None, "a"), entry(None, "b")]])
def test_images_without_platforms_are_not_guessed_between(entries: list[Entry]) -> None:
    with pytest.raises(UsageError, match="it has none with a platform") as caught:
        choose(index(*entries), platform_of("linux/amd64"))
    assert caught.value.hint is None


def test_docker_lists_are_read_alike() -> None:
    listed = index(entry("linux/arm64", "a"), entry("linux/amd64", "b"), media_type=DOCKER_LIST)
    assert choose(listed, platform_of("linux/amd64")).digest.hex == "b" * 64


def test_suits_is_about_one_image() -> None:
    arm = Platform(os="linux", architecture="arm", variant="v6")
    assert suits(arm, platform_of("linux/arm/v7"))
    assert not suits(platform_of("linux/arm/v7"), arm)
