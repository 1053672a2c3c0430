"""What a program's process does: run it whole, call it once, serve calls, or check a program that serves them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from domino_lightning.execution.sandbox.inside import wire
from domino_lightning.execution.sandbox.inside.checker.check import check
from domino_lightning.execution.sandbox.inside.encoding import encode
from domino_lightning.execution.sandbox.inside.literal import literal
from domino_lightning.execution.sandbox.inside.program import (
    CHANNEL,
    Fields,
    attempt,
    describe,
    enter,
    finish,
    load,
)
from domino_lightning.execution.sandbox.inside.serving import serve_calls

Send = Callable[[Fields], None]


def start_program(limits: dict[str, Any], fds: Sequence[int]) -> NoReturn:
    """Run the job; never returns."""
    job = enter(limits, fds)
    _MODES[job["mode"]](job, _sender(job.pop("nonce")))
    os._exit(70)  # a forked copy of this process that came back here


def _sender(nonce: str) -> Send:
    write, owner, getpid, dumps, deeply, leave = os.write, os.getpid(), os.getpid, wire.dumps, wire.deeply, os._exit

    def send(report: Fields) -> None:
        if getpid() != owner:
            leave(70)
        value = report.pop("value", None)
        with deeply():
            data = memoryview(dumps({"nonce": nonce, **report}) + b"\n" + dumps(value))
        try:
            while data:
                data = data[write(CHANNEL, data) :]
        except OSError:  # the program closed the channel; the parent sees that no report came
            leave(71)

    return send


def _whole(job: Fields, send: Send) -> None:
    """As `python program.py`: only a failure needs a report, the rest is output and exit code."""

    def work() -> Fields:
        load(job, "__main__")
        return {"status": "done"}

    own = os.getpid()
    report = attempt(work)
    code = 0 if report["status"] == "done" else report.get("code", 1)
    if report["status"] != "done" and os.getpid() == own:  # not a child that ends by itself
        send(report)
    module = sys.modules.get("__main__")
    finish(code, vars(module) if module is not None and "__del__" in job["code"] else None)


def _literal(job: Fields, send: Send) -> None:
    """The repr of `entry_point(arguments)`, arguments being source."""

    def work() -> Fields:
        namespace = load(job, "program")
        call = f"{job['entry_point']}(\n{job['arguments']}\n)"
        value = eval(compile(call, "<call>", "eval", dont_inherit=True), namespace)
        return {"status": "value", "value": literal(value, job["output_bytes"])}

    _answer(attempt(work), send)


def _function(job: Fields, send: Send) -> None:
    """The tree of `entry_point(*arguments)`, arguments being JSON; a method of `Solution` if there is one."""
    loads, make = json.loads, encode

    def work() -> Fields:
        namespace = load(job, "program")
        name, owner = job["entry_point"], namespace.get("Solution")
        target = getattr(owner(), name) if isinstance(owner, type) and hasattr(owner, name) else namespace.get(name)
        if target is None:
            return {"status": "error", "detail": f"defines no {name!r}"}
        return {"status": "value", "value": make(target(*map(loads, job["arguments"])))}

    _answer(attempt(work), send)


def _answer(report: Fields, send: Send) -> None:
    send(report)
    if report["status"] == "value":
        finish(0)
    os._exit(0)


def _serve(job: Fields, send: Send) -> None:
    """Load the program, then answer the checker's calls until it is done."""
    report = attempt(lambda: serve_calls(load(job, "program")))
    send(report)
    if report["status"] == "served":
        finish(0)
    os._exit(0)


def _check(job: Fields, send: Send) -> None:
    """Run test code against the program at the other end of the peer socket."""
    send(check(job))
    os._exit(0)


def _shared(job: Fields, send: Send) -> None:
    """Test code in the program's own process, where a hostile program can forge its success."""
    run, make = exec, compile
    test = job.pop("test")

    def work() -> Fields:
        namespace = load(job, "program")
        namespace["__name__"] = "__main__"
        try:
            run(make(test, "<test>", "exec", dont_inherit=True), namespace)
        except AssertionError as error:
            return {"status": "failed", "detail": describe(error)}
        return {"status": "passed"}

    report = attempt(work)
    send(report)
    if report["status"] == "passed":
        finish(0)
    os._exit(0)


_MODES: dict[str, Callable[[Fields, Send], None]] = {
    "program": _whole,
    "literal": _literal,
    "function": _function,
    "serve": _serve,
    "check": _check,
    "shared": _shared,
}
