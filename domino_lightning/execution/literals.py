"""Python literals of plain values: read from untrusted text, compared by type and value.

Nothing here executes or imports: a literal is scanned token by token before `ast` sees
it, so neither nesting nor length can exhaust the parser, and expressions such as `2 + 2` or `0 or True` are
no literals.
"""

from __future__ import annotations

import ast
import re
import threading
import warnings
from collections.abc import Hashable
from math import isfinite
from typing import Any

MAX_CHARS = 10_000
MAX_DEPTH = 128  # brackets; a set inside a frozenset counts twice

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|\#[^\n]*)
    |(?P<string>[bBrRuU]{0,2}(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}
        |"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    |(?P<number>[-+]?\s*(?:0[xXoObB][0-9a-fA-F_]+|(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9_]+)?))
    |(?P<constant>(?:True|False|None)\b)
    |(?P<constructor>(?:set|frozenset)\b)
    |(?P<open>[\[({])
    |(?P<close>[\])}])
    |(?P<separator>[,:])
    """,
    re.VERBOSE | re.DOTALL,
)
_ENDS_VALUE = frozenset(("string", "number", "constant", "close"))
_SCALARS = frozenset((type(None), bool, int, float, str, bytes))
CONSTRUCTORS = {"set": set, "frozenset": frozenset}
PARSE_FAILURES = (SyntaxError, ValueError, MemoryError, RecursionError)
WARNINGS_LOCK = threading.Lock()  # catch_warnings swaps a global, and answers are graded in threads


class NotALiteral(ValueError):
    """A text is not the literal of a plain value; the message says why."""


def parse_literal(text: str, max_chars: int = MAX_CHARS) -> object:
    """The plain value that a literal denotes.

    Literals are None, booleans, integers, finite floats, strings and bytes, and tuples (also without
    parentheses), lists, dicts and sets of them; `set()`, `frozenset()` and either one around a list, tuple
    or set display. A number may have one sign. Not literals: operators, names, calls, f-strings, complex
    numbers, `...`, `nan`, and `1e999` (it is infinity). Surrounding space and comments are ignored.

    Raises:
        NotALiteral: anything else, or longer than `max_chars`, or nested more than `MAX_DEPTH` brackets deep.
    """
    if len(text) > max_chars:
        raise NotALiteral(f"{len(text)} characters, more than {max_chars}")
    text = text.strip()
    _scan(text)
    try:
        return _value(parse(text, "eval").body)
    except PARSE_FAILURES as error:
        if isinstance(error, NotALiteral):
            raise
        raise NotALiteral(f"not a literal: {clip(text)} ({error})") from None
    except TypeError as error:  # an unhashable key or set item
        raise NotALiteral(f"not a literal: {clip(text)} ({error})") from None


def _scan(text: str) -> None:
    """Reject what no literal contains, so that only brackets, and no operator or call chain, can nest."""
    depth, position, previous = 0, 0, ""
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise NotALiteral(f"not a literal: {clip(text)} (at {clip(text[position:], 20)})")
        kind, position = match.lastgroup or "", match.end()
        if kind == "space":
            continue
        signed = kind == "number" and match.group()[0] in "+-"
        if previous in _ENDS_VALUE and (signed or kind in ("open", "constructor")):
            raise NotALiteral(f"not a literal: {clip(text)} (an expression)")
        depth += (kind == "open") - (kind == "close")
        if depth > MAX_DEPTH:
            raise NotALiteral(f"nested more than {MAX_DEPTH} deep")
        previous = kind


def parse(source: str, mode: str) -> Any:
    """`ast.parse` without the warnings that a model's text may cause."""
    with WARNINGS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "invalid escape sequence": in the model's text, not in the user's
        return ast.parse(source, mode=mode)


def _value(node: ast.expr) -> object:
    if isinstance(node, ast.Constant) and type(node.value) in _SCALARS:
        if isinstance(node.value, float) and not isfinite(node.value):
            raise NotALiteral("a float beyond the largest one")
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        number = _value(node.operand)
        if isinstance(node.operand, ast.Constant) and (type(number) is int or type(number) is float):
            return -number if isinstance(node.op, ast.USub) else number
    if isinstance(node, ast.Tuple):
        return tuple(map(_value, node.elts))
    if isinstance(node, ast.List):
        return list(map(_value, node.elts))
    if isinstance(node, ast.Set):
        return set(map(_value, node.elts))
    if isinstance(node, ast.Dict):
        items = zip(node.keys, node.values, strict=True)
        return {_value(key): _value(value) for key, value in items if key is not None}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) < 2:
        constructor = CONSTRUCTORS[node.func.id]  # _scan lets no other name and no keyword through
        if not node.args:
            return constructor()
        if isinstance(node.args[0], (ast.List, ast.Tuple, ast.Set)):
            return constructor(map(_value, node.args[0].elts))
    raise NotALiteral(f"not a literal: {type(node).__name__}")


def literal_equal(a: object, b: object) -> bool:
    """Whether two plain values are the same, types included, at every level.

    Stricter than `==`, since the answer to "what does it return" is a value of one type: `True` is not `1`,
    `1` is not `1.0`, a list is not a tuple, `"a"` is not `b"a"`, a set is not a frozenset. As with `==`,
    the order of dicts and sets does not matter and `-0.0` equals `0.0`. (CRUXEval's own scorer uses `==`,
    so its figures count the answer `1` for `True` or `1.0` as right.)

    Raises:
        TypeError: a value that is not plain.
    """
    return _key(a) == _key(b)


def _key(value: object) -> Hashable:
    """A hashable stand-in: equal for two values exactly when they are the same."""
    kind = type(value)
    if kind in _SCALARS:
        return kind, value
    if isinstance(value, dict):
        return kind, frozenset((_key(key), _key(item)) for key, item in value.items())
    if isinstance(value, (set, frozenset)):
        return kind, frozenset(map(_key, value))
    if isinstance(value, (list, tuple)):
        return kind, tuple(map(_key, value))
    raise TypeError(f"a {kind.__name__} is no plain value")


def clip(text: str, limit: int = 80) -> str:
    """The repr of a text, shortened for a message."""
    return repr(text if len(text) <= limit else text[:limit] + "...")
