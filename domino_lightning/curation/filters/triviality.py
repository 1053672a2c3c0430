"""The filter against functions that do nothing with what they are given."""

from __future__ import annotations

import ast

from domino_lightning.curation.filters.base import Candidate, Context, Filter
from domino_lightning.domains.python.source import parse_python

_Function = ast.FunctionDef


class Trivial(Filter):
    """Rejects a program whose called function gives back an argument as it is, or uses none of them.

    Small models write many of these, and no function of CRUXEval or of the embedded corpus is one. A function
    without parameters is not judged, nor is a record that holds no program, nor one whose entry point is no
    function of the program's top level.
    """

    reason = "trivial"
    coded = True

    def open(self, context: Context) -> None:
        """Take note of the domain."""
        self.domain = context.domain

    def reject(self, candidate: Candidate) -> str | None:
        """By the syntax tree of the entry point."""
        program = self.domain.program(candidate.record)
        if program is None:
            return None
        functions = [node for node in parse_python(program.code).body if isinstance(node, _Function)]
        named = [node for node in functions if node.name == program.entry_point]
        return _problem(named[-1]) if named else None


def _problem(function: _Function) -> str | None:
    arguments = function.args
    listed = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    names = {each.arg for each in listed if each is not None}
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not names:
        return None
    if len(body) == 1 and isinstance(body[0], ast.Return):
        value = body[0].value
        if isinstance(value, ast.Name) and value.id in names:
            return f"identity: it returns its argument {value.id} as it is"
    nodes = (node for statement in body for node in ast.walk(statement))
    if not any(isinstance(node, ast.Name) and node.id in names for node in nodes):
        return f"constant: it uses none of its arguments {', '.join(sorted(names))}"
    return None
