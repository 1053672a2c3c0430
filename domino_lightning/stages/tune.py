"""tune: references → domain tokens, exported as safetensors beside JSON and as a PEFT adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from domino_lightning.config.document import lookup
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
from domino_lightning.store.contents import backbone_hash, file_hash, soft_prompt_file
from domino_lightning.store.work import Section, Work
from domino_lightning.tracking.metrics_file import METRICS, MetricsFile

if TYPE_CHECKING:
    from lightning.pytorch import Callback

    from domino_lightning.callbacks.health import StepTable


@dataclass(frozen=True)
class TuneRuntime(TrainingRuntime):
    """Settings that change no result.

    Args:
        health_every_n_steps: disentanglement on the probe, norms, nearest tokens and speed; 0 never.
        probe_size: n references of the probe; a look encodes n² + n texts.
        samples_every_n_steps: texts sampled from D; 0 never.
        samples: so many texts.
        sample_tokens: of so many tokens at most.
    """

    health_every_n_steps: int = 50
    probe_size: int = 6
    samples_every_n_steps: int = 50
    samples: int = 4
    sample_tokens: int = 64


class Tune(Stage):
    """Learn the domain tokens.

    Args:
        model: arguments of `PromptTuningModule`.
        data: arguments of `ReferenceDataModule`, but for the files.
        trainer: arguments of `lightning.pytorch.Trainer`.
        export: the step with the best held-out NLL, or the last.
        keep_sample_tokens: write `sample_tokens.safetensors` too, for generators with `sample_tokens`; 4 N S H bytes.
        seed: of initialization, batch order and negatives.
        runtime: checkpoint cadence, logging, workers.
    """

    name = "tune"
    version = 4
    summary = "learn the domain tokens from the references"
    artifact = "soft_prompt"
    samples_key = "tune/health/samples"  # logged while it trains

    def __init__(
        self,
        model: Any,
        data: Any,
        trainer: Any,
        runtime: TuneRuntime,
        export: Literal["best", "last"] = "best",
        keep_sample_tokens: bool = True,
        seed: int = 0,
    ) -> None:
        self.model, self.data, self.trainer = dict(model), dict(data), dict(trainer)
        self.runtime, self.export, self.seed = runtime, export, seed
        self.keep_sample_tokens = keep_sample_tokens
        self._check()

    def _check(self) -> None:
        """What the constructors of model and data refuse is told before anything runs; no backbone is loaded."""
        from domino_lightning.data import ReferenceDataModule
        from domino_lightning.modules import PromptTuningModule

        PromptTuningModule(seed=self.seed, **self.model)
        check_shares(ReferenceDataModule("", "", seed=self.seed, **self.data).batch_size, self.trainer)

    @classmethod
    def parser(cls) -> Any:
        """model, data and trainer are typed by their classes."""
        from domino_lightning.data import ReferenceDataModule
        from domino_lightning.modules import PromptTuningModule

        parser = training_parser(PromptTuningModule, ReferenceDataModule, {"reference", "heldout"}, TuneRuntime)
        parser.add_argument("--export", type=Literal["best", "last"], default="best")
        parser.add_argument("--keep_sample_tokens", type=bool, default=True)
        return parser

    @classmethod
    def own_process(cls, section: Section) -> bool:
        """Always."""
        return True

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
        """The splits."""
        return ("prepare",)

    @classmethod
    def identity(cls, section: Section) -> Section:
        """Not which ranks share the work, unless negatives are a rank's own."""
        model = section.get("model")
        local = isinstance(model, dict) and model.get("negatives") == "local"
        return section if local else without_ranks(section)

    @classmethod
    def contents(cls, section: Section) -> dict[str, str]:
        """Backbone, tokenizer, and the soft prompt that D starts from if it does."""
        hashes = spec_hashes("tune", section, ("model.backbone", "data.tokenizer"))
        key = "model.domain_prompt.init_args"
        init = lookup(section, key)
        if isinstance(init, dict) and init.get("init") == "soft_prompt" and isinstance(init.get("init_from"), str):
            hashes[f"{key}.init_from"] = file_hash(soft_prompt_file(init["init_from"]))
        return hashes

    @classmethod
    def headline(cls, metrics: Mapping[str, float]) -> str:
        """The best held-out NLL."""
        return f"held-out NLL {shown(metrics, 'tune/heldout/nll_best')} nats/token"

    def run(self, work: Work) -> None:
        """Fit and export."""
        import torch

        from domino_lightning.data import ReferenceDataModule
        from domino_lightning.models.backbone import load_tokenizer
        from domino_lightning.models.soft_prompt import save_peft_adapter, save_sample_tokens, save_soft_prompt
        from domino_lightning.modules import PromptTuningModule

        data = ReferenceDataModule(
            reference=work.input("prepare", "reference.jsonl"),
            heldout=work.input("prepare", "heldout.jsonl"),
            seed=self.seed,
            num_workers=self.runtime.num_workers,
            **self.data,
        )
        data.setup()  # before the backbone is loaded: bad data is told at once
        model = PromptTuningModule(seed=self.seed, **self.model)
        callbacks, tables = self._health(work)
        trainer, last, best = fit(
            "tune", model, data, self.trainer, self.runtime, work, self.seed, "tune/heldout/nll", callbacks
        )
        if not trainer.is_global_zero:
            return
        state = torch.load(best if self.export == "best" else last, weights_only=True)
        model.load_state_dict(state["state_dict"], strict=False)
        if self.keep_sample_tokens and model.sample_tokens is not None:
            save_sample_tokens(work.directory, model.sample_tokens.vectors(state["sample_table"]["table"]))
        domain = model.domain_prompt.exported()
        start = model.backbone.get_input_embeddings()(torch.tensor(model.bos, dtype=torch.long, device=model.device))
        save_peft_adapter(work.directory / "adapter", torch.cat([start, domain.to(start)]), self.model["backbone"])
        save_soft_prompt(
            work.directory,
            domain,
            self.model["backbone"],
            load_tokenizer(self.model["backbone"]),
            init=model.domain_prompt.init,
            export=self.export,
            step=int(state["global_step"]),
        )
        MetricsFile(work.directory / METRICS).tidy()
        for table in tables:
            table.tidy()

    def _health(self, work: Work) -> tuple[list[Callback], list[StepTable]]:
        """The callbacks that watch the run, and the tables they leave in the stage's directory."""
        from domino_lightning.callbacks.health import Norms, StepTable
        from domino_lightning.callbacks.probes import Disentanglement, NearestTokens, SampledTexts
        from domino_lightning.callbacks.throughput import Speed
        from domino_lightning.models.backbone import load_tokenizer

        runtime, every = self.runtime, self.runtime.health_every_n_steps
        tokenizer = load_tokenizer(self.model["backbone"])
        names = ("pair_matrix", "nearest_tokens", "samples")
        matrices, nearest, samples = tables = [StepTable(work.directory / f"{name}.jsonl") for name in names]
        callbacks: list[Callback] = [
            Speed(every),
            Norms(every),
            Disentanglement(every, runtime.probe_size, matrices),
            NearestTokens(every, tokenizer, nearest),
            SampledTexts(
                runtime.samples_every_n_steps, tokenizer, runtime.samples, runtime.sample_tokens, self.seed, samples
            ),
        ]
        return callbacks, tables


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
