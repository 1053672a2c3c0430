"""Fits under mixed precision: a gradient scaler that D and S share, and looks in the precision of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.plugins import MixedPrecision

from domino_lightning.callbacks.health import Norms, Periodic, StepTable
from domino_lightning.callbacks.probes import Disentanglement, SampledTexts
from domino_lightning.losses import InfoNCE, ReleasedObjective
from domino_lightning.models.backbone import load_tokenizer
from tests.modules.tuned import data_for, module

MakeTrainer = Callable[..., Any]


class ScaledOnly(MixedPrecision):
    """A gradient scaler without autocast, so that a step can be compared with one in float32 bit for bit."""

    @contextmanager
    def forward_context(self) -> Iterator[None]:
        yield


class Trajectory(Callback):
    """D, S, the scale and the gradients' norms after every step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.norms: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        gradient = module.sample_tokens.table.weight.grad
        self.norms.append(0.0 if gradient is None else gradient.coalesce().values().norm().item())

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        state = module.sample_table.state()
        self.steps.append(
            {"D": module.domain_prompt.weight.detach().clone(), "S": state["table"].clone()}
            | {"moments": state["exp_avg"], "scale": None if scaler is None else scaler.get_scale()}
        )


def scaler(scale: float) -> Any:
    return torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1000)


@pytest.fixture
def fit(splits: Path, tiny_backbone: Path, quiet_trainer: MakeTrainer) -> Callable[..., Trajectory]:
    def run(scale: float | None, callbacks: tuple[Any, ...] = (), **settings: Any) -> Trajectory:
        seen = Trajectory()
        if scale is not None:
            settings["plugins"] = [ScaledOnly("16-mixed", "cpu", scaler(scale))]
        trainer = quiet_trainer(max_steps=4, callbacks=[*callbacks, seen], **settings)
        torch.manual_seed(0)
        trainer.fit(module(str(tiny_backbone), ReleasedObjective()), datamodule=data_for(splits, tiny_backbone))
        return seen

    return run


@pytest.mark.parametrize("settings", [{}, {"gradient_clip_val": 0.01}, {"accumulate_grad_batches": 2}], ids=str)
def test_under_a_scaler_d_and_s_take_the_steps_that_they_take_without(
    fit: Callable[..., Trajectory], settings: dict[str, Any]
) -> None:
    plain, scaled = fit(None, **settings), fit(65536.0, **settings)
    assert len(plain.steps) == len(scaled.steps) > 0
    for a, b in zip(plain.steps, scaled.steps, strict=True):
        for name in ("D", "S", "moments"):  # a power of two costs no rounding
            assert torch.equal(a[name], b[name]), name
        assert b["scale"] == 65536.0
    assert scaled.norms == plain.norms  # of unscaled gradients, which callbacks see


def test_an_overflow_steps_neither_d_nor_s_and_lowers_the_scale(fit: Callable[..., Trajectory]) -> None:
    class Overflow(Callback):
        """An infinite gradient of a row of S in the second step, and of D in the third."""

        def on_after_backward(self, trainer: Any, module: Any) -> None:
            if trainer.global_step == 1:
                gradient = module.sample_tokens.table.weight.grad.coalesce()
                gradient.values()[0, 0] = torch.inf
                module.sample_tokens.table.weight.grad = gradient
            if len(seen) == 2:
                module.domain_prompt.weight.grad[0, 0] = torch.nan
            seen.append(trainer.global_step)

    seen: list[int] = []
    steps = fit(1024.0, (Overflow(),)).steps
    first, second, third, fourth = steps[:4]
    for name in ("D", "S", "moments"):
        assert torch.equal(first[name], second[name])
        assert torch.equal(second[name], third[name])
        assert torch.isfinite(fourth[name]).all()
    assert not torch.equal(third["D"], fourth["D"])
    assert not torch.equal(third["S"], fourth["S"])
    assert [step["scale"] for step in (first, second, third, fourth)] == [1024.0, 512.0, 256.0, 256.0]


def test_half_precision_with_its_scaler_stays_near_float32(
    splits: Path, tiny_backbone: Path, quiet_trainer: MakeTrainer
) -> None:
    results = []
    for plugins in ([], [MixedPrecision("16-mixed", "cpu", scaler(65536.0))]):
        seen = Trajectory()
        trainer = quiet_trainer(max_steps=3, callbacks=[seen, Norms(1)], plugins=plugins)
        trainer.fit(module(str(tiny_backbone), InfoNCE()), datamodule=data_for(splits, tiny_backbone))
        results.append(seen)
    plain, half = results
    # What reached S was unscaled: its gradient is that of float32 within half precision's rounding.
    assert half.norms == pytest.approx(plain.norms, rel=0.05)
    assert half.norms != plain.norms


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_looks_are_in_the_precision_of_training(
    splits: Path, tiny_backbone: Path, quiet_trainer: MakeTrainer, tmp_path: Path, precision: Any
) -> None:
    class Look(Periodic):
        def observe(self, trainer: Any, module: Any, step: int) -> None:
            seen.append((torch.is_autocast_enabled("cpu"), module.likelihoods.shared))

    seen: list[tuple[bool, bool | None]] = []
    tokenizer = load_tokenizer(str(tiny_backbone))
    tables = [StepTable(tmp_path / name) for name in ("a.jsonl", "b.jsonl")]
    looks = [Disentanglement(1, 4, tables[0]), SampledTexts(1, tokenizer, 2, 4, 0, tables[1]), Look(1)]
    trainer = quiet_trainer(max_steps=2, callbacks=looks, precision=precision)
    trainer.fit(module(str(tiny_backbone)), datamodule=data_for(splits, tiny_backbone))
    assert seen == [(precision == "bf16-mixed", True)] * 3
    assert [len(table.read()) for table in tables] == [3, 3]
