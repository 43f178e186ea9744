"""``@record``: a frozen dataclass with slots that is made in a quarter of the time.

``dataclasses`` writes and compiles seven methods as text for each class. A cold command defines a hundred of
them, and waits 45 ms for that: a fifth of a verification. Here only ``__init__`` is compiled; the others are
the same for all records, or closures over ``operator.attrgetter``, which is as fast when called. Fields,
defaults, inheritance and ``dataclasses.replace`` are the standard library's.

What it means is what ``@dataclass(frozen=True, slots=True, kw_only=True)`` means, field options included; a test
compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from reprlib import recursive_repr
from typing import NoReturn, TypeVar, cast, dataclass_transform, overload

T = TypeVar("T")

_SET = object.__setattr__


@overload
def record(cls: type[T], /) -> type[T]: ...
@overload
def record(*, kw_only: bool = True) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def record(cls: type[T] | None = None, /, *, kw_only: bool = True) -> type[T] | Callable[[type[T]], type[T]]:
    """Make a class a record; ``kw_only=False`` lets its fields be given by position."""

    def make(cls: type[T]) -> type[T]:
        made: type[T] = dataclass(slots=True, kw_only=kw_only, init=False, repr=False, eq=False)(cls)
        own = vars(made)
        members = fields(made)  # type: ignore[arg-type]  # it is a dataclass since the line above
        compared = _getter([f.name for f in members if f.compare])
        hashed = _getter([f.name for f in members if (f.compare if f.hash is None else f.hash)])

        def __eq__(self: object, other: object) -> bool:  # noqa: N807  # it becomes the class's own
            return compared(self) == compared(other) if type(other) is type(self) else NotImplemented

        def __hash__(self: object) -> int:  # noqa: N807
            return hash(hashed(self))

        methods = (_init(made, members), __eq__, __hash__, _repr, _frozen_set, _frozen_delete, _getstate, _setstate)
        for name, method in zip(_NAMES, methods, strict=True):
            if own.get(name) is None:  # what a class writes itself stays
                setattr(made, name, method)
        return made

    return make if cls is None else make(cls)


_NAMES = ("__init__", "__eq__", "__hash__", "__repr__", "__setattr__", "__delattr__", "__getstate__", "__setstate__")


def _getter(names: list[str]) -> Callable[[object], object]:
    """Return all of them as one value to compare or hash."""
    return attrgetter(*names) if names else lambda self: ()


def _init(cls: type, members: tuple[Field[object], ...]) -> Callable[..., None]:
    """Compile ``__init__``: as dataclasses does, positional fields first, then ``InitVar``s and keyword-only ones."""
    listed: dict[str, Field[object]] = cls.__dataclass_fields__  # type: ignore[attr-defined]  # with InitVars
    own = {f.name for f in members}
    given = [f for f in listed.values() if f.init and (f.name in own or _is_init_var(f))]
    scope: dict[str, object] = {"_SET": _SET, "_MISSING": MISSING}
    body: list[str] = []
    positional, named = ["self"], list[str]()
    for member in given:
        text, value = member.name, member.name
        if member.default is not MISSING:
            scope[f"_default_{text}"] = member.default
            text += f"=_default_{text}"
        elif member.default_factory is not MISSING:
            scope[f"_make_{text}"] = member.default_factory
            value = f"_make_{text}() if {text} is _MISSING else {text}"
            text += "=_MISSING"
        (named if member.kw_only else positional).append(text)
        if member.name in own:
            body.append(f" _SET(self, {member.name!r}, {value})")
    if hasattr(cls, "__post_init__"):
        body.append(f" self.__post_init__({', '.join(f.name for f in given if f.name not in own)})")
    parameters = ", ".join([*positional, *(["*", *named] if named else [])])
    # Only names of fields, which are identifiers of this package, stand in the text.
    exec(f"def __init__({parameters}):\n" + ("\n".join(body) or " pass"), scope)  # noqa: S102  # as dataclasses does
    return cast(Callable[..., None], scope["__init__"])


def _is_init_var(member: Field[object]) -> bool:
    return "InitVar[" in str(member.type)


@recursive_repr()
def _repr(self: object) -> str:
    members = fields(self)  # type: ignore[arg-type]  # a record
    return f"{type(self).__qualname__}({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in members if f.repr)})"


def _frozen_set(self: object, name: str, value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _frozen_delete(self: object, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _getstate(self: object) -> list[object]:
    return [getattr(self, f.name) for f in fields(self)]  # type: ignore[arg-type]  # a record


def _setstate(self: object, state: list[object]) -> None:
    for member, value in zip(fields(self), state, strict=True):  # type: ignore[arg-type]  # a record
        _SET(self, member.name, value)
