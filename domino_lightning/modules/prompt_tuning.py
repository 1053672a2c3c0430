"""Learn D: soft tokens of a domain over a frozen backbone, beside soft tokens private to each sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torchmetrics import MeanMetric

from domino_lightning.errors import StageFailed, UserError
from domino_lightning.losses.base import DisentanglementLoss, PromptNLL
from domino_lightning.modules.training import check_finite, warmup_then_linear
from domino_lightning.nn import DomainPrompt, Likelihoods, SampleTokens, TextBatch, choose_pairs
from domino_lightning.seeding import generator

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DOMAIN_PREFIXES = ("domain_prompt.", "sample_tokens.", "loss.")  # what a checkpoint holds: never the backbone


class PromptTuningModule(LightningModule):
    """Domain and sample tokens trained by an injected loss; the backbone is frozen and in eval mode throughout.

    Logged as `tune/<split>/<name>`: every term of the loss on `train`, and `nll` under D on `heldout`, in
    nats/token, averaged over texts. Negatives are local to a rank.

    Args:
        backbone: backbone spec.
        domain_prompt: D.
        loss: the objective; its `pairs` says which forward passes are made.
        num_sample_tokens: S.
        learning_rate: of D, AdamW without weight decay.
        sample_learning_rate: of the rows of the batch, SparseAdam.
        warmup_steps: linear warm-up, then linear decay to 0 at the last step, for both.
        pair_micro_batch: (sample prompt, text) pairs encoded at a time; their activations are computed again in the
            backward pass, so that memory is bounded by one micro-batch at the price of one more forward pass of
            the pairs. None: all pairs of a batch together, nothing twice.
        seed: of initialisation and negatives.
    """

    def __init__(
        self,
        backbone: str,
        domain_prompt: DomainPrompt,
        loss: DisentanglementLoss,
        num_sample_tokens: int = 4,
        learning_rate: float = 5e-3,
        sample_learning_rate: float = 5e-3,
        warmup_steps: int = 0,
        pair_micro_batch: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if pair_micro_batch is not None and pair_micro_batch < 1:
            raise UserError(f"tune.model.pair_micro_batch: {pair_micro_batch} is not 1 or more; null is no limit.")
        if num_sample_tokens < 1 and loss.pairs != "none":
            raise UserError(f"tune.model.num_sample_tokens: {num_sample_tokens}, but the loss needs 1 or more.")
        self.backbone_spec = backbone
        self.domain_prompt = domain_prompt
        self.loss = loss
        self.num_sample_tokens = num_sample_tokens
        self.learning_rate, self.sample_learning_rate = learning_rate, sample_learning_rate
        self.warmup_steps, self.seed = warmup_steps, seed
        self.pair_micro_batch = pair_micro_batch
        self.sample_tokens: SampleTokens | None = None
        self.sample_optimizer: torch.optim.SparseAdam | None = None
        self.heldout_nll = MeanMetric(nan_strategy="disable")  # a NaN is shown, not left out
        self.strict_loading = False

    def setup(self, stage: str) -> None:
        """Load the frozen backbone and draw D and S.

        Raises:
            UserError: the prompt and the longest text do not fit the backbone's context.
        """
        if hasattr(self, "backbone"):
            return
        from domino_lightning.backbone import load_backbone, load_tokenizer

        data = self.trainer.datamodule  # type: ignore[attr-defined]
        self.attach(load_backbone(self.backbone_spec), data.num_samples, load_tokenizer(self.backbone_spec))
        self._check_context(max(len(ids) for split in data.encoded.values() for ids in split))

    def attach(
        self, backbone: PreTrainedModel, num_samples: int, tokenizer: PreTrainedTokenizerBase | None = None
    ) -> None:
        """Take a backbone, freeze it, and let D and S start from its vocabulary; without a tokenizer, no BOS."""
        from domino_lightning.backbone import bos_ids

        self.backbone = backbone.requires_grad_(False).eval()
        self.bos = [] if tokenizer is None else bos_ids(tokenizer)
        self.likelihoods = Likelihoods(self.backbone, self.bos, self.pair_micro_batch)
        embed: Any = backbone.get_input_embeddings()
        with torch.no_grad():  # as the layers see them: Gemma scales the rows of its matrix when it looks them up
            vocabulary = embed(torch.arange(len(embed.weight), device=embed.weight.device))
        self.domain_prompt.initialise(vocabulary, generator("domain", self.seed), tokenizer)
        if self.loss.pairs != "none":
            self.sample_tokens = SampleTokens(num_samples, self.num_sample_tokens, vocabulary.shape[1])
            self.sample_tokens.initialise(vocabulary, generator("samples", self.seed))
        # DDP must neither broadcast nor reduce the frozen backbone, nor the rows that belong to one rank.
        own = {name for name, _ in self.named_parameters() if not name.startswith(("domain_prompt.", "loss."))}
        buffers = {name for name, _ in self.named_buffers()}
        torch.nn.parallel.DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self, own | buffers)

    def _check_context(self, longest: int) -> None:
        limit = getattr(self.backbone.config.get_text_config(), "max_position_embeddings", None)
        prompt = len(self.bos) + self.domain_prompt.num_tokens + (self.num_sample_tokens if self.sample_tokens else 0)
        if limit is not None and prompt + longest > limit:
            raise UserError(
                f"tune: {prompt} prompt tokens and a text of {longest} exceed the {limit} positions of backbone "
                f"'{self.backbone_spec}'. Lower tune.data.max_length with too_long=truncate, or the prompt's length."
            )

    def train(self, mode: bool = True) -> PromptTuningModule:
        """Training mode for everything but the backbone."""
        super().train(mode)
        if hasattr(self, "backbone"):
            self.backbone.eval()
        return self

    def prompt_nll(self, batch: TextBatch, step: int) -> PromptNLL:
        """All likelihoods that the loss asks for, every prefix encoded once."""
        domain = self.domain_prompt()
        pairs = choose_pairs(batch.samples, batch.valid, self.loss.pairs, self.seed, step)
        if pairs is None or self.sample_tokens is None:
            under_domain, _ = self.likelihoods(domain, batch)
            return PromptNLL(under_domain, batch.lengths, batch.valid)
        own = domain.new_zeros(len(batch.ids), self.num_sample_tokens, domain.shape[1])  # (B, S, H)
        # A padding row looks nothing up: even a zero gradient would move the row by its momentum.
        own[batch.valid] = self.sample_tokens(batch.samples[batch.valid]).to(own.dtype)
        under_domain, paired = self.likelihoods(domain, batch, own, pairs)
        return PromptNLL(under_domain, batch.lengths, batch.valid, paired, pairs.is_own, pairs.valid)

    def training_step(self, batch: TextBatch, batch_idx: int) -> Tensor:
        """The loss of a batch; every term is logged and must be finite."""
        step = self.global_step
        total = max(1, int(self.trainer.estimated_stepping_batches))
        terms = self.loss(self.prompt_nll(batch, step), progress=min(1.0, step / total))
        regularizers = self.domain_prompt.regularizers()
        terms = {**terms, **regularizers}
        terms["loss"] = terms["loss"] + sum(regularizers.values(), torch.zeros_like(terms["loss"]))
        check_finite("tune", step, terms)
        self.log_dict({f"tune/train/{name}": value.detach() for name, value in terms.items()}, sync_dist=True)
        return terms["loss"]

    def on_validation_epoch_start(self) -> None:
        """Forget the last validation."""
        self.heldout_nll.reset()

    def validation_step(self, batch: TextBatch, batch_idx: int) -> None:
        """NLL of held-out texts under D, without noise."""
        nll, _ = self.likelihoods(self.domain_prompt.exported(), batch)
        self.heldout_nll.update(nll[batch.valid])

    def on_validation_epoch_end(self) -> None:
        """Log the mean over held-out texts."""
        self.log("tune/heldout/nll", self.heldout_nll.compute())

    def configure_optimizers(self) -> Any:
        """AdamW over D, the only optimiser that Lightning sees, clips and counts; SparseAdam over S beside it."""
        parameters = [p for name, p in self.named_parameters() if name.startswith(("domain_prompt.", "loss."))]
        optimizer = torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=0.0)
        total = int(self.trainer.estimated_stepping_batches)
        schedule = warmup_then_linear(self.warmup_steps, total)
        if self.sample_tokens is not None:
            self.sample_optimizer = torch.optim.SparseAdam(self.sample_tokens.parameters(), self.sample_learning_rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, schedule), "interval": "step"},
        }

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """Step D, then the rows of S that the batch touched, at the same point of the schedule."""
        factor = optimizer.param_groups[0]["lr"] / self.learning_rate if self.learning_rate else 1.0
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        if self.sample_optimizer is not None:
            self.sample_optimizer.param_groups[0]["lr"] = self.sample_learning_rate * factor
            self.sample_optimizer.step()
            self.sample_optimizer.zero_grad()

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Domain tokens, sample tokens and the loss's own parameters; never the backbone."""
        state = super().state_dict(*args, **kwargs)
        return {name: value for name, value in state.items() if name.startswith(DOMAIN_PREFIXES)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the state of the sample tokens' optimiser, and under DDP every rank's own rows."""
        if self.sample_optimizer is None:
            return
        checkpoint["sample_optimizer"] = self.sample_optimizer.state_dict()
        if self.trainer.world_size > 1:
            checkpoint["sample_rows"] = self._rows_of_all_ranks()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the sample optimiser's state for `on_fit_start`, when the optimiser exists."""
        self._sample_state = checkpoint.get("sample_optimizer"), checkpoint.get("sample_rows")

    def on_fit_start(self) -> None:
        """Restore what `on_load_checkpoint` kept."""
        state, rows = getattr(self, "_sample_state", (None, None))
        if state is None or self.sample_optimizer is None or self.sample_tokens is None:
            return
        weight = self.sample_tokens.table.weight
        self.sample_optimizer.load_state_dict(state)
        if rows is not None:
            with torch.no_grad():
                weight.copy_(rows["weight"])
            for name in ("exp_avg", "exp_avg_sq"):
                self.sample_optimizer.state[weight][name].copy_(rows[name])

    def _rows_of_all_ranks(self) -> dict[str, Tensor]:
        """The table and its moments with every row taken from the rank that owns it (sample % world size)."""
        if self.sample_tokens is None or self.sample_optimizer is None:
            raise StageFailed("there are no sample tokens to gather")
        weight = self.sample_tokens.table.weight
        tensors = {"weight": weight.detach()}
        state = self.sample_optimizer.state.get(weight, {})
        for name in ("exp_avg", "exp_avg_sq"):
            tensors[name] = state.get(name, torch.zeros_like(weight))
        owned = torch.arange(len(weight), device=weight.device) % self.trainer.world_size == self.trainer.global_rank
        gathered = {}
        for name, value in tensors.items():
            mine = torch.where(owned[:, None], value, torch.zeros_like(value))
            gathered[name] = self.trainer.strategy.reduce(mine, reduce_op="sum")
        return gathered
