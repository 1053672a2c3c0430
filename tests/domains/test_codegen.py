"""Code generation: rows of four formats, texts read back, programs found in completions and run on tests."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.domains import CodeGen, Unparsable, Verdict, codegen_rows
from domino_lightning.domains.codegen import EXAMPLE
from domino_lightning.domains.codegen_grading import grade_completion
from domino_lightning.errors import UserError
from domino_lightning.evaluation.sandbox.tiers import TIERS

DOMAIN = CodeGen()
WHERE = "rows.jsonl, row 3"
DOUBLE = "def double(x):\n    return 2 * x"
HUMANEVAL = {
    "task_id": "HumanEval/900",
    "prompt": (
        "from typing import List\n\ndef helper(x):\n    return -x\n\n"
        'def total(xs: List[int]) -> int:\n    """ Sum of the\n    negatives of xs.\n    """\n'
    ),
    "entry_point": "total",
    "canonical_solution": "    return sum(map(helper, xs))\n",
    "test": "def check(candidate):\n    assert candidate([1, 2]) == -3\n    assert candidate([]) == 0\n",
}
LIVECODEBENCH = {
    "question_id": "q1",
    "question_content": "Add the numbers.",
    "starter_code": "class Solution:\n    def addUp(self, xs: List[int], by: str) -> int:\n        ",
    "public_test_cases": json.dumps([{"input": '[1, 2]\n"a"', "output": "3", "testtype": "functional"}]),
    "metadata": '{"func_name": "addUp"}',
}


def problem(*tests: Any, **fields: Any) -> dict[str, Any]:
    made = [{"type": "assert", "code": test} if isinstance(test, str) else test for test in tests]
    return DOMAIN.read({"id": "p", "prompt": "Do it.", "tests": made, **fields}, WHERE)


def stdin(given: str, wanted: str) -> dict[str, str]:
    return {"type": "stdin", "input": given, "output": wanted}


def functional(given: str, wanted: str) -> dict[str, str]:
    return {"type": "functional", "input": given, "output": wanted}


def verdict(record: dict[str, Any], completion: str) -> Verdict:
    ((found,),) = DOMAIN.grade([record], [[completion]], workers=1)
    return found


# Reading


def test_the_projects_own_row_keeps_its_fields() -> None:
    row = {"id": 7, "prompt": " Double it.\n", "tests": [], "starter_code": "def double(x):\n", "level": 2}
    record = DOMAIN.read(row, WHERE)
    assert record == {
        "id": "7",
        "kind": "codegen",
        "prompt": "Double it.",
        "starter_code": "def double(x):",
        "entry_point": "double",
        "tests": [],
        "level": 2,
        "group": record["group"],
        "text": "Double it.\n\n```python\ndef double(x):\n```",
    }


@pytest.mark.parametrize("field", ["text", "prompt"])
def test_mbpp_rows_of_both_releases(field: str) -> None:
    row = {
        "task_id": 12,
        field: "Double a number.",
        "code": f"def unused():\n    pass\n\n{DOUBLE}\n",
        "test_list": ["assert set([double(2)]) == {4}", "assert double(0) == 0"],
        "test_imports": ["import math"],
    }
    record = DOMAIN.read(row, WHERE)
    assert (record["id"], record["prompt"], record["entry_point"]) == ("12", "Double a number.", "double")
    assert record["tests"][1] == {"type": "assert", "code": "import math\nassert double(0) == 0"}
    assert record["solution"].endswith(DOUBLE)
    assert not {"code", "test_list", "test_imports"} & record.keys()


def test_a_humaneval_docstring_becomes_the_statement_and_its_check_stays_hidden() -> None:
    record = DOMAIN.read(HUMANEVAL, WHERE)
    assert record["prompt"] == "Sum of the\nnegatives of xs."
    assert record["starter_code"].endswith("def total(xs: List[int]) -> int:")
    assert record["tests"][0]["hidden"] is True
    assert "check" not in record["text"]
    assert verdict(record, record["solution"]).passed


def test_livecodebench_public_tests_are_shown_and_private_ones_hidden() -> None:
    packed = json.dumps([{"input": '[5]\n"b"', "output": "5", "testtype": "functional"}])
    pickled = base64.b64encode(zlib.compress(pickle.dumps(packed))).decode()
    for private in (packed, pickled):
        record = DOMAIN.read({**LIVECODEBENCH, "private_test_cases": private}, WHERE)
        assert (record["id"], record["entry_point"]) == ("q1", "addUp")
        assert [test.get("hidden", False) for test in record["tests"]] == [False, True]
        assert record["text"].endswith("Tests:\nassert Solution().addUp([1, 2], 'a') == 3")


def test_private_tests_are_never_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    pickled = base64.b64encode(zlib.compress(pickle.dumps([Bomb(), "x"]))).decode()
    with pytest.raises(UserError, match="private_test_cases"):
        DOMAIN.read({**LIVECODEBENCH, "private_test_cases": pickled}, WHERE)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_of_a_pickled_string_is_read(protocol: int) -> None:
    packed = json.dumps([{"input": '[5]\n"\u00e9\\n"', "output": "5", "testtype": "functional"}], ensure_ascii=False)
    pickled = base64.b64encode(zlib.compress(pickle.dumps(packed, protocol))).decode()
    record = DOMAIN.read({**LIVECODEBENCH, "private_test_cases": pickled}, WHERE)
    assert record["tests"][-1]["input"] == '[5]\n"\u00e9\\n"'


@pytest.mark.parametrize(
    "value", [["[]"], ("[]",), {"[]": 1}, b"[]", 5, None, {"a": "[]"}, ["[]", "[]"], frozenset(["[]"]), Path("[]")]
)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_of_anything_but_a_string_is_refused(value: object, protocol: int) -> None:
    pickled = base64.b64encode(zlib.compress(pickle.dumps(value, protocol))).decode()
    with pytest.raises(UserError, match="private_test_cases"):
        DOMAIN.read({**LIVECODEBENCH, "private_test_cases": pickled}, WHERE)


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        ("!!!", "neither JSON"),
        (base64.b64encode(b"no zlib").decode(), "neither JSON"),
        (base64.b64encode(zlib.compress(b"no pickle")).decode(), "neither JSON"),
        (base64.b64encode(zlib.compress(pickle.dumps("[]"))[:-6]).decode(), "cut off"),
        (base64.b64encode(zlib.compress(bytes(3 << 20))).decode(), "more than 1 MiB"),
        (base64.b64encode(zlib.compress(pickle.dumps("{not json"))).decode(), "not JSON"),
        (7, "it is a int"),
    ],
)  # fmt: skip
def test_packed_tests_that_are_damaged_or_too_large_are_told(
    packed: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codegen_rows, "MAX_PACKED_BYTES", 1 << 20)
    with pytest.raises(UserError, match=message):
        DOMAIN.read({**LIVECODEBENCH, "private_test_cases": packed}, WHERE)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "?"}, "no problem in a known format"),
        ({"prompt": "  ", "tests": []}, "field 'prompt'"),
        ({"prompt": "x", "tests": "none"}, "field 'tests' must be a list"),
        ({"prompt": "x", "tests": [{"type": "unit"}]}, "field 'tests[0].type'"),
        ({"prompt": "x", "tests": [{"type": "stdin", "input": 1, "output": ""}]}, "field 'tests[0].input'"),
        (
            {"prompt": "x", "tests": [{"type": "assert", "code": "assert ("}]},
            "field 'tests[0].code' is not Python",
        ),
        (
            {"prompt": "x", "tests": [{"type": "assert", "code": "# assert f(1) == 2"}]},
            "field 'tests[0].code' tests nothing",
        ),
        (
            {"prompt": "x", "entry_point": "f", "tests": [functional("[1", "1")]},
            "field 'tests[0]' is not JSON",
        ),
        ({"prompt": "x", "tests": [functional("1", "1")]}, "functional tests need an 'entry_point'"),
        ({"prompt": "x", "tests": [], "starter_code": "def ("}, "not Python"),
        ({"prompt": "x", "tests": [], "entry_point": "a.b"}, "field 'entry_point'"),
        ({**LIVECODEBENCH, "public_test_cases": "{}"}, "field 'public_test_cases'"),
        ({**HUMANEVAL, "prompt": "def f("}, "field 'prompt' is not Python"),
        ({"text": "x", "code": DOUBLE, "test_list": "assert"}, "field 'test_list'"),
    ],
)
def test_a_bad_row_is_named_with_its_field(row: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        DOMAIN.read(row, WHERE)
    assert str(caught.value).startswith(WHERE)
    assert message in str(caught.value)


def test_a_group_is_a_statement_up_to_layout_case_and_the_functions_name() -> None:
    first = problem("assert double(1) == 2", prompt="Write `double`, which  doubles.")
    second = problem("assert twice(2) == 4", prompt="write `twice`,\nwhich doubles. ")
    third = problem("assert twice(2) == 4", prompt="Write `twice`, which triples.")
    assert first["group"] == second["group"] != third["group"]
    assert DOMAIN.copied_part(first) == DOMAIN.copied_part(second)
    assert DOMAIN.canonical(first) != DOMAIN.canonical(second)


def test_a_record_without_tests_is_a_problem() -> None:
    results = DOMAIN.complete([problem("assert f() == 1"), problem()], workers=1)
    assert [wrong is None for _, wrong in results] == [True, False]


# Text


@pytest.mark.parametrize(
    "record",
    [
        problem("assert double(1) == 2", "assert double(\n    0\n) == 0"),
        problem("import math\nassert math.isclose(double(1), 2)", "assert double(0) == 0"),
        problem("assert double(1) == 2", starter_code="import re\n\ndef double(x: int):\n    '''Twice.'''"),
        problem("assert double(1) == 2", prompt="Like this:\n\n```\n1 -> 2\n```\n\nTests:\nnone yet"),
        problem(stdin("1\n\n2", "3"), stdin("", "0")),
    ],
    ids=["asserts", "imports", "starter", "awkward statement", "programs"],
)
def test_a_problem_reads_back_from_its_text(record: dict[str, Any]) -> None:
    parsed = DOMAIN.parse(record["text"])
    assert parsed == {name: value for name, value in record.items() if name != "id"}


def test_functional_tests_read_back_as_assertions() -> None:
    record = problem(functional('[1, null]\n"a"', "true"), starter_code="def f(xs, s):")
    assert DOMAIN.parse(record["text"])["tests"] == [{"type": "assert", "code": "assert f([1, None], 'a') == True"}]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" ", "empty"),
        ("Double it.", "no_tests"),
        ("Double it.\n\nTests:\n", "no_tests"),
        ("\nTests:\nassert f(1) == 1", "no_tests"),
        ("\u200b\n\nTests:\nassert f(", "syntax"),
        ("Do it.\n\nTests:\nprint(f(1))", "tests"),
        ("Do it.\n\nTests:\nassert f(1)\nx = 1", "tests"),
        ("Do it.\n\nTests:\nx = 1; assert f(x)", "tests"),
        ("Do it.\n\nTests:\nInput:\n3", "tests"),
        ("Do it.\n\nTests:\nassert 1 == 1", "entry_point"),
        ("Do it.\n\n```python\ndef g(x):\n```\n\nTests:\nassert f(1)", "entry_point"),
        ("Do it.\n\n```python\ndef (x):\n```\n\nTests:\nassert f(1)", "syntax"),
        ("Do it.\n\nTests:\nassert f(" + "x" * 20_001 + ")", "too_long"),
    ],
)
def test_a_text_that_is_no_problem_has_a_reason(text: str, reason: str) -> None:
    with pytest.raises(Unparsable) as caught:
        DOMAIN.parse(text)
    assert caught.value.reason == reason


def test_prompt_and_pair_ask_for_a_python_block() -> None:
    record = problem("assert double(1) == 2", solution=DOUBLE)
    question, answer = DOMAIN.pair(record)
    assert record["text"] in question["content"]
    assert answer == {"role": "assistant", "content": f"```python\n{DOUBLE}\n```"}
    assert [message["role"] for message in DOMAIN.prompt(record)] == ["user", "assistant", "user"]
    assert DOMAIN.prompt(record)[-1] == question


def test_instruction_system_message_and_example_can_be_chosen() -> None:
    record = problem("assert double(1) == 2", solution=DOUBLE)
    plain = CodeGen(instruction="Write it.", example=False).prompt(record)
    assert plain == [{"role": "user", "content": f"Write it.\n\n{record['text']}"}]
    spoken = CodeGen(system="You are terse.")
    assert [message["role"] for message in spoken.prompt(record)] == ["system", "user", "assistant", "user"]
    assert [message["role"] for message in spoken.pair(record)] == ["system", "user", "assistant"]


def test_grading_rules_and_limits_are_the_domains() -> None:
    record = problem(functional("1", "true"), starter_code="def f(x):")
    texts = ["def f(x):\n    return x", "def f(x):\n    while True: pass"]
    (strict,) = CodeGen(timeout_s=0.5).grade([record], [texts], workers=2)
    assert [verdict.status for verdict in strict] == ["failed", "timeout"]  # 1 is not true
    (lenient,) = CodeGen(compat="lcb").grade([record], [texts[:1]], workers=1)
    assert lenient[0].passed


def test_the_worked_example_is_right() -> None:
    record = DOMAIN.read(EXAMPLE, "example")
    assert verdict(record, DOMAIN.pair(record)[-1]["content"]).passed


# Programs in completions


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


# Running tests


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
