"""The file in containerd's ``bin_dir``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imgsign.errors import DestinationError
from imgsign.node.launcher import Entry, Launcher, install, list_entries

LAUNCHER = Launcher(python="/opt/imgsign/bin/python3", config="/etc/imgsign/containerd.toml")


def test_a_launcher_starts_an_isolated_interpreter_by_its_path() -> None:
    assert str(LAUNCHER).splitlines()[0] == "#!/bin/sh"
    assert str(LAUNCHER).splitlines()[3] == (
        "exec /opt/imgsign/bin/python3 -I -c 'from imgsign.containerd import run; run()' "
        '--config /etc/imgsign/containerd.toml "$@"'
    )


def test_a_path_with_a_quote_cannot_add_a_command() -> None:
    evil = Launcher(python="/opt/it's; touch /tmp/x/python", config="/etc/$(id)")
    assert Launcher.parse(str(evil)) == evil


@pytest.mark.parametrize(
    "text",
    [
        "",
        "#!/bin/sh\nexit 0\n",
        str(LAUNCHER).replace("-I ", ""),
        str(LAUNCHER) + "exit 0\n",
        str(LAUNCHER).replace("exec ", "exec true; "),
        str(LAUNCHER).replace("'from", "from"),
    ],
)
def test_another_script_is_not_taken_for_the_launcher(text: str) -> None:
    assert Launcher.parse(text) is None


def test_installing_makes_the_directory_and_one_executable_entry(tmp_path: Path) -> None:
    path = install(tmp_path / "verifier" / "bin", LAUNCHER)
    assert path == tmp_path / "verifier" / "bin" / "imgsign"
    assert path.stat().st_mode & 0o7777 == 0o755
    assert list_entries(path.parent) == (Entry(name="imgsign", launcher=LAUNCHER),)
    assert os.listdir(tmp_path / "verifier") == ["bin"]


def test_installing_again_replaces_the_launcher(tmp_path: Path) -> None:
    install(tmp_path / "bin", LAUNCHER)
    other = Launcher(python="/usr/bin/python3", config=LAUNCHER.config)
    install(tmp_path / "bin", other)
    assert list_entries(tmp_path / "bin") == (Entry(name="imgsign", launcher=other),)


def test_nothing_is_installed_beside_a_file_that_is_no_program(tmp_path: Path) -> None:
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "policy.toml").write_text("")
    with pytest.raises(DestinationError) as caught:
        install(directory, LAUNCHER)
    assert caught.value.message == (
        f"'{directory}/policy.toml' is no program (not executable): every pull on this node fails"
    )
    assert os.listdir(directory) == ["policy.toml"]


def test_nothing_is_installed_beside_a_directory(tmp_path: Path) -> None:
    (tmp_path / "bin" / "..data").mkdir(parents=True)
    with pytest.raises(DestinationError, match=r"\(a directory\)"):
        install(tmp_path / "bin", LAUNCHER)


def test_another_program_of_the_same_name_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "imgsign").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "bin" / "imgsign").chmod(0o755)
    with pytest.raises(DestinationError, match=r"is there and was not written by imgsign$"):
        install(tmp_path / "bin", LAUNCHER)


def test_entries_are_listed_in_the_order_in_which_containerd_runs_them(tmp_path: Path) -> None:
    for name in ("b", "A", "a", "é"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "z").symlink_to("nowhere")
    assert [(e.name, e.problem) for e in list_entries(tmp_path)] == [
        ("A", None),
        ("a", None),
        ("b", None),
        ("z", "no such file or directory"),
        ("é", None),
    ]


def test_a_link_to_the_directory_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real" / "bin").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/bin")
    assert install(tmp_path / "link", LAUNCHER) == tmp_path / "real" / "bin" / "imgsign"
    assert sorted(os.listdir(tmp_path)) == ["link", "real"]
    assert os.listdir(tmp_path / "real") == ["bin"]
