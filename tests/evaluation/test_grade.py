"""`domino grade`: files in, verdicts out, in order, continued after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.cli.main import main
from domino_lightning.errors import UserError
from domino_lightning.evaluation.grade import Summary, grade_files
from domino_lightning.execution.sandbox.limits import Limits
from domino_lightning.execution.unit_test import Rules

ROOT = Path(__file__).resolve().parents[2]
DOUBLE = {"id": "double", "entry_point": "f", "tests": [{"type": "functional", "input": "2", "output": "4"}]}
ECHO = {"id": 7, "kind": "codegen", "prompt": "Echo.", "tests": [{"type": "stdin", "input": "x", "output": "x"}]}
CALL = {
    "id": "call",
    "kind": "codeexec",
    "code": "def f(x):\n    return x",
    "entry_point": "f",
    "input": "1",
    "output": "1",
}
NEXT = {"id": "next", "tests": [{"type": "assert", "code": "assert following(1) == 2"}]}
PROBLEMS = [DOUBLE, ECHO, CALL, NEXT]
SOLUTIONS = [
    {"id": 7, "completions": ["print(input())", "print(1)"]},
    {"id": "double", "completions": ["```python\ndef f(x):\n    return 2 * x\n```", "", "def f(x): return 5"]},
    {"id": "call", "completions": ["[ANSWER]1[/ANSWER]", "1 + 0"]},
    {"id": "next", "completions": ["print(1)"]},
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write(tmp_path / "P.jsonl", PROBLEMS)
    write(tmp_path / "S.jsonl", SOLUTIONS)
    return tmp_path


def write(path: Path, rows: list[Any]) -> None:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def grade(folder: Path, **options: Any) -> Summary:
    rules = options.pop("rules", Rules(Limits(timeout_s=20)))
    return grade_files(folder / "P.jsonl", folder / "S.jsonl", folder / "V.jsonl", rules, 2, **options)


def verdicts(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "V.jsonl").read_text().splitlines()]


def test_every_completion_gets_a_verdict_in_the_order_of_the_solutions(files: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = grade(files, progress=lambda done, total: seen.append((done, total)))
    rows = verdicts(files)
    assert [row["id"] for row in rows] == [7, "double", "call", "next"]
    statuses = [[verdict["status"] for verdict in row["verdicts"]] for row in rows]
    assert statuses == [["passed", "failed"], ["passed", "failed", "failed"], ["passed", "error"], ["error"]]
    fields = {"passed", "status", "detail", "wall_s", "tier", "trust"}
    assert all(verdict.keys() == fields for row in rows for verdict in row["verdicts"])
    assert (found.rows, found.programs, found.passed, found.graded, found.shared) == (4, 8, 3, 8, 0)
    assert seen[0] == (0, 8) and seen[-1] == (8, 8)


@pytest.mark.parametrize("cut", [1, 40, 10**6])
def test_a_cut_file_is_continued_and_a_whole_one_kept(files: Path, cut: int, caplog: pytest.LogCaptureFixture) -> None:
    grade(files)
    whole = (files / "V.jsonl").read_bytes()
    (files / "V.jsonl").write_bytes(whole[: max(0, len(whole) - cut)])
    found = grade(files)
    assert found.programs == 8
    assert [(row["id"], row["key"]) for row in verdicts(files)] == [
        (row["id"], row["key"]) for row in map(json.loads, whole.splitlines())
    ]
    again = (files / "V.jsonl").read_bytes()
    assert grade(files).graded == 0
    assert (files / "V.jsonl").read_bytes() == again


def test_verdicts_of_other_inputs_are_not_continued(files: Path) -> None:
    grade(files)
    before = (files / "V.jsonl").read_bytes()
    with pytest.raises(UserError, match=r"V\.jsonl, line 1: verdicts of other .* --output"):
        grade(files, rules=Rules(Limits(timeout_s=20), compat="lcb"))
    write(files / "S.jsonl", [SOLUTIONS[0], {"id": "double", "completions": ["def f(x): return 4"]}, *SOLUTIONS[2:]])
    with pytest.raises(UserError, match=r"V\.jsonl, line 2"):
        grade(files)
    assert (files / "V.jsonl").read_bytes() == before
    (files / "V.jsonl").write_text("no verdicts\nat all\n")
    with pytest.raises(UserError, match=r"V\.jsonl, line 1: no verdicts"):
        grade(files)


FOREIGN = [
    b"the only copy of my notes",
    b"the only copy of my notes\n",
    b"\n",
    b"\x00\x00\x00",
    b"[1, 2]",
    b'{"id": 7, "completions": ["x"]}',
    b'{"id": 7, "completions": ["x"]}\n',
    b'{"id": 8, "verdicts": [',  # of another row than the first
    b'{"id": 7, "verdicts": [], "key": "of other rules"}',
    b'{"id": 7, "verdicts": [\n',  # it ends, so no kill cut it
    b"[" * 100_000,
]


@pytest.mark.parametrize("content", FOREIGN)
def test_a_file_that_holds_anything_else_is_left_as_it_is(files: Path, content: bytes) -> None:
    (files / "V.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=r"V\.jsonl, line 1: .* another --output"):
        grade(files)
    assert (files / "V.jsonl").read_bytes() == content
    (files / "V.jsonl").unlink()
    grade(files)
    whole = (files / "V.jsonl").read_bytes()
    (files / "V.jsonl").write_bytes(whole + content)
    with pytest.raises(UserError, match=r"V\.jsonl, line 5: "):
        grade(files)
    assert (files / "V.jsonl").read_bytes() == whole + content


@pytest.mark.parametrize("begun", [b"{", b'{"id": 7, "ver', b'{"id": 7, "verdicts": [', b'{"id": 7, "verdicts": [{"pa'])
def test_a_line_that_a_kill_cut_is_graded_again(files: Path, begun: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (files / "V.jsonl").write_bytes(begun)
    assert grade(files).graded == 8
    assert "interrupted line" in caplog.text
    assert [row["id"] for row in verdicts(files)] == [7, "double", "call", "next"]


@pytest.mark.parametrize("given", ["P.jsonl", "S.jsonl"])
@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_an_input_is_no_output(files: Path, given: str, link: Any, capsys: pytest.CaptureFixture[str]) -> None:
    output = files / given
    if link is not None:
        output = files / "other.jsonl"
        link(files / given, output)
    before = (files / given).read_bytes()
    flags = ["--problems", str(files / "P.jsonl"), "--solutions", str(files / "S.jsonl"), "--output", str(output)]
    assert main(["grade", *flags]) == 2
    assert "the same file as" in capsys.readouterr().err
    assert (files / given).read_bytes() == before


def test_an_output_is_a_file(files: Path) -> None:
    for path in (files, Path("/dev/null")):
        with pytest.raises(UserError, match="not a regular file"):
            grade_files(files / "P.jsonl", files / "S.jsonl", path, Rules(), 1)


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("S.jsonl", "{", r"S\.jsonl, line 5: not JSON"),
        ("S.jsonl", {"id": 7}, r"S\.jsonl, line 5: field 'completions' is missing"),
        ("S.jsonl", {"completions": []}, r"S\.jsonl, line 5: field 'id' is missing"),
        ("S.jsonl", {"id": 7, "completions": "x"}, r"S\.jsonl, line 5: field 'completions' must be a list of strings"),
        ("S.jsonl", {"id": 8, "completions": []}, r"S\.jsonl, line 5: field 'id' is 8"),
        ("P.jsonl", {"id": "x", "tests": [{"type": "odd"}]}, r"P\.jsonl, line 5: field 'tests\[0\]\.type'"),
        ("P.jsonl", {"id": "x", "tests": [{"type": "stdin", "input": 1, "output": ""}]}, r"tests\[0\]\.input'"),
        ("P.jsonl", {"id": "x"}, r"P\.jsonl, line 5: no problem in a known format"),
        ("P.jsonl", ECHO, r"P\.jsonl, line 5: field 'id' is '7', as on an earlier line"),
        ("P.jsonl", {**CALL, "id": "x", "output": None}, r"P\.jsonl, line 5: field 'output'"),
    ],
)
def test_a_bad_line_is_named_or_left_out(
    files: Path, name: str, row: Any, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(files / name, [*(PROBLEMS if name == "P.jsonl" else SOLUTIONS), row])
    with pytest.raises(UserError, match=message):
        grade(files)
    assert not (files / "V.jsonl").exists()
    assert grade(files, skip_bad_lines=True).programs == 8
    assert "left out 1 bad lines" in caplog.text


def test_compat_lcb_is_lenient_and_recorded(files: Path) -> None:
    write(files / "S.jsonl", [{"id": "double", "completions": ["def f(x): return 4.0"]}])
    assert grade(files).passed == 0
    (files / "V.jsonl").unlink()
    assert grade(files, rules=Rules(Limits(timeout_s=20), compat="lcb")).passed == 1
    assert verdicts(files)[0]["compat"] == "lcb"
    write(files / "S.jsonl", [{"id": 7, "completions": ["print(input())\nexit(1)"]}])
    (files / "V.jsonl").unlink()
    assert grade(files, rules=Rules(Limits(timeout_s=20), compat="lcb")).passed == 1


def test_the_command_says_what_came_of_it(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--problems", "P.jsonl", "--solutions", "S.jsonl", "--output", "out/V.jsonl"]
    paths = [str(files / text) if text.endswith("jsonl") else text for text in arguments]
    assert main(["grade", *paths, "--timeout-s", "20", "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    assert "3 of 8 programs passed" in printed
    assert "programs/s" in printed and "tier " in printed
    assert main(["grade", *paths, "--timeout-s", "0"]) == 2
    assert main(["grade", *paths, "--workers", "0"]) == 2


@pytest.mark.slow
def test_a_killed_command_continues(files: Path) -> None:
    slow = {"id": 7, "completions": ["import time\ntime.sleep(0.3)\nprint(input())"]}
    write(files / "S.jsonl", [slow] * 12)
    command = [sys.executable, "-m", "domino_lightning", "grade", "--workers", "1", "--timeout-s", "20"]
    for flag, name in (("--problems", "P"), ("--solutions", "S"), ("--output", "V")):
        command += [flag, str(files / f"{name}.jsonl")]
    running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    output, deadline = files / "V.jsonl", time.monotonic() + 60
    while not (output.exists() and output.read_bytes().count(b"\n") >= 2) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    there = output.read_bytes()
    assert 2 <= there.count(b"\n") < 12
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "12 of 12 programs passed" in done.stdout
    assert output.read_bytes().startswith(there[: there.rindex(b"\n") + 1])
    assert len(verdicts(files)) == 12


def test_two_commands_do_not_write_one_file(files: Path) -> None:
    import fcntl

    with open(files / "V.jsonl", "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another domino grade"):
            grade(files)


def test_integer_ids_from_zero_are_the_problems_own(tmp_path: Path) -> None:
    write(
        tmp_path / "P.jsonl",
        [{**CALL, "id": number, "output": str(number), "input": str(number)} for number in range(3)],
    )
    write(tmp_path / "S.jsonl", [{"id": number, "completions": [str(number)]} for number in range(3)])
    assert grade(tmp_path).passed == 3
    assert [row["id"] for row in verdicts(tmp_path)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ({"prompt": "x", "tests": [{"type": "assert", "code": "f(1) == 1"}]}, "compares without `assert`"),
        (
            {"prompt": "def f(x):\n", "entry_point": "f", "canonical_solution": " return x", "test": "import unittest"},
            "defines no function check",
        ),
        ({**CALL, "output": 1}, "field 'output' must be a string"),
        ({**CALL, "output": "f(1)"}, "output is no literal"),
        ({"id": 1, "prompt": "x", "tests": []}, "row '1' has no tests"),
        ({"id": 1, "test_list": [], "text": "x"}, "row '1' has no tests"),
        (
            {"id": 1, "tests": [{"type": "assert", "code": "for x in []:\n    assert f(x) == x"}]},
            "row '1' has tests that no program could fail",
        ),
    ],
    ids=["no assertion", "unittest", "native output", "no literal", "no tests", "empty test_list", "never run"],
)
def test_problems_that_would_be_graded_by_nothing_are_refused(
    tmp_path: Path, problem: dict[str, Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "P.jsonl", [problem, {**CALL, "id": "call"}])
    write(tmp_path / "S.jsonl", [{"id": "call", "completions": ["1"]}, {"id": 1, "completions": ["def f(x): pass"]}])
    with pytest.raises(UserError, match=f"P.jsonl, line 1: .*{message}"):
        grade(tmp_path)
    assert grade(tmp_path, skip_bad_lines=True).passed == 1
    assert "P.jsonl: left out 1 bad lines" in caplog.text
    assert "S.jsonl: left out 1 bad lines" in caplog.text
    assert grade(tmp_path, skip_bad_lines=True).graded == 0


@pytest.mark.parametrize("code", ["f(1)", "assert callable(f)"])
def test_problems_that_are_all_bad_are_not_blamed_on_the_solutions(tmp_path: Path, code: str) -> None:
    write(tmp_path / "P.jsonl", [{"id": 1, "tests": [{"type": "assert", "code": code}]}])
    write(tmp_path / "S.jsonl", [{"id": 1, "completions": ["def f(x): pass"]}])
    with pytest.raises(UserError, match=r"P\.jsonl: no problem"):
        grade(tmp_path, skip_bad_lines=True)


def test_a_byte_order_mark_loses_no_problem(files: Path) -> None:
    for name in ("P.jsonl", "S.jsonl"):
        (files / name).write_bytes(b"\xef\xbb\xbf" + (files / name).read_bytes())
    assert grade(files).rows == 4
