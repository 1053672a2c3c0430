"""finetune: chat pairs → coder; with `source: none` the coder is the untouched backbone."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from domino_lightning.config.document import Config
from domino_lightning.domains.base import Domain
from domino_lightning.domains.rows import Pair
from domino_lightning.errors import UserError
from domino_lightning.stages.answer import SUMMARY as ANSWERS
from domino_lightning.stages.base import shown
from domino_lightning.stages.trainer import TrainingRuntime
from domino_lightning.stages.training import TrainingStage
from domino_lightning.store.contents import backbone_hash
from domino_lightning.store.work import Section, Work
from domino_lightning.utils.jsonl import Record, read_jsonl, read_object, write_json, write_jsonl

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule, LightningModule

log = logging.getLogger(__name__)

CODER = "coder.json"
FEW_PAIRS = 10
SourceName = Literal["none", "reference", "synthetic", "both"]
INPUTS = {
    "none": (),
    "reference": ("prepare",),
    "synthetic": ("prepare", "answer"),
    "both": ("prepare", "answer"),
}


@dataclass(frozen=True)
class FinetuneRuntime(TrainingRuntime):
    """Settings that change no result.

    Args:
        gradient_checkpointing: keep the inputs of decoder layers alone and compute the rest again in the backward
            pass: the same gradients from a fraction of the memory, at the price of one more forward pass.
    """

    gradient_checkpointing: bool = False


class Finetune(TrainingStage):
    """Fine-tune the coder.

    Args:
        model: arguments of `CoderModule`.
        data: arguments of `SyntheticDataModule`, but for the files.
        trainer: arguments of `lightning.pytorch.Trainer`; give every arm of a comparison the same max_steps.
        domain: makes chat pairs of reference records.
        source: what to train on.
        seed: of adapter initialization and batch order.
        runtime: checkpoint cadence, logging, workers, gradient checkpointing.
    """

    name = "finetune"
    version = 2
    summary = "fine-tune the coder on synthetic pairs, references, both, or not at all"
    artifact = "coder"
    files = ("pairs", "heldout")
    from_runtime = ("gradient_checkpointing",)

    def __init__(
        self,
        model: Any,
        data: Any,
        trainer: Any,
        domain: Domain,
        runtime: FinetuneRuntime,
        source: SourceName = "synthetic",
        seed: int = 0,
    ) -> None:
        super().__init__(model, data, trainer, runtime, seed)
        self.domain, self.source = domain, source

    @classmethod
    def settings(cls) -> tuple[type, type]:
        """Of the coder on chat pairs."""
        from domino_lightning.data.settings import SyntheticSettings
        from domino_lightning.modules.settings import CoderSettings

        return CoderSettings, SyntheticSettings

    @classmethod
    def classes(cls) -> tuple[type[LightningModule], type[LightningDataModule]]:
        """The coder on chat pairs."""
        from domino_lightning.data import SyntheticDataModule
        from domino_lightning.modules import CoderModule

        return CoderModule, SyntheticDataModule

    @classmethod
    def own_process(cls, section: Section) -> bool:
        """When there is something to train on."""
        return section.get("source") != "none"

    @classmethod
    def inputs(cls, section: Section) -> tuple[str, ...]:
        """By source."""
        source = section.get("source", "synthetic")
        if not isinstance(source, str) or source not in INPUTS:
            raise UserError(f"finetune.source: {source!r} is none of {', '.join(INPUTS)}.")
        return INPUTS[source]

    @classmethod
    def identity(cls, section: Section) -> Section:
        """Without a `data.size` of null, so that stages from before there was one are found."""
        section = super().identity(section)
        data = section.get("data")
        if not isinstance(data, dict):  # validation says what is wrong with it
            return section
        return {**section, "data": {key: value for key, value in data.items() if (key, value) != ("size", None)}}

    @classmethod
    def small(cls, config: Config, backbone: str) -> dict[str, Any]:
        """Room for texts of a tokenizer that has one token a byte."""
        small = super().small(config, backbone)
        small["data"] |= {"max_length": 2048, "size": None}
        return small

    @classmethod
    def numbers(cls, directory: Path) -> dict[str, float]:
        """Steps and pairs, and what the fit has logged."""
        path = directory / CODER
        coder = read_object(path) if path.is_file() else {}
        counts = {f"finetune/train/{name}": coder[name] for name in ("steps", "pairs") if name in coder}
        return counts | super().numbers(directory)

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
        splits = {name: read_jsonl(work.input("prepare", f"{name}.jsonl")) for name in ("reference", "heldout")}
        made = {name: self._reference_pairs(work, name, records) for name, records in self.answered(splits).items()}
        files = [made["reference"]] if "reference" in made else []
        if self.source in {"synthetic", "both"}:
            files.append(work.input("answer", "pairs.jsonl"))
        if not any(read_jsonl(file) for file in files):
            raise UserError(self._nothing(work, splits["reference"]))
        data = self.datamodule(pairs=files, heldout=made["heldout"])
        data.setup()  # before the backbone is loaded: bad data is told at once
        if (count := len(data.encoded["train"])) < FEW_PAIRS:
            log.warning(
                "finetune: %d pairs to train on (finetune.source: %s), fewer than %d: such a coder's score says "
                "next to nothing.", count, self.source, FEW_PAIRS,
            )  # fmt: skip
        model = self.module()
        trainer, _, _ = self.fit(model, data, work, range(len(data.encoded["train"])))
        model.save_pretrained(work.directory / "model")
        return {
            "adapter": model.lora is not None,
            "steps": trainer.global_step,
            "pairs": len(data.encoded["train"]),
        }

    def answered(self, splits: Mapping[str, Sequence[Record]]) -> dict[str, list[Record]]:
        """The prepared records that pairs are made of: those with an answer; how many have none is said.

        Raises:
            UserError: references are to be trained on alone, and none has an answer.
        """
        if self.source == "none":
            return {}
        wanted = ("heldout",) if self.source == "synthetic" else ("reference", "heldout")
        found = {name: self.domain.answered(splits[name], f"finetune: split {name}") for name in wanted}
        if self.source == "reference" and not found["reference"]:
            domain = type(self.domain)
            raise UserError(
                f"finetune.source: 'reference', but none of {len(splits['reference'])} references has an answer, as "
                f"{domain.__name__}.has_answer has it. Give the rows a field '{domain.answer_field}', or have "
                f"`answer_field`, `pair` or `has_answer` of {domain.__name__} fit them."
            )
        return found

    def _nothing(self, work: Work, references: Sequence[Record]) -> str:
        """Why there is nothing to train on, and what to do about it, for this source."""
        summary = read_object(work.input("answer", ANSWERS))
        reasons = ", ".join(f"{name} {count}" for name, count in summary["rejected"].items())
        if not summary["accepted"]:
            why = "curate accepted no row, and its funnel.json says what removed them. Loosen that filter, tune longer"
        else:
            why = f"answer answered none of {summary['accepted']} accepted rows ({reasons}). Mend what it names"
        beside = f" None of the {len(references)} references has an answer either." if self.source == "both" else ""
        return f"finetune.source: '{self.source}', but {why}, or raise synthesize.stop.candidates.{beside}"

    def _reference_pairs(self, work: Work, split: str, records: Sequence[Record]) -> Path:
        """A file of chat pairs of prepared records."""
        pairs: list[Pair] = [
            {"messages": self.domain.pair(record), "source_id": record["id"], "provenance": {"prepare": split}}
            for record in records
        ]
        path = work.scratch / f"{split}-pairs.jsonl"
        write_jsonl(path, pairs)
        return path
