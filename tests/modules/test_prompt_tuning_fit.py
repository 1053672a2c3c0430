"""The prompt-tuning module in a fit: what a step changes, what is logged, saved and refused."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor

from domino_lightning.data.padded import collate_texts
from domino_lightning.errors import StageFailed, UserError
from domino_lightning.losses import LikelihoodOnly, PromptNLL, ReleasedObjective
from domino_lightning.models.backbone import load_backbone
from domino_lightning.nn import DomainPrompt, DomainTokens, TextBatch, VariationalDomainPrompt, prompted_nll
from domino_lightning.nn.initialization import keyword_ids
from domino_lightning.testing import save_tiny_backbone
from tests.modules.tuned import data_for, module

MakeTrainer = Callable[..., Any]


def test_a_saved_checkpoint_has_no_backbone_weights_and_needs_no_unpickling(
    splits: Path, tiny_backbone: Path, quiet_trainer: MakeTrainer, tmp_path: Path
) -> None:
    trainer, tuned = quiet_trainer(max_steps=2), module(str(tiny_backbone))
    trainer.fit(tuned, datamodule=data_for(splits, tiny_backbone))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    state = torch.load(tmp_path / "x.ckpt", weights_only=True)
    assert set(state["state_dict"]) == {"domain_prompt.weight"}
    assert state["sample_table"]["step"] == 2
    assert {name: value.shape for name, value in state["sample_table"].items() if name != "step"} == dict.fromkeys(
        ("table", "exp_avg", "exp_avg_sq"), (6, 2 * 32)
    )
    largest = max(p.numel() for p in tuned.backbone.parameters()) * 4
    assert (tmp_path / "x.ckpt").stat().st_size < 5 * 6 * 2 * 32 * 4 + largest


class Watch(Callback):
    """Keeps a copy of D and S, the batch's samples and the gradients around every step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []

    def on_train_batch_start(self, trainer: Any, module: Any, batch: TextBatch, *_: Any) -> None:
        backbone_training = any(part.training for part in module.backbone.modules())
        self.steps.append({"before": self.copy(module), "batch": batch, "backbone_training": backbone_training})

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        table = module.sample_tokens.table.weight.grad
        gradients = module.domain_prompt.weight.grad.clone(), table.clone().coalesce()
        self.steps[-1]["gradients"] = gradients

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        self.steps[-1]["after"] = self.copy(module)
        self.steps[-1]["logged"] = {name: value.item() for name, value in trainer.callback_metrics.items()}

    def copy(self, module: Any) -> dict[str, Tensor]:
        return {"D": module.domain_prompt.weight.detach().clone(), "S": module.sample_table.state()["table"].clone()}


def test_a_step_changes_the_rows_of_the_batch_and_leaves_all_others_bit_identical(
    splits: Path, tiny_backbone: Path, quiet_trainer: MakeTrainer
) -> None:
    # Unlike InfoNCE, this loss moves S_i of a batch of one too.
    watch, tuned = Watch(), module(str(tiny_backbone), ReleasedObjective())
    backbone = {name: value.clone() for name, value in load_backbone(str(tiny_backbone)).state_dict().items()}
    trainer = quiet_trainer(max_steps=6, callbacks=[watch])
    trainer.fit(tuned, datamodule=data_for(splits, tiny_backbone))
    assert len(watch.steps) == 6
    for step in watch.steps:
        before, after = (step[name]["S"] for name in ("before", "after"))
        changed = set((before != after).any(dim=1).nonzero().flatten().tolist())
        assert changed == set(step["batch"].samples[step["batch"].valid].tolist())
        assert not torch.equal(step["before"]["D"], step["after"]["D"])
        assert not step["backbone_training"]
    assert all(torch.equal(value, backbone[name]) for name, value in tuned.backbone.state_dict().items())


def test_clipping_acts_on_the_domain_tokens_alone(
    splits: Path, tiny_backbone: Path, quiet_trainer: MakeTrainer
) -> None:
    gradients = []
    for clip in (None, 1e-3):
        watch = Watch()
        trainer = quiet_trainer(max_steps=1, callbacks=[watch], gradient_clip_val=clip)
        clipped = _ClippedGradient()
        trainer.callbacks.append(clipped)
        trainer.fit(module(str(tiny_backbone)), datamodule=data_for(splits, tiny_backbone))
        gradients.append((clipped.domain, watch.steps[0]["gradients"][1].to_dense(), clipped.samples))
    (free, free_rows, _), (clipped_domain, before_rows, clipped_rows) = gradients
    assert free.norm() > 1e-2
    assert clipped_domain.norm().item() == pytest.approx(1e-3, rel=1e-3)
    assert torch.equal(free_rows, before_rows)
    assert torch.equal(free_rows, clipped_rows)


class _ClippedGradient(Callback):
    """Reads the gradients after clipping: they are there until the next step's `zero_grad`."""

    domain: Tensor
    samples: Tensor

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        inner = module.configure_gradient_clipping

        def outer(*args: Any, **kwargs: Any) -> None:
            inner(*args, **kwargs)
            self.domain = module.domain_prompt.weight.grad.clone()
            self.samples = module.sample_tokens.table.weight.grad.to_dense()

        module.configure_gradient_clipping = outer


def test_both_learning_rates_follow_warm_up_and_linear_decay(
    splits: Path, tiny_backbone: Path, quiet_trainer: MakeTrainer
) -> None:
    rates: list[tuple[float, float]] = []

    class Rates(Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
            rates.append(module.sample_table.optimizer.param_groups[0]["lr"])

    tuned = module(str(tiny_backbone), learning_rate=0.1, sample_learning_rate=0.4, warmup_steps=2)
    trainer = quiet_trainer(max_steps=6, callbacks=[Rates()])
    trainer.fit(tuned, datamodule=data_for(splits, tiny_backbone))
    # Factors 1/3, 2/3 of the warm-up, then (6 - step) / (6 - 2) from step 2.
    assert rates == pytest.approx([0.4 * factor for factor in (1 / 3, 2 / 3, 1, 3 / 4, 2 / 4, 1 / 4)])
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.0


def test_every_term_of_the_loss_is_logged_and_regularizers_are_added(
    splits: Path, tiny_backbone: Path, quiet_trainer: MakeTrainer
) -> None:
    class BoundedTokens(DomainTokens):
        def regularizers(self) -> dict[str, Tensor]:
            return {"norm": self.weight.square().sum()}

    class Bounded(DomainPrompt):
        def tokens(self, *given: Any) -> DomainTokens:
            return BoundedTokens(self.start(*given))

    watch = Watch()
    tuned = module(str(tiny_backbone), ReleasedObjective(weight=0.5), domain_prompt=Bounded(3))
    quiet_trainer(max_steps=1, callbacks=[watch]).fit(tuned, datamodule=data_for(splits, tiny_backbone))
    logged = watch.steps[0]["logged"]
    assert logged.pop("step") == 1
    assert set(logged) == {f"tune/train/{name}" for name in ("nll", "loss", "sufficiency", "own", "contrast", "norm")}
    term = {name.rpartition("/")[2]: value for name, value in logged.items()}
    expected = term["sufficiency"] + 0.5 * (term["own"] + term["contrast"]) + term["norm"]
    assert term["loss"] == pytest.approx(expected, rel=1e-5)


class LikelihoodAndPairs(LikelihoodOnly):
    """Asks for sample tokens and trains none of them."""

    pairs = "own"


def test_sample_tokens_may_start_at_the_keywords_of_the_references(
    splits: Path, tiny_backbone: Path, quiet_trainer: MakeTrainer
) -> None:
    tuned = module(str(tiny_backbone), LikelihoodAndPairs(), sample_init="keywords")
    data = data_for(splits, tiny_backbone)
    quiet_trainer(max_steps=1).fit(tuned, datamodule=data)
    keywords = keyword_ids(data.encoded["reference"], data.samples["reference"], 2)
    assert tuned.sample_tokens is not None
    assert len(keywords) == 6  # rows 2 and 5 are copies of one sample
    expected = tuned.backbone.get_input_embeddings()(torch.tensor(keywords))
    assert torch.equal(tuned.sample_tokens(torch.arange(6)), expected)


def test_a_variational_prompt_trains_mean_and_noise_and_validates_without_noise(
    splits: Path, tiny_backbone: Path, quiet_trainer: MakeTrainer
) -> None:
    tuned = module(str(tiny_backbone), domain_prompt=VariationalDomainPrompt(3, beta=1e-3))
    data = data_for(splits, tiny_backbone)
    trainer = quiet_trainer(max_steps=2, limit_val_batches=1.0, val_check_interval=2, check_val_every_n_epoch=None)
    trainer.fit(tuned, datamodule=data)
    fresh = module(str(tiny_backbone), domain_prompt=VariationalDomainPrompt(3, beta=1e-3))
    fresh.attach(tuned.backbone, num_samples=6)
    for name in ("weight", "log_std"):
        assert not torch.equal(getattr(tuned.domain_prompt, name), getattr(fresh.domain_prompt, name))
    assert trainer.callback_metrics["tune/train/weighted_kl"].item() > 0
    heldout = collate_texts([(ids, 0) for ids in data.encoded["heldout"]])
    with torch.no_grad():
        mean = tuned.domain_prompt.exported().expand(len(heldout.ids), -1, -1)
        expected = prompted_nll(tuned.backbone, mean, heldout, []).mean().item()
    assert trainer.callback_metrics["tune/heldout/nll"].item() == pytest.approx(expected, abs=1e-5)


def test_progress_runs_from_zero_towards_one_and_steps_count_optimizer_steps(
    splits: Path, tiny_backbone: Path, quiet_trainer: MakeTrainer
) -> None:
    seen: list[float] = []

    class Watched(LikelihoodOnly):
        def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
            seen.append(progress)
            return super().forward(nll, progress)

    trainer = quiet_trainer(max_steps=4, accumulate_grad_batches=2)
    trainer.fit(module(str(tiny_backbone), Watched()), datamodule=data_for(splits, tiny_backbone))
    assert seen == [0.0, 0.0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75]


def test_validation_is_the_mean_over_heldout_texts_under_the_domain_alone(
    splits: Path, tiny_backbone: Path, quiet_trainer: MakeTrainer
) -> None:
    data = data_for(splits, tiny_backbone)
    tuned = module(str(tiny_backbone))
    trainer = quiet_trainer(max_steps=3, limit_val_batches=1.0, val_check_interval=3, check_val_every_n_epoch=None)
    trainer.fit(tuned, datamodule=data)
    values = []
    with torch.no_grad():
        for ids in data.encoded["heldout"]:
            one = collate_texts([(ids, 0)])
            values.append(prompted_nll(tuned.backbone, tuned.domain_prompt.weight[None], one, []).item())
    assert len(values) == 3  # one batch of two and one of one: a mean over batches would differ
    assert trainer.callback_metrics["tune/heldout/nll"].item() == pytest.approx(sum(values) / 3, abs=1e-5)


@pytest.mark.parametrize(("value", "name"), [(math.nan, "nan"), (math.inf, "inf")])
def test_a_term_that_is_no_number_stops_the_run_and_names_step_and_term(
    splits: Path, tiny_backbone: Path, quiet_trainer: MakeTrainer, value: float, name: str
) -> None:
    class Breaks(LikelihoodOnly):
        def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
            terms = super().forward(nll, progress)
            return {**terms, "curvature": terms["loss"].detach() * (value if progress >= 0.5 else 1.0)}

    trainer = quiet_trainer(max_steps=4)
    with pytest.raises(StageFailed, match=rf"tune: term 'curvature' is {name} at step 3.*learning_rate"):
        trainer.fit(module(str(tiny_backbone), Breaks()), datamodule=data_for(splits, tiny_backbone))
    assert trainer.global_step == 2


def test_a_prompt_and_text_that_exceed_the_context_are_refused_before_training(
    splits: Path, quiet_trainer: MakeTrainer, tmp_path: Path
) -> None:
    short = save_tiny_backbone(tmp_path / "short", max_position_embeddings=32)
    tuned = module(str(short), domain_prompt=DomainPrompt(5), num_sample_tokens=2)
    # The longest reference: 22 bytes, six more, and its EOS.
    with pytest.raises(UserError, match="7 prompt tokens and a text of 29 exceed the 32 positions"):
        quiet_trainer(max_steps=1).fit(tuned, datamodule=data_for(splits, short))


def test_a_heldout_nll_that_is_no_number_is_shown_and_not_left_out_of_the_mean(
    splits: Path, tiny_backbone: Path, quiet_trainer: MakeTrainer
) -> None:
    class UnluckyTokens(DomainTokens):
        def exported(self) -> Tensor:
            return super().exported() * math.nan

    class Unlucky(DomainPrompt):
        def tokens(self, *given: Any) -> DomainTokens:
            return UnluckyTokens(self.start(*given))

    trainer = quiet_trainer(max_steps=1, limit_val_batches=1.0)
    trainer.fit(module(str(tiny_backbone), domain_prompt=Unlucky(3)), datamodule=data_for(splits, tiny_backbone))
    trainer.validate(trainer.lightning_module, datamodule=trainer.datamodule, verbose=False)
    assert math.isnan(trainer.callback_metrics["tune/heldout/nll"].item())


def test_a_deterministic_fit_sets_what_a_gpu_needs_and_runs(
    splits: Path, tiny_backbone: Path, quiet_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    ends = []
    try:
        for _ in range(2):
            tuned = module(str(tiny_backbone), pair_micro_batch=2)
            trainer = quiet_trainer(max_steps=2, deterministic=True, limit_val_batches=1)
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"  # before a GPU is touched, and in every rank
            assert torch.are_deterministic_algorithms_enabled()
            trainer.fit(tuned, datamodule=data_for(splits, tiny_backbone))
            ends.append([tuned.domain_prompt.weight.detach().clone(), tuned.sample_table.state()["table"]])
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


@pytest.mark.parametrize("name", ["nll", "learning_rate", "loss", "sufficiency"])
def test_a_regularizer_takes_no_name_that_is_logged(
    splits: Path, tiny_backbone: Path, quiet_trainer: MakeTrainer, name: str
) -> None:
    class Named(DomainTokens):
        def regularizers(self) -> dict[str, Tensor]:
            return {name: self.weight.square().sum()}

    class Prompt(DomainPrompt):
        def tokens(self, *given: Any) -> DomainTokens:
            return Named(self.start(*given))

    tuned = module(str(tiny_backbone), ReleasedObjective(weight=0.5), domain_prompt=Prompt(3))
    with pytest.raises(UserError, match=f"of its regularizers .* is called '{name}', .*: rename it"):
        quiet_trainer(max_steps=1).fit(tuned, datamodule=data_for(splits, tiny_backbone))
