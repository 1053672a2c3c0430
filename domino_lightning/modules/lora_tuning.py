"""The control of prompt tuning: the same backbone on the same texts for the same steps, through LoRA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from domino_lightning.data.padded import TextBatch
from domino_lightning.models.backbone import Dtype, check_positions, start_ids, start_text
from domino_lightning.modules.domain_learner import DomainLearner
from domino_lightning.modules.lora import leave_frozen_to_itself, save_pretrained, trainable_state, with_adapter
from domino_lightning.modules.optim import check_finite, scheduled_adamw
from domino_lightning.modules.settings import DEFAULT_LORA, Lora
from domino_lightning.nn import distributed, prompted_nll
from domino_lightning.utils.ranges import ZERO_OR_MORE, check_ranges

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SHORTER_TEXTS = "Lower tune.data.max_length with too_long=truncate, or take a model with more positions."


class LoraTuningModule(DomainLearner):
    """A low-rank adapter trained by likelihood on the references as plain texts: no D, no S, no contrast.

    What `LikelihoodOnly` minimizes over D, this minimizes over the adapter: the mean over texts of their NLL per
    token, EOS included. A text begins behind the token that texts of the backbone begin with (`start_ids`), where
    `LoraGenerator` begins too.

    Logged: `tune/train/nll`, equal to `tune/train/loss`, and `tune/heldout/nll`, in nats/token over texts.

    Args:
        backbone: backbone spec.
        learning_rate: AdamW's, without weight decay.
        warmup_steps: linear warm-up, then linear decay to 0 at the last step.
        lora: adapter settings.
        backbone_dtype: of the frozen weights; auto is bfloat16 on a GPU that computes it natively, else float32. The
            adapter and its moments are float32 whatever it is.
        seed: of the adapter's initial weights.
    """

    learned = "adapter"

    def __init__(
        self,
        backbone: str,
        learning_rate: float = 1e-3,
        warmup_steps: int = 5,
        lora: Lora = DEFAULT_LORA,
        backbone_dtype: Dtype = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.backbone_spec, self.backbone_dtype = backbone, backbone_dtype
        self.learning_rate, self.warmup_steps = learning_rate, warmup_steps
        self.lora, self.seed = lora, seed
        check_ranges("tune.model", self, learning_rate=ZERO_OR_MORE, warmup_steps=ZERO_OR_MORE)

    def setup(self, stage: str) -> None:
        """Load the backbone and wrap it.

        Raises:
            UserError: the longest text does not fit the backbone's context.
        """
        if hasattr(self, "model"):
            return
        from domino_lightning.models.backbone import load_backbone, load_tokenizer, positions

        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        backbone = load_backbone(self.backbone_spec, self.backbone_dtype, self.trainer.strategy.root_device)
        self.attach(backbone, load_tokenizer(self.backbone_spec))
        longest = max(len(ids) for split in data.encoded.values() for ids in split)
        self.check_context(longest, positions(backbone.config), 0)

    def attach(self, backbone: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Take a backbone and add the adapter; the tokenizer says what texts begin with."""
        self.start_ids, self.start = start_ids(tokenizer), start_text(tokenizer)
        self.model: Any = with_adapter(backbone, self.lora, self.seed)
        leave_frozen_to_itself(self)

    @property
    def backbone(self) -> PreTrainedModel:  # type: ignore[override]
        """The causal LM with the adapter in its layers."""
        wrapped: PreTrainedModel = self.model.get_base_model()
        return wrapped

    def check_context(self, longest: int, limit: int | None, bos: int) -> None:
        """A text and the token it begins behind."""
        check_positions(limit, {"a text": max(1, bos) + longest}, 0, "tune.data.max_length", SHORTER_TEXTS)

    def text_nll(self, batch: TextBatch) -> Tensor:
        """(B,) NLL of texts behind the token they begin with."""
        nothing = self.backbone.get_input_embeddings()(batch.ids[:, :0])  # (B, 0, H)
        return prompted_nll(self.backbone, nothing, batch, self.start_ids)

    def training_step(self, batch: TextBatch, batch_idx: int) -> Tensor:
        """Mean over the texts of the step's batch, on however many ranks it lies.

        A rank's sum is divided by the texts of all ranks, times W since DDP averages over ranks.
        """
        nll = self.text_nll(batch)[batch.valid]
        texts = torch.tensor(len(nll), device=nll.device)
        if distributed.world_size() > 1:
            torch.distributed.all_reduce(texts)
        loss = nll.sum() * (distributed.world_size() / max(1, int(texts)))
        check_finite("tune", self.global_step + 1, {"loss": loss})
        self.log_dict({f"tune/train/{name}": loss.detach() for name in ("nll", "loss")}, sync_dist=True)
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW over the adapter."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        total = int(self.trainer.estimated_stepping_batches)
        return scheduled_adamw(parameters, self.learning_rate, self.warmup_steps, total)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The adapter alone."""
        return trainable_state(self, super().state_dict(*args, **kwargs))

    def parts(self) -> dict[str, nn.Module]:
        """The adapter: nothing else in the backbone has a gradient."""
        return {"adapter": self.model}

    def norms(self, samples: Sequence[int]) -> dict[str, list[float]]:
        """2-norm of all numbers of the adapter; half of its matrices start at 0."""
        squares = [float(p.detach().float().square().sum()) for p in self.parameters() if p.requires_grad]
        return {"adapter_norm": [sum(squares) ** 0.5]}

    def export(self, directory: Path, checkpoint: Mapping[str, Any], keep_samples: bool, **described: Any) -> None:
        """A PEFT adapter in `adapter/`, and `adapter.json`, which says what it belongs to."""
        from domino_lightning.models.adapter import ADAPTER, describe_adapter

        save_pretrained(self.model, directory / ADAPTER, self.backbone_spec)
        describe_adapter(directory, self.backbone_spec, rank=self.lora.rank, start=self.start, **described)
