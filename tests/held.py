"""How much an object holds, by the way to it: what grows with every request is found by its name, not by the size of the process."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Set
from types import BuiltinFunctionType, FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

_LEAVES = (str, bytes, int, float, complex, type, ModuleType, BuiltinFunctionType, type(None))


def held(root: Any, *, but: tuple[type, ...] = ()) -> Counter[str]:
    """How many things stand at the end of each way: attribute by attribute, `[]` into a container, `()` into what a function closes over or
    a generator is at. but: of these types nothing is looked at.
    """
    found: Counter[str] = Counter()
    seen: dict[int, Any] = {}  # the things themselves, so that no other gets their number
    left: deque[tuple[str, Any]] = deque([(type(root).__name__, root)])
    while left:
        way, one = left.popleft()
        if isinstance(one, (*_LEAVES, *but)) or id(one) in seen:
            continue
        seen[id(one)] = one
        for step, inner in _inside(one):
            found[way + step] += 1
            left.append((way + step, inner))
    return found


def _inside(one: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(one, Mapping):
        yield from (("[key]", key) for key in one if not isinstance(key, _LEAVES))
        yield from (("[]", value) for value in one.values())
    elif isinstance(one, list | tuple | deque | Set):
        yield from (("[]", each) for each in one)
    elif isinstance(one, MethodType):
        yield ".self", one.__self__
    elif isinstance(one, FunctionType):
        yield from (("()", cell.cell_contents) for cell in one.__closure__ or ())
    elif isinstance(one, GeneratorType):
        yield from ((f"().{name}", value) for name, value in (one.gi_frame.f_locals if one.gi_frame else {}).items())
    else:
        slots = [name for kind in type(one).__mro__ for name in kind.__dict__.get("__slots__", ())]
        yield from ((f".{name}", getattr(one, name)) for name in (*slots, *vars_of(one)) if hasattr(one, name))


def vars_of(one: Any) -> tuple[str, ...]:
    """The names of its attributes that are in no slot."""
    return tuple(getattr(one, "__dict__", ()))
