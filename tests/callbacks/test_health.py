"""Health: every number against its definition, no influence on training, tables that survive a kill."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from domino_lightning.callbacks.health import Norms, StepTable, any_algorithm, gradient_norm
from domino_lightning.callbacks.learning_rate import LearningRate
from domino_lightning.callbacks.probes import (
    Disentanglement,
    NearestTokens,
    SampledTexts,
    disentanglement,
    nearest_rows,
)
from domino_lightning.callbacks.throughput import Speed, matmul_peak
from domino_lightning.data import ReferenceDataModule
from domino_lightning.data.padded import collate_texts
from domino_lightning.generation.local_model import LocalModel
from domino_lightning.generation.sampling import Sampling
from domino_lightning.losses import DisentanglementLoss, InfoNCE, LikelihoodOnly
from domino_lightning.models.backbone import load_tokenizer
from domino_lightning.modules import PromptTuningModule
from domino_lightning.nn import DomainPrompt, prompted_nll
from domino_lightning.testing import save_tiny_backbone
from domino_lightning.tracking.loggers import LongCsvLogger

MakeTrainer = Callable[..., Any]


class Watched:
    """A small fit with health callbacks: the module, the data and the metrics by key and step."""

    def __init__(self, splits: Path, backbone: Path, make: MakeTrainer, folder: Path) -> None:
        self.splits, self.backbone, self.make, self.folder = splits, str(backbone), make, folder
        self.tokenizer = load_tokenizer(self.backbone)
        self.table = StepTable(folder / "table.jsonl")

    def fit(self, *callbacks: Any, loss: DisentanglementLoss | None = None, steps: int = 3, **trainer: Any) -> Any:
        self.data = ReferenceDataModule(
            self.splits / "reference.jsonl", self.splits / "heldout.jsonl", self.backbone, 2, 64
        )
        module = PromptTuningModule(self.backbone, DomainPrompt(3), loss or InfoNCE(pairs=1), num_sample_tokens=2)
        logger = LongCsvLogger(self.folder / "metrics.csv")
        fit = self.make(max_steps=steps, callbacks=list(callbacks), logger=logger, log_every_n_steps=1, **trainer)
        fit.fit(module, datamodule=self.data)
        return module

    def values(self, key: str, name: str = "metrics.csv") -> dict[int, float]:
        with open(self.folder / name, newline="") as file:
            return {int(row["step"]): float(row["value"]) for row in csv.DictReader(file) if row["key"] == key}


@pytest.fixture
def watched(splits: Path, tiny_backbone: Path, quiet_trainer: MakeTrainer, tmp_path: Path) -> Watched:
    return Watched(splits, tiny_backbone, quiet_trainer, tmp_path)


def test_gain_and_gap_by_hand() -> None:
    matrix = torch.tensor([[1.0, 3.0, 5.0], [4.0, 2.0, 6.0], [2.0, 2.0, 1.0]])
    values = disentanglement(torch.tensor([2.0, 2.0, 2.0]), matrix)
    # Own 1, 2, 1; others on average 4, 5, 2.
    assert values["own_gain"] == pytest.approx((1 + 0 + 1) / 3)
    assert values["other_gap"] == pytest.approx((3 + 3 + 1) / 3)
    assert set(disentanglement(torch.tensor([2.0]), torch.tensor([[1.0]]))) == {"own_gain"}


@torch.no_grad()
def test_the_probe_scores_distinct_references_one_pair_at_a_time(watched: Watched) -> None:
    module = watched.fit(Disentanglement(3, 4, watched.table))
    start, end = watched.table.read()
    assert (start["step"], end["step"]) == (0, 3)
    assert end["samples"] == [0, 1, 2, 3]  # rows 2 and 5 are copies of sample 2
    domain, own = module.domain_prompt.exported(), module.sample_tokens(torch.arange(4))
    under_domain, matrix = torch.zeros(4), torch.zeros(4, 4)
    for i in range(4):
        text = collate_texts([(watched.data.encoded["reference"][i], i)])
        under_domain[i] = prompted_nll(module.backbone, domain[None], text, []).item()
        for k in range(4):
            matrix[i, k] = prompted_nll(module.backbone, torch.cat([domain, own[k]])[None], text, []).item()
    assert torch.allclose(torch.tensor(end["nll"]), matrix, atol=1e-5)
    expected = {"nll": under_domain.mean().item(), **disentanglement(under_domain, matrix)}
    for name, value in expected.items():
        logged = watched.values(f"tune/health/{name}")
        assert sorted(logged) == [0, 3]  # before the first step, and with the metrics of the third
        assert logged[3] == pytest.approx(value, abs=1e-5)


def test_a_loss_without_sample_tokens_has_a_likelihood_and_no_matrix(watched: Watched) -> None:
    watched.fit(Disentanglement(1, 4, watched.table), Norms(1), loss=LikelihoodOnly())
    assert sorted(watched.values("tune/health/nll")) == [0, 1, 2, 3]
    assert watched.values("tune/health/own_gain") == {}
    assert watched.values("tune/health/sample_norm") == {}
    assert watched.table.read() == []


def test_norms_are_of_vectors_and_gradient_norms_of_all_gradients_before_clipping(watched: Watched) -> None:
    seen = {}

    class Look(Norms):
        def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
            super().on_before_optimizer_step(trainer, module, optimizer)
            gradient = module.sample_tokens.table.weight.grad.to_dense()
            seen["domain"] = module.domain_prompt.weight.grad.norm().item()
            seen["sample"] = gradient.norm().item()

    module = watched.fit(Look(3), gradient_clip_val=1e-4)
    for name, value in seen.items():
        assert value > 1e-4
        assert watched.values(f"tune/health/{name}_grad_norm")[3] == pytest.approx(value, rel=1e-5)
    vectors = {"domain": module.domain_prompt.weight, "sample": module.sample_tokens(torch.arange(6)).flatten(0, 1)}
    for name, rows in vectors.items():
        assert watched.values(f"tune/health/{name}_norm")[3] == pytest.approx(rows.norm(dim=1).mean().item(), rel=1e-5)


def test_the_gradient_norm_of_a_sparse_gradient_counts_a_row_used_twice_once() -> None:
    table = torch.nn.Embedding(5, 2, sparse=True)
    table(torch.tensor([1, 1, 3])).sum().backward()
    # Row 1 has gradient (2, 2), row 3 (1, 1).
    assert gradient_norm(table) == pytest.approx((4 + 4 + 1 + 1) ** 0.5)


def test_nearest_rows_are_by_cosine_and_not_by_length() -> None:
    vocabulary = torch.tensor([[1.0, 0.0], [0.0, 100.0], [-1.0, 0.1], [0.1, 0.1]])
    cosine, ids = nearest_rows(torch.tensor([[3.0, 0.0]]), vocabulary, 2)
    assert ids.tolist() == [[0, 3]]
    assert cosine[0].tolist() == pytest.approx([1.0, 0.5**0.5])


def test_untrained_domain_tokens_are_nearest_to_the_vocabulary_rows_they_were_drawn_from(watched: Watched) -> None:
    module = watched.fit(NearestTokens(3, watched.tokenizer, watched.table))
    start = watched.table.read()[0]["tokens"]
    fresh = PromptTuningModule(watched.backbone, DomainPrompt(3), InfoNCE(), sample_init="vocabulary")
    fresh.attach(module.backbone, 1)
    weight = module.backbone.get_input_embeddings().weight
    for row, token in zip(start, fresh.domain_prompt.exported(), strict=True):
        drawn = (weight == token).all(dim=1).nonzero().item()
        assert row["nearest"][0] == watched.tokenizer.decode([drawn])
        assert row["cosine"][0] == pytest.approx(1.0, abs=1e-5)


def test_sampled_texts_are_those_of_the_exported_tokens_with_the_same_noise_every_time(watched: Watched) -> None:
    module = watched.fit(SampledTexts(2, watched.tokenizer, 3, 5, seed=7, table=watched.table))
    model = LocalModel(module.backbone, watched.tokenizer, domain=module.domain_prompt.exported())
    expected = model.complete([""] * 3, range(3), 7, Sampling(max_new_tokens=5))
    rows = watched.table.read()
    assert [row["step"] for row in rows] == [0, 2, 3]
    assert rows[-1]["texts"] == [{"text": each.text, "finished": each.finished} for each in expected]


def test_a_backbone_that_cannot_be_decoded_is_tuned_without_sampled_texts(
    splits: Path, quiet_trainer: MakeTrainer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = save_tiny_backbone(tmp_path / "backbone", "gemma2", head_dim=8)
    watched = Watched(splits, backbone, quiet_trainer, tmp_path)
    watched.fit(SampledTexts(1, watched.tokenizer, 2, 4, seed=7, table=watched.table))
    assert watched.table.read() == []
    (told,) = [record.getMessage() for record in caplog.records if "sampled" in record.getMessage()]
    assert "softcap" in told


def test_speed_is_logged_apart_from_what_a_rerun_repeats(watched: Watched) -> None:
    watched.fit(Speed(2))
    for name in ("tokens_per_s", "share_of_peak"):
        assert watched.values(f"tune/speed/{name}") == {}
        logged = watched.values(f"tune/speed/{name}", "speed.csv")
        assert sorted(logged) == [2, 3]
        assert all(value > 0 for value in logged.values())


def test_the_work_of_a_step_by_hand() -> None:
    speed, texts = Speed(1), collate_texts([([1, 2, 3], 0), ([1, 2], 1), None])
    speed.body, speed.head = 10, 7
    # pairs, rows that have sample tokens encoded, prompts a text is scored under (there are two rows that count)
    for pairs, prompts, paired in (("none", 0, 0), ("own", 2, 1), ("all", 2, 2), (1, 2, 2), (9, 2, 2)):
        loss = LikelihoodOnly()
        loss.pairs = pairs  # type: ignore[assignment]
        module = PromptTuningModule("none", DomainPrompt(3), loss, num_sample_tokens=4)
        scored, prefix = 5 * (1 + paired), 3 + 4 * prompts  # five tokens of text; D once, S once a row
        assert speed._step_flops(module, texts) == 4 * (10 * (prefix + scored) + 7 * scored)


def test_the_measured_peak_is_a_rate() -> None:
    assert matmul_peak(torch.device("cpu"), torch.float32, size=64, repeats=2) > 1e6


def test_watching_changes_nothing_that_is_learned(watched: Watched) -> None:
    plain = watched.fit()
    callbacks = [
        Speed(1), Norms(1), Disentanglement(1, 4, watched.table), NearestTokens(1, watched.tokenizer, watched.table),
        SampledTexts(1, watched.tokenizer, 2, 4, 0, watched.table),
    ]  # fmt: skip
    seen = watched.fit(*callbacks)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, seen.state_dict()[name]), name


def test_a_cadence_of_zero_looks_at_nothing(watched: Watched) -> None:
    callbacks = [Speed(0), Norms(0), Disentanglement(0, 4, watched.table), Disentanglement(1, 0, watched.table)]
    watched.fit(*callbacks, SampledTexts(0, None, 2, 4, 0, watched.table), NearestTokens(0, None, watched.table))
    assert watched.table.read() == []
    assert "health" not in (watched.folder / "metrics.csv").read_text()
    assert not (watched.folder / "speed.csv").exists()


def test_a_table_keeps_the_last_line_of_a_step_and_drops_a_torn_one(tmp_path: Path) -> None:
    table = StepTable(tmp_path / "t.jsonl")
    table.tidy()  # nothing yet
    for step, value in ((10, "a"), (5, "b"), (10, "é")):
        table.append(step, {"value": value})
    with open(table.path, "a") as file:
        file.write('{"step": 20, "val')
    table.tidy()
    lines = [json.loads(line) for line in table.path.read_text(encoding="utf-8").splitlines()]
    assert lines == [{"step": 5, "value": "b"}, {"step": 10, "value": "é"}]


@pytest.mark.parametrize("warns", [False, True])
def test_texts_are_sampled_by_any_algorithm_in_a_deterministic_fit_too(warns: bool) -> None:
    torch.use_deterministic_algorithms(True, warn_only=warns)
    try:
        with pytest.raises(ArithmeticError), any_algorithm():
            assert not torch.are_deterministic_algorithms_enabled()
            raise ArithmeticError
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled() is warns
    finally:
        torch.use_deterministic_algorithms(False)


def test_the_learning_rate_is_that_of_the_step_it_is_logged_with(watched: Watched) -> None:
    used: list[float] = []

    class Look(LearningRate):
        def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
            used.append(optimizer.param_groups[0]["lr"])

    watched.fit(Look("tune"), steps=4)
    logged = watched.values("tune/train/learning_rate")
    assert list(logged.values()) == pytest.approx(used)
    assert list(logged) == list(watched.values("tune/train/loss"))
    assert len(set(used)) > 1  # a schedule


def test_histograms_are_of_the_norms_whose_mean_is_logged(watched: Watched) -> None:
    seen: dict[str, list[float]] = {}

    class Taker(LongCsvLogger):
        def log_histogram(self, key: str, values: list[float], step: int) -> None:
            seen[key] = values

    data = ReferenceDataModule(
        watched.splits / "reference.jsonl", watched.splits / "heldout.jsonl", watched.backbone, 2, 64
    )
    module = PromptTuningModule(watched.backbone, DomainPrompt(3), InfoNCE(pairs=1), num_sample_tokens=2)
    watched.make(max_steps=1, callbacks=[Norms(1)], logger=Taker(watched.folder / "metrics.csv")).fit(
        module, datamodule=data
    )
    for name, count in (("domain", 3), ("sample", 2 * len(probe_ids(data)))):
        values = seen[f"tune/health/{name}_norms"]
        assert len(values) == count
        assert sum(values) / count == pytest.approx(watched.values(f"tune/health/{name}_norm")[1], rel=1e-5)


def probe_ids(data: ReferenceDataModule) -> set[int]:
    return set(data.samples["reference"])
