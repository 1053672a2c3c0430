"""A predicted output: found in a reply, compared as a literal."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

from domino_lightning.domains.python.marks import answer_part, own_marks
from domino_lightning.errors import UserError
from domino_lightning.execution.literals import (
    CONSTRUCTORS,
    MAX_CHARS,
    PARSE_FAILURES,
    NotALiteral,
    clip,
    literal_equal,
    parse,
    parse_literal,
)

_OPENING, _CLOSING, _QUESTION = "[ANSWER]", "[/ANSWER]", "[PYTHON]"  # LiveCodeBench's and CRUXEval's marks
_MARK = re.compile(r"\[/?ANSWER\]|\[PYTHON\]")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]*$", re.MULTILINE)
_ASSERT = re.compile(r"\bassert\b")
_MAX_ASSERTIONS = 64
_MAX_LINES = 32  # of one assertion


class Grade(NamedTuple):
    """`status` is "passed", "failed" or "error" (no literal found); `detail` is one line for a reader."""

    passed: bool
    status: str
    detail: str


def grade_answer(completion: str, expected: str, call: str | None = None) -> Grade:
    """Compare the answer in a completion with the literal `expected`: `extract_answer`, `literal_equal`.

    Raises:
        UserError: `expected` is no literal.
    """
    try:
        wanted = parse_literal(expected, max_chars=max(MAX_CHARS, len(expected)))
    except NotALiteral as error:
        raise UserError(f"output {clip(expected)}: {error}; give the repr of a plain value.") from None
    answer = extract_answer(completion, call)
    if answer is None:
        return Grade(False, "failed", "the completion is empty")
    try:
        found = parse_literal(answer, max_chars=max(MAX_CHARS, 2 * len(expected)))
    except NotALiteral as error:
        return Grade(False, "error", str(error))
    if literal_equal(found, wanted):
        return Grade(True, "passed", "")
    return Grade(False, "failed", f"answered {clip(answer)}, expected {clip(expected)}")


def extract_answer(completion: str, call: str | None = None) -> str | None:
    """The answer's text in a completion, or None when there is none at all.

    Reasoning up to `</think>` and what follows an end-of-turn mark are no part of it; neither they nor the tags below
    are meant where they stand in a string. It is looked for, in this order, in
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
    completion = answer_part(completion)
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
    found = [*own_marks(_MARK, completion)] or [*_MARK.finditer(completion)]  # or all of it stands in quotes
    marks = [(mark.group(), mark.start(), mark.end()) for mark in found]
    names = [name for name, _, _ in marks]
    first_close = names.index(_CLOSING) if _CLOSING in names else len(names)
    if _QUESTION in names[first_close:]:
        question = names.index(_QUESTION, first_close)
        completion, marks = completion[: marks[question][1]], marks[:question]
    opened = [end for name, _, end in marks if name == _OPENING]
    closed = [start for name, start, _ in marks if name == _CLOSING]
    if closed and not (opened and opened[0] <= closed[0]):
        return completion[: closed[0]]
    if not opened:
        return None
    if not closed:
        return completion[opened[-1] :]
    return completion[max(end for end in opened if end <= closed[-1]) : closed[-1]]


def _assertions(text: str) -> Iterator[tuple[ast.expr, str]]:
    """(call, source of X) of every `assert call == X`, also in mid-line and over several lines."""
    for match in list(_ASSERT.finditer(text))[-_MAX_ASSERTIONS:]:
        lines = text[match.start() : match.start() + MAX_CHARS].split("\n")[:_MAX_LINES]
        for count in range(1, len(lines) + 1):
            source = "\n".join(lines[:count]).strip().rstrip("`")
            try:
                statements = parse(source, "exec").body
            except PARSE_FAILURES:
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
        if isinstance(call, ast.Call) and getattr(call.func, "id", None) not in CONSTRUCTORS:
            return call, ast.get_source_segment(source, answer) or ""
    return None


def _same(left: ast.expr, call: str) -> bool:
    try:
        return ast.dump(left) == ast.dump(parse(call.strip(), "eval").body)
    except PARSE_FAILURES:
        return False


def _plain_answer(text: str) -> str:
    """Rule 3 of `extract_answer`; a comparison with a call on the chosen line still gives its other side."""
    try:
        parse_literal(text)
        return text
    except NotALiteral:
        line = text.split("\n", 1)[0].strip().strip("`").strip()
    try:
        (statement,) = parse(line[:MAX_CHARS], "exec").body
    except PARSE_FAILURES:  # of which ValueError is "not exactly one statement"
        return line
    test = statement.test if isinstance(statement, ast.Assert) else getattr(statement, "value", None)
    sides = _sides(line, test) if isinstance(test, ast.expr) else None
    return line if sides is None else sides[1]
