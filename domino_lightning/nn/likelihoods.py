"""The one way the module asks for likelihoods: the shared-prefix forward, checked once against the naive one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from domino_lightning.data.padded import TextBatch
from domino_lightning.losses.pairs import PairIndex
from domino_lightning.models.attention import UnsupportedAttention, windows
from domino_lightning.nn.prompted import naive_nll
from domino_lightning.nn.shared_prefix import shared_prefix_nll

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LONGEST_WINDOW = 512  # of those that the check looks beyond: it encodes six texts whole, and must stay cheap
# The rounding unit of float32 products, by torch's name of the precision in which they may be taken.
PRODUCTS = {"tf32": 2**-10, "bf16": 2**-7}
log = logging.getLogger(__name__)


class Likelihoods:
    """Mean NLL of texts under D and under D with sample prompts, over one frozen backbone.

    The first call compares the shared-prefix forward with the naive one on two texts, in the dtype, on the device
    and under the autocast of that call; TF32 counts as the rounding that it is. A model family that disagrees is
    encoded naively from then on, with a warning: the same numbers, more slowly, and without micro-batches.

    Args:
        backbone: the frozen causal LM.
        bos: ids to put before the domain tokens.
        pair_micro_batch: pairs encoded at a time; None: all. See `shared_prefix_nll`.
    """

    def __init__(self, backbone: PreTrainedModel, bos: list[int], pair_micro_batch: int | None = None) -> None:
        self.backbone, self.bos, self.pair_micro_batch = backbone, bos, pair_micro_batch
        self.shared: bool | None = None  # None until the first call

    def __call__(
        self, domain: Tensor, batch: TextBatch, samples: Tensor | None = None, pairs: PairIndex | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """(B,) under D, and (B, K) for the pairs; arguments as of `shared_prefix_nll`."""
        if self.shared is None:
            fault = self.disagreement(domain)
            self.shared = fault is None
            if fault is not None:
                log.warning(
                    "Backbone family '%s': the shared-prefix forward disagrees with encoding every pair whole (%s), "
                    "so every pair is encoded whole: the same numbers, more slowly.",
                    self.backbone.config.model_type,
                    fault,
                )
        if not self.shared:
            return naive_nll(self.backbone, domain, batch, self.bos, samples, pairs)
        return shared_prefix_nll(
            self.backbone, domain, batch, self.bos, samples, pairs, pair_micro_batch=self.pair_micro_batch
        )

    @torch.inference_mode(False)
    @torch.enable_grad()
    def disagreement(self, domain: Tensor) -> str | None:
        """What differs between both forwards on two texts behind `domain` and two sample prompts; None if nothing.

        Values may differ by the square root of the rounding unit, in nats, and gradients by four times as much of
        their norm: on SmolLM2 in float32 both differ by 3e-6, under bf16 by 0.03 and 0.06. The texts are longer than
        sliding windows of up to 512 tokens.
        """
        try:
            texts = _two_texts(self.backbone, domain.device)
        except UnsupportedAttention as error:
            return str(error)
        embed = self.backbone.get_input_embeddings()
        prompts = embed(texts.ids[:, :3]).to(domain.dtype)
        every = torch.ones(2, 2, dtype=torch.bool, device=domain.device)
        pairs = PairIndex(torch.tensor([[0, 1], [0, 1]], device=domain.device), every, every)
        results = []
        for forward in (naive_nll, shared_prefix_nll):
            leaves = domain.detach().clone().requires_grad_(), prompts.detach().clone().requires_grad_()
            try:
                under_domain, paired = forward(self.backbone, leaves[0], texts, self.bos, leaves[1], pairs)
                if paired is None:
                    raise ValueError("no pairs")
                values = torch.cat([under_domain, paired.flatten()])
                # Differences, so that the gradient tells the pairs apart.
                weights = torch.linspace(-1, 1, len(values), dtype=values.dtype, device=values.device)
                results.append((values.detach(), torch.autograd.grad((weights * values).sum(), leaves)))
            except Exception as error:
                if forward is naive_nll:
                    raise
                return f"{type(error).__name__}: {error}"
        (wanted, wanted_gradients), (got, gradients) = results
        limit = _tolerance(self.backbone, domain.device)
        difference = (got - wanted).abs().max().item()
        if not difference <= limit:
            return f"{difference:.2g} nats/token where {limit:.2g} is rounding"
        for name, a, b in zip(("domain", "sample"), gradients, wanted_gradients, strict=True):
            difference = ((a - b).norm() / b.norm()).item()
            if not difference <= 4 * limit:
                return f"the gradient of the {name} tokens differs by {difference:.2g} of its norm"
        return None


def _two_texts(backbone: PreTrainedModel, device: torch.device) -> TextBatch:
    """A long and a short text of random tokens, the same on every rank; the long one reaches beyond every window."""
    longest = max([24, *(window + 8 for window in windows(backbone) if window <= LONGEST_WINDOW)])
    vocabulary = backbone.config.get_text_config().vocab_size
    ids = torch.randint(0, vocabulary, (2, longest), generator=torch.Generator().manual_seed(0))
    return TextBatch(
        ids.to(device),
        torch.tensor([longest, 9], device=device),
        torch.arange(2, device=device),
        torch.ones(2, dtype=torch.bool, device=device),
    )


def _tolerance(backbone: PreTrainedModel, device: torch.device) -> float:
    dtype = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else backbone.dtype
    # RMSNorm and RoPE compute in float32 at best.
    unit = max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
    if dtype == torch.float32:
        products = torch.backends.cuda.matmul if device.type == "cuda" else torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
        unit = PRODUCTS.get(products.fp32_precision, unit)
    return float(unit**0.5)
