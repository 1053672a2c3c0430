"""Code generation: rows of four formats become records; a bad row is named with its field."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.domains import CodeGen, Verdict
from domino_lightning.domains.codegen import livecodebench
from domino_lightning.domains.codegen.blank import EMPTY
from domino_lightning.errors import UserError
from domino_lightning.utils.typed_text import TypedText
from tests.domains.codegen.problems import DOMAIN, DOUBLE, HUMANEVAL, LIVECODEBENCH, WHERE, functional, problem, verdict


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
    monkeypatch.setattr(livecodebench, "MAX_PACKED_BYTES", 1 << 20)
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
            "field 'tests[0].input' is not JSON",
        ),
        ({"prompt": "x", "entry_point": "f", "tests": [functional("1", "")]}, "field 'tests[0].output' is not JSON"),
        ({"prompt": "x", "tests": [{"type": []}]}, "field 'tests[0].type'"),
        ({"prompt": "x", "tests": [{"type": {"a": 1}}]}, "field 'tests[0].type'"),
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


# Fields that are not given, and ids


@pytest.mark.parametrize("nothing", [None, ""])
@pytest.mark.parametrize("field", ["starter_code", "entry_point", "solution", "id", "tests"])
def test_an_optional_field_that_is_null_or_empty_is_not_given(field: str, nothing: Any) -> None:
    row = {"prompt": "Do it.", "tests": [{"type": "assert", "code": "assert f(2) == 4"}], "task_id": 5, field: nothing}
    if field != "tests":
        without = {name: value for name, value in row.items() if name != field}
        made, expected = DOMAIN.read(row, WHERE), DOMAIN.read(without, WHERE)
        assert {name: value for name, value in made.items() if value is not None} == {
            name: value for name, value in expected.items() if value is not None
        }
    else:
        assert DOMAIN.problem(DOMAIN.read(row, WHERE)) is not None


def test_optional_fields_of_benchmarks_may_be_null() -> None:
    mbpp = {"task_id": 0, "text": None, "prompt": "Double.", "test_list": ["assert double(2) == 4"], "code": None}
    mbpp |= {"test_imports": None, "test_setup_code": None, "test": None}
    assert DOMAIN.has_answer(DOMAIN.read(mbpp, WHERE)) is False
    humaneval = DOMAIN.read({**HUMANEVAL, "canonical_solution": None}, WHERE)
    assert (DOMAIN.has_answer(humaneval), len(humaneval["tests"])) == (False, 1)
    without = {name: value for name, value in HUMANEVAL.items() if name != "canonical_solution"}
    assert DOMAIN.read(without, WHERE)["tests"] == humaneval["tests"]
    private = json.dumps([{"input": "[1]\n2", "output": "3", "testtype": "functional"}])
    row = {**LIVECODEBENCH, "public_test_cases": None, "private_test_cases": private, "starter_code": None}
    assert [test["hidden"] for test in DOMAIN.read({**row, "entry_point": "addUp"}, WHERE)["tests"]] == [True]


@pytest.mark.parametrize(
    ("given", "name"), [(0, "0"), ("0", "0"), (7, "7"), (3.0, "3"), (None, "3"), ("", "3"), (float("nan"), "3")]
)
def test_zero_is_an_id_and_nothing_is_none(given: Any, name: str) -> None:
    assert DOMAIN.read({"id": given, "prompt": "x", "tests": []}, WHERE)["id"] == name


# Tests that would grade nothing, or less


def test_unittest_cases_are_refused_by_name() -> None:
    method = "    def test_a(self):\n        self.assertEqual(total([]), 0)"
    test = f"import unittest\n\nclass TestCases(unittest.TestCase):\n{method}"
    with pytest.raises(UserError, match=r"row 3: field 'test' defines no function check"):
        DOMAIN.read({**HUMANEVAL, "test": test}, WHERE)


def test_the_stronger_tests_of_mbpp_plus_count_and_stay_hidden() -> None:
    row = {"task_id": 1, "prompt": "Double a number.", "code": DOUBLE, "test_list": ["assert double(1) == 2"]}
    row["test"] = "import math\nfor given, wanted in [(0, 0), (5, 10)]:\n    assert double(given) == wanted"
    record = DOMAIN.read(row, WHERE)
    assert [test.get("hidden", False) for test in record["tests"]] == [False, True]
    assert "wanted" not in record["text"]
    assert verdict(record, f"```python\n{DOUBLE}\n```").passed
    assert verdict(record, "```python\ndef double(x):\n    return 2\n```").detail.startswith("test 2 of 2")


NO_TEXTS = (0, False, [], {})
ASSERTION = {"type": "assert", "code": "assert f(1) == 1"}


@pytest.mark.parametrize(
    ("row", "fields"),
    [
        ({"prompt": "x", "tests": [ASSERTION], "test": "assert f(2) == 2"}, ("tests", "test")),
        ({"prompt": "x", "tests": [ASSERTION], "test_list": ["assert f(2) == 2"]}, ("test_list", "tests")),
        ({**LIVECODEBENCH, "tests": [ASSERTION]}, ("public_test_cases", "tests")),
        ({**LIVECODEBENCH, "test_list": ["assert f(2) == 2"]}, ("public_test_cases", "test_list")),
        ({"prompt": "x", "tests": [ASSERTION], "private_test_cases": "[]"}, ("tests", "private_test_cases")),
        ({**HUMANEVAL, "tests": [ASSERTION]}, ("tests", "test")),
        ({**HUMANEVAL, "base_input": [[1]]}, ("test", "base_input")),
        ({"prompt": "x", "tests": [ASSERTION], "input_output": "{}"}, ("tests", "input_output")),
        ({"prompt": "x", "tests": [ASSERTION], "generated_tests": {"input": []}}, ("tests", "generated_tests")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_tests_in_two_places_are_not_chosen_between(row: dict[str, Any], fields: tuple[str, str]) -> None:
    with pytest.raises(UserError, match="row 3: there are tests in '{}' and in '{}'".format(*fields)):
        DOMAIN.read(row, WHERE)


def test_inputs_of_evalplus_are_not_dropped_beside_humanevals_test() -> None:
    with pytest.raises(UserError, match=r"in 'test' and in 'plus_input'\. Take EvalPlus's rows .* whose 'test' holds"):
        DOMAIN.read({**HUMANEVAL, "base_input": [[3]], "plus_input": [[-4], [10**20]]}, WHERE)


@pytest.mark.parametrize(
    ("given", "field", "remedy"),
    [
        (
            {"base_input": [[1]], "canonical_solution": "    pass\n", "entry_point": "f"},
            "base_input",
            "Hugging Face hub",
        ),
        ({"test": "assert f(1) == 1"}, "test", r"Give tests as 'tests'\."),
        ({"input_output": '{"inputs": []}'}, "input_output", r"Give tests as 'tests'\."),
    ],
)
def test_tests_of_another_format_alone_are_named(given: dict[str, Any], field: str, remedy: str) -> None:
    with pytest.raises(UserError, match=rf"row 3: what is in '{field}' is not read.*{remedy}"):
        DOMAIN.read({"prompt": "def f(x):\n    ...", **given}, WHERE)


def test_json_inside_of_a_field_has_no_key_twice_either() -> None:
    row = {**LIVECODEBENCH, "metadata": '{"func_name": "f", "func_name": "g"}'}
    with pytest.raises(UserError, match="row 3: field 'metadata': key 'func_name' is there twice"):
        DOMAIN.read(row, WHERE)


@pytest.mark.parametrize("nothing", [None, ""])
def test_columns_of_other_formats_may_be_there_and_null(nothing: Any) -> None:
    others = {"test_list": None, "test": nothing, "public_test_cases": nothing, "question_content": None}
    assert len(DOMAIN.read({"prompt": "x", "tests": [ASSERTION], **others}, WHERE)["tests"]) == 1


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"tests": [{"type": "assert", "code": "f(1) == 1"}]}, r"tests\[0\]\.code"),
        ({"tests": [{"type": "assert", "code": "assert (f(1) == 1, 'no')"}]}, r"tests\[0\]\.code"),
        ({"test_list": ["assert f(1) == 1", "f(2) == 2"], "code": "def f(x): return x"}, r"test_list\[1\]"),
        ({"test_list": ["assert f(1) == 1"], "test": "def test_f():\n    assert f(2) == 2", "code": None}, "test"),
        ({"test": "def check(c):\n    c(1) == 1", "canonical_solution": " return x", "entry_point": "f"}, "test"),
    ],
)
def test_tests_that_assert_nothing_are_refused(row: dict[str, Any], field: str) -> None:
    prompt = "def f(x):\n" if "test" in row and "test_list" not in row else "Do it."
    with pytest.raises(UserError, match=rf"row 3: field '{field}' tests nothing"):
        DOMAIN.read({"prompt": prompt, **row}, WHERE)


@pytest.mark.parametrize(
    "row",
    [
        {"test_list": ["assert f(1) == 1", None]},
        {"test_list": "assert f(1) == 1"},
        {"test_list": ["assert f(1) == 1"], "test_imports": "import math"},
        {"test_list": ["assert f(1) == 1"], "test_setup_code": 3},
        {"test_list": ["assert f(1) == 1"], "test": 3},
        {"test_list": ["assert f(1) == 1"], "id": {"n": 1}},
        {"test_list": ["assert f(1) == 1"], "id": True},
        *({"tests": [], field: value} for field in ("entry_point", "starter_code", "solution") for value in NO_TEXTS),
        *({"test_list": ["assert f(1) == 1"], "test_imports": value} for value in (0, False, {})),
        *({"tests": value} for value in (0, False, {})),
        *({**LIVECODEBENCH, "starter_code": value} for value in NO_TEXTS),
        *({**LIVECODEBENCH, "metadata": value} for value in (0, False, [])),
    ],
    ids=str,
)
def test_values_of_another_type_are_refused_and_never_made_text(row: dict[str, Any]) -> None:
    field = next((name for name in ("starter_code", "metadata") if row.get(name) in NO_TEXTS), list(row)[-1])
    with pytest.raises(UserError, match=rf"row 3: field '{field}' must be"):
        DOMAIN.read({"prompt": "Do it.", **({} if "tests" in row else {"code": "def f(x): return x"}), **row}, WHERE)


@pytest.mark.parametrize("value", [0, False, [], {}])
def test_private_tests_that_are_no_text_are_refused(value: Any) -> None:
    with pytest.raises(UserError, match="row 3: field 'private_test_cases' is neither"):
        DOMAIN.read({**LIVECODEBENCH, "private_test_cases": value}, WHERE)


@pytest.mark.parametrize("day", [date(2020, 10, 12), Decimal("3.0")])
@pytest.mark.parametrize("field", ["solution", "starter_code", "tests"])
def test_the_text_of_a_date_or_a_decimal_is_no_code(field: str, day: object) -> None:
    value = TypedText(day)
    row = {"prompt": "x", "tests": [ASSERTION], field: [{**ASSERTION, "code": value}] if field == "tests" else value}
    with pytest.raises(UserError, match=rf"row 3: field '{field}.*a {type(day).__name__} \({day}\)"):
        DOMAIN.read(row, WHERE)


def test_modules_that_tests_of_a_release_without_imports_use_are_imported() -> None:
    row = {"prompt": "x", "code": "def gcd(x): return x", "test_list": ["assert math.isclose(gcd(1), 1)"]}
    assert DOMAIN.read(row, WHERE)["tests"][0]["code"] == "import math\nassert math.isclose(gcd(1), 1)"
    assert DOMAIN.read({**row, "test_imports": []}, WHERE)["tests"][0]["code"] == row["test_list"][0]


def test_a_rows_own_solution_is_run_against_its_tests(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    given = [
        problem("assert f(2) == 4", solution="def f(x):\n    return 2 * x"),
        problem("assert f(2) == 5", solution="def f(x):\n    return 2 * x"),
        problem("assert f(2) == 4"),
    ]
    given.append(problem("for x in []:\n    assert f(x) == 4"))
    found = [wrong for _, wrong in DOMAIN.complete(given, workers=1)]
    assert (found[0], found[2]) == (None, None)
    assert found[3] == EMPTY
    assert str(found[1]).startswith("has a solution that its own tests do not pass (failed: test 1 of 1")
    late = [[Verdict(False, "timeout", "test 1 of 1: still running")]]
    monkeypatch.setattr(CodeGen, "grade", lambda *_: iter(late))
    assert [wrong for _, wrong in DOMAIN.complete(given[:1], workers=1)] == [None]
    assert "1 solutions of rows did not end within the limits; the first: 'p' (timeout" in caplog.text
