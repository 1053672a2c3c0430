"""Code generation: rows of four formats become records; a bad row is named with its field."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.domains.codegen import rows as codegen_rows
from domino_lightning.errors import UserError
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
