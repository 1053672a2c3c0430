"""Answers to code-execution problems: found in a text, read as Python literals, compared by type and value.

Nothing here executes or imports what a model wrote: a literal is scanned token by token before `ast` sees
it, so neither nesting nor length can exhaust the parser, and expressions such as `2 + 2` or `0 or True` are
no literals.
"""

from __future__ import annotations

import ast
import re
import threading
import warnings
from collections.abc import Hashable, Iterator
from math import isfinite
from typing import Any, NamedTuple

from domino_lightning.errors import UserError

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
_CONSTRUCTORS = {"set": set, "frozenset": frozenset}
_PARSE_FAILURES = (SyntaxError, ValueError, MemoryError, RecursionError)
WARNINGS_LOCK = threading.Lock()  # catch_warnings swaps a global, and answers are graded in threads

_OPENING, _CLOSING, _QUESTION = "[ANSWER]", "[/ANSWER]", "[PYTHON]"  # LiveCodeBench's and CRUXEval's marks
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*$", re.MULTILINE)
_ASSERT = re.compile(r"\bassert\b")
_MAX_ASSERTIONS = 64
_MAX_LINES = 32  # of one assertion


class NotALiteral(ValueError):
    """A text is not the literal of a plain value; the message says why."""


class Grade(NamedTuple):
    """`status` is "passed", "failed" or "error" (no literal found); `detail` is one line for a reader."""

    passed: bool
    status: str
    detail: str


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
        return _value(_parse(text, "eval").body)
    except _PARSE_FAILURES as error:
        if isinstance(error, NotALiteral):
            raise
        raise NotALiteral(f"not a literal: {_clip(text)} ({error})") from None
    except TypeError as error:  # an unhashable key or set item
        raise NotALiteral(f"not a literal: {_clip(text)} ({error})") from None


def _scan(text: str) -> None:
    """Reject what no literal contains, so that only brackets, and no operator or call chain, can nest."""
    depth, position, previous = 0, 0, ""
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise NotALiteral(f"not a literal: {_clip(text)} (at {_clip(text[position:], 20)})")
        kind, position = match.lastgroup or "", match.end()
        if kind == "space":
            continue
        signed = kind == "number" and match.group()[0] in "+-"
        if previous in _ENDS_VALUE and (signed or kind in ("open", "constructor")):
            raise NotALiteral(f"not a literal: {_clip(text)} (an expression)")
        depth += (kind == "open") - (kind == "close")
        if depth > MAX_DEPTH:
            raise NotALiteral(f"nested more than {MAX_DEPTH} deep")
        previous = kind


def _parse(source: str, mode: str) -> Any:
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
        constructor = _CONSTRUCTORS[node.func.id]  # _scan lets no other name and no keyword through
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


def grade_answer(completion: str, expected: str, call: str | None = None) -> Grade:
    """Compare the answer in a completion with the literal `expected`: `extract_answer`, `literal_equal`.

    Raises:
        UserError: `expected` is no literal.
    """
    try:
        wanted = parse_literal(expected, max_chars=max(MAX_CHARS, len(expected)))
    except NotALiteral as error:
        raise UserError(f"output {_clip(expected)}: {error}; give the repr of a plain value.") from None
    answer = extract_answer(completion, call)
    if answer is None:
        return Grade(False, "failed", "the completion is empty")
    try:
        found = parse_literal(answer, max_chars=max(MAX_CHARS, 2 * len(expected)))
    except NotALiteral as error:
        return Grade(False, "error", str(error))
    if literal_equal(found, wanted):
        return Grade(True, "passed", "")
    return Grade(False, "failed", f"answered {_clip(answer)}, expected {_clip(expected)}")


def extract_answer(completion: str, call: str | None = None) -> str | None:
    """The answer's text in a completion, or None when there is none at all.

    It is looked for, in this order, in
    1. the last `[ANSWER]...[/ANSWER]` block. The closing tag may be missing (generation stopped on it); so
       may the opening one (the prompt ended with it), and then what precedes the first closing tag is the
       block. A `[PYTHON]` after a block begins a question of the model's own, and the rest is left out;
    2. the last `assert f(...) == X`, when there is no block; only an assertion of `call` if that is given;
    3. otherwise the whole text if it is one literal, else its first line that is not empty.
    Inside a block, an assertion gives its X (one of `call` before any other), and rule 3 holds without one.
    Code fences are dropped. X is found by parsing, never by splitting on `==`.

    Args:
        completion: what the model wrote.
        call: source of the call asked about, such as `f('a', 1)`; it tells its assertion from other examples.
    """
    block = _answer_block(completion)
    text = _FENCE.sub("", completion if block is None else block).strip()
    found = list(_assertions(text))
    answers = [right for left, right in found if call is None or _same(left, call)]
    if not answers and block is not None:
        answers = [right for _, right in found]
    if answers:
        return answers[-1]
    return _plain_answer(text) if text else None


def _answer_block(completion: str) -> str | None:
    first_open, first_close = completion.find(_OPENING), completion.find(_CLOSING)
    if first_close >= 0:
        completion = completion[:first_close] + completion[first_close:].partition(_QUESTION)[0]
    if first_close >= 0 and not 0 <= first_open < first_close:
        return completion[:first_close]
    if first_open < 0:
        return None
    last_close = completion.rfind(_CLOSING)
    if last_close < 0:
        return completion[completion.rfind(_OPENING) + len(_OPENING) :]
    return completion[completion.rfind(_OPENING, 0, last_close) + len(_OPENING) : last_close]


def _assertions(text: str) -> Iterator[tuple[ast.expr, str]]:
    """(call, source of X) of every `assert call == X`, also in mid-line and over several lines."""
    for match in list(_ASSERT.finditer(text))[-_MAX_ASSERTIONS:]:
        lines = text[match.start() : match.start() + MAX_CHARS].split("\n")[:_MAX_LINES]
        for count in range(1, len(lines) + 1):
            source = "\n".join(lines[:count]).strip().rstrip("`")
            try:
                statements = _parse(source, "exec").body
            except _PARSE_FAILURES:
                continue  # not complete yet, or prose
            if len(statements) == 1 and isinstance(statements[0], ast.Assert):
                sides = _sides(source, statements[0].test)
                if sides is not None:
                    yield sides
            break


def _sides(source: str, test: ast.expr) -> tuple[ast.expr, str] | None:
    """(call, source of X) of `call == X`, `X == call` or `call is X`."""
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return None
    if not isinstance(test.ops[0], (ast.Eq, ast.Is)):
        return None
    for call, answer in ((test.left, test.comparators[0]), (test.comparators[0], test.left)):
        if isinstance(call, ast.Call) and getattr(call.func, "id", None) not in _CONSTRUCTORS:
            return call, ast.get_source_segment(source, answer) or ""
    return None


def _same(left: ast.expr, call: str) -> bool:
    try:
        return ast.dump(left) == ast.dump(_parse(call.strip(), "eval").body)
    except _PARSE_FAILURES:
        return False


def _plain_answer(text: str) -> str:
    """Rule 3 of `extract_answer`; a comparison with a call on the chosen line still gives its other side."""
    try:
        parse_literal(text)
        return text
    except NotALiteral:
        line = text.split("\n", 1)[0].strip().strip("`").strip()
    try:
        (statement,) = _parse(line[:MAX_CHARS], "exec").body
    except _PARSE_FAILURES:  # of which ValueError is "not exactly one statement"
        return line
    test = statement.test if isinstance(statement, ast.Assert) else getattr(statement, "value", None)
    sides = _sides(line, test) if isinstance(test, ast.expr) else None
    return line if sides is None else sides[1]


def _clip(text: str, limit: int = 80) -> str:
    return repr(text if len(text) <= limit else text[:limit] + "...")
