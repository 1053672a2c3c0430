"""The trusted side of a check: test code runs here, and its calls of the program go to another process."""

from __future__ import annotations

import ast
import sys

from domino_lightning.execution.sandbox.inside import wire
from domino_lightning.execution.sandbox.inside.checker.link import Link
from domino_lightning.execution.sandbox.inside.checker.names import make_namespace
from domino_lightning.execution.sandbox.inside.checker.remote import Unproxyable
from domino_lightning.execution.sandbox.inside.peer import Flood, Gone, Peer
from domino_lightning.execution.sandbox.inside.program import PEER, RECURSION, Fields, depth

_EQUALS_NOTHING = " (an object of the program's equals no plain value)"


def check(job: Fields) -> Fields:
    """Run `job["test"]` and report: passed, failed, error, memory, gone (ask the program), or unproxyable."""
    peer = Peer(PEER)
    try:
        tree = ast.parse(job["test"])
    except (SyntaxError, ValueError) as error:
        return {"status": "error", "detail": f"the test is not Python ({error})"}
    try:
        link = make_namespace(tree, _parsed(job["code"]), job["entry_point"], peer)
    except Unproxyable as error:
        return {"status": "unproxyable", "detail": str(error)}
    except BaseException as error:
        return _failure(error, job["test"])
    report = _run(tree, link, job["test"])
    # Test code can catch everything, but not make anything of it.
    if link.refused is not None:
        return {"status": "unproxyable", "detail": str(link.refused)}
    return report if peer.gone is None else _failure(peer.gone, job["test"])


def _run(tree: ast.Module, link: Link, test: str) -> Fields:
    sys.setrecursionlimit(RECURSION + depth())
    try:
        exec(compile(tree, "<test>", "exec", dont_inherit=True), link.namespace)
        link.peer.send({"o": "done"})
    except AssertionError as error:
        hint = _EQUALS_NOTHING if link.equals_nothing else ""
        return {"status": "failed", "detail": _located(error, test) + hint}
    except BaseException as error:
        return _failure(error, test)
    return {"status": "passed"}


def _failure(error: BaseException, test: str) -> Fields:
    if isinstance(error, Flood):
        detail = f"too much to pass between the program and its test, which is a limit of the grader ({error})"
        return {"status": "output_limit", "detail": detail}
    if isinstance(error, Gone):
        return {"status": "gone", "detail": str(error)}
    if isinstance(error, MemoryError):
        return {"status": "memory", "detail": "out of memory"}
    return {"status": "error", "detail": _located(error, test)}


def _located(error: BaseException, test: str) -> str:
    """The error with the test's own line, which says more than most messages of assertions."""
    lines, line = test.splitlines(), 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<test>":
            line = trace.tb_lineno
        trace = trace.tb_next
    message = wire.message_of(error)
    source = f" at `{lines[line - 1].strip()[:200]}`" if 0 < line <= len(lines) else ""
    return f"{type(error).__name__}{': ' if message else ''}{message}{source}"


def _parsed(code: str) -> ast.Module:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])  # the program's own process says what is wrong with it
