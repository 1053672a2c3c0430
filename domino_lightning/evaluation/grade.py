"""`domino grade`: problems and solutions in, one line of verdicts per solution row out, in order, resumable."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from domino_lightning.domains.problems import empty_problems, grade_problems, read_problem
from domino_lightning.domains.rows import row_id
from domino_lightning.errors import UserError
from domino_lightning.execution.unit_test import SHARED, Rules
from domino_lightning.utils.atomic import naming
from domino_lightning.utils.jsonl import Record, canonical_json, read_numbered_jsonl, sha256_text

log = logging.getLogger(__name__)

_REMEDY = "Fix or remove the line, or leave bad lines out, counted, with --skip-bad-lines."


class _Job(NamedTuple):
    """A row of the solutions file with its problem; `key` is what its verdicts rest on."""

    id: Any
    record: Record
    completions: list[str]
    key: str


@dataclass
class Summary:
    """What grading came to.

    Attributes:
        rows, programs, passed, shared: how many; `shared` counts verdicts that the program could have forged.
        statuses: how many verdicts have each status.
        graded: programs graded by this call; the others were there already.
        tier: of the programs that ran.
    """

    tier: str
    rows: int = 0
    programs: int = 0
    passed: int = 0
    shared: int = 0
    graded: int = 0
    statuses: Counter[str] = field(default_factory=Counter)

    def add(self, verdicts: list[dict[str, Any]]) -> None:
        """Count one row."""
        self.rows += 1
        self.programs += len(verdicts)
        self.passed += sum(verdict["passed"] for verdict in verdicts)
        self.shared += sum(verdict["trust"] == SHARED for verdict in verdicts)
        self.statuses.update(verdict["status"] for verdict in verdicts)


def grade_files(
    problems: Path,
    solutions: Path,
    output: Path,
    rules: Rules,
    workers: int,
    skip_bad_lines: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Grade every completion of a solutions file and append a line per row to `output`.

    A row is `{"id", "verdicts": [{"passed", "status", "detail", "wall_s", "tier", "trust"}], "key"}`, with
    `"compat"` where rules are lenient. Killed at any instant, the same call continues: lines that are there are
    kept, a last one that was begun is cut off, and `key`, a hash of problem, completions and rules, must fit. A file
    that holds anything else is left as it is.

    Args:
        problems: in any format that the shipped domains read.
        solutions: rows of `{"id", "completions"}`; verdicts keep their order.
        output: created, or continued.
        rules: limits, tier and comparison.
        workers: programs at a time.
        skip_bad_lines: count and report bad lines instead of stopping at the first.
        progress: called with the programs that have a verdict, and all of them.

    Raises:
        UserError: a bad line, an output that is an input or holds anything but verdicts of these inputs and rules, or
            a host without a sandbox.
        StageFailed: the sandbox itself fails.
    """
    if workers < 1:
        raise UserError(f"--workers {workers}: give at least one.")
    _require_own_output(output, problems, solutions)
    summary = Summary(rules.resolve_tier())
    jobs = _read_jobs(problems, solutions, rules, summary.tier, workers, skip_bad_lines)
    total = sum(len(job.completions) for job in jobs)
    with _opened(output) as file:
        for verdicts in _recover(file, output, jobs):
            summary.add(verdicts)
        left = jobs[summary.rows :]
        progress(summary.programs, total)
        graded = grade_problems((job.record for job in left), (job.completions for job in left), workers, rules)
        for job, found in zip(left, graded, strict=True):
            row = {"id": job.id, "verdicts": [verdict.as_dict() for verdict in found], "key": job.key}
            if rules.compat:
                row["compat"] = rules.compat
            with naming(output):
                file.write(json.dumps(row).encode() + b"\n")
                file.flush()
            summary.add(row["verdicts"])
            summary.graded += len(found)
            progress(summary.programs, total)
    return summary


def _read_jobs(problems: Path, solutions: Path, rules: Rules, tier: str, workers: int, skip: bool) -> list[_Job]:
    """The rows of the solutions file; tests of the problems that they name are run once, to see that they can fail."""
    records = _read_problems(problems, skip)
    settings = canonical_json({"limits": vars(rules.limits), "compat": rules.compat, "tier": tier})
    hashes = {name: sha256_text(settings + canonical_json(record)) for name, (_, record) in records.items()}

    def read(row: Record, where: str) -> tuple[str, _Job]:
        name = row_id(row, where)
        if name not in records:
            raise UserError(f"{where}: field 'id' is {row['id']!r}, and {problems} has no such problem.")
        texts = row["completions"]
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise UserError(f"{where}: field 'completions' must be a list of strings; it is {str(texts)[:80]!r}.")
        key = sha256_text(hashes[name] + canonical_json(texts))[:16]
        return where, _Job(row["id"], records[name][1], texts, key)

    found = _each(solutions, ("id", "completions"), read, skip)
    if not found:
        raise UserError(f"{solutions}: no solutions; give rows of 'id' and 'completions'.")
    named = {job.record["id"]: job.record for _, job in found}
    empty = empty_problems([*named.values()], workers, rules)
    _leave_out(problems, [f"{records[name][0]}: row '{name}' {problem}." for name, problem in empty.items()], skip)
    lost = [f"{where}: its problem is left out." for where, job in found if job.record["id"] in empty]
    _leave_out(solutions, lost, skip)
    jobs = [job for _, job in found if job.record["id"] not in empty]
    if not jobs:
        raise UserError(f"{problems}: no problem is left to grade by; give problems with tests that can fail.")
    return jobs


def _read_problems(path: Path, skip: bool) -> dict[str, tuple[str, Record]]:
    """Problems by id, each with the name of its line."""
    found: dict[str, tuple[str, Record]] = {}

    def read(row: Record, where: str) -> None:
        record = read_problem(row, where)
        if record["id"] in found:
            raise UserError(f"{where}: field 'id' is {record['id']!r}, as on an earlier line.")
        found[record["id"]] = where, record

    _each(path, (), read, skip)
    if not found:
        raise UserError(f"{path}: no problem to grade by; give rows with tests.")
    return found


def _each(path: Path, required: tuple[str, ...], read: Callable[[Record, str], Any], skip: bool) -> list[Any]:
    """What `read` makes of every row, bad ones an error or left out."""
    made, skipped = [], []
    for number, row in read_numbered_jsonl(path, required, skip, _REMEDY):
        try:
            made.append(read(row, f"{path}, line {number}"))
        except UserError as error:
            skipped.append(str(error))
            if not skip:
                break
    _leave_out(path, skipped, skip)
    return made


def _leave_out(path: Path, bad: list[str], skip: bool) -> None:
    """Refuse bad lines, or count them."""
    if bad and not skip:
        raise UserError(f"{bad[0]} {_REMEDY}")
    if bad:
        log.warning("%s: left out %d bad lines; the first: %s", path, len(bad), bad[0])


def _require_own_output(path: Path, problems: Path, solutions: Path) -> None:
    """Refuse to write what is one of the inputs, under whatever name, or no file that can be continued."""
    for name, given in (("--problems", problems), ("--solutions", solutions)):
        with contextlib.suppress(OSError):
            if os.path.samefile(path, given):
                raise UserError(f"--output {path}: it is the same file as {name} {given}. Give another --output.")
    if path.exists() and not path.is_file():
        raise UserError(f"--output {path}: not a regular file, so it cannot be continued. Give another --output.")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The output, locked, to be read and appended to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+b")  # noqa: SIM115  closed below
    except OSError as error:
        raise UserError(f"--output {path}: {error.strerror}.") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(f"--output {path}: another domino grade is writing it.") from None
    try:
        yield file
    finally:
        with naming(path):  # what a full disk did not take is tried once more
            file.close()


def _recover(file: IO[bytes], path: Path, jobs: list[_Job]) -> Iterator[list[dict[str, Any]]]:
    """Verdicts that are there already; the file ends after them.

    Only a last line without its end that begins as its verdicts would is cut off: anything else in the file was not
    written by this command, and is not its to remove.
    """
    file.seek(0)
    end = 0
    for number, line in enumerate(file):
        where = f"{path}, line {number + 1}"
        row = _row(line)
        job = jobs[number] if number < len(jobs) else None
        if row is None and not (job is not None and _is_begun(line, job)):
            raise UserError(f"{where}: no verdicts of this command's. Remove the file, or give another --output.")
        if row is not None and (job is None or (row.get("id"), row.get("key")) != (job.id, job.key)):
            raise UserError(
                f"{where}: verdicts of other problems, solutions or rules. Remove the file, or give another --output."
            )
        if row is None or not line.endswith(b"\n"):
            log.warning("%s: an interrupted line was cut off and is graded again.", path)
            break
        end += len(line)
        yield row["verdicts"]
    os.truncate(file.fileno(), end)


def _is_begun(line: bytes, job: _Job) -> bool:
    """Whether a line without its end is the beginning of a job's verdicts."""
    head = json.dumps({"id": job.id, "verdicts": []}).encode()[:-2]
    return not line.endswith(b"\n") and (line.startswith(head) or head.startswith(line))


def _row(line: bytes) -> Mapping[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("verdicts"), list) else None
