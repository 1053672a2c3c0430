"""tune: references → domain tokens, exported as safetensors beside JSON and as a PEFT adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from domino_lightning.config.document import Config, lookup
from domino_lightning.stages.base import Stage, shown
from domino_lightning.stages.training import TrainingRuntime, TrainingStage
from domino_lightning.store.contents import file_hash, soft_prompt_file
from domino_lightning.store.work import Section, Work
from domino_lightning.utils.ranges import ONE_OR_MORE, ZERO_OR_MORE, check_ranges

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningDataModule, LightningModule

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

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            OutOfRange: the first one.
        """
        super().__post_init__()
        cadences = {"health_every_n_steps": ZERO_OR_MORE, "samples_every_n_steps": ZERO_OR_MORE}
        check_ranges(
            "runtime", self, **cadences, probe_size=ONE_OR_MORE, samples=ONE_OR_MORE, sample_tokens=ONE_OR_MORE
        )


class Tune(TrainingStage):
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
    files = ("reference", "heldout")

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
        super().__init__(model, data, trainer, runtime, seed)
        self.health, self.export, self.keep_sample_tokens = runtime, export, keep_sample_tokens

    @classmethod
    def classes(cls) -> tuple[type[LightningModule], type[LightningDataModule]]:
        """Prompt tuning on references."""
        from domino_lightning.data import ReferenceDataModule
        from domino_lightning.modules import PromptTuningModule

        return PromptTuningModule, ReferenceDataModule

    def _check(self) -> None:
        """Also that the loss keeps its contract."""
        super()._check()
        from domino_lightning.losses.check import try_loss

        try_loss(self.model["loss"])

    @classmethod
    def inputs(cls, section: Section) -> tuple[str, ...]:
        """The splits."""
        return ("prepare",)

    @classmethod
    def identity(cls, section: Section) -> Section:
        """Not which ranks share the work, unless negatives are a rank's own."""
        model = section.get("model")
        local = isinstance(model, dict) and model.get("negatives") == "local"
        return Stage.identity(section) if local else super().identity(section)

    @classmethod
    def contents(cls, section: Section) -> dict[str, str]:
        """Backbone, tokenizer, and the soft prompt that D starts from if it does."""
        hashes = super().contents(section)
        key = "model.domain_prompt.init_args"
        init = lookup(section, key)
        if isinstance(init, dict) and init.get("init") == "soft_prompt" and isinstance(init.get("init_from"), str):
            hashes[f"{key}.init_from"] = file_hash(soft_prompt_file(init["init_from"]))
        return hashes

    @classmethod
    def small(cls, config: Config, backbone: str) -> dict[str, Any]:
        """Domain tokens of a larger model do not fit the tiny one, so they start from its vocabulary instead."""
        small = super().small(config, backbone)
        small["data"] |= {"max_length": 512, "too_long": "truncate"}
        if lookup(config.document, "tune.model.domain_prompt.init_args.init") == "soft_prompt":
            small["model"] |= {"domain_prompt": {"init_args": {"init": "vocabulary", "init_from": None}}}
        return small

    @classmethod
    def headline(cls, metrics: Mapping[str, float]) -> str:
        """The best held-out NLL."""
        return f"held-out NLL {shown(metrics, 'tune/heldout/nll_best')} nats/token"

    def run(self, work: Work) -> None:
        """Fit and export."""
        import torch

        from domino_lightning.models.backbone import load_tokenizer
        from domino_lightning.models.soft_prompt import save_peft_adapter, save_sample_tokens, save_soft_prompt

        data = self.datamodule(**{name: work.input("prepare", f"{name}.jsonl") for name in self.files})
        data.setup()  # before the backbone is loaded: bad data is told at once
        model = self.module()
        callbacks, tables = self._health(work)
        trainer, last, best = self.fit(model, data, work, data.samples["reference"], "tune/heldout/nll", callbacks)
        if not trainer.is_global_zero:
            return
        state = torch.load(best if self.export == "best" else last, weights_only=True)
        model.load_state_dict(state["state_dict"], strict=False)
        if self.keep_sample_tokens and model.sample_tokens is not None:
            save_sample_tokens(work.directory, model.sample_tokens.vectors(state["sample_table"]["table"]))
        domain = model.domain_prompt.exported()
        start = model.backbone.get_input_embeddings()(torch.tensor(model.bos, dtype=torch.long, device=model.device))
        save_peft_adapter(work.directory / "adapter", torch.cat([start.to(domain), domain]), self.model["backbone"])
        save_soft_prompt(
            work.directory,
            domain,
            self.model["backbone"],
            load_tokenizer(self.model["backbone"]),
            init=model.domain_prompt.init,
            export=self.export,
            step=int(state["global_step"]),
        )
        for table in tables:
            table.tidy()

    def _health(self, work: Work) -> tuple[list[Callback], list[StepTable]]:
        """The callbacks that watch the run, and the tables they leave in the stage's directory."""
        from domino_lightning.callbacks.health import Norms, StepTable
        from domino_lightning.callbacks.probes import Disentanglement, NearestTokens, SampledTexts
        from domino_lightning.callbacks.throughput import Speed
        from domino_lightning.models.backbone import load_tokenizer

        runtime, every = self.health, self.health.health_every_n_steps
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
