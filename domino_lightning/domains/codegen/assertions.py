"""Whether a test's code asserts anything: code that cannot fail passes every program."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def asserts_nothing(tree: ast.Module, entry_point: str | None = None) -> str | None:
    """Why a test fails no program, in a few words; None if it can.

    What is executed is what stands outside of definitions, and the definitions that this names, directly or by one
    another. In it there must be an `assert` of something that is not true whatever the program does, a `raise`, or
    the name of something that asserts (`np.testing.assert_allclose`). More can be told by running it (`blank.py`).

    Args:
        tree: the test's code.
        entry_point: the function under test; calling it is no assertion.
    """
    nodes = list(_executed(tree))
    asserted = [node for node in nodes if isinstance(node, ast.Assert)]
    asserting = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname and _asserts(alias.name)
    }
    if (
        any(not _always_true(node.test, entry_point) for node in asserted)
        or any(isinstance(node, ast.Raise) for node in nodes)
        or any(_name(node) in asserting or _asserts(_name(node)) for node in nodes)
    ):
        return None
    statements = [node.value for node in nodes if isinstance(node, ast.Expr)]
    if asserted:
        return f"what it asserts is true of every program ({ast.unparse(asserted[0])[:60]})"
    if any(isinstance(node, _Definition) for node in ast.walk(tree)):
        return "nothing calls the functions or classes in it"
    if any(isinstance(value, ast.Compare) for value in statements):
        return "it compares without `assert`"
    return "there is no assertion in it"


def has_check(tree: ast.Module) -> bool:
    """Whether code defines HumanEval's `check`: a function of the top level that can be called with one argument."""
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check"]
    if not found:
        return False
    arguments = found[-1].args
    positional = len(arguments.posonlyargs) + len(arguments.args)
    required = positional - len(arguments.defaults)
    named = any(default is None for default in arguments.kw_defaults)
    return required <= 1 and (positional >= 1 or arguments.vararg is not None) and not named


def _executed(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes of statements outside definitions, and of every definition that a node among them names."""
    definitions: dict[str, list[ast.AST]] = {}
    for node in ast.walk(tree):
        if isinstance(node, _Definition):
            definitions.setdefault(node.name, []).append(node)
    left: list[ast.AST] = list(tree.body)
    while left:
        node = left.pop(0)
        if isinstance(node, _Definition):
            left += node.decorator_list
            continue  # its body counts when it is named
        yield node
        left += ast.iter_child_nodes(node)
        for definition in definitions.pop(_name(node), ()):
            left += ast.iter_child_nodes(definition)


def _always_true(test: ast.expr, entry_point: str | None) -> bool:
    """Whether a condition holds for every program: a constant, a display that is not empty, the function itself."""
    if isinstance(test, ast.Tuple | ast.List | ast.Set):
        return bool(test.elts)  # `assert (f(1) == 2, "message")`
    if isinstance(test, ast.Dict | ast.Lambda | ast.GeneratorExp):
        return not isinstance(test, ast.Dict) or bool(test.keys)
    if isinstance(test, ast.BoolOp):
        found = [_always_true(value, entry_point) for value in test.values]
        return all(found) if isinstance(test.op, ast.And) else any(found)
    if isinstance(test, ast.Name):
        return test.id == entry_point
    if isinstance(test, ast.Constant):
        return bool(test.value)  # `assert False` marks a place that must not be reached
    return not any(isinstance(node, ast.Name | ast.Call | ast.Await) for node in ast.walk(test))


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _asserts(name: str) -> bool:
    """Whether it is called like a function that asserts, such as `assert_allclose` or `assertEqual`."""
    return "assert" in name.lower() and name != "AssertionError"
