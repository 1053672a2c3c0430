"""tune: references → domain tokens, exported as safetensors beside JSON."""

from __future__ import annotations

from typing import Any, Literal

from domino_lightning.config import lookup
from domino_lightning.resources import backbone_hash, file_hash, soft_prompt_file
from domino_lightning.stages.base import Section, Stage, Work
from domino_lightning.stages.training import MetricsFile, TrainingRuntime, fit, training_parser


class Tune(Stage):
    """Learn the domain tokens.

    Args:
        model: arguments of `PromptTuningModule`.
        data: arguments of `ReferenceDataModule`, but for the files.
        trainer: arguments of `lightning.pytorch.Trainer`.
        export: the step with the best held-out NLL, or the last.
        seed: of initialisation, batch order and negatives.
        runtime: checkpoint cadence, logging, workers.
    """

    name = "tune"
    version = 2
    summary = "learn the domain tokens from the references"

    def __init__(
        self,
        model: Any,
        data: Any,
        trainer: Any,
        runtime: TrainingRuntime,
        export: Literal["best", "last"] = "best",
        seed: int = 0,
    ) -> None:
        self.model, self.data, self.trainer = dict(model), dict(data), dict(trainer)
        self.runtime, self.export, self.seed = runtime, export, seed

    @classmethod
    def parser(cls) -> Any:
        """model, data and trainer are typed by their classes."""
        from domino_lightning.data import ReferenceDataModule
        from domino_lightning.modules import PromptTuningModule

        parser = training_parser(PromptTuningModule, ReferenceDataModule, {"reference", "heldout"})
        parser.add_argument("--export", type=Literal["best", "last"], default="best")
        return parser

    @classmethod
    def own_process(cls, section: Section) -> bool:
        """Always."""
        return True

    @classmethod
    def inputs(cls, section: Section) -> tuple[str, ...]:
        """The splits."""
        return ("prepare",)

    @classmethod
    def contents(cls, section: Section) -> dict[str, str]:
        """Backbone, tokenizer, and the soft prompt that D starts from if it does."""
        hashes = spec_hashes("tune", section, ("model.backbone", "data.tokenizer"))
        key = "model.domain_prompt.init_args"
        init = lookup(section, key)
        if isinstance(init, dict) and init.get("init") == "soft_prompt" and isinstance(init.get("init_from"), str):
            hashes[f"{key}.init_from"] = file_hash(soft_prompt_file(init["init_from"]))
        return hashes

    def run(self, work: Work) -> None:
        """Fit and export."""
        import torch

        from domino_lightning.backbone import load_tokenizer
        from domino_lightning.data import ReferenceDataModule
        from domino_lightning.modules import PromptTuningModule
        from domino_lightning.soft_prompt import save_soft_prompt

        data = ReferenceDataModule(
            reference=work.input("prepare", "reference.jsonl"),
            heldout=work.input("prepare", "heldout.jsonl"),
            seed=self.seed,
            num_workers=self.runtime.num_workers,
            **self.data,
        )
        data.setup()  # before the backbone is loaded: bad data is told at once
        model = PromptTuningModule(seed=self.seed, **self.model)
        trainer, last, best = fit(
            "tune", model, data, self.trainer, self.runtime, work, self.seed, monitor="tune/heldout/nll"
        )
        if not trainer.is_global_zero:
            return
        state = torch.load(best if self.export == "best" else last, weights_only=True)
        model.load_state_dict(state["state_dict"], strict=False)
        save_soft_prompt(
            work.directory,
            model.domain_prompt.exported(),
            self.model["backbone"],
            load_tokenizer(self.model["backbone"]),
            init=model.domain_prompt.init,
            export=self.export,
            step=int(state["global_step"]),
        )
        MetricsFile(work.directory / "metrics.csv").tidy()


def spec_hashes(stage: str, section: Section, keys: tuple[str, ...]) -> dict[str, str]:
    """Content hashes of the backbone specs under dotted keys of a section."""
    hashes = {}
    for key in keys:
        group, _, name = key.partition(".")
        node = section.get(group)
        spec = node.get(name) if isinstance(node, dict) else None
        if isinstance(spec, str):
            hashes[key] = backbone_hash(spec, f"{stage}.{key}")
    return hashes
