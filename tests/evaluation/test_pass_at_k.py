from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from domino_lightning.errors import UserError
from domino_lightning.evaluation.pass_at_k import PassAtK

ROOT = Path(__file__).resolve().parents[2]


def test_values_are_means_over_problems_with_counts() -> None:
    metric = PassAtK(k=(1, 2))
    metric.update([1, 0], [2, 4], ["a", "b"])
    metric.update([4], [4], ["a"])
    result = metric.compute()
    assert result["pass@1"].item() == pytest.approx((0.5 + 0 + 1) / 3)
    assert result["pass@2"].item() == pytest.approx((1 + 0 + 1) / 3)
    assert [result[name].item() for name in ("problems", "groups", "samples")] == [3, 2, 10]


def test_interval_of_two_groups_by_hand() -> None:
    """A group of three failures and one of one success: off the mean 1/4 by -3/4 and 3/4, variance 2 · 9/16 / 4².

    That is 2 · 2/1 · (9/16) / 16 = 9/64 with G/(G - 1), m(1 - m) = 3/16, so n = 4/3. Of so few, none or all may well
    be solved, so that both tails are one: t of one degree of freedom is 6.314 at 95%, and 0 at 50% where the low end
    is the mean and the high one where all are solved one time in four.
    """
    wide, narrow = PassAtK(confidence=0.95), PassAtK(confidence=0.5)
    for metric in (wide, narrow):
        metric.update([0, 1, 0, 0], [1, 1, 1, 1], ["a", "b", "a", "a"])
    low, high = (narrow.compute()[f"pass@1{end}"].item() for end in ("_low", "_high"))
    assert (low, high) == pytest.approx((0.25, 0.25**0.75))
    low, high = (wide.compute()[f"pass@1{end}"].item() for end in ("_low", "_high"))
    for end in (low, high):
        assert abs(0.25 - end) == pytest.approx(6.31375 * math.sqrt(end * (1 - end) / (4 / 3)), abs=1e-4)


def test_one_group_has_no_interval() -> None:
    metric = PassAtK()
    metric.update([1, 0], [1, 1], ["a", "a"])
    result = metric.compute()
    assert result["pass@1"].item() == 0.5
    assert math.isnan(result["pass@1_low"].item())
    assert math.isnan(result["pass@1_high"].item())


def test_correlated_problems_widen_the_interval() -> None:
    correct = [i % 2 for i in range(20) for _ in range(5)]
    names = [str(i) for i in range(20) for _ in range(5)]
    widths = []
    for groups in (names, None):
        metric = PassAtK()
        metric.update(correct, [1] * 100, groups)
        result = metric.compute()
        widths.append((result["pass@1_high"] - result["pass@1_low"]).item())
    assert widths[0] / widths[1] == pytest.approx(math.sqrt(5), rel=0.15)


def test_result_depends_on_no_order_and_no_random_state() -> None:
    correct, total, groups = [1, 0, 2, 0, 1, 2], [2] * 6, ["a", "a", "b", "c", "c", "d"]
    first, second = PassAtK(), PassAtK()
    state = torch.get_rng_state()
    first.update(correct, total, groups)
    for i in (5, 2, 0, 4, 1, 3):
        second.update(correct[i : i + 1], total[i : i + 1], groups[i : i + 1])
    assert first.compute() == second.compute()
    assert torch.equal(torch.get_rng_state(), state)


def test_reset_forgets() -> None:
    metric = PassAtK()
    metric.update([1], [1])
    metric.reset()
    metric.update([0, 0], [1, 1])
    assert metric.compute()["problems"].item() == 2
    assert metric.compute()["pass@1"].item() == 0


def test_a_k_above_the_samples_of_any_problem_is_left_out_with_a_warning() -> None:
    metric = PassAtK(k=(1, 5, 10))
    metric.update([1, 2], [5, 10])
    with pytest.warns(UserWarning, match=r"pass@10 is left out: 1 of 2 problems have fewer than 10 samples"):
        result = metric.compute()
    assert [name for name in result if "@" in name and "_" not in name] == ["pass@1", "pass@5"]


def test_every_k_up_to_the_fewest_samples_by_brute_force() -> None:
    metric = PassAtK(k=None)
    metric.update([1, 2], [4, 5])
    result = metric.compute()
    assert [name for name in result if "@" in name and "_" not in name] == [f"pass@{k}" for k in (1, 2, 3, 4)]
    for k in (1, 2, 3, 4):
        subsets = [list(itertools.combinations(range(n), k)) for n in (4, 5)]
        shares = [sum(min(s) < c for s in each) / len(each) for each, c in zip(subsets, (1, 2), strict=True)]
        assert result[f"pass@{k}"].item() == pytest.approx(sum(shares) / 2)


def test_wrong_counts_are_errors() -> None:
    metric = PassAtK()
    with pytest.raises(ValueError, match=r"\[1, 2\]"):
        metric.update([1], [1, 1])
    with pytest.raises(ValueError, match=r"\[1, 1, 2\]"):
        metric.update([1], [1], ["a", "b"])
    with pytest.raises(ValueError, match="3 correct samples out of 2"):
        metric.update([3], [2])
    with pytest.raises(ValueError, match="0 correct samples out of 0"):
        metric.update([0], [0])


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_no_problems_is_an_error() -> None:
    with pytest.raises(ValueError, match="no problems"):
        PassAtK().compute()


@pytest.mark.parametrize("options", [{"k": ()}, {"k": (0,)}, {"k": (1, 1)}, {"confidence": 95}])
def test_bad_settings_are_errors_that_name_them(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        PassAtK(**options)  # type: ignore[arg-type]


OTHER_RANK = """
import sys, torch
from domino_lightning.evaluation.pass_at_k import PassAtK
torch.distributed.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=1, world_size=2)
print({name: value.item() for name, value in PassAtK(k=(1, 2)).compute().items()})
"""


@pytest.mark.slow
@pytest.mark.ddp
def test_a_rank_without_problems_agrees_with_one_process(tmp_path: Path) -> None:
    """This process is rank 0: importing torch in one more is slow enough."""
    rendezvous = str(tmp_path / "rendezvous")
    other = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", OTHER_RANK, rendezvous],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    alone, together = PassAtK(k=(1, 2)), PassAtK(k=(1, 2))
    together.update([1, 0], [2, 4], ["a", "b"])
    together.update([2], [3])
    alone.update([2], [3])
    alone.update([0, 1], [4, 2], ["b", "a"])
    expected = {name: value.item() for name, value in alone.compute().items()}
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=0, world_size=2)
    try:
        found = {name: value.item() for name, value in together.compute().items()}
    finally:
        torch.distributed.destroy_process_group()
    assert found == expected
    assert other.communicate(timeout=60)[0].strip() == str(expected)
