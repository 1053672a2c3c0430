"""The filter that runs programs: twice each, in the sandbox, the second time watched."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Any

from domino_lightning.curation.filters import rehash, watcher
from domino_lightning.curation.filters.base import Candidate, Context, Filter
from domino_lightning.domains.base import Domain
from domino_lightning.domains.python.extraction import insert_before
from domino_lightning.domains.python.source import parse_python
from domino_lightning.execution.beside import beside
from domino_lightning.execution.calls import Call, Execution, Limits, run_calls
from domino_lightning.execution.literals import NotALiteral, literal_equal, parse_literal

_WATCH = f"{beside(watcher, '_domino_watcher')}; _domino_watcher['watch']()"
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}")
_HOLDS_ADDRESS = re.compile(r"<.+ at 0x[0-9a-f]{6,}>")  # what objects print as that have no text of their own
_STATUS_CODES = {"timeout": "slow"}


class Executes(Filter):
    """Rejects a record whose program fails, is slow, prints, changes files, or does not give one answer.

    It runs twice, the second time watched by an audit hook for files opened for writing, directories, processes
    and sockets, and with other addresses for its objects. One that uses sets, hashes or `id` runs a third time, in
    an interpreter with other string hashes, since the order of a set of strings is no answer. Records that hold no
    program pass, code-generation problems among them.

    Codes: `error`, `slow`, `memory`, `output_limit`, `crashed`, `no_value`, `nondeterministic`, `side_effect`.

    Args:
        timeout_s: CPU seconds of a run; a program that takes longer is slow.
        memory_mb: MiB of memory.
        none: whether a program may return None; in CRUXEval none does.
    """

    reason = "execution"
    block_size = 32
    coded = True

    def __init__(self, timeout_s: float = 2.0, memory_mb: int = 1024, none: bool = False) -> None:
        self.none = none
        self.limits = Limits(timeout_s=timeout_s, memory_mb=memory_mb)

    def concerns(self, domain: Domain) -> bool:
        """Where the domain executes, or gives programs."""
        return domain.executes or type(domain).program is not Domain.program

    def open(self, context: Context) -> None:
        """Take note of the domain and the number of workers."""
        self.domain, self.workers = context.domain, context.workers

    def reject(self, candidate: Candidate) -> str | None:
        """`review` of one."""
        return next(self.review([candidate]))

    def review(self, candidates: Sequence[Candidate]) -> Iterator[str | None]:
        """Run the programs, `workers` at a time."""
        jobs = [self._job(candidate) for candidate in candidates]
        calls = [call for job in jobs if isinstance(job, list) for call in job]
        done = run_calls(calls, self.limits, self.workers)
        try:
            for job in jobs:
                if isinstance(job, Exception):
                    raise job  # at its own row's turn
                yield None if job is None else self._problem(*(next(done) for _ in job))
        finally:
            done.close()

    def _problem(self, plain: Execution, watched: Execution, rehashed: Execution | None = None) -> str | None:
        if plain.status != "ok" or plain.value is None:
            return f"{_STATUS_CODES.get(plain.status, plain.status)}: {without_addresses(plain.detail)}"
        if plain.stdout:
            return f"side_effect: prints {without_addresses(plain.stdout[:60])!r}"
        if watched.status != "ok" or watched.value is None:
            return f"nondeterministic: ran once, then {watched.status}: {without_addresses(watched.detail)}"
        if plain.value == "None" and not self.none:
            return "no_value: returns None"
        value, (again, events) = _parsed(plain.value), _parsed(watched.value)
        if events:
            return f"side_effect: {', '.join(map(str, events))}"
        if not literal_equal(value, again):
            return "nondeterministic: two runs return different values"
        if _HOLDS_ADDRESS.search(plain.value):
            return "nondeterministic: the value holds an address"
        if rehashed is not None and not _is_printed(value, rehashed):
            return "nondeterministic: another interpreter gives another value"
        return None

    def _job(self, candidate: Candidate) -> list[Call] | Exception | None:
        """The runs of a record's program, or what went wrong with making them."""
        try:
            program = self.domain.program(candidate.record)
            if program is None:
                return None
            code, entry_point, arguments = program
            watched = f"_domino_watcher['watched']({entry_point})"
            calls = [Call(code, entry_point, arguments), Call(insert_before(_WATCH, code), watched, arguments)]
            if _uses_hashes(code):
                script = f"{code}\nprint(repr([{entry_point}({arguments})]))"
                calls.append(Call(inspect.getsource(rehash), "rehashed", repr(script)))
            return calls
        except Exception as error:
            return error


def _uses_hashes(code: str) -> bool:
    """Whether a program holds a set, or what makes one, or asks for a hash or an address."""
    nodes = list(ast.walk(parse_python(code)))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    asks = bool(names & {"set", "frozenset", "hash", "id"})
    return asks or any(isinstance(node, ast.Set | ast.SetComp) for node in nodes)


def without_addresses(detail: str) -> str:
    """The text of an error without what differs from run to run: `<object at 0x7f2c...>`."""
    return _ADDRESS.sub("0x...", detail)


def _parsed(literal: str) -> Any:
    return parse_literal(literal, max_chars=len(literal))


def _is_printed(value: object, run: Execution) -> bool:
    """Whether a run of `rehash.py` returned what prints as a list of the value."""
    if run.status != "ok" or run.value is None:
        return False
    try:
        return literal_equal([value], _parsed(_parsed(run.value)))
    except NotALiteral:
        return False
