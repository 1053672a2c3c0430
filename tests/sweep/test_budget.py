"""Matched budgets: what counts as equal, and what is said of arms that are not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.errors import UserError
from domino_lightning.sweep.budget import check_budgets
from tests.sweep.conftest import LOSS, Load

STEPS = {"key": "tune.trainer.max_steps", "values": [20, 40]}
BATCH = {"key": "tune.data.batch_size", "values": [4, 2]}
REFERENCES = {"key": "prepare.split.reference", "values": [2, 3]}
EPOCHS = {"tune.trainer.max_steps": -1, "tune.trainer.max_epochs": 3}


def budgets(load: Load, tree: dict[str, Any]) -> dict[str, str]:
    return check_budgets(load(tree))


def test_arms_with_equal_steps_match(load: Load) -> None:
    said = budgets(load, {"axes": {"loss": LOSS, "batch": BATCH}, "seeds": [0, 1]})
    assert said == {"tune": "2 optimizer steps", "finetune": "2 optimizer steps"}


def test_unequal_steps_are_named_with_their_arms(load: Load) -> None:
    with pytest.raises(UserError, match=r"steps=20: 20 optimizer steps; steps=40: 40 optimizer steps") as caught:
        budgets(load, {"axes": {"steps": STEPS}})
    assert "tune budget" in str(caught.value)
    assert "`budget: axis`" in str(caught.value)


def test_equal_tokens_may_trade_batch_size_for_steps(load: Load) -> None:
    traded = {"axes": {"steps": STEPS, "batch": BATCH}, "zip": [["steps", "batch"]], "budget": "tokens"}
    split = {"prepare.split.reference": 4, "prepare.split.heldout": 1}  # four functions of two rows: batches are full
    assert budgets(load, traded | {"set": split})["tune"] == f"{20 * 4 * 256} tokens (20 steps × 4 texts × 256)"
    with pytest.raises(UserError, match=r"batch=4: 2048 tokens.*batch=2: 1024 tokens"):
        budgets(load, {"axes": {"batch": BATCH}, "budget": "tokens", "set": split})


def test_a_batch_larger_than_the_data_counts_as_what_it_is(load: Load) -> None:
    """Three references of two rows each, which share a slot, so that no batch has more than three texts."""
    batch, steps = {"key": "tune.data.batch_size", "values": [8, 16]}, {"key": STEPS["key"], "values": [4, 2]}
    traded = {"axes": {"steps": steps, "batch": batch}, "zip": [["steps", "batch"]], "budget": "tokens"}
    with pytest.raises(UserError, match=r"3072 tokens \(4 steps, 12 texts × 256\).*1536 tokens \(2 steps, 6 texts"):
        budgets(load, traded)
    same = {"key": STEPS["key"], "values": [4]}
    assert budgets(load, traded | {"axes": {"steps": same, "batch": {**batch, "values": [8]}}})["tune"]
    pairs = {"set": {"finetune.data.size": 3}, "axes": {"batch": {"key": "finetune.data.batch_size", "values": [2, 4]}}}
    with pytest.raises(UserError, match=r"batch=2: 6144 tokens \(2 steps, 3 texts.*batch=4: 12288 tokens \(2 steps, 6"):
        budgets(load, pairs | {"budget": "tokens"})


def test_tokens_count_accumulated_batches_and_not_ranks_which_share_a_batch(load: Load) -> None:
    split = {"prepare.split.reference": 6, "prepare.split.heldout": 1}  # twelve rows: six whole batches an epoch
    ranks = {"tune.trainer.devices": 2, "tune.trainer.accumulate_grad_batches": 3}
    tree = {"set": {**split, **ranks}, "budget": "tokens"}
    assert budgets(load, tree)["tune"] == f"{2 * 2 * 3 * 256} tokens (2 steps × 6 texts × 256)"


def test_an_epoch_that_ends_before_a_step_is_full_counts_as_what_it_is(load: Load) -> None:
    # Three references of two rows in two slots: batches of 2, 2, 1 and 1 texts, so that 8 accumulate 4 of them.
    accumulated = {"key": "tune.trainer.accumulate_grad_batches", "values": [8, 16]}
    steps = {"key": "tune.trainer.max_steps", "values": [4, 2]}
    tree = {"axes": {"batches": accumulated, "steps": steps}, "zip": [["batches", "steps"]], "budget": "tokens"}
    with pytest.raises(UserError, match=r"6144 tokens \(4 steps, 24 texts × 256\).*3072 tokens \(2 steps, 12 texts"):
        budgets(load, tree)


def test_a_sweep_of_the_budget_itself_is_not_checked(load: Load) -> None:
    assert budgets(load, {"axes": {"steps": STEPS}, "budget": "axis"}) == {}


def test_an_untouched_coder_has_no_budget_to_match(load: Load) -> None:
    sources = {"finetune.source": ["none", "synthetic"]}
    assert set(budgets(load, {"axes": sources})) == {"tune", "finetune"}
    assert budgets(load, {"set": {"finetune.source": "none"}}) == {}


def test_epochs_match_where_data_and_batches_are_the_same(load: Load) -> None:
    assert "3 epochs" in budgets(load, {"set": EPOCHS, "axes": {"loss": LOSS}, "seeds": [0, 1]})["tune"]
    with pytest.raises(UserError, match="arms differ in their tune budget"):
        budgets(load, {"set": EPOCHS, "axes": {"references": REFERENCES}})
    with pytest.raises(UserError, match="arms differ in their tune budget"):
        budgets(load, {"set": EPOCHS, "axes": {"batch": BATCH}})


def test_epochs_of_synthetic_data_may_differ_between_seeds_but_not_between_arms(load: Load) -> None:
    by_epochs = {"finetune.trainer.max_steps": -1, "finetune.trainer.max_epochs": 1}
    assert "1 epochs" in budgets(load, {"set": by_epochs, "seeds": [0, 1]})["finetune"]
    with pytest.raises(UserError, match="arms differ in their finetune budget"):
        budgets(load, {"set": by_epochs, "axes": {"loss": LOSS}})


def test_training_that_ends_by_the_clock_cannot_be_matched(load: Load) -> None:
    with pytest.raises(UserError, match=r"max_time' ends training by the clock"):
        budgets(load, {"set": {"tune.trainer.max_time": "00:01:00:00"}})


CALLBACKS = "lightning.pytorch.callbacks"
STOPS = {"class_path": f"{CALLBACKS}.EarlyStopping", "init_args": {"monitor": "tune/heldout/nll"}}
CLOCK = {"class_path": f"{CALLBACKS}.Timer", "init_args": {"duration": "00:01:00:00"}}


def scheduler(batches: int) -> dict[str, Any]:
    return {"class_path": f"{CALLBACKS}.GradientAccumulationScheduler", "init_args": {"scheduling": {0: batches}}}


@pytest.mark.parametrize("budget", ["steps", "tokens"])
@pytest.mark.parametrize(
    ("callback", "words"),
    [
        (STOPS, "EarlyStopping ends training by what it sees of the data"),
        (STOPS | {"class_path": "EarlyStopping"}, "EarlyStopping ends"),
        (STOPS | {"class_path": "ending_callbacks.Patient"}, "Patient ends training by what it sees of the data"),
        (CLOCK, "Timer ends training by the clock"),
    ],
)
def test_a_callback_that_ends_training_cannot_be_matched(
    load: Load, budget: str, callback: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "from lightning.pytorch.callbacks import Callback, EarlyStopping\nclass Patient(EarlyStopping): ...\n"
    (tmp_path / "ending_callbacks.py").write_text(source + "class Mine(Callback): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "ending_callbacks", raising=False)
    axis = {"key": "tune.trainer.callbacks", "values": {"none": [], "ends": [callback]}}
    with pytest.raises(UserError, match=f"key 'tune.trainer.callbacks': {words}.*`budget: axis`"):
        budgets(load, {"axes": {"callbacks": axis}, "budget": budget})
    with pytest.raises(UserError, match=words):  # each arm at steps of its own, as the data is
        budgets(load, {"set": {"tune.trainer.callbacks": [callback]}, "axes": {"loss": LOSS}, "budget": budget})
    assert budgets(load, {"axes": {"callbacks": axis}, "budget": "axis"}) == {}
    idle = [{"class_path": f"{CALLBACKS}.Timer"}, {"class_path": "ending_callbacks.Mine"}]
    assert budgets(load, {"set": {"tune.trainer.callbacks": idle}, "budget": budget})


def test_a_callback_that_accumulates_is_matched_as_the_texts_it_feeds(load: Load) -> None:
    key = "tune.trainer.callbacks"
    axis = {"key": key, "values": {"none": [], "two": [scheduler(2)], "three": [scheduler(3)]}}
    assert budgets(load, {"axes": {"callbacks": axis}})["tune"] == "2 optimizer steps"
    same = {"set": {key: [scheduler(2)]}, "axes": {"loss": LOSS}, "budget": "tokens"}
    assert budgets(load, same)["tune"].startswith("2 steps of batches as a callback accumulates them")
    for values in ({"none": [], "two": [scheduler(2)]}, {"two": [scheduler(2)], "three": [scheduler(3)]}):
        with pytest.raises(UserError, match=r"tune budget \(tokens\).*compare by `budget: steps`"):
            budgets(load, {"axes": {"callbacks": {"key": key, "values": values}}, "budget": "tokens"})
    with pytest.raises(UserError, match="arms differ in their tune budget"):  # epochs of other batches, other steps
        budgets(load, {"set": EPOCHS, "axes": {"callbacks": axis}})


SOURCES = {"key": "finetune.source", "values": ["none", "reference", "synthetic"]}
SIZE = {"key": "finetune.data.size", "values": {"four": 4, "all": None}, "when": {"source": ["reference", "synthetic"]}}
STOP = {"key": "synthesize.stop", "values": {"rows": {"candidates": 8}, "tokens": {"candidates": 8, "tokens": 9}}}


def test_arms_of_one_limit_match_and_those_without_it_are_refused(load: Load) -> None:
    assert budgets(load, {"axes": {"source": SOURCES}, "set": {"finetune.data.size": 4}})
    unlike = {"key": "finetune.data", "values": {"a": {"batch_size": 2}, "b": {"size": 4}}}
    assert budgets(load, {"axes": {"data": unlike}})  # the axis is the limit's own
    reference = {**SIZE, "when": {"source": "reference"}, "values": [4]}
    with pytest.raises(UserError, match=r"finetune\.data\.size: source=synthetic: none; source=reference,size=4: 4"):
        budgets(load, {"axes": {"source": SOURCES, "size": reference}})
    stopped = {"key": "synthesize.stop.tokens", "values": [9], "when": {"loss": "infonce"}}
    with pytest.raises(UserError, match=r"stop\.tokens: loss=likelihood: none; loss=infonce,tokens=9: 9\. Give it"):
        budgets(load, {"axes": {"loss": LOSS, "tokens": stopped}})
    assert budgets(load, {"axes": {"loss": LOSS, "tokens": stopped}, "budget": "axis"}) == {}


def test_an_axis_of_limits_compares_arms_at_each_of_them(load: Load) -> None:
    axes = {"source": SOURCES, "size": SIZE, "stop": {**STOP, "when": SIZE["when"]}}
    assert budgets(load, {"axes": axes, "zip": [["size", "stop"]]})
