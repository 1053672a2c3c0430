"""The tune stage on a tiny model in a process of its own, which may kill itself: DIRECTORY TRAINER-JSON True|False."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from safetensors.torch import load_file

from domino_lightning.losses import InfoNCE
from domino_lightning.nn import DomainPrompt
from domino_lightning.stages.tune import Tune, TuneRuntime
from domino_lightning.store.work import Work
from domino_lightning.testing import save_tiny_backbone
from domino_lightning.tracking.metrics_file import read_metrics

FIT_STEPS, DIES_AT = 12, 7


class Die(Callback):
    """SIGKILL at the end of a step whose checkpoint is not yet written."""

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        """Callbacks of the user come before the checkpoint."""
        if trainer.global_step == DIES_AT:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    place, trainer, die = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3] == "True"
    backbone = str(save_tiny_backbone(place.parent / "backbone"))
    splits = place.parent / "splits"
    splits.mkdir(exist_ok=True)
    for split, count in (("reference", 7), ("heldout", 3)):
        texts = [f"def f(x):\n    return x * {row} + {len(split)}" for row in range(count)]
        rows = [{"id": f"{split}-{row}", "text": text} for row, text in enumerate(texts)]
        (splits / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    model = {
        "backbone": backbone, "domain_prompt": DomainPrompt(3), "loss": InfoNCE(pairs="all"), "num_sample_tokens": 2,
        "learning_rate": 0.05, "sample_learning_rate": 0.05, "warmup_steps": 2,
    }  # fmt: skip
    schedule = {"max_steps": FIT_STEPS, "val_check_interval": 3, "check_val_every_n_epoch": None}
    trainer |= {"callbacks": [Die()] if die else [], "gradient_clip_val": 1.0, **schedule}
    data = {"tokenizer": backbone, "batch_size": 2, "max_length": 64}
    runtime = TuneRuntime(checkpoint_every_n_steps=2, health_every_n_steps=4, probe_size=2, sample_tokens=4)
    stage = Tune(model, data, trainer, runtime, seed=3)
    stage.run(Work(place, {"prepare": splits}, "0" * 16, {}))
    nll = [metric.value for metric in read_metrics(place) if metric.key == "tune/heldout/nll"]
    domain = load_file(str(place / "soft_prompt.safetensors"))
    sys.stdout.write(json.dumps({"nll": nll, "domain": [t.tolist() for t in domain.values()]}) + "\n")


if __name__ == "__main__":
    main()
