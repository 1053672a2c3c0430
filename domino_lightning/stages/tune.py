"""tune: references → domain tokens, or another thing learned from them, exported for generators and for PEFT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from domino_lightning.config.document import Config
from domino_lightning.config.layers import lookup
from domino_lightning.config.nodes import ClassNode
from domino_lightning.losses import DisentanglementLoss
from domino_lightning.stages.base import Stage, shown
from domino_lightning.stages.trainer import TrainingRuntime
from domino_lightning.stages.training import TrainingStage
from domino_lightning.store.contents import file_hash, soft_prompt_file
from domino_lightning.store.work import Section, Work
from domino_lightning.utils.ranges import ONE_OR_MORE, ROWS, ZERO_OR_MORE, check_ranges

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningDataModule, LightningModule

    from domino_lightning.callbacks.health import StepTable
    from domino_lightning.modules import DomainLearner


@dataclass(frozen=True)
class TuneRuntime(TrainingRuntime):
    """Settings that change no result.

    Args:
        health_every_n_steps: disentanglement on the probe, norms, nearest tokens and speed; 0 never.
        probe_size: n references of the probe; a look encodes n² + n texts.
        samples_every_n_steps: texts sampled from D; 0 never.
        samples: so many texts.
        sample_tokens: of so many tokens at most.
        compile: the backbone's layers by torch.compile, everything but their attention: numbers equal but for rounding,
            and minutes at the start.
    """

    health_every_n_steps: int = 50
    probe_size: int = 6
    samples_every_n_steps: int = 50
    samples: int = 4
    sample_tokens: int = 64
    compile: bool = False

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            OutOfRange: the first one.
        """
        super().__post_init__()
        cadences = {"health_every_n_steps": ZERO_OR_MORE, "samples_every_n_steps": ZERO_OR_MORE}
        check_ranges("runtime", self, **cadences, probe_size=ONE_OR_MORE, samples=ROWS, sample_tokens=ONE_OR_MORE)


class Tune(TrainingStage):
    """Learn the domain tokens, or what another `DomainLearner` learns.

    Args:
        model: arguments of `PromptTuningModule`, or `class_path` and `init_args` of another `DomainLearner`.
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
    def settings(cls) -> tuple[type, type]:
        """Of prompt tuning on references."""
        from domino_lightning.data.settings import ReferenceSettings
        from domino_lightning.modules.settings import PromptTuningSettings

        return PromptTuningSettings, ReferenceSettings

    @classmethod
    def classes(cls) -> tuple[type[LightningModule], type[LightningDataModule]]:
        """Prompt tuning on references."""
        from domino_lightning.data import ReferenceDataModule
        from domino_lightning.modules import PromptTuningModule

        return PromptTuningModule, ReferenceDataModule

    @classmethod
    def model_node(cls, section: Section) -> ClassNode | None:
        """As it is written."""
        return ClassNode.read(section.get("model"))

    @classmethod
    def named_module(cls, section: Section) -> type[DomainLearner] | None:
        """Any `DomainLearner`."""
        node = cls.model_node(section)
        if node is None:
            return None
        from domino_lightning.modules import DomainLearner

        return node.load(DomainLearner, "tune.model")

    @classmethod
    def learned(cls, section: Section) -> str:
        """What the stage exports, as generators name what they sample."""
        named = cls.named_module(section)
        return "soft_prompt" if named is None else named.learned

    def _check(self) -> None:
        """Also that a loss of someone else keeps its contract; of the package's own the tests say so."""
        super()._check()
        if isinstance(loss := self.model.get("loss"), DisentanglementLoss) and not _shipped(loss):
            from domino_lightning.losses.check import try_loss

            try_loss(loss)

    @classmethod
    def inputs(cls, section: Section) -> tuple[str, ...]:
        """The splits."""
        return ("prepare",)

    @classmethod
    def identity(cls, section: Section) -> Section:
        """Not which ranks share the work, unless negatives are a rank's own, nor how many texts go at a time."""
        model = section.get("model")
        if not isinstance(model, dict):  # validation says what is wrong with it
            return super().identity(section)
        local = model.get("negatives") == "local"
        found = Stage.identity(section) if local else super().identity(section)
        if model.get("pair_micro_batch") is None:
            return found
        return {**found, "model": {**found["model"], "pair_micro_batch": None}}

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

    def check_samples(self) -> None:
        """Refuse texts sampled while it trains for which the backbone has too few positions.

        Raises:
            UserError: it names the key.
        """
        if not self.health.samples_every_n_steps:
            return
        from domino_lightning.data.lengths import bos_count
        from domino_lightning.models.backbone import check_positions
        from domino_lightning.models.lookups import positions_of

        prompt = self.model.get("domain_prompt")
        before = bos_count(self.data["tokenizer"]) + getattr(prompt, "num_tokens", 0)
        key = "tune.runtime.sample_tokens"
        told = {"what texts are sampled behind": max(1, before)}
        limit = positions_of(self.model["backbone"])
        check_positions(limit, told, self.health.sample_tokens, key, "Lower it, or set samples_every_n_steps=0.")

    def run(self, work: Work) -> None:
        """Fit and export."""
        import torch

        data = self.datamodule(**{name: work.input("prepare", f"{name}.jsonl") for name in self.files})
        data.setup()  # before the backbone is loaded: bad data is told at once
        self.check_samples()
        model = self.module()
        callbacks, tables = self._health(model, work)
        trainer, last, best = self.fit(model, data, work, data.samples["reference"], "tune/heldout/nll", callbacks)
        if not trainer.is_global_zero:
            return
        state = torch.load(best if self.export == "best" else last, weights_only=True)
        model.load_state_dict(state["state_dict"], strict=False)
        model.export(work.directory, state, self.keep_sample_tokens, export=self.export, step=int(state["global_step"]))
        for table in tables:
            table.tidy()

    def _health(self, model: DomainLearner, work: Work) -> tuple[list[Callback], list[StepTable]]:
        """The callbacks that watch the run, and the tables they leave in the stage's directory."""
        from domino_lightning.callbacks.compiled import CompiledLayers
        from domino_lightning.callbacks.health import Norms, StepTable
        from domino_lightning.callbacks.probes import Disentanglement, NearestTokens, SampledTexts
        from domino_lightning.callbacks.throughput import Speed
        from domino_lightning.models.backbone import load_tokenizer
        from domino_lightning.modules.settings import PromptTuningSettings

        runtime, every = self.health, self.health.health_every_n_steps
        tokenizer = load_tokenizer(self.model["backbone"])
        names = ("pair_matrix", "nearest_tokens", "samples")
        matrices, nearest, samples = tables = [StepTable(work.directory / f"{name}.jsonl") for name in names]
        callbacks: list[Callback] = [Speed(every), Norms(every)]
        if runtime.compile:
            callbacks.append(CompiledLayers("tune.runtime.compile"))
        if isinstance(model, PromptTuningSettings):  # the others have no D or S to look at
            probe = Disentanglement(every, runtime.probe_size, matrices)
            callbacks += [probe, NearestTokens(every, tokenizer, nearest)]
        callbacks.append(
            SampledTexts(
                runtime.samples_every_n_steps, tokenizer, runtime.samples, runtime.sample_tokens, self.seed, samples
            )
        )
        return callbacks, tables


def _shipped(loss: DisentanglementLoss) -> bool:
    """Whether a loss and what it was given, such as a schedule, are of this package or plain values."""
    packages = {type(each).__module__.partition(".")[0] for each in (loss, *vars(loss).values())}
    return packages <= {"domino_lightning", "builtins"}
