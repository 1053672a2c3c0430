"""Looks at what D and S have learned: disentanglement on a fixed probe, nearest vocabulary tokens, sampled texts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from domino_lightning.callbacks.health import (
    Periodic,
    StepTable,
    any_algorithm,
    log_image,
    log_metrics,
    log_table,
    probe_samples,
    rounded,
)
from domino_lightning.data.padded import TextBatch
from domino_lightning.losses.pairs import choose_pairs
from domino_lightning.models.attention import UnsupportedAttention

if TYPE_CHECKING:
    from domino_lightning.modules.domain_learner import DomainLearner
    from domino_lightning.modules.prompt_tuning import PromptTuningModule

log = logging.getLogger(__name__)
NEAREST = 3  # vocabulary tokens shown for each domain token
BLOCK = 1 << 14  # rows of a vocabulary that are converted at a time


class Disentanglement(Periodic):
    """NLLs of a fixed probe of references under D, under D and their own tokens, and under D and each other's.

    `nll` is NLL(x|D); `own_gain` = NLL(x|D) − NLL(x|D,S_own), what a sample's tokens know of it; `other_gap` =
    NLL(x|D,S_other) − NLL(x|D,S_own), how much of that is private to it; all means in nats/token. The matrix of
    NLL(x_i|D,S_k) is an image in W&B and a line of `pair_matrix.jsonl`.

    Args:
        every: steps between looks; 0 never.
        size: references in the probe, of distinct samples; size² + size texts are encoded a look.
        table: where the matrices go.
    """

    def __init__(self, every: int, size: int, table: StepTable) -> None:
        super().__init__(every if size > 0 else 0)
        self.size, self.table = size, table

    def observe(self, trainer: Trainer, module: PromptTuningModule, step: int) -> None:
        """Encode the probe."""
        batch = self._probe(trainer, module)
        domain, own, pairs = module.domain_prompt.exported(), None, None
        if module.sample_tokens is not None:
            own = module.sample_tokens(batch.samples).to(domain.dtype)
            pairs = choose_pairs(batch.samples, batch.valid, "all", 0, 0)
        under_domain, matrix = module.likelihoods(domain, batch, own, pairs)
        metrics = {"nll": under_domain.mean().item()}
        if matrix is not None:  # (n, n): text i under the tokens of sample k
            metrics |= disentanglement(under_domain, matrix)
            self.table.append(step, {"samples": batch.samples.tolist(), "nll": rounded(matrix)})
            log_image(trainer, "tune/health/pair_matrix", matrix, step)
        log_metrics(trainer, {f"tune/health/{name}": value for name, value in metrics.items()})

    def _probe(self, trainer: Trainer, module: PromptTuningModule) -> TextBatch:
        from domino_lightning.data.padded import collate_texts

        batch = collate_texts([(ids, sample) for sample, ids in probe_samples(trainer, self.size).items()])
        return TextBatch(*(part.to(module.device) for part in batch))


def disentanglement(under_domain: Tensor, matrix: Tensor) -> dict[str, float]:
    """`own_gain` and `other_gap` of (n,) NLLs under D and the (n, n) matrix of NLLs under D and S_k."""
    own = matrix.diagonal()
    values = {"own_gain": (under_domain - own).mean().item()}
    count = len(matrix)
    if count > 1:
        others = (matrix.sum(dim=1) - own) / (count - 1)
        values["other_gap"] = (others - own).mean().item()
    return values


class NearestTokens(Periodic):
    """The vocabulary tokens whose embeddings have the highest cosine with each domain token.

    Args:
        every: steps between looks; 0 never.
        tokenizer: the backbone's.
        table: where the rows go.
    """

    def __init__(self, every: int, tokenizer: Any, table: StepTable) -> None:
        super().__init__(every)
        self.tokenizer, self.table = tokenizer, table

    def observe(self, trainer: Trainer, module: PromptTuningModule, step: int) -> None:
        """Rank the vocabulary."""
        embed: Any = module.backbone.get_input_embeddings()
        cosine, ids = nearest_rows(module.domain_prompt.exported(), embed.weight.detach(), NEAREST)
        rows = [
            {"position": position, "nearest": [self.tokenizer.decode([i]) for i in near], "cosine": values}
            for position, (near, values) in enumerate(zip(ids.tolist(), rounded(cosine), strict=True))
        ]
        self.table.append(step, {"tokens": rows})
        data = [[step, row["position"], *map(repr, row["nearest"]), row["cosine"][0]] for row in rows]
        columns = ["step", "position", *(f"nearest {k + 1}" for k in range(NEAREST)), "cosine"]
        log_table(trainer, "tune/health/nearest_tokens", columns, data)


def nearest_rows(tokens: Tensor, vocabulary: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Cosines and indices, each (D, count), of the rows of (V, H) nearest to each of (D, H) vectors."""
    directions = torch.nn.functional.normalize(tokens.float(), dim=1)
    # In blocks: a float32 copy of a large vocabulary is two gigabytes of the device.
    blocks = (torch.nn.functional.normalize(block.float(), dim=1) for block in vocabulary.split(BLOCK))
    near = torch.cat([directions @ block.T for block in blocks], dim=1).topk(count, dim=1)
    return near.values, near.indices


class SampledTexts(Periodic):
    """Texts sampled from what was learned, such as D alone, with the same noise every time: they show what changed.

    Args:
        every: steps between looks; 0 never.
        tokenizer: the backbone's.
        count: texts a look.
        max_new_tokens: their length at most.
        seed: of the noise.
        table: where the texts go.
    """

    def __init__(
        self, every: int, tokenizer: Any, count: int, max_new_tokens: int, seed: int, table: StepTable
    ) -> None:
        super().__init__(every if count > 0 else 0)
        self.tokenizer, self.count, self.max_new_tokens = tokenizer, count, max_new_tokens
        self.seed, self.table = seed, table

    def observe(self, trainer: Trainer, module: DomainLearner, step: int) -> None:
        """Sample."""
        from domino_lightning.generation.local_model import LocalModel
        from domino_lightning.generation.sampling import Sampling

        backbone = module.backbone
        training = [part for part in backbone.modules() if part.training]  # such as an adapter's dropout
        model = LocalModel(backbone.eval(), self.tokenizer, self.count, module.soft_tokens())
        sampling = Sampling(max_new_tokens=self.max_new_tokens)
        try:
            # Compiled layers run as they are: graphs for a look now and then cost more than they save.
            with any_algorithm(), torch.compiler.set_stance("force_eager"):
                sampled = model.complete([module.start] * self.count, range(self.count), self.seed, sampling)
        except UnsupportedAttention as error:
            log.warning("tune: no texts are sampled while it trains: %s", error)
            self.every = 0
            return
        finally:
            for part in training:
                part.training = True
        rows = [{"text": each.text, "finished": each.finished} for each in sampled]
        self.table.append(step, {"texts": rows})
        data = [[step, row, entry["text"], entry["finished"]] for row, entry in enumerate(rows)]
        log_table(trainer, "tune/health/samples", ["step", "row", "text", "finished"], data)
