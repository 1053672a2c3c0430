"""Small corpora and in-process fits for the training modules."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


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
