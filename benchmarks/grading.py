"""Grading one simple program after another: this sandbox, a process manager per sample, and the bare interpreter.

Programs are HumanEval's canonical solutions with its tests where the development data lies beside the project, else
the solutions of the embedded corpus, each with an assertion. Three graders take turns on every program, so that
whatever else the machine does falls on all of them alike; times are medians over programs, one program at a time:
- ours: `grade_completion` in the best tier of this host: a process tree of its own, in fresh namespaces, for the
  program and another for its test;
- code_eval: the design of the graders that came with HumanEval, APPS and `evaluate`: a `multiprocessing.Manager`, a
  forked process that runs program and test by `exec` in a temporary directory, and a list that brings the result back.
  Both processes are forks of their caller, so its size counts: this one has imported `evaluate`, as a caller of
  code_eval has;
- floor: fork and exec of the interpreter on an empty program.

`--flat N` grades N programs with all cores instead, and prints the resident memory of the grader and of its sandbox
after every tenth of them.
"""

from __future__ import annotations

import gzip
import importlib
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from statistics import median
from typing import Any

from _report import parser, publish, table

from domino_lightning.domains.codegen.grading import grade_completion, grade_completions
from domino_lightning.execution.sandbox.pool import open_box
from domino_lightning.execution.unit_test import RULES
from domino_lightning.utils.jsonl import read_jsonl

ROOT = Path(__file__).resolve().parents[1]
HUMANEVAL = ROOT.parent / "shared" / "data" / "humaneval.jsonl.gz"
EMBEDDED = ROOT / "domino_lightning" / "corpus" / "problems.jsonl"
QUICK = 20
TIMEOUT_S = 6.0


def load_programs() -> tuple[str, list[tuple[str, str]]]:
    """Where they are from, and (program, test code) of each."""
    if HUMANEVAL.exists():
        with gzip.open(HUMANEVAL, "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        return "HumanEval's canonical solutions", [
            (row["prompt"] + row["canonical_solution"], f"{row['test']}\ncheck({row['entry_point']})") for row in rows
        ]
    made = []
    for row in read_jsonl(EMBEDDED):
        for test in row["tests"]:
            if test["type"] == "functional":
                arguments = ", ".join(repr(json.loads(line)) for line in test["input"].split("\n") if line.strip())
                wanted = repr(json.loads(test["output"]))
                made.append((row["solution"], f"assert {row['entry_point']}({arguments}) == {wanted}"))
    return "solutions of the embedded corpus", made


def ours(program: str, test: str) -> bool:
    record = {"entry_point": None, "tests": [{"type": "assert", "code": test}]}
    return grade_completion(record, program).passed


def code_eval(program: str, test: str) -> bool:
    with multiprocessing.Manager() as manager:
        result = manager.list()
        process = multiprocessing.Process(target=_unsafe, args=(f"{program}\n{test}", result))
        process.start()
        process.join(timeout=TIMEOUT_S + 1)
        if process.is_alive():
            process.kill()
        return list(result) == ["passed"]


def _unsafe(source: str, result: Any) -> None:
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        signal.setitimer(signal.ITIMER_REAL, TIMEOUT_S)
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                exec(source, {})
            result.append("passed")
        except BaseException as error:
            result.append(f"failed: {error}")
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.chdir("/")


def floor(program: str, test: str) -> bool:
    return subprocess.run([sys.executable, "-c", ""], check=False).returncode == 0


def compare(programs: list[tuple[str, str]]) -> dict[str, float]:
    """Median seconds of each grader; a program that one of them does not pass is an error."""
    importlib.import_module("evaluate")
    graders: dict[str, Callable[[str, str], bool]] = {"ours": ours, "code_eval": code_eval, "floor": floor}
    seconds: dict[str, list[float]] = {name: [] for name in graders}
    for program, test in programs:
        for name, grade in graders.items():
            started = time.perf_counter()
            passed = grade(program, test)
            seconds[name].append(time.perf_counter() - started)
            if not passed:
                raise SystemExit(f"{name} does not pass a program that is right:\n{program}")
    return {name: median(values) for name, values in seconds.items()}


def throughput(programs: list[tuple[str, str]], workers: int) -> float:
    """Programs per second with several at a time."""
    started = time.perf_counter()
    graded = sum(len(row) for row in _grade(programs, workers))
    return graded / (time.perf_counter() - started)


def flat(programs: list[tuple[str, str]], total: int, workers: int) -> list[dict[str, float]]:
    """Resident MiB of this process and of the fork server after every tenth of `total` programs."""
    chosen = [programs[number % len(programs)] for number in range(total)]
    points = []
    for number, _ in enumerate(_grade(chosen, workers), start=1):
        if number % max(1, total // 10) == 0:
            server = sum(map(_resident, _children(os.getpid())))
            points.append({"programs": number, "grader_mb": _resident(os.getpid()), "sandbox_mb": server})
    return points


def _grade(programs: list[tuple[str, str]], workers: int) -> Iterator[list[Any]]:
    records = ({"entry_point": None, "tests": [{"type": "assert", "code": test}]} for _, test in programs)
    return grade_completions(records, ([program] for program, _ in programs), workers, RULES)


def _resident(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return 0.0


def _children(pid: int) -> list[int]:
    """The fork server and bubblewrap, not the programs that happen to run."""
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [
        int(child) for each in found for child in Path(f"/proc/{each}/task/{each}/children").read_text().split()
    ]


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--flat", type=int, metavar="N", help="grade N programs and watch the memory instead")
    flags = arguments.parse_args()
    source, programs = load_programs()
    workers = len(os.sched_getaffinity(0))
    tier = open_box().tier
    if flags.flat:
        points = flat(programs, flags.flat, workers)
        print(table(list(points[0]), [list(point.values()) for point in points]))
        if flags.json:
            flags.json.write_text(json.dumps({"tier": tier, "flat": points}, indent=1) + "\n", encoding="utf-8")
        return
    if flags.quick:
        programs = programs[:QUICK]
    compare(programs[:2])  # everybody has imported what it needs
    seconds = compare(programs)
    rate = throughput(programs, workers)
    results = {
        "vs_code_eval": seconds["code_eval"] / seconds["ours"],
        "over_floor": seconds["ours"] / seconds["floor"],
        "programs_per_s": rate,
        "tier": tier,
        "programs": len(programs),
        "median_s": seconds,
    }
    rows = [
        [name, 1000 * value, value / seconds["floor"], seconds["code_eval"] / value] for name, value in seconds.items()
    ]
    text = (
        f"{len(programs)} programs: {source}, tier {tier}, one at a time.\n\n"
        f"{table(['grader', 'ms per program', 'times the floor', 'times as fast as code_eval'], rows)}\n\n"
        f"With {workers} at a time: {rate:.0f} programs per second. code_eval's design isolates nothing."
    )
    publish("grading", "Grading", text, results, flags)


if __name__ == "__main__":
    main()
