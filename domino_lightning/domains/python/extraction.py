"""The program in what a model wrote: out of its fences, without its prose, whole with its starter code."""

from __future__ import annotations

import ast
import builtins
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from domino_lightning.domains.base import Unparsable
from domino_lightning.domains.python.fences import fenced_blocks
from domino_lightning.domains.python.marks import answer_part, own_marks
from domino_lightning.domains.python.source import MAX_CHARACTERS, parse_python, source_lines, starter_tree

_PYTHON = {"python", "py", "python3", "py3"}
_TAG = re.compile(r"[ \t]*\[(/?)PYTHON\][ \t]*")  # Code Llama's marks
_READS = re.compile(r"\binput\s*\(|\bstdin\b|\bopen\s*\(\s*(?:0|['\"]/dev/stdin)|\bread\s*\(\s*0\b")
_START = re.compile(
    r"(?:(?:def|class|import|from|async|if|for|while|with|try|print)\b|@"
    r"|[A-Za-z_][\w.,\[\] ]*(?:[-+*/%|&^]|//|\*\*)?=(?!=)|[A-Za-z_][\w.]*\()"
)
_MAX_STARTS = 40


def find_program(completion: str, starter_code: str, entry_point: str | None) -> str | None:
    """The program in a completion, with what it needs of the starter code before it, or None.

    Reasoning up to `</think>` and what follows an end-of-turn mark are no part of the answer, where these are marks and
    not the program's text (`marks.py`). In the rest it is looked for, in this order, in
    1. the whole text, if it is Python;
    2. fenced blocks (also unclosed or indented ones), ```python before others, later before earlier: the first
       that defines the entry point, or, where there is none, that reads its input. Earlier blocks that define
       names it lacks go before it;
    3. a block or the text as a continuation of the starter code, as HumanEval's are;
    4. the last block, or the text, that is a program of any kind; graded as it is, it fails with its own error;
    5. the lines of the text, from one that may begin a program to where it stops being Python.
    """
    completion = completion.removeprefix("\ufeff")  # as Python does with a file's
    whole = _whole(completion)
    if whole is not None and _does_something(whole) and (entry_point is None or _answers(whole, entry_point)):
        return _with_prelude(whole, starter_code, entry_point)
    text = answer_part(_with_fences(completion))
    blocks = [block for _, block in sorted(_blocks(text), key=lambda pair: pair[0])]  # stable: python ones last
    programs = [code for code in (_whole(block) for block in blocks) if code is not None and _does_something(code)]
    for code in reversed(programs):
        if _answers(code, entry_point):
            return _with_prelude(_with_helpers(code, programs), starter_code, entry_point)
    if starter_code:
        for body in [*reversed(blocks), text]:
            continued = _continued(starter_code, body)
            if continued is not None:
                return continued
    if programs:
        return _with_prelude(_with_helpers(programs[-1], programs), starter_code, entry_point)
    if (whole := _whole(text)) is not None and _does_something(whole):
        return _with_prelude(whole, starter_code, entry_point)
    salvaged = [code for body in [*blocks, text] for code in _salvaged(body)]
    answers = [code for code in salvaged if _answers(code, entry_point)]
    found = max(answers or salvaged, key=lambda code: code.count("\n"), default=None)
    return None if found is None else _with_prelude(found, starter_code, entry_point)


def _blocks(text: str) -> Iterator[tuple[bool, str]]:
    """(whether it is marked as Python, body) of every block."""
    for label, start, end in fenced_blocks(text):
        yield label.lower() in _PYTHON, text[start:end].removesuffix("\n")


def _with_fences(text: str) -> str:
    """The text with fences for tags."""
    for tag in reversed([*own_marks(_TAG, text)]):
        fence = "\n```\n" if tag[1] else "\n```python\n"
        text = text[: tag.start()] + fence + text[tag.end() :]
    return text


def _whole(text: str) -> str | None:
    """All of a text that is Python, without common indentation and blank ends; None if it is not."""
    code = textwrap.dedent(text).strip("\n").rstrip()
    try:
        parse_python(code)
    except Unparsable:
        return None
    return code


def _does_something(code: str) -> bool:
    """Whether it is more than names and constants, which prose and sample outputs can be by chance."""
    return any(
        not isinstance(node, ast.Expr) or any(isinstance(inner, ast.Call) for inner in ast.walk(node))
        for node in parse_python(code).body
    )


def _answers(code: str, entry_point: str | None) -> bool:
    """Whether the program binds the entry point (or has a class `Solution`), or, without one, reads its input."""
    if entry_point is None:
        return _READS.search(code) is not None
    return bool(_bound(parse_python(code).body) & {entry_point, "Solution"})


def _bound(statements: Iterable[ast.AST]) -> set[str]:
    """Names bound at the top level, also inside `if`, `try`, `with` and loops there."""
    names: set[str] = set()
    queue = list(statements)
    while queue:
        node = queue.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif not isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            queue += ast.iter_child_nodes(node)
    return names


def _with_helpers(code: str, programs: Sequence[str]) -> str:
    """The program after those earlier ones that bind names which it uses and nothing binds."""
    tree = parse_python(code)
    stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    arguments = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    missing = used - stored - arguments - _bound(tree.body) - set(dir(builtins))
    helpers = []
    for earlier in programs[: programs.index(code)]:
        offered = _bound(parse_python(earlier).body) & missing
        if offered and not _READS.search(earlier):
            helpers.append(earlier)
            missing -= offered
    return insert_before("\n".join(helpers), code) if helpers else code


def _continued(starter_code: str, text: str) -> str | None:
    """Starter code and a text that goes on from it, up to where it stops being Python; None if it does not."""
    if not text[:1].isspace():
        return None
    head = starter_code.rstrip() + "\n"
    return _longest(head + text.strip("\n"), at_least=head.count("\n") + 1)


def _salvaged(text: str) -> Iterator[str]:
    """Parts of a text that are Python, each from a line that may begin a program."""
    lines = source_lines(text[:MAX_CHARACTERS])
    starts = [number for number, line in enumerate(lines) if _START.match(line)]
    end = -1
    for start in starts[:_MAX_STARTS]:
        if start < end:
            continue  # inside the part before
        code = _longest("\n".join(lines[start:]), at_least=1)
        if code is not None and _does_something(code):
            end = start + code.count("\n") + 1
            yield code


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
