"""Decontamination by function, name and n-gram, against splits and benchmark files of any format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from domino_lightning.curation import Candidate, Contaminated, Context
from domino_lightning.data.source import Source
from domino_lightning.domains import CodeExec
from domino_lightning.errors import UserError
from domino_lightning.stages.curate import Curate
from tests.conftest import write_rows

DOMAIN = CodeExec()
CODE = "def f(items, n):\n    total = 0\n    for item in items:\n        total += item * n\n    return total"
HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": 'def has_close_elements(numbers, threshold):\n    """ Check if any two are closer. """\n',
    "entry_point": "has_close_elements",
    "canonical_solution": "    return any(abs(a - b) < threshold for a in numbers for b in numbers if a is not b)\n",
    "test": "def check(candidate):\n    assert candidate([1.0, 2.0], 0.3) == False\n",
}


def candidate(code: str, call: str = "f([1], 2)") -> Candidate:
    return Candidate({"id": "s-0", "text": f"{code}\n\n{call}"}, DOMAIN)


def opened(made: Contaminated, test: str | None = None, heldout: str | None = None) -> Contaminated:
    named = {"test": test, "heldout": heldout}
    others = {
        name: [DOMAIN.read({"id": f"{name}-0", "code": code, "input": "1"}, "row")]
        for name, code in named.items()
        if code
    }
    made.open(Context(DOMAIN, [], others))
    return made


def test_a_test_items_function_under_other_names_is_contaminated() -> None:
    made = opened(Contaminated(), test=CODE)
    renamed = CODE.replace("total", "acc").replace("item", "x").replace("f(", "weigh(")
    assert made.reject(candidate(renamed, "weigh([1], 2)")) == "function: 'weigh' is that of test item test-0"
    nested = f"def g(a):\n    {CODE.replace(chr(10), chr(10) + '    ')}\n    return f(a, 3)"
    assert str(made.reject(candidate(nested, "g([1])"))).startswith("function: 'f'")


def test_another_function_is_not_contaminated() -> None:
    assert opened(Contaminated(), test=CODE).reject(candidate(CODE.replace("+=", "-="))) is None


def test_heldout_counts_only_when_asked_for() -> None:
    assert opened(Contaminated(), heldout=CODE).reject(candidate(CODE)) is None
    assert opened(Contaminated(splits=["heldout"]), heldout=CODE).reject(candidate(CODE)) is not None


def test_a_long_shared_ngram_is_contaminated_and_shown() -> None:
    changed = CODE.replace("return total", "return total or None")
    found = opened(Contaminated(ngram=12), test=CODE).reject(candidate(changed))
    assert found == "ngram: 12 tokens in common with test item test-0: def f ( items , n ) : total = 0 for"
    assert opened(Contaminated(ngram=26), test=CODE).reject(candidate(changed)) is None


@pytest.mark.parametrize(
    ("code", "call", "detail"),
    [
        ("def has_close_elements(a):\n    return a", "has_close_elements(1)", "name: 'has_close_elements' is also in "),
        ("def check(candidate):\n    return candidate", "check(1)", None),  # one word tells nothing
        ("def solve(a, b):\n    pass", "solve(1, 2)", None),  # neither does the stub of a prompt
    ],
)
def test_a_benchmarks_rows_are_read_as_they_are(tmp_path: Path, code: str, call: str, detail: str | None) -> None:
    path = write_rows(tmp_path / "humaneval.jsonl", [HUMANEVAL])
    made = opened(Contaminated(benchmarks=[Source(str(path))]))
    found = made.reject(candidate(code, call))
    assert found is None if detail is None else str(found).startswith(detail + str(path) + ", line 1")


def test_names_of_the_projects_own_splits_belong_to_the_domain() -> None:
    made = opened(Contaminated(), test="def sum_of_squares(a):\n    return sum(x * x for x in a)")
    assert made.reject(candidate("def sum_of_squares(a):\n    return a", "sum_of_squares(1)")) is None


def test_names_can_be_left_out(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "humaneval.jsonl", [HUMANEVAL])
    made = opened(Contaminated(benchmarks=[Source(str(path))], names=False))
    assert made.reject(candidate("def has_close_elements(a):\n    return a", "has_close_elements(1)")) is None


def test_the_fingerprint_rests_on_the_benchmarks_bytes(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "b.jsonl", [HUMANEVAL])
    node: dict[str, Any] = {"class_path": "domino_lightning.curation.Contaminated"}
    node["init_args"] = {"benchmarks": [{"path": str(path)}]}
    section = {"filters": ["domino_lightning.curation.Parses", node]}
    before = Curate.contents(section)
    write_rows(path, [{**HUMANEVAL, "task_id": "other"}])
    after = Curate.contents(section)
    assert list(before) == list(after) == ["filters.1.init_args.benchmarks.0.path"]
    assert before != after


def test_a_missing_benchmark_stops_it_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Contaminated\.benchmarks\.0\.path: .*no such file"):
        opened(Contaminated(benchmarks=[Source(str(tmp_path / "none.jsonl"))]))


@pytest.mark.parametrize("settings", [{"splits": ["train"]}, {"ngram": 0}])
def test_settings_that_make_no_sense_are_refused(settings: Any) -> None:
    with pytest.raises(UserError, match="Contaminated"):
        Contaminated(**settings)
