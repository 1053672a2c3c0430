"""A run that runs away is stopped with term, step and remedy, and its checkpoint from before stays."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from domino_lightning.callbacks.checkpoint import LAST, ResumableCheckpoint
from domino_lightning.callbacks.divergence import WINDOW, StopOnDivergence
from domino_lightning.data import ReferenceDataModule
from domino_lightning.errors import StageFailed
from domino_lightning.losses import DisentanglementLoss, LikelihoodOnly, PromptNLL
from domino_lightning.modules import PromptTuningModule
from domino_lightning.nn import DomainPrompt

MakeTrainer = Callable[..., Any]


def fed(values: list[float], nats: float = 10.0, **terms: list[float]) -> StopOnDivergence:
    """A guard that has seen these losses and terms, checked after every step."""
    guard = StopOnDivergence("tune", nats)
    for step, loss in enumerate(values):
        guard.observe({"loss": loss, **{name: series[step] for name, series in terms.items()}})
        guard.check(step + 1)
    return guard


def test_a_loss_that_falls_or_wanders_within_the_limit_stops_nothing() -> None:
    falling = fed([30.0 - step / 10 for step in range(300)])  # 30 down to 0
    assert list(falling.recent)[-1] == {"loss": pytest.approx(0.1)}  # it has seen all 300 steps
    wandering = fed([3.0 + 9.0 * (step % 2) for step in range(100)])
    assert wandering.start == {"loss": 7.5}
    # One bad batch of eight: (80 + 7 * 3) / 8 = 12.6 is less than 10 above 3. With 82 it is 12.9, with 84 it is 13.1.
    assert len(fed([3.0] * 20 + [82.0] + [3.0] * 20).recent) == WINDOW
    with pytest.raises(StageFailed, match=r"steps to step 21 it averages 13\.12 nats/token"):
        fed([3.0] * 20 + [84.0] + [3.0] * 20)


def test_a_loss_far_above_its_start_stops_at_the_step_where_the_average_passes_the_limit() -> None:
    # The average of eight exceeds 3 + 10 with the first k of value 43 for which 40 k / 8 > 10: the third.
    with pytest.raises(StageFailed, match=r"steps to step 13 it averages 18\.00 nats/token, and began at 3\.00"):
        fed([3.0] * 10 + [43.0] * 8)


def test_an_unbounded_objective_is_stopped_and_the_term_that_runs_off_is_named() -> None:
    steps = 60
    contrast = [-3.0 - 0.5 * step for step in range(steps)]
    with pytest.raises(
        StageFailed, match=r"Term 'contrast' moved most, from -4\.75 to .*bounded below, such as InfoNCE"
    ):
        fed([4.0 + value for value in contrast], contrast=contrast, own=[2.0] * steps)


def test_a_loss_in_nats_per_text_is_judged_per_token() -> None:
    # 60 tokens a text: 180 nats are 3 a token, and 10 more are 780.
    assert len(fed([180.0] * 8 + [770.0] * 8, tokens=[60.0] * 16).recent) == WINDOW
    with pytest.raises(StageFailed, match=r"averages 13\.00 nats/token.*Term 'own' moved most, from 1\.00 to 11\.00"):
        fed([180.0] * 8 + [780.0] * 8, tokens=[60.0] * 16, own=[60.0] * 8 + [660.0] * 8, nats=9.0)


def test_nothing_is_judged_before_a_full_window() -> None:
    rising = [1e6 * 2**step for step in range(WINDOW + 1)]
    assert fed(rising[: WINDOW - 1]).start == {}
    assert fed(rising[:WINDOW]).start == {"loss": 1e6 * (2**WINDOW - 1) / WINDOW}  # what later averages are held to
    with pytest.raises(StageFailed, match=f"to step {WINDOW + 1} "):
        fed(rising)


def test_the_limit_is_configurable() -> None:
    with pytest.raises(StageFailed, match=r"divergence_nats \(2\)"):
        fed([3.0] * 8 + [5.5] * 8, nats=2.0)
    fed([3.0] * 8 + [5.5] * 8, nats=3.0)


def test_a_resumed_guard_decides_as_one_that_was_never_interrupted() -> None:
    values = [3.0] * 10 + [43.0, 43.0]
    resumed = StopOnDivergence("tune", 10.0)
    resumed.load_state_dict(fed(values).state_dict())
    resumed.observe({"loss": 43.0})
    with pytest.raises(StageFailed, match="step 13"):
        resumed.check(13)


@pytest.fixture
def fit(splits: Path, tiny_backbone: Path, quiet_trainer: MakeTrainer, tmp_path: Path) -> Callable[..., Any]:
    def run(loss: DisentanglementLoss, **settings: Any) -> Any:
        data = ReferenceDataModule(splits / "reference.jsonl", splits / "heldout.jsonl", str(tiny_backbone), 2, 64)
        checkpoint = ResumableCheckpoint(tmp_path, 1, None)
        trainer = quiet_trainer(max_steps=40, callbacks=[StopOnDivergence("tune", 10.0), checkpoint])
        module = PromptTuningModule(str(tiny_backbone), DomainPrompt(3), loss, num_sample_tokens=2, **settings)
        trainer.fit(module, datamodule=data)

    return run


def test_a_diverging_fit_stops_with_its_last_good_checkpoint(fit: Callable[..., Any], tmp_path: Path) -> None:
    class RunsOff(LikelihoodOnly):
        def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
            terms = super().forward(nll, progress)
            gone = terms["loss"] - 400 * max(0.0, progress - 0.5)
            return {**terms, "loss": gone, "drift": gone.detach() - terms["sufficiency"].detach()}

    with pytest.raises(StageFailed, match=r"diverged.*Term 'drift' moved most.*tune\.model\.loss's weight"):
        fit(RunsOff())
    saved = torch.load(tmp_path / LAST, weights_only=True)
    # At step 20 the drift sets in; the average passes −10 within the window.
    assert 20 <= saved["global_step"] <= 20 + WINDOW
    assert torch.isfinite(saved["state_dict"]["domain_prompt.weight"]).all()


def test_a_gradient_that_is_no_number_reaches_neither_weights_nor_checkpoint(
    fit: Callable[..., Any], tmp_path: Path
) -> None:
    class Kink(LikelihoodOnly):
        def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
            terms = super().forward(nll, progress)
            if progress >= 0.1:  # finite, with an infinite slope times zero behind it
                terms["loss"] = terms["loss"] + (0 * terms["loss"]).sqrt()
            return terms

    message = r"term 'gradient of domain_prompt\.weight' is nan at step 5.*learning_rate"
    with pytest.raises(StageFailed, match=message):
        fit(Kink())
    saved = torch.load(tmp_path / LAST, weights_only=True)
    assert saved["global_step"] == 4
    assert torch.isfinite(saved["state_dict"]["domain_prompt.weight"]).all()


def test_a_huge_learning_rate_is_caught_whatever_it_breaks_first(fit: Callable[..., Any], tmp_path: Path) -> None:
    class Steep(LikelihoodOnly):
        def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
            return {"loss": super().forward(nll, progress)["loss"] * math.exp(12 * progress)}

    with pytest.raises(StageFailed, match=r"diverged.*tune\.model\.learning_rate"):
        fit(Steep(), learning_rate=1.0)
