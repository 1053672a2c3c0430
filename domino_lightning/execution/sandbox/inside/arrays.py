"""NumPy's arrays and scalars as plain data, so that test code gets real ones and the program no say in them.

NumPy is imported where one is decoded, not before: most programs do without it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

_KINDS = "biufcSUOmM"
_TIMES = "mM"
_ARRAYS = ("ndarray", "matrix")
_MAX_DTYPE = 32  # characters


def is_array(value: object) -> bool:
    """Whether it is exactly a NumPy array, or a matrix."""
    kind = type(value)
    return kind.__module__.partition(".")[0] == "numpy" and kind.__name__ in _ARRAYS


def encode_array(value: Any, items: Callable[[Any], list[object]]) -> object | None:
    """The tree of an array (`a`: type, shape, items; a matrix is `am`) or a scalar (`n`: type, item); else None.

    Args:
        value: something of a class from NumPy.
        items: the trees of the items of a list.
    """
    dtype: Any = getattr(value, "dtype", None)
    array = is_array(value)
    known = getattr(dtype, "kind", "V") in _KINDS and hasattr(value, "ravel")
    if not known or not (array or type(value).__module__ == "numpy"):
        return None
    if not array and (type(value).__name__ in ("memmap", "recarray") or value.shape != ()):
        return None
    if dtype.kind in _TIMES:
        value = value.astype("i8")
    elif dtype.kind in "fc" and dtype.itemsize > (8 if dtype.kind == "f" else 16):
        value = value.astype("f8" if dtype.kind == "f" else "c16")
        dtype = value.dtype
    matrix, shape = type(value).__name__ == "matrix", list(value.shape)
    flat = items((value.A1 if matrix else value.ravel()).tolist())
    return {"am" if matrix else "a": [dtype.str, shape, flat]} if array else {"n": [dtype.str, flat[0]]}


def decode_array(content: Any, decode: Callable[[Any], Any]) -> Any:
    """The array that a tree `a` stands for.

    Raises:
        ValueError, TypeError: it is no such tree.
        ImportError: NumPy is not here.
    """
    name, shape, trees = content
    return _build(name, [decode(tree) for tree in trees]).reshape([int(size) for size in shape])


def decode_matrix(content: Any, decode: Callable[[Any], Any]) -> Any:
    """The matrix that a tree `am` stands for; raises as `decode_array` does."""
    return importlib.import_module("numpy").asmatrix(decode_array(content, decode))


def decode_scalar(content: Any, decode: Callable[[Any], Any]) -> Any:
    """The scalar that a tree `n` stands for; raises as `decode_array` does."""
    name, tree = content
    return _build(name, [decode(tree)])[0]


def _build(name: Any, values: list[Any]) -> Any:
    numpy: Any = importlib.import_module("numpy")
    if not isinstance(name, str) or len(name) > _MAX_DTYPE:
        raise ValueError("no array type")
    dtype = numpy.dtype(name)
    if dtype.kind not in _KINDS:
        raise ValueError("no array type")
    if dtype.kind in _TIMES:
        return numpy.array(values, "i8").view(dtype)
    made = numpy.empty(len(values), dtype)
    for place, value in enumerate(values) if dtype.kind == "O" else ():
        made[place] = value  # all at once would take lists apart
    if dtype.kind != "O":
        made[:] = values
    return made


def overwrite_array(target: Any, now: Any) -> None:
    """Give an array the content of another of the same type and shape.

    Raises:
        ValueError: it has another.
    """
    if not is_array(now) or (target.dtype, target.shape) != (now.dtype, now.shape):
        raise ValueError("an array of another type or shape")
    target[...] = now
