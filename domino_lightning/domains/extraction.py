"""The program in what a model wrote: out of its fences, without its prose, whole with its starter code."""

from __future__ import annotations

import ast
import re

from domino_lightning.domains.base import Unparsable
from domino_lightning.domains.codegen_rows import starter_tree
from domino_lightning.domains.python_source import parse_python, source_lines

_FENCED = re.compile(r"^[ \t]*```[ \t]*(\w*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_STATEMENT = re.compile(r"(?:def|class|import|from|@|async def)\b|@")


def find_program(completion: str, starter_code: str, entry_point: str | None) -> str | None:
    """The program in a completion, with what it needs of the starter code before it, or None.

    Looked for in this order: the last ```python block; the last other block; the whole text; and in a text
    that holds neither, the part from its first statement to where it stops being Python. Text that does not
    define the entry point is read as a continuation of the starter code, as HumanEval's are.
    """
    fenced = _FENCED.findall(completion)
    python = [body for language, body in fenced if language.lower() in {"python", "py", "python3"}]
    for text in [*reversed(python[-1:]), *(body for _, body in fenced[-1:]), completion]:
        whole = _longest(text, at_least=text.count("\n") + 1)
        if whole is not None and (entry_point is None or _defines(whole, entry_point)):
            return _with_prelude(whole, starter_code, entry_point)
        if starter_code and text[:1].isspace():
            head = starter_code.rstrip() + "\n"
            continued = _longest(head + text.strip("\n"), at_least=head.count("\n") + 1)
            if continued is not None:
                return continued
        if whole is not None and text is not completion:
            return _with_prelude(whole, starter_code, entry_point)  # graded as it is, to fail with its own error
    lines = source_lines(completion)
    start = next((number for number, line in enumerate(lines) if _STATEMENT.match(line)), None)
    found = None if start is None else _longest("\n".join(lines[start:]), at_least=1)
    return None if found is None else _with_prelude(found, starter_code, entry_point)


def _longest(text: str, at_least: int) -> str | None:
    """The longest leading part that is Python, in whole lines; None if it has fewer than `at_least` lines."""
    lines = source_lines(text)
    at_least = min(at_least, len(lines))
    while lines and len(lines) >= at_least:
        try:
            parse_python("\n".join(lines))
            return "\n".join(lines).rstrip()
        except Unparsable as error:
            found = re.match(r"line (\d+):", str(error))
            lines = lines[: min(len(lines), int(found[1]) if found else len(lines)) - 1]
    return None


def _defines(code: str, name: str) -> bool:
    """Whether the program binds the name at its top level, or has a class `Solution`."""
    for node in ast.walk(parse_python(code)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name in {
            name,
            "Solution",
        }:
            return True
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name:
            return True
    return False


def _with_prelude(code: str, starter_code: str, entry_point: str | None) -> str:
    """The program after the starter code's imports and helpers, which a model often does not repeat."""
    if not starter_code or entry_point is None:
        return code
    try:
        body = starter_tree(starter_code).body
    except Unparsable:
        return code
    wanted = {entry_point, "Solution"}
    kept = [ast.unparse(node) for node in body if getattr(node, "name", None) not in wanted]
    return insert_before("\n".join(kept), code) if kept else code


def insert_before(prelude: str, code: str) -> str:
    """The program with lines before it, but after its `from __future__` imports, which must come first."""
    imports = [node for node in parse_python(code).body if isinstance(node, ast.ImportFrom)]
    last = max((node.end_lineno or 0 for node in imports if node.module == "__future__"), default=0)
    lines = source_lines(code)
    return "\n".join([*lines[:last], prelude, *lines[last:]])
