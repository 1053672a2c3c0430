from __future__ import annotations

from pathlib import Path

import pytest

from domino_lightning.errors import UserError
from domino_lightning.evaluation.comparison import Outcome, compare, pooled, read_outcomes
from domino_lightning.evaluation.statistics import exact_mcnemar, paired_difference
from domino_lightning.utils.jsonl import write_jsonl


def outcomes(correct: list[int], total: int = 1) -> dict[str, Outcome]:
    return {f"p{i}": Outcome(count, total, f"g{i // 2}") for i, count in enumerate(correct)}


def test_one_sample_each_gives_mcnemars_table() -> None:
    first, second = outcomes([1, 1, 0, 0, 0, 0, 1, 0]), outcomes([1, 0, 1, 1, 1, 0, 1, 1])
    found = compare(first, second)
    assert (found.only_first, found.only_second, found.problems, found.groups) == (1, 4, 8, 4)
    assert found.mcnemar == exact_mcnemar(1, 4) == 0.375
    assert found.difference.value == pytest.approx(3 / 8)
    assert found.difference.low <= 3 / 8 <= found.difference.high


def test_the_order_of_problems_does_not_matter() -> None:
    first, second = outcomes([1, 1, 0, 0, 1]), outcomes([1, 0, 1, 1, 0])
    backwards = dict(reversed(second.items()))
    assert compare(first, backwards) == compare(first, second)


def test_shares_are_compared_where_there_are_several_samples() -> None:
    first = {"a": Outcome(1, 2, "a"), "b": Outcome(2, 4, "b"), "c": Outcome(0, 2, "c")}
    second = {"a": Outcome(2, 4, "a"), "b": Outcome(4, 4, "b"), "c": Outcome(1, 3, "c")}
    found = compare(first, second, k=2)
    assert (found.only_first, found.only_second) == (0, 2)  # a half each on problem a
    by_hand = [(1.0, 5 / 6, 0.0), (5 / 6, 1.0, 2 / 3)]
    difference, p = paired_difference(*by_hand)
    assert found.difference == pytest.approx(difference)
    assert found.p_value == pytest.approx(p)


def test_the_test_is_over_groups_of_problems() -> None:
    """Differences of the four groups of two: 0, -1 + 1, 2, 1 of two problems each, so 0, 0, 1, 0.5 (hand-made)."""
    first, second = outcomes([1, 0, 1, 0, 0, 0, 0, 1]), outcomes([1, 0, 0, 1, 1, 1, 1, 1])
    found = compare(first, second)
    assert found.p_value == paired_difference([0, 0, 0, 0], [0, 0, 1, 0.5])[1]
    assert found.mcnemar == exact_mcnemar(1, 4)


def test_coders_scored_on_different_problems_are_not_compared() -> None:
    with pytest.raises(UserError, match=r"1 are only one's, such as 'p2'"):
        compare(outcomes([1, 0, 1]), outcomes([1, 0]))
    with pytest.raises(UserError, match="no problems"):
        compare({}, {})


def test_seeds_are_pooled_problem_by_problem() -> None:
    runs = [outcomes([1, 0], 1), outcomes([1, 1], 2)]
    assert pooled(runs) == {"p0": Outcome(2, 3, "g0"), "p1": Outcome(1, 3, "g0")}
    with pytest.raises(UserError, match="different problems"):
        pooled([*runs, outcomes([1])])


def test_outcomes_are_read_from_verdicts(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "group": "g", "verdicts": [{"passed": True}, {"passed": False}]},
        {"id": "b", "verdicts": [{"passed": False}]},
    ]
    write_jsonl(tmp_path / "verdicts.jsonl", rows)
    assert read_outcomes(tmp_path / "verdicts.jsonl") == {"a": Outcome(1, 2, "g"), "b": Outcome(0, 1, "b")}
    write_jsonl(tmp_path / "verdicts.jsonl", [rows[0], rows[0]])
    with pytest.raises(UserError, match="'a' comes twice"):
        read_outcomes(tmp_path / "verdicts.jsonl")
