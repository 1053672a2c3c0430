"""The trusted side of a check: test code runs here, and its calls of the program go to another process."""

from __future__ import annotations

import ast

from domino_lightning.execution.sandbox.inside import wire
from domino_lightning.execution.sandbox.inside.checker.link import Unproxyable
from domino_lightning.execution.sandbox.inside.checker.names import make_namespace
from domino_lightning.execution.sandbox.inside.peer import Gone, Peer
from domino_lightning.execution.sandbox.inside.program import PEER, Report


def check(job: Report) -> Report:
    """Run `job["test"]` and report: passed, failed, error, memory, gone (ask the program), or unproxyable."""
    peer = Peer(PEER)
    try:
        try:
            tree = ast.parse(job["test"])
        except (SyntaxError, ValueError) as error:
            return {"status": "error", "detail": f"the test is not Python ({error})"}
        namespace = make_namespace(tree, _parsed(job["code"]), peer)
        exec(compile(tree, "<test>", "exec", dont_inherit=True), namespace)
        peer.send({"o": "done"})
    except Unproxyable as error:
        return {"status": "unproxyable", "detail": str(error)}
    except Gone as error:
        return {"status": "gone", "detail": str(error)}
    except AssertionError as error:
        return {"status": "failed", "detail": _located(error, job["test"])}
    except MemoryError:
        return {"status": "memory", "detail": "out of memory"}
    except BaseException as error:
        return {"status": "error", "detail": _located(error, job["test"])}
    return {"status": "passed"}


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
