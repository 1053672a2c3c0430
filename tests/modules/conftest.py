"""Small corpora and in-process fits for the training modules."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from safetensors.torch import load_file

from domino_lightning.callbacks.checkpoint import LAST
from domino_lightning.losses import InfoNCE
from domino_lightning.stages.tune import Tune, TuneRuntime
from domino_lightning.store.work import Work
from domino_lightning.utils.jsonl import read_json
from tests.modules.stage_runs import HEALTH, Noisy, Result, Run


@pytest.fixture
def splits(tmp_path: Path) -> Path:
    """A prepared directory: seven references of which two are copies of one sample, three held-out texts."""
    folder = tmp_path / "prepare"
    folder.mkdir()
    reference = [
        {"id": f"r{i}", "text": f"def f(x): return x + {i}" + "y" * i, "group": "g" if i in (2, 5) else f"s{i}"}
        for i in range(7)
    ]
    heldout = [{"id": f"h{i}", "text": "def g(x): return x" + " - 1" * i} for i in range(3)]
    for name, rows in (("reference", reference), ("heldout", heldout)):
        for i, row in enumerate(rows):
            row |= {"kind": "codeexec", "group": row.get("group", f"h{i}"), "code": row["text"]}
            row |= {"entry_point": "f", "input": str(i), "output": str(10 * i)}
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def quiet_trainer(tmp_path: Path) -> Callable[..., Any]:
    """`quiet_trainer(max_steps=2)`: a Trainer on the CPU that logs nowhere and saves nothing by itself."""

    def make(**settings: Any) -> Any:
        from lightning.pytorch import Trainer

        fixed: dict[str, Any] = {
            "accelerator": "cpu",
            "devices": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "use_distributed_sampler": False,
            "default_root_dir": str(tmp_path),
        }
        return Trainer(**{**fixed, "limit_val_batches": 0, **settings})

    return make


@pytest.fixture
def tune(tmp_path: Path, splits: Path, tiny_backbone: Path) -> Run:
    """Runs the tune stage in this process in a directory of a given name."""

    def run(
        name: str, schedule: dict[str, Any], kill: Callback | None = None, every: int | None = 2, **model: Any
    ) -> Result:
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        settings = {
            "backbone": str(tiny_backbone),
            "domain_prompt": Noisy(3),
            "loss": InfoNCE(pairs=1),
            "num_sample_tokens": 2,
            "learning_rate": 0.05,
            "sample_learning_rate": 0.05,
            "warmup_steps": 2,
            **model,
        }
        trainer = {"accelerator": "cpu", "gradient_clip_val": 1.0, "callbacks": [kill] if kill else [], **schedule}
        data = {"tokenizer": str(tiny_backbone), "batch_size": 2, "max_length": 64}
        health: dict[str, Any] = {
            "health_every_n_steps": 3,
            "probe_size": 2,
            "samples_every_n_steps": 4,
            "sample_tokens": 4,
        }
        stage = Tune(settings, data, trainer, TuneRuntime(every, **health), seed=3)
        stage.run(Work(directory, {"prepare": splits}, "0" * 16, {}))
        return Result(
            load_file(str(directory / "soft_prompt.safetensors")),
            "".join((directory / name).read_text() for name in HEALTH) + str(read_json(directory / "soft_prompt.json")),
            torch.load(directory / "scratch" / LAST, weights_only=True),
        )

    return run
