"""The table of real files: complete, and right where the files themselves are at hand."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest

from imgsign.images import compose, dockerfile
from tests.images.real_files import COMMITS, REAL_FILES, RealFile

DIRECTORY = os.environ.get("IMGSIGN_REAL_FILES")  # before a fixture clears the environment


def names(file: RealFile) -> str:
    return f"{file.repository}/{file.path}"


def test_the_table_has_enough_files_and_says_where_each_is_from() -> None:
    assert len(REAL_FILES) >= 50
    assert len({names(f) for f in REAL_FILES}) == len(REAL_FILES)
    assert {f.repository for f in REAL_FILES} == set(COMMITS)
    assert all(re.fullmatch(r"[0-9a-f]{40}", commit) for commit in COMMITS.values())
    assert all(re.fullmatch(r"[0-9a-f]{64}", f.sha256) for f in REAL_FILES)
    assert all(f.pattern for f in REAL_FILES)


def test_real_files_name_what_a_reader_sees() -> None:
    if not DIRECTORY:
        pytest.skip("IMGSIGN_REAL_FILES names no directory with the files of the table")
    for file in REAL_FILES:
        raw = (Path(DIRECTORY) / file.repository / file.path).read_bytes()
        assert hashlib.sha256(raw).hexdigest() == file.sha256, names(file)
        check(file, raw.decode("utf-8"))


def check(file: RealFile, text: str) -> None:
    if file.is_compose:
        result = compose.scan(text, environment=file.arguments)
    else:
        result = dockerfile.scan(text, arguments=file.arguments, contexts=file.contexts)
    # Services that share one line by a merge are one row of the table.
    found = dict.fromkeys((f.spot.line, f.role, f.text) for f in result.found)
    assert tuple(found) == file.images, names(file)
    assert tuple(dict.fromkeys((p.spot.line, p.code) for p in result.problems)) == file.problems, names(file)
    assert len(result.builds) == file.builds, names(file)
    for one in result.found:
        if one.pin is not None and one.replacement == "{reference}":
            assert text[one.pin.start : one.pin.end] == one.text, names(file)
