"""finetune: chat pairs → coder; with `source: none` the coder is the untouched backbone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from domino_lightning.domains.base import Domain
from domino_lightning.errors import UserError
from domino_lightning.stages.base import Stage, shown
from domino_lightning.stages.training import (
    TrainingRuntime,
    accelerators,
    check_shares,
    fit,
    ranks,
    training_parser,
    without_ranks,
)
from domino_lightning.stages.tune import spec_hashes
from domino_lightning.store.contents import backbone_hash
from domino_lightning.store.work import Section, Work
from domino_lightning.tracking.metrics_file import METRICS, MetricsFile
from domino_lightning.utils.jsonl import Record, read_json, read_jsonl, write_json, write_jsonl

CODER = "coder.json"
SourceName = Literal["none", "reference", "synthetic", "both"]
INPUTS = {
    "none": (),
    "reference": ("prepare",),
    "synthetic": ("prepare", "answer"),
    "both": ("prepare", "answer"),
}


class Finetune(Stage):
    """Fine-tune the coder.

    Args:
        model: arguments of `CoderModule`.
        data: arguments of `SyntheticDataModule`, but for the files.
        trainer: arguments of `lightning.pytorch.Trainer`; give every arm of a comparison the same max_steps.
        domain: makes chat pairs of reference records.
        source: what to train on.
        seed: of adapter initialization and batch order.
        runtime: checkpoint cadence, logging, workers.
    """

    name = "finetune"
    version = 2
    summary = "fine-tune the coder on synthetic pairs, references, both, or not at all"
    artifact = "coder"

    def __init__(
        self,
        model: Any,
        data: Any,
        trainer: Any,
        domain: Domain,
        runtime: TrainingRuntime,
        source: SourceName = "synthetic",
        seed: int = 0,
    ) -> None:
        self.model, self.data, self.trainer = dict(model), dict(data), dict(trainer)
        self.domain, self.source, self.seed, self.runtime = domain, source, seed, runtime
        self._check()

    def _check(self) -> None:
        """What the constructors of model and data refuse is told before anything runs; no backbone is loaded."""
        from domino_lightning.data import SyntheticDataModule
        from domino_lightning.modules import CoderModule

        CoderModule(seed=self.seed, **self.model)
        check_shares(SyntheticDataModule([], "", seed=self.seed, **self.data).batch_size, self.trainer)

    @classmethod
    def parser(cls) -> Any:
        """model, data and trainer are typed by their classes."""
        from domino_lightning.data import SyntheticDataModule
        from domino_lightning.modules import CoderModule

        parser = training_parser(CoderModule, SyntheticDataModule, {"pairs", "heldout"})
        parser.add_subclass_arguments(Domain, "domain")
        parser.add_argument("--source", type=SourceName, default="synthetic")
        return parser

    @classmethod
    def own_process(cls, section: Section) -> bool:
        """When there is something to train on."""
        return section.get("source") != "none"

    @classmethod
    def processes(cls, section: Section) -> int:
        """The ranks."""
        return ranks(section)

    @classmethod
    def devices(cls, section: Section) -> int:
        """One a rank, unless it trains on the CPU."""
        return accelerators(section)

    @classmethod
    def inputs(cls, section: Section) -> tuple[str, ...]:
        """By source."""
        source = section.get("source", "synthetic")
        if not isinstance(source, str) or source not in INPUTS:
            raise UserError(f"finetune.source: {source!r} is none of {', '.join(INPUTS)}.")
        return INPUTS[source]

    @classmethod
    def identity(cls, section: Section) -> Section:
        """Not which ranks share the work."""
        return without_ranks(section)

    @classmethod
    def contents(cls, section: Section) -> dict[str, str]:
        """Backbone and tokenizer."""
        return spec_hashes("finetune", section, ("model.backbone", "data.tokenizer"))

    @classmethod
    def metrics(cls, directory: Path) -> dict[str, float]:
        """Steps and pairs, and what the fit has logged."""
        path = directory / CODER
        coder = read_json(path) if path.is_file() else {}
        counts = {f"finetune/train/{name}": coder[name] for name in ("steps", "pairs") if name in coder}
        return counts | super().metrics(directory)

    @classmethod
    def headline(cls, metrics: Mapping[str, float]) -> str:
        """Steps and pairs."""
        steps, pairs = (shown(metrics, f"finetune/train/{name}") for name in ("steps", "pairs"))
        return f"{steps} steps on {pairs} pairs"

    def run(self, work: Work) -> None:
        """Fit and save the adapter or the model; `coder.json` says what it rests on."""
        backbone = self.model["backbone"]
        coder = {"base": backbone, "base_hash": backbone_hash(backbone, "finetune.model.backbone")}
        coder |= {"adapter": False, "source": self.source, "steps": 0, "pairs": 0}
        if self.source != "none":
            coder |= self._train(work)
        write_json(work.directory / CODER, coder)

    def _train(self, work: Work) -> Record:
        from domino_lightning.data import SyntheticDataModule
        from domino_lightning.modules import CoderModule

        files = []
        if self.source in {"reference", "both"}:
            files.append(self._reference_pairs(work, "reference"))
        if self.source in {"synthetic", "both"}:
            files.append(work.input("answer", "pairs.jsonl"))
        data = SyntheticDataModule(
            pairs=files,
            heldout=self._reference_pairs(work, "heldout"),
            seed=self.seed,
            num_workers=self.runtime.num_workers,
            **self.data,
        )
        data.setup()  # before the backbone is loaded: bad data is told at once
        model = CoderModule(seed=self.seed, **self.model)
        trainer, _, _ = fit("finetune", model, data, self.trainer, self.runtime, work, self.seed, monitor=None)
        model.save_pretrained(work.directory / "model")
        if trainer.is_global_zero:
            MetricsFile(work.directory / METRICS).tidy()
        return {
            "adapter": model.lora is not None,
            "steps": trainer.global_step,
            "pairs": len(data.encoded["train"]),
        }

    def _reference_pairs(self, work: Work, split: str) -> Path:
        """Chat pairs of a prepared split; records without an answer are left out."""
        records = read_jsonl(work.input("prepare", f"{split}.jsonl"))
        pairs = [
            {"messages": self.domain.pair(record), "source_id": record["id"], "provenance": {"prepare": split}}
            for record in records
            if record.get("output") is not None or record.get("solution") is not None
        ]
        path = work.scratch / f"{split}-pairs.jsonl"
        write_jsonl(path, pairs)
        return path
