"""Prompt-tuning modules, batches and data that several tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from domino_lightning.data import ReferenceDataModule
from domino_lightning.data.padded import collate_texts
from domino_lightning.losses import DisentanglementLoss, InfoNCE
from domino_lightning.modules import PromptTuningModule
from domino_lightning.nn import DomainPrompt, TextBatch
from domino_lightning.testing import tiny_model


def module(backbone: str = "none", loss: DisentanglementLoss | None = None, **settings: Any) -> PromptTuningModule:
    fixed: dict[str, Any] = {"num_sample_tokens": 2, "learning_rate": 0.05, "sample_learning_rate": 0.05}
    fixed |= {"sample_init": "vocabulary", "warmup_steps": 0}
    prompt = settings.pop("domain_prompt", None) or DomainPrompt(3)
    loss = loss or InfoNCE(1.0, own_weight=0.0, pairs="all")
    return PromptTuningModule(backbone, prompt, loss, **{**fixed, **settings})


def attached(loss: DisentanglementLoss | None = None, family: str = "llama", **settings: Any) -> PromptTuningModule:
    tuned = module(loss=loss, **settings)
    tuned.attach(tiny_model(family, **({"head_dim": 8} if family == "gemma3_text" else {})), num_samples=6)
    tuned.bos = []
    return tuned


def batch(samples: tuple[int, ...] = (0, 1, 2)) -> TextBatch:
    return collate_texts([([20 + sample, 30, 40 + sample, 0][sample % 2 :], sample) for sample in samples])


def data_for(splits: Path, backbone: Path, batch_size: int = 2) -> ReferenceDataModule:
    data = ReferenceDataModule(splits / "reference.jsonl", splits / "heldout.jsonl", str(backbone), batch_size, 64)
    data.setup()
    return data
