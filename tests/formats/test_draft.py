"""What no reader would take is refused before it is signed, not found out after it was pushed."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

import pytest

from imgsign.claim import Draft
from imgsign.errors import UsageError
from imgsign.formats import FORMATS
from imgsign.formats.bundle import SIGNATURE_LIMIT
from imgsign.formats.simple import PAYLOAD_LIMIT
from imgsign.intoto import SUBJECT_LIMIT
from imgsign.keys import PublicKey
from imgsign.reference import Reference, Repository
from imgsign.signing import SignOptions, sign
from tests.artifacts import IMAGE, NOW, ed25519, public

NAME = Reference.parse("registry.example.com/shop/app:1.4")
DRAFT = Draft(names=(NAME,), signed_at=NOW)
KEY = public(ed25519(1))


class Unused:
    """A signer nobody asks."""

    public_key: PublicKey = KEY

    def sign(self, message: bytes, scheme: str) -> bytes:
        raise AssertionError("asked to sign")


def nowhere(repository: Repository) -> NoReturn:
    raise AssertionError(f"asked for {repository}")


@pytest.mark.parametrize("annotations", [{"stage": "\udcff"}, {"\udcff": "prod"}], ids=["value", "key"])
def test_annotation_that_is_no_utf8_is_refused_before_any_request(annotations: dict[str, str]) -> None:
    """An argument of a command line may hold any bytes; Python hands them over as lone surrogates."""
    with pytest.raises(UsageError):
        sign((NAME,), Unused(), SignOptions(annotations=annotations), locate=nowhere)


@pytest.mark.parametrize(("format", "limit"), [("simple", PAYLOAD_LIMIT), ("bundle", SIGNATURE_LIMIT)])
def test_signature_longer_than_its_reader_takes_is_not_drafted(format: str, limit: int) -> None:
    with pytest.raises(UsageError):
        FORMATS[format].draft(IMAGE.descriptor, replace(DRAFT, annotations={"note": "x" * limit}), KEY)


def test_more_names_than_a_reader_takes_are_not_drafted() -> None:
    names = tuple(Reference.parse(f"registry.example.com/shop/app:{n}") for n in range(SUBJECT_LIMIT + 1))
    assert FORMATS["bundle"].draft(IMAGE.descriptor, replace(DRAFT, names=names[:-1]), KEY)
    with pytest.raises(UsageError):
        FORMATS["bundle"].draft(IMAGE.descriptor, replace(DRAFT, names=names), KEY)
