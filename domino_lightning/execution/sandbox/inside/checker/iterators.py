"""Whether a test may read the rest of an iterator that it gives the program, which gets a copy of all that is left."""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Iterator

from domino_lightning.execution.sandbox.inside.decoding import is_fetched
from domino_lightning.execution.sandbox.inside.encoding import is_iterator

_TEST = "<test>"  # what its code is compiled as
_MAX_WRAPPED = 100


def is_used_later(value: object, again: frozenset[str]) -> bool:
    """Whether the rest of an iterator matters to the test: it is of a generator function of the test's, or has a name.

    An iterator that the program gave is left out, and so is what wraps one: otherwise the program could choose, by
    giving an iterator for a list, that a test runs beside it.

    Args:
        value: an iterator.
        again: names that the test reads more than once.
    """
    own = [each for each in _wrapped(value) if is_iterator(each) and not is_fetched(each)]
    # What the body of a generator does besides is seen by the test, so it must not run further than it is asked to.
    if any(map(_has_body, own)):
        return True
    return any(each is bound for each in own for bound in _bound(again))


def _has_body(value: object) -> bool:
    """Whether it is of a generator function of the test's."""
    code = value.gi_code if isinstance(value, types.GeneratorType) else None
    return code is not None and code.co_filename == _TEST and code.co_name != "<genexpr>"


def _wrapped(value: object) -> list[object]:
    """An iterator and those that it reads from, such as the one in `map(str, it)`."""
    found = [value]
    for each in found:
        if len(found) < _MAX_WRAPPED and not is_fetched(each):
            found += [one for one in gc.get_referents(each) if is_iterator(one) or type(one) is tuple]
    return found


def _bound(names: frozenset[str]) -> Iterator[object]:
    """What these names stand for, in the test's code that makes the call."""
    frame: types.FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename == _TEST:
            yield from (each for name, each in {**frame.f_globals, **frame.f_locals}.items() if name in names)
        frame = frame.f_back
