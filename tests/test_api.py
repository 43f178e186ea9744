"""The public names of the package: sorted, complete, importable, and free of charge until used."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

import imgsign
from tests.test_layers import loaded_by

SOURCE = Path(imgsign.__file__)


def test_all_is_sorted() -> None:
    assert imgsign.__all__ == sorted(imgsign.__all__)


def test_all_lists_exactly_the_names_that_can_be_had() -> None:
    assert set(imgsign.__all__) == {"__version__", *imgsign._HOMES}


def test_the_type_checker_sees_the_same_names_from_the_same_homes() -> None:
    block = next(n for n in ast.parse(SOURCE.read_bytes()).body if isinstance(n, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    seen = {alias.name: n.module for n in block.body if isinstance(n, ast.ImportFrom) for alias in n.names}
    assert seen == imgsign._HOMES


@pytest.mark.parametrize("name", imgsign.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(imgsign, name) is not None


@pytest.mark.parametrize("name", sorted(imgsign._HOMES))
def test_a_public_name_is_the_very_object_of_its_home(name: str) -> None:
    assert getattr(imgsign, name) is getattr(import_module(imgsign._HOMES[name]), name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'imgsign' has no attribute 'verfiy'$"):
        _ = imgsign.verfiy


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = loaded_by("import imgsign")
    assert {m for m in loaded if m.startswith("imgsign")} == {"imgsign"}
    heavy = {
        "cryptography",
        "nacl",
        "requests",
        "rich",
        "securesystemslib",
        "typer",
        "json",
        "tomllib",
        "socket",
        "logging",
    }
    assert not {m.partition(".")[0] for m in loaded} & heavy


def test_the_version_is_importable_and_plain() -> None:
    assert all(part.isdigit() for part in imgsign.__version__.split("."))
