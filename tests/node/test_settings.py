"""containerd's configuration, as far as it is about verifiers."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgsign.errors import DestinationError
from imgsign.node.settings import BINDIR, CRI, FILES_LIMIT, IMAGES, InvalidSettings, load_settings, parse_go_duration


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_an_absent_file_is_containerd_with_its_defaults(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "config.toml").files == ()


def test_every_value_of_a_key_is_given_with_its_file(tmp_path: Path) -> None:
    main = written(
        tmp_path / "config.toml",
        f'version = 3\nimports = ["conf.d/*.toml"]\n[plugins."{IMAGES}"]\nuse_local_image_pull = true\n',
    )
    drop = written(tmp_path / "conf.d" / "a.toml", f'version = 3\n[plugins."{IMAGES}"]\nuse_local_image_pull = false\n')
    found = load_settings(main).of(IMAGES, "use_local_image_pull")
    assert [(s.node.value, s.file) for s in found] == [(True, main), (False, drop)]


def test_an_import_without_a_star_must_be_there(tmp_path: Path) -> None:
    main = written(tmp_path / "config.toml", 'imports = ["absent.toml"]')
    with pytest.raises(DestinationError, match=r"absent\.toml"):
        load_settings(main)


def test_files_that_import_each_other_are_read_once(tmp_path: Path) -> None:
    main = written(tmp_path / "config.toml", 'imports = ["b.toml"]')
    written(tmp_path / "b.toml", f'imports = ["{main}"]')
    assert [f.name for f, _ in load_settings(main).files] == ["config.toml", "b.toml"]


def test_a_chain_of_imports_ends_at_the_limit(tmp_path: Path) -> None:
    for n in range(FILES_LIMIT + 1):
        written(tmp_path / f"{n}.toml", f'imports = ["{n + 1}.toml"]')
    with pytest.raises(InvalidSettings, match=f"imports more than {FILES_LIMIT} files"):
        load_settings(tmp_path / "0.toml")


def test_a_section_of_version_1_is_found_by_its_short_name(tmp_path: Path) -> None:
    main = written(tmp_path / "config.toml", 'disabled_plugins = ["cri"]\n[plugins.cri]\nsandbox_image = "p:1"\n')
    settings = load_settings(main)
    assert [s.node.value for s in settings.of(CRI, "sandbox_image")] == ["p:1"]
    assert [s.node.value for s in settings.disabled()] == [CRI]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version = 5", "configuration version 5 is not known, only up to 4 at version"),
        ('version = "3"', "expected integer, got string at version"),
        ("plugins = 1", "expected object, got integer at plugins"),
        ("imports = [1]", "expected string, got integer at imports"),
        ("= 3", "not TOML"),
    ],
)
def test_a_file_that_is_not_understood_is_named(tmp_path: Path, text: str, message: str) -> None:
    main = written(tmp_path / "config.toml", text)
    with pytest.raises(InvalidSettings) as caught:
        load_settings(main).of(BINDIR, "bin_dir")
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10s", 10.0), ("1m30s", 90.0), ("1.5s", 1.5), ("500ms", 0.5), ("1h", 3600.0), ("0", 0.0), ("0s", 0.0)],
)
def test_durations_are_go_s(text: str, seconds: float) -> None:
    assert parse_go_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "10 s", "1d", "1s1", "٣s", "9" * 70 + "s"])
def test_what_go_would_not_read_as_a_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidSettings, match=r"^not a duration: "):
        parse_go_duration(text)
