"""The pairs of an answer stage train unchanged in TRL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from domino_lightning.domains import CodeExec
from domino_lightning.stages.answer import Answer
from domino_lightning.store.work import Work
from domino_lightning.utils.jsonl import write_json, write_jsonl


@pytest.mark.slow
def test_the_directory_trains_in_sfttrainer_as_it_is(tmp_path: Path, tiny_backbone: Path) -> None:
    inputs = {"prepare": tmp_path / "prepare", "curate": tmp_path / "curate"}
    out = tmp_path / "out"
    for folder in (*inputs.values(), out):
        folder.mkdir()
    for split in ("reference", "heldout"):
        write_jsonl(inputs["prepare"] / f"{split}.jsonl", [])
    records = [{"id": f"s-{n}", **CodeExec().parse(f"def f(a):\n    return a + {n}\n\nf(1)")} for n in range(4)]
    write_jsonl(inputs["curate"] / "accepted.jsonl", records)
    write_json(inputs["curate"] / "funnel.json", {"candidates": 4, "steps": [], "accepted": 4})
    Answer(CodeExec()).run(Work(out, inputs, "fingerprint", {}))

    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    settings: dict[str, Any] = {"max_steps": 2, "per_device_train_batch_size": 2, "use_cpu": True, "report_to": "none"}
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_backbone),
        args=SFTConfig(output_dir=str(tmp_path / "sft"), bf16=False, max_length=2048, **settings),
        train_dataset=load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache")),
        processing_class=AutoTokenizer.from_pretrained(tiny_backbone),
    )
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    result = trainer.train()
    assert result.global_step == 2
    assert 0 < result.training_loss < 20
    after = list(trainer.model.parameters())
    assert any((old != new.detach().cpu()).any() for old, new in zip(before, after, strict=True))
