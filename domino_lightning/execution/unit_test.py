"""One test of one program: run in the sandbox, judged here.

Expected outputs and values stay in this process. Assertions run in a process of their own, the checker, which
calls the program in another; only where the test code's own syntax rules that out do both share a process, and
the outcome says so.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from domino_lightning.errors import UserError
from domino_lightning.execution.matching import LCB, same_json, same_output
from domino_lightning.execution.sandbox.execute import Failure, execute, find_failure, last_words
from domino_lightning.execution.sandbox.limits import Limits
from domino_lightning.execution.sandbox.pool import open_box
from domino_lightning.execution.sandbox.running import Ended, one_line

PARENT, SHARED = "parent", "shared"
GRADING = Limits(output_bytes=16 << 20)
_LIMITS = ("timeout", "memory", "output_limit")
_SHOWN = 200  # characters of a value in a message


@dataclass(frozen=True)
class Rules:
    """How programs are graded.

    Attributes:
        limits: what each run of a program may use.
        tier: the isolation by name; None for the best one that the host allows.
        compat: "lcb" for LiveCodeBench's lenient rules: Python's `==` on numbers and booleans, tuples as lists
            only outermost, and an exit code of `sys.exit` that does not matter.

    Raises:
        UserError: `compat` is neither "" nor "lcb".
    """

    limits: Limits = field(default=GRADING)
    tier: str | None = None
    compat: str = ""

    def __post_init__(self) -> None:
        if self.compat not in ("", LCB):
            raise UserError(f"compat {self.compat!r}: there is only '{LCB}'.")

    def resolve_tier(self) -> str:
        """The name of the tier that programs run in.

        Raises:
            UserError: it cannot be had.
        """
        return open_box(self.tier).tier


RULES = Rules()


class Judged(NamedTuple):
    """What became of one test.

    `status` is "passed", "failed", "error", "timeout", "memory", "output_limit" or "crashed"; `trust` is
    "parent" where the program had no part in the judgement, "shared" where it could have forged it.
    """

    status: str
    detail: str
    wall_s: float
    trust: str = PARENT


def run_test(
    program: str,
    entry_point: str | None,
    test: Mapping[str, Any],
    rules: Rules = RULES,
    stop: threading.Event | None = None,
) -> Judged:
    """Run a program on one test, of `type` stdin, functional or assert, in fresh processes.

    Raises:
        UserError: the host has no sandbox.
        StageFailed: the sandbox itself fails.
        Stopped: `stop` was set meanwhile.
    """
    if test["type"] == "stdin":
        return _run_stdin(program, test, rules, stop)
    if test["type"] == "functional":
        return _run_functional(program, str(entry_point), test, rules, stop)
    return _run_assertions(program, entry_point, test["code"], rules, stop)


def run_beside(program: str, code: str, rules: Rules = RULES, stop: threading.Event | None = None) -> Judged:
    """Run assertions in the process of a program that is trusted: what each object of its says, counts.

    Raises:
        UserError, StageFailed, Stopped: as for `run_test`.
    """
    return _run_shared(program, code, rules, stop)


def _run_stdin(program: str, test: Mapping[str, Any], rules: Rules, stop: threading.Event | None) -> Judged:
    job = {"mode": "program", "code": program, "implicit": True}
    (ended,) = execute([job], rules.limits, test["input"].encode("utf-8", "surrogatepass"), stop, rules.tier)
    failure = find_failure(ended, rules.limits)
    if failure is None and ended.code != 0 and not (rules.compat == LCB and _message(ended).get("status") == "exit"):
        detail = _message(ended).get("detail") or f"exit code {ended.code}{last_words(ended)}"
        failure = Failure("error", detail)
    if failure is not None:
        return Judged(*failure, ended.wall_s)
    try:
        text = ended.stdout.decode("utf-8")
    except UnicodeDecodeError as error:
        return Judged("failed", f"printed bytes that are not UTF-8 (at {error.start})", ended.wall_s)
    return _compared(same_output(text, test["output"]), text, test["output"], ended)


def _run_functional(
    program: str, entry_point: str, test: Mapping[str, Any], rules: Rules, stop: threading.Event | None
) -> Judged:
    arguments = [line for line in test["input"].split("\n") if line.strip()]
    job = {"mode": "function", "code": program, "entry_point": entry_point, "arguments": arguments, "implicit": True}
    (ended,) = execute([job], rules.limits, stop=stop, tier=rules.tier)
    failure = find_failure(ended, rules.limits) or _unclean(ended, "value", "the result")
    if failure is not None:
        return Judged(*failure, ended.wall_s)
    value: bytes = _message(ended)["value"]
    same = same_json(value, test["output"], rules.compat)
    return _compared(same, value[: 2 * _SHOWN].decode("ascii", "replace"), test["output"], ended)


def _run_assertions(
    program: str, entry_point: str | None, code: str, rules: Rules, stop: threading.Event | None
) -> Judged:
    serving = {"mode": "serve", "code": program, "implicit": False}
    checking = {"mode": "check", "code": program, "test": code, "entry_point": entry_point}
    ended, checker = execute([serving, checking], rules.limits, stop=stop, tier=rules.tier)
    wall_s = max(ended.wall_s, checker.wall_s)
    status = _message(checker).get("status") if find_failure(checker, rules.limits) is None else None
    if status == "unproxyable":
        return _run_shared(program, code, rules, stop)
    if status == "passed":
        failure = find_failure(ended, rules.limits) or _unclean(ended, "served", "the tests")
        return Judged(*failure, wall_s) if failure else Judged("passed", "", wall_s)
    if status in ("failed", "error", "memory", "output_limit"):
        return Judged(status, _message(checker).get("detail") or "", wall_s)
    own = find_failure(ended, rules.limits)
    if own is None or (own.status not in _LIMITS and status != "gone"):
        own = (find_failure(checker, rules.limits) if status is None else None) or own
    return Judged(*(own or _unclean(ended, "", "the tests") or Failure("crashed", "ended before the tests")), wall_s)


def _run_shared(program: str, code: str, rules: Rules, stop: threading.Event | None) -> Judged:
    job = {"mode": "shared", "code": program, "test": code, "implicit": False}
    (ended,) = execute([job], rules.limits, stop=stop, tier=rules.tier)
    failure = find_failure(ended, rules.limits)
    if failure is None and _message(ended).get("status") == "failed":
        failure = Failure("failed", _message(ended).get("detail") or "")
    failure = failure or _unclean(ended, "passed", "the tests")
    return Judged(*failure, ended.wall_s, SHARED) if failure else Judged("passed", "", ended.wall_s, SHARED)


def _unclean(ended: Ended, wanted: str, what: str) -> Failure | None:
    """Why this is no clean end with the report wanted, or None."""
    message = _message(ended)
    status = message.get("status")
    if status is None:
        return Failure("crashed", f"ended before {what}, exit code {ended.code}{last_words(ended)}")
    if status != wanted:
        if message.get("kind") == "AssertionError":
            return Failure("failed", message.get("detail") or "")
        known = status if status in _LIMITS else "error"
        return Failure(known, message.get("detail") or f"ended before {what}")
    if ended.code != 0:
        return Failure("error", f"exit code {ended.code} after {what}{last_words(ended)}")
    return None


def _message(ended: Ended) -> dict[str, Any]:
    return ended.message or {}


def _compared(same: bool, got: str, wanted: str, ended: Ended) -> Judged:
    if same:
        return Judged("passed", "", ended.wall_s)
    return Judged("failed", f"gave {_clip(got)}, expected {_clip(wanted)}", ended.wall_s)


def _clip(text: str) -> str:
    return one_line(ascii(text[:_SHOWN]), 80)
