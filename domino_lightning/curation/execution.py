"""The filter that runs programs: twice each, in the sandbox, the second time watched."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from domino_lightning.curation.filters import Candidate, Context, Filter
from domino_lightning.domains.extraction import insert_before
from domino_lightning.evaluation.answers import NotALiteral, literal_equal, parse_literal
from domino_lightning.evaluation.execution import Call, Execution, Limits, run_calls

# An audit hook sees what a program does to the world outside. It is there to find carelessness; keeping hostile
# code in is the sandbox's work.
_WATCHER = """
import sys

events = []
changing = ("os.", "shutil.", "socket.", "subprocess.", "tempfile.", "sqlite3.", "ftplib.", "smtplib.", "urllib.")
harmless = {"os.listdir", "os.scandir", "os.walk", "os.fwalk", "os.getxattr", "os.listxattr"}

def hook(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        writes = set(mode) & set("wax+") if isinstance(mode, str) else (flags or 0) & 0o3103
        if writes and "__pycache__" not in str(path):
            events.append("opens a file for writing")
    elif event.startswith(changing) and event not in harmless:
        events.append("calls " + event)
    elif event == "builtins.input":
        events.append("reads standard input")

def watched(call):
    return lambda *args, **kwargs: [call(*args, **kwargs), sorted(set(events))[:5]]

sys.addaudithook(hook)
"""
# One line and a namespace of its own: line numbers move by one, and builtins that the program redefines do not matter.
_WATCH = f"_domino_watcher = {{}}; exec({_WATCHER!r}, _domino_watcher)"
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}")
_STATUS_CODES = {"timeout": "slow"}


class Executes(Filter):
    """Rejects a record whose program fails, is slow, prints, changes files, or does not give one answer.

    It runs twice with different string hashes. The second run is watched by an audit hook for files opened
    for writing, directories, processes and sockets. Records that hold no program pass, code-generation
    problems among them.

    Codes: `error`, `slow`, `memory`, `output_limit`, `crashed`, `nondeterministic`, `side_effect`.

    Args:
        timeout_s: CPU seconds of a run; a program that takes longer is slow.
        memory_mb: MiB of address space.
    """

    reason = "execution"
    block_size = 32
    coded = True

    def __init__(self, timeout_s: float = 2.0, memory_mb: int = 1024) -> None:
        self.limits = Limits(timeout_s=timeout_s, memory_mb=memory_mb)

    def open(self, context: Context) -> None:
        """Take note of the domain and the number of workers."""
        self.domain, self.workers = context.domain, context.workers

    def reject(self, candidate: Candidate) -> str | None:
        """`review` of one."""
        return next(self.review([candidate]))

    def review(self, candidates: Sequence[Candidate]) -> Iterator[str | None]:
        """Run the programs, `workers` at a time."""
        jobs = [self._job(candidate) for candidate in candidates]
        calls = [call for job in jobs if isinstance(job, tuple) for call in job]
        done = run_calls(calls, self.limits, self.workers)
        try:
            for job in jobs:
                if isinstance(job, Exception):
                    raise job  # at its own row's turn
                yield None if job is None else _problem(next(done), next(done))
        finally:
            done.close()

    def _job(self, candidate: Candidate) -> tuple[Call, Call] | Exception | None:
        """The plain and the watched run, or what went wrong with making them."""
        try:
            program = self.domain.program(candidate.record)
            if program is None:
                return None
            code, entry_point, arguments = program
            watched = f"_domino_watcher['watched']({entry_point})"
            return Call(code, entry_point, arguments), Call(insert_before(_WATCH, code), watched, arguments)
        except Exception as error:
            return error


def without_addresses(detail: str) -> str:
    """The text of an error without what differs from run to run: `<object at 0x7f2c...>`."""
    return _ADDRESS.sub("0x...", detail)


def _problem(plain: Execution, watched: Execution) -> str | None:
    if plain.status != "ok" or plain.value is None:
        return f"{_STATUS_CODES.get(plain.status, plain.status)}: {without_addresses(plain.detail)}"
    if plain.stdout:
        return f"side_effect: prints {without_addresses(plain.stdout[:60])!r}"
    if watched.status != "ok" or watched.value is None:
        return f"nondeterministic: ran once, then {watched.status}: {without_addresses(watched.detail)}"
    try:
        first = parse_literal(plain.value, max_chars=len(plain.value))
        both: Any = parse_literal(watched.value, max_chars=len(watched.value))
    except NotALiteral as error:
        return f"error: {error}"
    second, events = both
    if events:
        return f"side_effect: {', '.join(map(str, events))}"
    if not literal_equal(first, second):
        return "nondeterministic: two runs return different values"
    return None
