"""Compiled layers: the same numbers but for rounding, and no compiler no start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from domino_lightning.callbacks.compiled import CompiledLayers, check_compiler
from domino_lightning.callbacks.health import StepTable
from domino_lightning.callbacks.probes import SampledTexts
from domino_lightning.data import ReferenceDataModule
from domino_lightning.errors import UserError
from domino_lightning.losses import InfoNCE
from domino_lightning.models.backbone import decoder_layers, load_tokenizer
from domino_lightning.modules import LoraTuningModule, PromptTuningModule
from domino_lightning.modules.domain_learner import DomainLearner
from domino_lightning.nn import DomainPrompt
from domino_lightning.utils.seeding import generator

Fit = Callable[..., tuple[DomainLearner, list[dict[str, Any]]]]


@pytest.fixture
def fit(splits: Path, tiny_backbone: Path, quiet_trainer: Callable[..., Any], tmp_path: Path) -> Fit:
    spec = str(tiny_backbone)

    def run(module: DomainLearner, name: str, *callbacks: Any) -> tuple[DomainLearner, list[dict[str, Any]]]:
        data = ReferenceDataModule(splits / "reference.jsonl", splits / "heldout.jsonl", spec, 3, 64)
        table = StepTable(tmp_path / f"{name}.jsonl")
        samples = SampledTexts(2, load_tokenizer(spec), 2, 8, 0, table)
        quiet_trainer(max_steps=4, callbacks=[*callbacks, samples]).fit(module, datamodule=data)
        return module, table.read()

    return run


@pytest.mark.slow
@pytest.mark.parametrize(("micro", "backend"), [(None, "eager"), (2, "eager"), (None, "inductor")])
def test_domain_tokens_are_those_of_the_layers_as_they_are(
    fit: Fit, tiny_backbone: Path, micro: int | None, backend: str
) -> None:
    def module() -> PromptTuningModule:
        loss = InfoNCE(pairs=1)
        return PromptTuningModule(
            str(tiny_backbone), DomainPrompt(3), loss, num_sample_tokens=2, pair_micro_batch=micro
        )

    plain, texts = fit(module(), "plain")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled, same = fit(module(), "compiled", CompiledLayers("tune.runtime.compile", backend))
    assert all(layer._compiled_call_impl is not None for layer in decoder_layers(compiled.backbone))
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert 0 < graphs < 16  # two layers have the same, batches of other sizes too
    torch.testing.assert_close(compiled.soft_tokens(), plain.soft_tokens(), rtol=1e-4, atol=1e-6)
    assert isinstance(plain, PromptTuningModule)
    vocabulary = plain.backbone.get_input_embeddings().weight.detach()
    start = plain.prompt.tokens(vocabulary, generator("domain", plain.seed)).exported()
    assert not torch.allclose(plain.soft_tokens(), start, rtol=1e-3)
    assert same == texts


@pytest.mark.slow
def test_an_adapter_is_that_of_the_layers_as_they_are(fit: Fit, tiny_backbone: Path) -> None:
    def weights(module: DomainLearner) -> torch.Tensor:
        return torch.cat([value.flatten() for name, value in module.named_parameters() if "lora_" in name])

    plain, _ = fit(LoraTuningModule(str(tiny_backbone)), "plain")
    compiling = CompiledLayers("tune.runtime.compile", "eager")
    compiled, _ = fit(LoraTuningModule(str(tiny_backbone)), "compiled", compiling)
    torch.testing.assert_close(weights(compiled), weights(plain), rtol=1e-3, atol=1e-5)


def test_without_a_compiler_nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match=r"tune\.runtime\.compile: torch\.compile needs a C\+\+ compiler"):
        check_compiler("tune.runtime.compile", torch.device("cpu"))
    monkeypatch.setattr("domino_lightning.callbacks.compiled.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs Triton on a GPU"):
        check_compiler("tune.runtime.compile", torch.device("cuda"))
    monkeypatch.undo()
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    check_compiler("tune.runtime.compile", torch.device("cpu"))
