"""Code generation: programs found in completions and run on tests."""

from __future__ import annotations

import pytest

from domino_lightning.domains import Verdict
from domino_lightning.domains.codegen.grading import grade_completion
from domino_lightning.execution.sandbox.tiers import TIERS
from tests.domains.codegen.problems import DOMAIN, DOUBLE, HUMANEVAL, WHERE, functional, problem, stdin, verdict


@pytest.mark.parametrize(
    "completion",
    [
        DOUBLE,
        f"```python\n{DOUBLE}\n```",
        f"Sure! Here it is:\n\n```python\n{DOUBLE}\n```\nIt doubles.",
        f"```py\ndef double(x):\n    return 0\n```\nNo, rather:\n```python\n{DOUBLE}\n```",
        f"```\n{DOUBLE}\n```",
        f"```python\n{DOUBLE}",
        f"```python\n{DOUBLE}\n```\nRun it:\n```bash\npython double.py\n```",
        f"Here is the function.\n{DOUBLE}\n\nIt's simple, isn't it?",
        "double = lambda x: 2 * x",
        "    return 2 * x",
        "    return 2 * x\n\nThis doubles x, isn't it nice?",
        f"from __future__ import annotations\n{DOUBLE}",
        "class Solution:\n    pass\n\n" + DOUBLE,
    ],
)
def test_the_program_is_found_in_a_completion(completion: str) -> None:
    record = problem("assert double(2) == 4", starter_code="import re\n\ndef double(x):")
    assert verdict(record, completion)._replace(wall_s=0, tier="") == Verdict(True, "passed", tier="")


@pytest.mark.parametrize("completion", ["I cannot do that.", "It's: def", "```python\n```", "x" * 30_000])
def test_a_completion_without_a_program_is_an_error(completion: str) -> None:
    found = verdict(problem("assert double(2) == 4"), completion)
    assert (found.passed, found.status) == (False, "error")


def test_an_empty_completion_fails() -> None:
    found = verdict(problem("assert double(2) == 4"), " \n")
    assert (found.passed, found.status, found.detail) == (False, "failed", "the completion is empty")


def test_helpers_and_imports_of_the_starter_code_are_there() -> None:
    record = DOMAIN.read(HUMANEVAL, WHERE)
    rewritten = "def total(xs: List[int]) -> int:\n    return sum(helper(x) for x in xs)"
    assert verdict(record, rewritten).passed
    assert verdict(record, HUMANEVAL["canonical_solution"]).passed


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("def double(x):\n    return 2 * x", "passed"),
        ("def double(x):\n    return x", "failed"),
        ("def double(x):\n    return undefined", "error"),
        ("def double(x):\n    raise AssertionError", "failed"),
        ("import os\ndef double(x):\n    os.abort()", "crashed"),
        ("def double(x):\n    return ' ' * 10**10", "memory"),
        ("def double(x):\n    while True:\n        print('x' * 10000)", "output_limit"),
        ("import sys\ndef double(x):\n    sys.exit(0)", "error"),
        ("import os\ndef double(x):\n    os._exit(0)", "crashed"),
        ("def double(x):\n    return 4\nexit()", "error"),
        ("def double(x):\n    return 2 * x\nif __name__ == '__main__':\n    input()", "passed"),
    ],
)
def test_assertions_pass_only_when_they_ran_to_their_end(program: str, status: str) -> None:
    found = verdict(problem("assert double(2) == 4"), program)
    assert (found.status, found.passed) == (status, status == "passed")
    assert found.tier in TIERS
    assert found.wall_s > 0


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("print(int(input()) * 2)", "passed"),
        ("print(' ', int(input()) * 2, '\\n\\n')", "passed"),
        ("print(int(input()) * 3)", "failed"),
        ("print(int(input()) * 2)\nprint('done')", "failed"),
        ("print(4)\nraise SystemExit(1)", "error"),
        ("import sys\nprint(4)\nsys.exit()", "passed"),
    ],
)
def test_whole_programs_are_judged_by_the_lines_they_print(program: str, status: str) -> None:
    assert verdict(problem(stdin("2\n", "4\n")), program).status == status


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("class Solution:\n    def f(self, xs: List[int], s):\n        return (xs[0], [s])", "passed"),
        ("def f(xs, s):\n    return [xs[0], (s,)]", "passed"),
        ("def f(xs, s):\n    return [float(xs[0]), [s]]", "failed"),
        ("def f(xs, s):\n    return {1, 2}", "failed"),
        ("def f(xs, s):\n    return object()", "error"),
        ("def f(xs):\n    return xs", "error"),
    ],
)
def test_functional_results_are_compared_as_values_with_tuples_for_lists(program: str, status: str) -> None:
    record = problem(functional('[1, 2]\n"é"', '[1, ["é"]]'), entry_point="f")
    assert verdict(record, program).status == status


def test_all_tests_must_pass_and_the_first_that_does_not_is_named() -> None:
    found = verdict(problem("assert f(1) == 1", "assert f(2) == 2", "assert f(3) == 3"), "def f(x):\n    return 1")
    assert (found.passed, found.status) == (False, "failed")
    assert found.detail.startswith("test 2 of 3: ")


def test_long_test_code_is_taken() -> None:
    """Generated tests can be longer than any program."""
    record = DOMAIN.read({"prompt": "x", "tests": [{"type": "assert", "code": "assert f(1) == 2\n" * 2000}]}, WHERE)
    assert grade_completion(record, "def f(x): return 2 * x").passed
    assert not grade_completion(record, "def f(x): return x").passed


def test_no_tests_is_an_error_and_never_a_pass() -> None:
    found = verdict(problem(), "print(1)")
    assert (found.passed, found.status) == (False, "error")


def test_verdicts_keep_the_order_of_records_and_completions() -> None:
    records = [problem(f"assert f() == {number}") for number in range(8)]
    texts = [[f"def f():\n    return {number}", "def f():\n    return -1"] for number in range(8)]
    graded = list(DOMAIN.grade(iter(records), iter(texts), workers=3))
    assert [[one.passed for one in row] for row in graded] == [[True, False]] * 8


def test_a_closed_iterator_leaves_no_work_behind() -> None:
    graded = DOMAIN.grade([problem("assert f() == 1")] * 50, [["def f():\n    return 1"]] * 50, workers=1)
    assert next(iter(graded))[0].passed
    graded.close()  # type: ignore[attr-defined]


def test_as_many_completions_as_records_are_needed() -> None:
    with pytest.raises(ValueError, match="zip"):
        list(DOMAIN.grade([problem()], [], workers=1))
