"""What the training modules are told, apart from them: they bring Lightning and torch, which a check does without."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from domino_lightning.errors import UserError
from domino_lightning.losses.base import DisentanglementLoss
from domino_lightning.models.backbone import Dtype
from domino_lightning.nn.domain_prompt import DomainPrompt
from domino_lightning.nn.starts import SampleInit
from domino_lightning.utils.ranges import ONE_OR_MORE, POSITIVE, UNIT_OPEN_HIGH, ZERO_OR_MORE, check_ranges

SHORTER_PAIRS = "Lower finetune.data.max_length with too_long=drop, or take a model with more positions."


@dataclass(frozen=True)
class Lora:
    """Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685) as PEFT implements it."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: str | list[str] = "all-linear"

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            OutOfRange: the first one.
        """
        check_ranges("model.lora", self, rank=ONE_OR_MORE, alpha=ONE_OR_MORE, dropout=UNIT_OPEN_HIGH)


DEFAULT_LORA = Lora()


class PromptTuningSettings:
    """The arguments of `PromptTuningModule`, and what can be said of them before there is a backbone.

    Args:
        backbone: backbone spec.
        domain_prompt: what D is to be.
        backbone_dtype: of the frozen weights; auto is bfloat16 on a GPU that computes it natively, else float32. D, S
            and their moments are float32 whatever it is.
        loss: the objective; its `pairs` says which forward passes are made.
        num_sample_tokens: S.
        sample_rank: R of low-rank sample tokens (see `SampleTokens`); null keeps S · H numbers a sample.
        sample_init: where S_i starts. `keywords`: at the embeddings of the S tokens of highest tf-idf in sample i's
            texts, so that it tells something of x_i before its first update; `vocabulary` and `normal` draw it.
        negatives: `global`, the other samples of the whole step's batch, so that the loss is the same on any
            number of ranks; or `local`, those of the rank's own share, which spares one exchange a step.
        learning_rate: of D, AdamW without weight decay.
        sample_learning_rate: of the rows of the batch, SparseAdam.
        warmup_steps: linear warm-up, then linear decay to 0 at the last step, for both.
        pair_micro_batch: (sample prompt, text) pairs encoded at a time; their activations are computed again in the
            backward pass, so that memory is bounded by one micro-batch at the price of one more forward pass of
            the pairs. None: all pairs of a batch together, nothing twice.
        seed: of initialization and negatives.
    """

    def __init__(
        self,
        backbone: str,
        domain_prompt: DomainPrompt,
        loss: DisentanglementLoss,
        num_sample_tokens: int = 4,
        sample_rank: int | None = None,
        sample_init: SampleInit = "keywords",
        negatives: Literal["global", "local"] = "global",
        learning_rate: float = 5e-3,
        sample_learning_rate: float = 1e-2,
        warmup_steps: int = 5,
        pair_micro_batch: int | None = None,
        backbone_dtype: Dtype = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if num_sample_tokens < 1 and loss.pairs != "none":
            raise UserError(f"tune.model.num_sample_tokens: {num_sample_tokens}, but the loss needs 1 or more.")
        self.backbone_spec, self.backbone_dtype = backbone, backbone_dtype
        self.prompt = domain_prompt
        self.loss = loss
        self.num_sample_tokens, self.sample_rank, self.negatives = num_sample_tokens, sample_rank, negatives
        self.sample_init: SampleInit = sample_init
        self.learning_rate, self.sample_learning_rate = learning_rate, sample_learning_rate
        self.warmup_steps, self.seed = warmup_steps, seed
        self.pair_micro_batch = pair_micro_batch
        check_ranges(
            "tune.model",
            self,
            num_sample_tokens=ZERO_OR_MORE,
            sample_rank=ONE_OR_MORE,
            learning_rate=ZERO_OR_MORE,
            sample_learning_rate=POSITIVE,
            warmup_steps=ZERO_OR_MORE,
            pair_micro_batch=ONE_OR_MORE,
        )

    def check_context(self, longest: int, limit: int | None, bos: int) -> None:
        """Behind D and the sample tokens, if the loss asks for any."""
        prompt = bos + self.prompt.num_tokens + (self.num_sample_tokens if self.loss.pairs != "none" else 0)
        if limit is not None and prompt + longest > limit:
            raise UserError(
                f"tune: {prompt} prompt tokens and a text of {longest} exceed the {limit} positions of backbone "
                f"'{self.backbone_spec}'. Lower tune.data.max_length with too_long=truncate, or the prompt's length."
            )


class CoderSettings:
    """The arguments of `CoderModule`.

    Args:
        backbone: backbone spec.
        learning_rate: AdamW's.
        warmup_steps: linear warm-up, then linear decay to 0 at the last step.
        lora: adapter settings; None trains all weights.
        backbone_dtype: of the frozen weights under LoRA; auto is bfloat16 on a GPU that computes it natively, else
            float32. What trains is float32 whatever it is.
        seed: of the adapter's initial weights and dropout.
        gradient_checkpointing: keep the input of every decoder layer alone and compute the rest again in the backward
            pass: the same gradients from a fraction of the memory, at the price of one more forward pass.

    Raises:
        UserError: all weights train, and are asked for in bfloat16 or nf4.
    """

    def __init__(
        self,
        backbone: str,
        learning_rate: float = 1e-3,
        warmup_steps: int = 3,
        lora: Lora | None = DEFAULT_LORA,
        backbone_dtype: Dtype = "auto",
        seed: int = 0,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if lora is None and backbone_dtype in {"bfloat16", "nf4"}:
            raise UserError(
                f"finetune.model.backbone_dtype: {backbone_dtype}, but without model.lora all weights train, which "
                "takes float32. Give finetune.model.backbone_dtype=float32, or train an adapter."
            )
        self.backbone_dtype: Dtype = "float32" if lora is None else backbone_dtype
        self.backbone_spec = backbone
        self.learning_rate, self.warmup_steps = learning_rate, warmup_steps
        self.lora, self.seed, self.gradient_checkpointing = lora, seed, gradient_checkpointing
        check_ranges("finetune.model", self, learning_rate=ZERO_OR_MORE, warmup_steps=ZERO_OR_MORE)
