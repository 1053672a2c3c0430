"""Steps, validations and costs of stages, worked out by hand for the small experiment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from domino_lightning.config.document import load_config
from domino_lightning.planning.costs import Costs
from domino_lightning.planning.decoding import decoding, launches
from domino_lightning.planning.flops import ModelShape, Sequences, flops, shared_sequences
from domino_lightning.planning.machine import PROGRAM_S, Machine
from domino_lightning.planning.schedule import prompts, steps, validations
from domino_lightning.stages import stage_class
from domino_lightning.synthesis import TransformersEngine
from domino_lightning.testing import tiny_model

Write = Callable[..., Path]


@pytest.fixture
def costs(write_experiment: Write) -> Callable[..., Costs]:
    """`costs("tune.trainer.max_steps=9")`: the estimates of the small experiment with these overrides."""

    def make(*overrides: str) -> Costs:
        config = load_config(write_experiment(), overrides)
        prepare: Any = stage_class("prepare").from_config(config)
        return Costs(config, prepare.splits(execute=False))

    return make


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({"max_steps": 7}, 7),
        ({"max_steps": -1, "max_epochs": 2}, 2 * 3),
        ({"max_steps": 4, "max_epochs": 2}, 4),
        ({"max_steps": 40, "max_epochs": 2}, 6),
        ({"max_steps": -1, "max_epochs": 2, "accumulate_grad_batches": 2}, 2 * 2),
        ({"max_steps": -1, "max_epochs": 5, "limit_train_batches": 2}, 5 * 2),
        ({"max_steps": -1, "max_epochs": 5, "limit_train_batches": 0.5}, 5 * 1),
        ({"max_steps": -1}, 1000 * 3),
        ({"max_steps": 0}, 0),
    ],
)
def test_steps_on_ten_rows_in_batches_of_four(trainer: dict[str, Any], expected: int) -> None:
    assert steps(trainer, rows=10, batch=4) == expected


def test_validations_before_the_first_step_then_by_batches_and_by_shares_of_an_epoch() -> None:
    assert validations({"val_check_interval": 5}, 11, rows=10, batch=4) == 1 + 2
    assert validations({"val_check_interval": 1.0}, 11, rows=10, batch=4) == 1 + 3
    assert validations({"val_check_interval": 6, "accumulate_grad_batches": 2}, 9, rows=10, batch=4) == 1 + 3


@pytest.mark.parametrize(("pairs", "expected"), [("none", 0), ("own", 1), ("all", 4), (1, 2), (9, 4)])
def test_prompts_of_a_text_in_a_batch_of_four(pairs: Any, expected: int) -> None:
    assert prompts(pairs, 4) == expected


def test_tune_counts_steps_and_validations(costs: Callable[..., Costs]) -> None:
    estimate = costs("tune.trainer.max_steps=9", "tune.trainer.val_check_interval=3")
    L = estimate.text_tokens  # batches of two, D = 2, S = 1, one negative, six held-out texts
    found = estimate("tune")
    step = 2 + 2 * L + 2 * 1 + 2 * 2 * L
    assert found.tokens == pytest.approx(9 * step + 4 * 6 * L)
    shape = ModelShape.of(tiny_model("llama"))
    work = 9 * flops(shape, shared_sequences(2, 2, 1, L, 2), backward=1) + flops(shape, [Sequences(24, L, 2, L)])
    assert found.flops == pytest.approx(work)
    assert found.what == f"9 steps of 2 texts of {L:.0f} tokens, each under 2 sample prompts too"


@pytest.mark.slow
def test_likelihood_alone_has_no_pairs_and_micro_batches_cost_a_forward_and_spare_memory(
    costs: Callable[..., Costs],
) -> None:
    plain = costs("tune.model.loss=domino_lightning.losses.LikelihoodOnly")("tune")
    paired = costs()("tune")
    small = costs("tune.model.pair_micro_batch=1")("tune")
    assert plain.tokens < paired.tokens
    assert "sample prompts" not in plain.what
    assert small.flops > paired.flops
    assert small.memory < paired.memory


@pytest.mark.slow
def test_ranks_share_the_work_and_local_negatives_stay_on_their_rank(costs: Callable[..., Costs]) -> None:
    batch = ("tune.data.batch_size=4", "tune.model.loss.init_args.pairs=all")
    one = costs(*batch)("tune")
    two = costs(*batch, "tune.trainer.devices=2")("tune")
    local = costs(*batch, "tune.trainer.devices=2", "tune.model.negatives=local")("tune")
    assert (two.ranks, two.flops) == (2, one.flops)
    assert two.memory < one.memory
    assert "each under 4 sample prompts" in two.what
    assert "each under 2 sample prompts" in local.what
    assert local.flops < two.flops
    machine = Machine(tflops=1, bandwidth_gbs=1)
    assert machine.seconds(two) == pytest.approx(machine.seconds(one) / 2)


def test_finetune_knows_its_source_and_what_is_trained(costs: Callable[..., Costs]) -> None:
    assert costs("finetune.source=none")("finetune").flops == 0
    lora, full = costs()("finetune"), costs("finetune.model.lora=null")("finetune")
    assert "LoRA of rank 16" in lora.what
    assert "all weights" in full.what
    assert full.tokens == lora.tokens
    L = full.tokens / (2 * 2 + 3 * 6)  # two steps of two pairs, three looks at six
    shape = ModelShape.of(tiny_model("llama"))
    more = (full.flops - lora.flops) / (2 * 2 * 2)  # a third product for every weight, and for the head where it scores
    assert shape.linear * L < more < (shape.linear + shape.head) * L
    epochs = ("finetune.trainer.max_steps=-1", "finetune.trainer.max_epochs=1", "finetune.source=both")
    assert costs(*epochs)("finetune").what.startswith("7 steps of 2 pairs")  # 6 references and 8 candidates


def test_stages_that_execute_count_programs(costs: Callable[..., Costs]) -> None:
    estimate = costs()
    assert estimate("prepare").programs == 18
    assert estimate("curate").programs == 2 * 8
    assert estimate("answer").programs == 8
    assert estimate("evaluate").programs == 6
    found = estimate("curate")
    assert Machine(1, 1).seconds(found) == pytest.approx(16 * PROGRAM_S / 2)


def test_a_judge_of_answers_is_said_not_to_be_estimated(costs: Callable[..., Costs]) -> None:
    estimate = costs()
    silent = estimate("answer")
    estimate.built["answer"].judge = object()
    told = estimate("answer")
    assert told.what == f"{silent.what}; a judge is not estimated"
    assert told.programs == silent.programs


def test_a_generator_of_another_kind_is_not_estimated(costs: Callable[..., Costs]) -> None:
    found = costs()("synthesize")
    assert found.tokens == 0
    assert found.what == "at most 8 rows of SmokeGenerator, which is not estimated"


def test_decoding_counts_prompts_once_and_is_bound_by_flops_or_by_what_is_read() -> None:
    shape = ModelShape.of(tiny_model("llama"))
    found = decoding("", shape, TransformersEngine(batch_size=4), rows=8, shared=3, asked=5, new=6, limit=10)
    assert found.tokens == 3 + 8 * 5 + 8 * 6
    turns = 8 / 4 * 6
    state = shape.cached * 4
    assert found.read == turns * (shape.parameters * 4 + state * (3 + 4 * (5 + 3)))
    assert found.memory == shape.parameters * 4 + state * (3 + 4 * 15) + 8 * 4 * 259
    assert Machine(tflops=1e9, bandwidth_gbs=1e-9).seconds(found) == pytest.approx(found.read)
    assert Machine(tflops=1e-12, bandwidth_gbs=1e9).seconds(found) == pytest.approx(found.flops / found.share)
    half = decoding("", shape, TransformersEngine(4, "bfloat16"), 8, 3, 5, 6, 10)
    assert half.read == found.read / 2


def test_weights_in_four_bits_leave_room_for_more_slots() -> None:
    shape = ModelShape.of(tiny_model("llama"))
    half, quarter = (
        decoding("", shape, SimpleNamespace(batch_size=4, dtype=dtype), 8, 3, 5, 6, 10, key="rows")
        for dtype in ("bfloat16", "nf4")
    )
    # By hand: the layers' weights in 4 bits and a byte in 64, the rest in 2 bytes, as states are.
    saved = shape.linear * (2 - 0.5 - 1 / 64)
    assert half.memory - quarter.memory == pytest.approx(saved)
    assert (half.dtype, quarter.dtype) == ("bfloat16", "bfloat16")
    slot = shape.cached * 2 * 15 + 8 * 259
    assert half.growth is not None
    assert half.growth.memory(9) - half.growth.memory(4) == 5 * slot
    assert half.growth.largest(half.memory + slot) == 5


def test_auto_is_planned_as_bfloat16_for_a_gpu(costs: Callable[..., Costs]) -> None:
    here = costs()
    there = Costs(here.config, here.splits, gpu=True)
    assert there("tune").dtype == "bfloat16"
    assert there("tune").memory < here("tune").memory
    assert there("finetune").memory < here("finetune").memory


def test_the_largest_batch_of_a_stage_takes_what_it_is_predicted_to(costs: Callable[..., Costs]) -> None:
    found = costs("tune.model.loss.init_args.pairs=all")("tune")
    assert found.growth is not None
    assert (found.growth.key, found.growth.rows) == ("tune.data.batch_size", 2)
    assert found.growth.memory(2) == found.memory
    three = found.growth.memory(3)
    assert found.growth.largest(three) == 3
    assert found.growth.largest(three - 1) == 2


@pytest.mark.slow
def test_gradient_checkpointing_costs_a_forward_and_spares_memory(costs: Callable[..., Costs]) -> None:
    kept, again = costs()("finetune"), costs("finetune.runtime.gradient_checkpointing=true")("finetune")
    assert again.memory < kept.memory
    assert kept.flops < again.flops < 1.5 * kept.flops


def test_a_model_that_asks_what_its_tensors_hold_is_estimated_from_its_sizes(
    costs: Callable[..., Costs], monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted = costs()("tune").memory

    def asks(*_: Any) -> int:
        raise NotImplementedError

    monkeypatch.setattr("domino_lightning.planning.costs.predicted_peak", asks)
    rough = costs()("tune")
    assert rough.memory == pytest.approx(predicted, rel=0.5)
    assert rough.what.endswith("; memory is worked out from the model's sizes, roughly")


def test_launches_of_a_decoding_step_grow_with_the_layers(tiny_backbone: Path, tmp_path: Path) -> None:
    deeper = tiny_model("llama", num_hidden_layers=5)
    deeper.save_pretrained(str(tmp_path / "deeper"))
    two, five = launches(str(tiny_backbone)), launches(str(tmp_path / "deeper"))
    layer = (five - two) / 3
    # By hand, of a Llama layer: seven products, two norms of five, two rotations of five, an activation, a gate, two
    # sums, two writes and the attention; copies come on top.
    assert 30 <= layer <= 50
    assert layer == int(layer)


def test_a_machine_that_is_not_described_is_measured() -> None:
    machine = Machine()
    assert 1e8 < machine.flops("bfloat16") < 1e16
    assert 1e8 < machine.bandwidth() < 1e14
