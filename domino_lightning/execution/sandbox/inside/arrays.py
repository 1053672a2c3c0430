"""NumPy's arrays and scalars as plain data, so that test code gets real ones and the program no say in them.

NumPy is imported where one is decoded, not before: most programs do without it.
"""

from __future__ import annotations

import base64
import importlib
from collections.abc import Callable
from typing import Any

_KINDS = "biufcSUOmM"
_NUMBERS = "biufc"  # any bytes are some of these
_TIMES = "mM"
_ARRAYS = ("ndarray", "matrix")
_MAX_DTYPE = 32  # characters


def is_array(value: object) -> bool:
    """Whether it is exactly a NumPy array, or a matrix."""
    kind = type(value)
    return kind.__module__.partition(".")[0] == "numpy" and kind.__name__ in _ARRAYS


def encode_array(
    value: Any, items: Callable[[Any], list[object]], room: Callable[[int], None] | None = None
) -> object | None:
    """The tree of an array (`a`: type, shape, items; a matrix is `am`) or a scalar (`n`: type, item); else None.

    Args:
        value: something of a class from NumPy.
        items: the trees of the items of a list.
        room: lets an array of numbers be sent as its bytes, in one text; raises if there is no room for so many.
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
    flat: object
    if array and room is not None and dtype.kind in _NUMBERS:
        room(value.nbytes * 4 // 3)
        flat = base64.b64encode(value.tobytes()).decode("ascii")
    else:
        flat = items((value.A1 if matrix else value.ravel()).tolist())
    return {"am" if matrix else "a": [dtype.str, shape, flat]} if array else {"n": [dtype.str, flat[0]]}


def decode_array(content: Any, decode: Callable[[Any], Any]) -> Any:
    """The array that a tree `a` stands for.

    Raises:
        ValueError, TypeError: it is no such tree.
        ImportError: NumPy is not here.
    """
    name, shape, flat = content
    made = _unpack(name, flat) if isinstance(flat, str) else _build(name, [decode(tree) for tree in flat])
    return made.reshape([int(size) for size in shape])


def decode_matrix(content: Any, decode: Callable[[Any], Any]) -> Any:
    """The matrix that a tree `am` stands for; raises as `decode_array` does."""
    return importlib.import_module("numpy").asmatrix(decode_array(content, decode))


def decode_scalar(content: Any, decode: Callable[[Any], Any]) -> Any:
    """The scalar that a tree `n` stands for; raises as `decode_array` does."""
    name, tree = content
    return _build(name, [decode(tree)])[0]


def _dtype(numpy: Any, name: Any, kinds: str) -> Any:
    dtype = numpy.dtype(name) if isinstance(name, str) and len(name) <= _MAX_DTYPE else None
    if dtype is None or dtype.kind not in kinds:
        raise ValueError("no array type")
    return dtype


def _unpack(name: Any, text: str) -> Any:
    numpy: Any = importlib.import_module("numpy")
    dtype = _dtype(numpy, name, _NUMBERS)
    data = bytearray(base64.b64decode(text, validate=True))
    if dtype.kind == "b":
        return numpy.frombuffer(data, "u1") != 0  # no other byte is a boolean
    return numpy.frombuffer(data, dtype)


def _build(name: Any, values: list[Any]) -> Any:
    numpy: Any = importlib.import_module("numpy")
    dtype = _dtype(numpy, name, _KINDS)
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
