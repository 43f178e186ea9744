"""Every object of the program that can be reached from one, to see that none shows a secret in its ``repr``.

``repr`` of a container or of a future hides what is in it, so a look at the outermost object proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from types import FunctionType, MethodType

_LIMIT = 100_000  # objects; a few hundred are real


def reachable(start: object) -> tuple[object, ...]:
    """Return the instances of the program's own classes that hang together with ``start``, it included.

    What belongs to the tests, such as a simulator, is not looked into: it holds secrets on purpose.
    """
    seen: dict[int, object] = {}
    waiting = [start]
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, (str, bytes, int, float, type)):
            continue
        seen[id(found)] = found
        assert len(seen) < _LIMIT
        waiting.extend(_parts(found))
    return tuple(f for f in seen.values() if _is_ours(f))


def _is_ours(found: object) -> bool:
    return type(found).__module__.partition(".")[0] == "imgsign"


def _parts(found: object) -> Iterator[object]:
    if isinstance(found, Mapping):
        yield from found
        yield from found.values()
    elif isinstance(found, (tuple, list, set, frozenset)):
        yield from found
    elif isinstance(found, Future):
        if found.done():
            yield found.exception() or found.result()
    elif isinstance(found, MethodType):
        yield found.__self__
    elif isinstance(found, FunctionType):
        yield from (cell.cell_contents for cell in found.__closure__ or ())
    elif _is_ours(found):
        yield from getattr(found, "__dict__", {}).values()
        slots = (name for kind in type(found).__mro__ for name in getattr(kind, "__slots__", ()))
        yield from (getattr(found, name) for name in slots if hasattr(found, name))


def texts(start: object) -> list[str]:
    """What ``repr`` and ``str`` say of each of them."""
    return [text for found in reachable(start) for text in (repr(found), str(found))]
