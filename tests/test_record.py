"""A record is what a frozen dataclass with slots is, in everything a caller can see."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, InitVar, dataclass, field, fields, replace
from typing import Any

import pytest

from imgsign.record import record

frozen = dataclass(frozen=True, slots=True, kw_only=True)


def family(make: Any) -> tuple[Any, Any, Any]:
    """The same three classes, made one way or the other."""

    @make
    class Plain:
        a: int
        b: str = "b"
        c: Mapping[str, int] = field(default_factory=dict, hash=False)
        secret: bytes = field(default=b"", repr=False)
        note: str = field(default="", compare=False)

        @property
        def double(self) -> int:
            return self.a * 2

    @make
    class Child(Plain):
        d: int = 4

        def __repr__(self) -> str:
            return "a child"

    @make
    class Sealed:
        a: int
        seal: InitVar[object]

        def __post_init__(self, seal: object) -> None:
            if seal != "right":
                raise TypeError("not made here")

    return Plain, Child, Sealed


Ours, OurChild, OurSealed = family(record)
Theirs, TheirChild, TheirSealed = family(frozen)
PAIRS = [(Ours, Theirs), (OurChild, TheirChild)]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("values", [{"a": 1}, {"a": 2, "b": "x", "c": {"k": 1}, "secret": b"s", "note": "n"}])
def test_values_text_and_hash_are_the_same(ours: Any, theirs: Any, values: dict[str, Any]) -> None:
    one, other = ours(**values), theirs(**values)
    assert repr(one) == repr(other)
    assert [getattr(one, f.name) for f in fields(one)] == [getattr(other, f.name) for f in fields(other)]
    assert one == ours(**values)
    assert hash(one) == hash(ours(**values)) == hash(other)
    assert (one == other, one != other) == (False, True)
    assert replace(one, a=7).a == 7
    assert one.double == 2 * values["a"]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_what_is_compared_and_hashed_is_what_the_fields_say(ours: Any, theirs: Any) -> None:
    for made in (ours, theirs):
        assert made(a=1, note="x") == made(a=1, note="y")
        assert made(a=1, c={"k": 1}) != made(a=1)
        assert hash(made(a=1, c={"k": 1})) == hash(made(a=1))
        assert made(a=1, secret=b"x") != made(a=1)


@pytest.mark.parametrize("made", [Ours, Theirs, OurChild, TheirChild])
def test_nothing_can_be_changed_or_added(made: Any) -> None:
    one = made(a=1)
    for name in ("a", "other"):
        with pytest.raises((FrozenInstanceError, TypeError, AttributeError)):
            setattr(one, name, 2)
    with pytest.raises(FrozenInstanceError):
        del one.a
    assert not hasattr(one, "__dict__")


@pytest.mark.parametrize("made", [Ours, Theirs])
@pytest.mark.parametrize(("arguments", "named"), [((1,), {}), ((), {}), ((), {"a": 1, "z": 2})])
def test_wrong_arguments_are_refused(made: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        made(*arguments, **named)


@pytest.mark.parametrize("made", [OurSealed, TheirSealed])
def test_a_value_for_the_check_alone_is_passed_on_and_not_kept(made: Any) -> None:
    assert [f.name for f in fields(made(a=1, seal="right"))] == ["a"]
    with pytest.raises(TypeError, match="not made here"):
        made(a=1, seal="wrong")


def test_copies_are_equal() -> None:
    one = Ours(a=1, c={"k": 1})
    assert copy.copy(one) == copy.deepcopy(one) == one


@record(kw_only=False)
class Pickled:
    """At the top of the module, where pickle finds it."""

    a: int
    b: str = "b"


def test_positions_and_pickles() -> None:
    assert Pickled(1, "x") == Pickled(a=1, b="x")
    assert pickle.loads(pickle.dumps(Pickled(1))) == Pickled(1)  # noqa: S301  # of this test
    assert Pickled.__match_args__ == ("a", "b")
