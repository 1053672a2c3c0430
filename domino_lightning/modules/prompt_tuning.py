"""Learn D: soft tokens of a domain over a frozen backbone, beside soft tokens private to each sample."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from domino_lightning.errors import UserError
from domino_lightning.losses.base import PromptNLL, masked_mean
from domino_lightning.losses.contract import checked_terms, problem_of
from domino_lightning.modules.domain_learner import DomainLearner
from domino_lightning.modules.optim import check_finite, scheduled_adamw
from domino_lightning.modules.sample_table import SampleTable
from domino_lightning.modules.settings import PromptTuningSettings
from domino_lightning.nn import (
    DomainTokens,
    Likelihoods,
    PairIndex,
    SampleTokens,
    TextBatch,
    choose_pairs,
    distributed,
    gather_rows,
)
from domino_lightning.nn.initialization import keyword_ids
from domino_lightning.utils.contract import broken
from domino_lightning.utils.seeding import generator

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# What all ranks share and DDP averages; the backbone is frozen, and the sample table belongs to its rank.
SHARED_PREFIXES = ("domain_prompt.", "loss.", "sample_tokens.basis")
log = logging.getLogger(__name__)


class PromptTuningModule(PromptTuningSettings, DomainLearner):
    """Domain and sample tokens trained by an injected loss; the backbone is frozen and in eval mode throughout.

    Logged as `tune/<split>/<name>`: every term of the loss on `train`, and `nll` under D on `heldout`, in
    nats/token (but for a loss in nats per text, see `PaperObjective`), averaged over texts.

    Its arguments are those of `PromptTuningSettings`.
    """

    learned = "soft_prompt"
    same_noise = True
    start = ""  # D stands there
    domain_prompt: DomainTokens  # from `attach` on, as the next two
    sample_tokens: SampleTokens | None
    sample_table: SampleTable | None

    def setup(self, stage: str) -> None:
        """Load the frozen backbone and draw D and S.

        Raises:
            UserError: the prompt and the longest text do not fit the backbone's context.
        """
        if hasattr(self, "backbone"):
            return
        from domino_lightning.models.backbone import load_backbone, load_tokenizer, positions

        data = self.trainer.datamodule  # type: ignore[attr-defined]
        tokenizer = load_tokenizer(self.backbone_spec)
        texts, samples = data.encoded["reference"], data.samples["reference"]
        keywords = keyword_ids(texts, samples, self.num_sample_tokens) if self.sample_init == "keywords" else None
        backbone = load_backbone(self.backbone_spec, self.backbone_dtype, self.trainer.strategy.root_device)
        self.attach(backbone, data.num_samples, tokenizer, data.owned_samples(), keywords)
        longest = max(len(ids) for split in data.encoded.values() for ids in split)
        self.check_context(longest, positions(self.backbone.config), len(self.bos))

    def attach(
        self,
        backbone: PreTrainedModel,
        num_samples: int,
        tokenizer: PreTrainedTokenizerBase | None = None,
        owned: Sequence[int] | None = None,
        keywords: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """Take a backbone, freeze it, and let D and S start from its vocabulary.

        Args:
            backbone: the causal LM.
            num_samples: N, over all ranks.
            tokenizer: says whether texts start with BOS, and reads a text that D starts from; without it, no BOS.
            owned: the samples whose tokens lie on this rank; by default all.
            keywords: S token ids for every sample, under `sample_init: keywords`.
        """
        from domino_lightning.losses.check import trainable
        from domino_lightning.models.backbone import bos_ids

        if (name := trainable(self.prompt)) is not None:
            what = type(self.prompt).__name__
            raise UserError(f"tune.model.domain_prompt: '{name}' of {what} would not train: hold it in a DomainTokens.")
        self.backbone = backbone.requires_grad_(False).eval()
        self.bos = [] if tokenizer is None else bos_ids(tokenizer)
        self.likelihoods = Likelihoods(self.backbone, self.bos, self.pair_micro_batch)
        embed: Any = backbone.get_input_embeddings()
        with torch.no_grad():  # as the layers see them: Gemma scales the rows of its matrix when it looks them up
            vocabulary = embed(torch.arange(len(embed.weight), device=embed.weight.device)).cpu().float()
        self.domain_prompt = self.prompt.made(vocabulary, generator("domain", self.seed), tokenizer)
        self.sample_tokens = self.sample_table = None
        if self.loss.pairs != "none":
            self.sample_tokens = SampleTokens(
                range(num_samples) if owned is None else owned,
                self.num_sample_tokens,
                vocabulary.shape[1],
                self.sample_rank,
                gradient_scale=1 / distributed.world_size(),  # DDP divides only what it reduces
            )
            self.sample_tokens.initialize(vocabulary, self.seed, self.sample_init, keywords)
            self.sample_table = SampleTable(self.sample_tokens, num_samples, self.sample_learning_rate)
        # DDP must neither broadcast nor reduce the frozen backbone, nor the rows that belong to one rank.
        own = {name for name, _ in self.named_parameters() if not name.startswith(SHARED_PREFIXES)}
        buffers = {name for name, _ in self.named_buffers()}
        torch.nn.parallel.DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self, own | buffers)

    def train(self, mode: bool = True) -> PromptTuningModule:
        """Training mode for everything but the backbone."""
        super().train(mode)
        if hasattr(self, "backbone"):
            self.backbone.eval()
        return self

    def prompt_nll(self, batch: TextBatch, step: int) -> PromptNLL:
        """All likelihoods that the loss asks for: of this rank's texts, or under global negatives of all ranks'.

        Each rank scores its own texts, against the sample prompts of all ranks; then the scores are exchanged.
        """
        domain = self.domain_prompt()
        size = len(batch.ids)
        gather = gather_rows if self.negatives == "global" else _as_they_are
        first = distributed.rank() * size if self.negatives == "global" else 0
        numbers = gather(torch.stack([batch.samples, batch.lengths, batch.valid.long()], dim=1))
        samples, lengths, valid = numbers[:, 0], numbers[:, 1], numbers[:, 2].bool()
        pairs = choose_pairs(samples, valid, self.loss.pairs, self.seed, step, self.loss.varies)
        if pairs is None or self.sample_tokens is None:
            under_domain, _ = self.likelihoods(domain, batch)
            return PromptNLL(gather(under_domain), lengths, valid)
        own = domain.new_zeros(size, self.num_sample_tokens, domain.shape[1])  # (b, S, H)
        # A padding row looks nothing up: even a zero gradient would move the row by its momentum.
        own[batch.valid] = self.sample_tokens(batch.samples[batch.valid]).to(own.dtype)
        mine = PairIndex(*(table[first : first + size] for table in pairs))
        under_domain, paired = self.likelihoods(domain, batch, gather(own), mine)
        paired = None if paired is None else gather(paired)
        return PromptNLL(
            gather(under_domain), lengths, valid, paired, pairs.is_own, pairs.valid, prompt_row=pairs.prompt_row
        )

    def objective(self, batch: TextBatch, step: int, progress: float) -> dict[str, Tensor]:
        """`nll` under D, the loss's terms and the domain prompt's regularizers, which `loss` includes."""
        nll = self.prompt_nll(batch, step)
        terms = checked_terms(self.loss, self.loss(nll, progress=progress), nll.domain.requires_grad)
        regularizers = self.domain_prompt.regularizers()
        if problem := problem_of({"loss": terms["loss"], **regularizers}):
            raise broken(self.domain_prompt, f"of its regularizers {problem}")
        if twice := sorted(terms.keys() & regularizers.keys()):
            raise broken(
                self.domain_prompt,
                f"of its regularizers one is called '{twice[0]}', as a term of the loss is: rename it",
            )
        total = terms["loss"] + sum(regularizers.values(), torch.zeros_like(terms["loss"]))
        return {"nll": masked_mean(nll.domain.detach(), nll.valid), **terms, **regularizers, "loss": total}

    def training_step(self, batch: TextBatch, batch_idx: int) -> Tensor:
        """The loss of a batch; every term is logged and must be finite."""
        step = self.global_step
        total = max(1, int(self.trainer.estimated_stepping_batches))
        terms = self.objective(batch, step, min(1.0, step / total))
        check_finite("tune", step + 1, terms)
        self.log_dict({f"tune/train/{name}": value.detach() for name, value in terms.items()}, sync_dist=True)
        return terms["loss"]

    def text_nll(self, batch: TextBatch) -> Tensor:
        """(B,) NLL of texts under D, without noise."""
        nll, _ = self.likelihoods(self.domain_prompt.exported(), batch)
        return nll

    def soft_tokens(self) -> Tensor:
        """(D, H) domain tokens."""
        return self.domain_prompt.exported()

    def parts(self) -> dict[str, nn.Module]:
        """D, and S if there is any."""
        parts = {"domain": self.domain_prompt, "sample": self.sample_tokens}
        return {name: part for name, part in parts.items() if part is not None}

    def norms(self, samples: Sequence[int]) -> dict[str, list[float]]:
        """Of every vector of D, and of S over the samples."""
        found = {"domain_norm": self.domain_prompt.exported()}
        if self.sample_tokens is not None:
            found["sample_norm"] = self.sample_tokens(torch.tensor(list(samples), device=self.device))
        return {name: vectors.norm(dim=-1).flatten().tolist() for name, vectors in found.items()}

    def fed_tokens(self, texts: int, tokens: int) -> tuple[int, int]:
        """D once, S of every text once if the loss asks for any, and the texts under each of their prompts."""
        pairs = self.loss.pairs
        named = {"none": 0, "own": 1, "all": texts}
        per_text = named.get(pairs, 0) if isinstance(pairs, str) else 1 + min(pairs, texts - 1)
        prefix = self.prompt.num_tokens + (texts * self.num_sample_tokens if per_text else 0)
        return prefix, tokens * (1 + per_text)

    def configure_optimizers(self) -> Any:
        """AdamW over D, the only optimizer that Lightning sees, clips and counts; SparseAdam over S beside it."""
        named = list(self.named_parameters())
        groups = [{"params": [p for name, p in named if name.startswith(("domain_prompt.", "loss."))]}]
        if self.sample_tokens is not None and self.sample_tokens.basis is not None:
            groups.append({"params": [self.sample_tokens.basis], "lr": self.sample_learning_rate})  # type: ignore[dict-item]
        total = int(self.trainer.estimated_stepping_batches)
        return scheduled_adamw(groups, self.learning_rate, self.warmup_steps, total)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """Step D, then the rows of S that the batch touched, at the same point of the schedule.

        Under a gradient scaler, which Lightning uses for D alone, S gets its gradient unscaled; and where a gradient
        of either is no number, on any rank, neither is stepped and the scaler lowers its scale everywhere.
        """
        factor = optimizer.param_groups[0]["lr"] / self.learning_rate if self.learning_rate else 1.0
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)

        def closure() -> Any:
            result = None if optimizer_closure is None else optimizer_closure()
            if self.sample_table is not None and scaler is not None:
                self.sample_table.unscale(scaler.get_scale(), optimizer)
            return result

        super().optimizer_step(epoch, batch_idx, optimizer, closure)
        if self.sample_table is not None:
            self.sample_table.step(factor)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """What all ranks share: domain tokens, the loss's own parameters, a basis; never the backbone."""
        state = super().state_dict(*args, **kwargs)
        return {name: value for name, value in state.items() if name.startswith(SHARED_PREFIXES)}

    def export(self, directory: Path, checkpoint: Mapping[str, Any], keep_samples: bool, **described: Any) -> None:
        """`soft_prompt.safetensors` with `soft_prompt.json`, a PEFT adapter of BOS and D, and S if it is kept."""
        from domino_lightning.models.backbone import load_tokenizer
        from domino_lightning.models.soft_prompt import save_peft_adapter, save_sample_tokens, save_soft_prompt

        if keep_samples and self.sample_tokens is not None:
            save_sample_tokens(directory, self.sample_tokens.vectors(checkpoint["sample_table"]["table"]))
        domain, spec = self.domain_prompt.exported(), self.backbone_spec
        start = self.backbone.get_input_embeddings()(torch.tensor(self.bos, dtype=torch.long, device=self.device))
        save_peft_adapter(directory / "adapter", torch.cat([start.to(domain), domain]), spec)
        save_soft_prompt(directory, domain, spec, load_tokenizer(spec), init=self.prompt.init, **described)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the sample tokens of all ranks with the state of their optimizer."""
        checkpoint["world_size"] = distributed.world_size()
        if self.sample_table is not None:
            checkpoint["sample_table"] = self.sample_table.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the sample tokens for `on_fit_start`; say so when the run goes on with another number of ranks."""
        before, now = checkpoint.get("world_size", 1), distributed.world_size()
        if before != now and distributed.rank() == 0:
            log.warning(
                "tune goes on with %d rank(s) what %d began: %s", now, before,
                "batches and negatives stay the same, but sums are taken in another order, so D is no longer bit "
                "for bit that of an uninterrupted run." if self.negatives == "global"
                else "under negatives=local every text now meets other negatives.",
            )  # fmt: skip
        self._saved_table = checkpoint.get("sample_table")

    def on_fit_start(self) -> None:
        """Take this rank's sample tokens out of the checkpoint, now that the table is on its device."""
        saved = getattr(self, "_saved_table", None)
        if self.sample_table is not None and saved is not None:
            self.sample_table.load(saved)
            self._saved_table = None


def _as_they_are(rows: Tensor) -> Tensor:
    return rows
