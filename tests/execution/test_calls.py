from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from domino_lightning.errors import UserError
from domino_lightning.execution import literals as answers
from domino_lightning.execution.calls import Call, Execution, Limits, run_call, run_calls, run_program
from domino_lightning.execution.sandbox.inside import literal

ROOT = Path(__file__).resolve().parents[2]
CRUXEVAL = ROOT.parent / "shared" / "data" / "cruxeval_dev.jsonl"
SHORT = Limits(timeout_s=0.3, memory_mb=256, output_bytes=100_000)
PATIENT = Limits(timeout_s=20, memory_mb=256, output_bytes=100_000)  # a slow machine is no misbehavior


@pytest.fixture(autouse=True)
def temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Every test, however it ends its programs, leaves no temporary directory behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


def value_of(expression: str) -> Execution:
    return run_call(f"def f():\n    return {expression}", "f", "")


def body(*lines: str) -> str:
    return "def f():\n" + "".join(f"    {line}\n" for line in lines)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not (held := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return held


def running(marker: str) -> list[int]:
    """Processes with the marker on their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker.encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue  # it ended meanwhile
    return [pid for pid in found if alive(pid)]


def children() -> set[int]:
    """This process's children, zombies included."""
    found = set[int]()
    for task in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that ended meanwhile
            found.update(map(int, Path(f"/proc/{os.getpid()}/task/{task}/children").read_text().split()))
    return found


def descendants() -> set[int]:
    """Every process below this one, the sandbox included."""
    found, new = set[int](), children()
    while new:
        found |= new
        new = {
            int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and parent_of(entry) in found
        } - found
    return {pid for pid in found if alive(pid)}


def parent_of(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_a_call_gives_the_repr_of_its_value_and_what_it_printed() -> None:
    code = "print('noise', 1)\ndef f(a, *, b):\n    print('é')\n    return [a, {'b': (b, None)}]"
    result = run_call(code, "f", "'x', b=-1.5  # a comment")
    assert (result.status, result.value, result.detail) == ("ok", "['x', {'b': (-1.5, None)}]", "")
    assert result.stdout == "noise 1\né\n"
    assert result.wall_s > 0


@pytest.mark.parametrize(
    "expression",
    ["None", "True", "-3", "1e300", "'a\\n\\ud800'", "b''", "()", "set()", "frozenset({1})", "{(1,): [{2}]}"],
)
def test_plain_values_come_back(expression: str) -> None:
    assert value_of(expression).value == repr(eval(expression))


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ("type('Int', (int,), {})(3)", "a Int"),
        ("type('Lie', (str,), {'__repr__': lambda self: '42'})()", "a Lie"),
        ("[{1: object()}]", "a container that holds a object"),
        ("(x for x in [])", "a generator"),
        ("lambda: 1", "a function"),
        ("__import__('threading').Lock()", "a lock"),  # cannot be pickled either
        ("__import__('collections').Counter('a')", "a Counter"),
        ("__import__('collections').namedtuple('P', 'x')(1)", "a P"),
        ("1j", "a complex"),
        ("...", "a ellipsis"),
        ("float('nan')", "nan"),
        ("[float('-inf')]", "-inf"),
        ("10 ** 5000", "4300 digits"),
    ],
)
def test_anything_else_is_an_error_that_names_it(expression: str, named: str) -> None:
    result = value_of(expression)
    assert (result.status, result.value) == ("error", None)
    assert named in result.detail


def test_values_are_bounded_in_depth_and_size() -> None:
    nested = "x = ()\n    for _ in range({}): x = (x,)\n    return x"
    assert run_call(body(nested.format(literal.MAX_DEPTH - 1)), "f", "").status == "ok"
    assert "deep" in run_call(body(nested.format(literal.MAX_DEPTH)), "f", "").detail
    assert "deep" in run_call(body("x = []", "x.append(x)", "return x"), "f", "").detail
    shared = run_call(body("x = []", "for _ in range(60): x = [x, x]", "return x"), "f", "", PATIENT)
    assert (shared.status, shared.value) == ("output_limit", None)
    assert run_call(body("return 'a' * 200_000"), "f", "", PATIENT).status == "output_limit"
    assert answers.MAX_DEPTH >= 2 * literal.MAX_DEPTH  # frozenset({...}) spends two brackets on a level


@pytest.mark.parametrize(
    ("code", "status", "detail"),
    [
        (body("while True: pass"), "timeout", "CPU"),
        (body("try:", "    while True: pass", "except BaseException: return 1"), "timeout", "CPU"),
        (body("import time", "time.sleep(60)"), "timeout", "wall"),
        (body("x = []", "while True: x.append('a' * 100_000)"), "memory", "256 MiB"),
        (body("return len('a' * 10**12)"), "memory", "256 MiB"),
        (body("while True: print('x' * 1000)"), "output_limit", "100000"),
        (body("import sys", "while True: sys.stderr.write('x' * 1000)"), "timeout", "CPU"),
        (body("import os", "os._exit(0)"), "crashed", "exit code 0"),
        (body("import os", "os.write(2, b'last')", "os._exit(3)"), "crashed", "exit code 3: last"),
        (body("import os", "os.kill(os.getpid(), 11)"), "crashed", "SIGSEGV"),
        (body("import os", "os.kill(os.getpid(), 9)"), "crashed", "SIGKILL"),
        (body("import os", "os.closerange(0, 100)", "return 1"), "crashed", "without a result"),
        (body("return f()"), "error", "RecursionError"),
        (body("import sys", "sys.exit()"), "error", "sys.exit(None)"),
        (body("exit(2)"), "error", "sys.exit(2)"),
        (body("raise KeyboardInterrupt"), "error", "KeyboardInterrupt (line 2)"),
        (body("input()"), "error", "EOFError"),
        (body("return 1 / 0"), "error", "ZeroDivisionError: division by zero (line 2)"),
        (body("raise type('E', (Exception,), {'__str__': lambda self: 1 / 0})"), "error", "while it was"),
        (body("raise ValueError('a' * 100_000)"), "error", "ValueError: aaa"),
        (body("with open('big', 'wb') as file: file.write(bytes(1 << 27))"), "error", "OSError"),
        ("def f(:", "error", "SyntaxError: invalid syntax (line 1)"),
        ("x = 1", "error", "NameError"),
        ("1 / 0", "error", "ZeroDivisionError"),
        ("def f(\x00): pass", "error", "null bytes"),
    ],
)
def test_misbehavior_gets_its_status(code: str, status: str, detail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if detail == "CPU":  # a busy machine must not let the wall clock come first
        monkeypatch.setattr(Limits, "wall_s", 60.0)
    limits = SHORT if status == "timeout" else PATIENT
    result = run_call(code, "f", "", limits)
    assert (result.status, result.value) == (status, None)
    assert detail in result.detail
    assert len(result.detail) < 700
    assert len(result.stdout) <= limits.output_bytes


def test_a_forged_result_is_not_believed() -> None:
    forge = (
        "for fd in range(3, 50):",
        "    try: os.write(fd, b'0' * 32 + b' value 2\\n42')",
        "    except OSError: pass",
    )
    for ending in ("os._exit(0)", "return 1"):
        assert run_call(body("import os", *forge, ending), "f", "").status == "crashed"


def test_a_program_that_replaces_builtins_still_reports_its_value() -> None:
    code = body("import builtins, os", "builtins.repr = builtins.type = builtins.len = None", "return [1]")
    assert run_call(code, "f", "").value == "[1]"


def test_dataclasses_and_guards_see_a_module() -> None:
    code = (
        "from __future__ import annotations\nimport dataclasses\n"
        "@dataclasses.dataclass\nclass P:\n    x: int\n"
        "if __name__ == '__main__':\n    raise SystemExit\n"
        "def f(x):\n    return P(x).x, __name__"
    )
    assert run_call(code, "f", "3").value == "(3, 'program')"


def test_runs_are_repeatable_and_see_none_of_the_parents_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    code = body("import os, sys", "return hash('a'), dict(os.environ), sys.path, sys.argv, os.listdir()")
    first, second = (run_call(code, "f", "").value or "" for _ in range(2))
    assert first.partition(",")[0] == second.partition(",")[0]
    assert "secret" not in first
    assert f"'{ROOT}'" not in first
    assert first.endswith("['program.py'], [])")


def test_the_parent_is_untouched() -> None:
    before = set(sys.modules)
    assert run_call("import colorsys, sys\nsys.path.clear()\ndef f(): return 1", "f", "").status == "ok"
    assert set(sys.modules) == before


def test_a_whole_program_reads_its_input_and_prints() -> None:
    code = "import sys\nif __name__ == '__main__':\n    print(int(input()), len(sys.stdin.read()))\n    exit()"
    result = run_program(code, "3\nabc\n")
    assert (result.status, result.value, result.stdout, result.detail) == ("ok", None, "3 4\n", "")


def test_large_input_and_output_do_not_block_each_other() -> None:
    text = "é" * 300_000
    assert run_program("import sys\nfor c in sys.stdin.read(): print(end=c)", text).stdout == text
    assert run_program("print(1)", "x" * 5_000_000).stdout == "1\n"  # never read
    assert run_program("print(len(open(0).read()))", "x" * 5_000_000).stdout == "5000000\n"


@pytest.mark.parametrize(
    ("code", "status", "stdout", "detail"),
    [
        ("import atexit\natexit.register(print, 'late')\nprint('early')", "ok", "early\nlate\n", ""),
        ("import threading\nthreading.Thread(target=print, args=('t',)).start()", "ok", "t\n", ""),
        ("import os\nprint('x', flush=True)\nos._exit(0)", "ok", "x\n", ""),
        ("print(1)\nraise SystemExit(4)", "error", "1\n", "sys.exit(4)"),
        ("import os\nprint(1, flush=True)\nos._exit(4)", "error", "1\n", "exit code 4"),
        ("print(1)\nint('x')", "error", "1\n", "base 10: 'x' (line 2)"),
        ("print(1", "error", "", "SyntaxError"),
        ("[0] * 10**10", "memory", "", "256 MiB"),
        ("while True: print(1)", "output_limit", None, "100000"),
        ("while True: pass", "timeout", "", "CPU"),
        ("import os\nos.abort()", "crashed", "", "SIGABRT"),
        ("import sys\nsys.stdout.buffer.write(b'\\xff')", "ok", "\ufffd", ""),
    ],
)
def test_a_program_ends_as_its_exit_code_says(
    code: str, status: str, stdout: str | None, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if detail == "CPU":
        monkeypatch.setattr(Limits, "wall_s", 60.0)
    result = run_program(code, "", SHORT if status == "timeout" else PATIENT)
    assert (result.status, result.value) == (status, None)
    assert detail in result.detail
    assert stdout is None or result.stdout == stdout


def test_children_left_behind_are_killed_and_not_waited_for() -> None:
    marker = f"marker-{os.getpid()}-left-behind"
    command = f"[sys.executable, '-c', 'import time; time.sleep(60)', {marker!r}]"
    started = time.monotonic()
    result = run_call(body("import subprocess, sys", f"return subprocess.Popen({command}).pid"), "f", "")
    assert result.status == "ok"
    assert time.monotonic() - started < 30  # it holds standard output open
    assert eventually(lambda: not running(marker))
    before = descendants()
    code = body("import os, time", "if not os.fork(): time.sleep(60)", "return 1")
    assert run_call(code, "f", "").status == "ok"
    assert eventually(lambda: descendants() <= before)


def test_a_forked_copy_cannot_report_twice() -> None:
    code = body("import os", "pid = os.fork()", "if pid: os.waitpid(pid, 0)", "return pid > 0")
    assert run_call(code, "f", "").value == "True"


def test_files_that_resist_removal_are_removed(temporary_files: Path) -> None:
    code = body("import os", "os.makedirs('a/b')", "open('a/b/c', 'w').close()", "os.chmod('a', 0)", "return 1")
    assert run_call(code, "f", "").status == "ok"


def test_calls_keep_their_order_under_several_workers() -> None:
    code = "import time\ndef f(i):\n    time.sleep(0.1 * (i % 3 == 0))\n    return i"
    jobs = (Call(code, "f", str(i)) for i in range(12))
    assert [result.value for result in run_calls(jobs, workers=4)] == [str(i) for i in range(12)]
    assert list(run_calls([], workers=2)) == []


def test_jobs_are_read_as_results_are_taken() -> None:
    taken: list[int] = []

    def endless() -> Iterator[Call]:
        for i in itertools.count():
            taken.append(i)
            yield Call("def f(i): return i", "f", str(i))

    results = run_calls(endless(), workers=2)
    assert [next(results).value for _ in range(3)] == ["0", "1", "2"]
    results.close()
    assert len(taken) < 10


def test_closing_the_iterator_kills_what_runs() -> None:
    before = children()
    quick, slow = Call("def f(): return 1", "f", ""), Call("import time\ndef f(): time.sleep(60)", "f", "")
    results = run_calls([quick, *[slow] * 4], workers=2)
    assert next(results).value == "1"  # by then the others have started
    results.close()
    assert children() <= before
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("grade")]


INTERRUPTED = """
import os, sys, tempfile
from domino_lightning.execution.calls import Call, Limits, run_calls, run_call
tempfile.tempdir = sys.argv[1]
start = "subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)', marker])"
call = Call("import subprocess, sys\\ndef f(marker): " + start, "f", repr(os.environ["MARKER"]))
if sys.argv[2] == "one":
    run_call(*call)
else:
    list(run_calls([call] * 5, Limits(), 2))
"""


@pytest.mark.parametrize("how", ["one", "many"])
def test_an_interrupt_leaves_no_process(how: str, temporary_files: Path) -> None:
    marker = f"marker-{os.getpid()}-interrupt-{how}"
    command = [sys.executable, "-c", INTERRUPTED, str(temporary_files), how]
    environment = {**os.environ, "MARKER": marker}
    parent = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert eventually(lambda: len(running(marker)) >= (1 if how == "one" else 2))
    finally:
        parent.send_signal(signal.SIGINT)
        _, errors = parent.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors
    assert eventually(lambda: not running(marker))


@pytest.mark.parametrize(
    "limits", [{"timeout_s": 0}, {"memory_mb": 8}, {"output_bytes": -1}, {"timeout_s": float("nan")}]
)
def test_impossible_limits_are_errors_that_name_them(limits: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(limits))):
        Limits(**limits)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="workers=0"):
        run_calls([], workers=0)


@pytest.mark.skipif(not CRUXEVAL.exists(), reason="the development data is not here")
def test_cruxeval_rows_execute_to_their_output() -> None:
    with CRUXEVAL.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in itertools.islice(file, 100)]
    results = run_calls([Call(row["code"], "f", row["input"]) for row in rows], workers=2)
    for row, result in zip(rows, results, strict=True):
        assert result.status == "ok", (row["id"], result.detail)
        expected, found = answers.parse_literal(row["output"]), answers.parse_literal(result.value or "")
        assert answers.literal_equal(found, expected), row["id"]
