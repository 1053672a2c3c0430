"""The bytes that a training step needs at its peak, found by taking it on the meta device: no weights, no arithmetic.

The step runs the code that training runs, on tensors that have shapes and no content, and what is alive at once is
counted. So a change of that code, another family of models or another way to save memory needs no formula here. What
is alive grows with every layer by the same bytes, so two shallow models tell those of a deep one.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from domino_lightning.data.padded import TextBatch
from domino_lightning.losses.pairs import PairIndex
from domino_lightning.models.attention import Attention, View, causal_attention, replaced_attention
from domino_lightning.nn.prompted import chunked_nll
from domino_lightning.nn.shared_prefix import shared_prefix_nll

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from domino_lightning.modules import Lora

META = torch.device("meta")
# bitsandbytes' NF4 under double quantization: four bits a weight, and a scale of a byte a block of 64.
NF4_BYTES = 0.5 + 1 / 64
MOMENTS_BYTES = 8  # of AdamW's two moments of a trained number
SHALLOW = (2, 4)  # layers


class AliveBytes(TorchDispatchMode):
    """Counts the bytes of meta tensors that are alive; what was made before it began does not count.

    Attributes:
        now: bytes alive.
        peak: the most at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do it, and look at what it has made."""
        inputs = {part.untyped_storage()._cdata for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)}
        made = func(*args, **(kwargs or {}))
        for part in tree_leaves(made):
            if isinstance(part, Tensor) and part.device == META:
                storage = part.untyped_storage()
                if storage._cdata not in inputs and storage._cdata not in self._known:
                    self._add(storage)
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, key, size).atexit = False

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size

    def restart(self) -> int:
        """The peak so far; from here on it is that of what follows."""
        peak, self.peak = self.peak, self.now
        return peak


class _Within(Attention):
    """Attention within every sequence, as the model has it by itself."""

    def __call__(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, view: View) -> Tensor:
        return causal_attention(query, key, value, scale, view)


def shapes_of(config: PretrainedConfig, dtype: str) -> Any:
    """A causal LM on the meta device, in eval mode. NF4 computes in bfloat16."""
    from transformers import AutoModelForCausalLM

    with META:
        model = AutoModelForCausalLM.from_config(copy.deepcopy(config))
    return model.to(getattr(torch, "bfloat16" if dtype == "nf4" else dtype)).eval()


def weight_bytes(model: Any, dtype: str) -> float:
    """Bytes of a model's weights. NF4 has the decoder's linear layers in four bits, and one of them at a time in 16.

    Args:
        model: as `shapes_of` gives it.
        dtype: of the weights, nf4 among them.
    """
    weights = {id(part): part for part in model.parameters()}.values()
    whole = float(sum(part.nbytes for part in weights))
    if dtype != "nf4":
        return whole
    linear = [part.weight for part in model.base_model.modules() if isinstance(part, torch.nn.Linear)]
    unpacked = max((part.nbytes for part in linear), default=0)
    return whole + sum(part.numel() * NF4_BYTES - part.nbytes for part in linear) + unpacked


def predicted_peak(
    config: PretrainedConfig,
    B: int,
    D: int,
    S: int,
    L: int,
    K: int,
    dtype: str = "bfloat16",
    micro_batch: int | None = None,
    M: int | None = None,
) -> int:
    """Bytes at the peak of forward and backward of one batch of `tune`: weights, activations, logits, gradients.

    What training keeps beside a step is not in it: the sample table, moments, the driver's own memory.

    Args:
        config: of the backbone.
        B: texts.
        D: domain tokens, BOS included.
        S: sample tokens.
        L: tokens of every text.
        K: sample prompts that each text is scored under; 0 is plain prompt tuning.
        dtype: of the backbone's weights.
        micro_batch: `pair_micro_batch`.
        M: sample prompts that are encoded; by default one a text. With negatives of other ranks it is more.

    Raises:
        NotImplementedError: the model's own code looks at what a tensor holds.
    """
    # Where texts are encoded a micro-batch at a time, all do as one does: the others have one token, which is not fed.
    apart = micro_batch is not None and micro_batch < B + B * K
    long = min(B, micro_batch) if apart and micro_batch else B
    own, M = torch.arange(B)[:, None], M or B
    every = -(-M // B)  # prompts a text, of which all are encoded though few meet a long text
    prompt_row = (own + B * torch.arange(every)) % M if apart else (own + torch.arange(K)) % M
    pairs = PairIndex(prompt_row, prompt_row == own, torch.ones_like(prompt_row, dtype=torch.bool)) if K else None
    lengths = torch.where(torch.arange(B) < long, L, 1)
    batch = TextBatch(torch.zeros(B, L, dtype=torch.long), lengths, own[:, 0], torch.ones(B, dtype=torch.bool))

    def peaks(model: Any) -> tuple[float, float]:
        model.requires_grad_(False)
        hidden = model.get_input_embeddings().weight.shape[1]
        domain = torch.empty(D, hidden, device=META, requires_grad=True)
        samples = torch.empty(M, S, hidden, device=META, requires_grad=True) if K else None
        # A micro-batch that is through leaves the gradient of the hidden states that predict its tokens.
        encoded = int(lengths.sum()) * (1 + every if K else 1)
        left = (B * (1 + K) * L - encoded) * hidden * model.dtype.itemsize if apart else 0
        held = weight_bytes(model, dtype) + left
        with AliveBytes() as alive:
            under_domain, paired = shared_prefix_nll(
                model, domain, batch, [], samples, pairs, pair_micro_batch=micro_batch
            )
            loss = under_domain.mean() if paired is None else under_domain.mean() + paired.mean()
            forward = alive.restart()
            loss.backward()
        return held + forward, held + alive.peak

    return _at_full_depth(config, dtype, peaks)


def predicted_coder_peak(
    config: PretrainedConfig,
    B: int,
    L: int,
    answered: int,
    lora: Lora | None,
    dtype: str = "bfloat16",
    gradient_checkpointing: bool = False,
) -> int:
    """Bytes at the peak of a step of `finetune` on one batch, with the moments of what trains.

    Args:
        config: of the backbone.
        B: pairs.
        L: tokens of every pair.
        answered: of them, the assistant's.
        lora: the adapter; None: all weights train.
        dtype: of the frozen weights.
        gradient_checkpointing: as `finetune.runtime` has it.

    Raises:
        NotImplementedError: the model's own code looks at what a tensor holds.
    """
    from domino_lightning.modules import CoderModule

    scored = torch.arange(B * answered, device=META)
    ids = torch.zeros(B, L, dtype=torch.long, device=META)

    def peaks(model: Any) -> tuple[float, float]:
        held = weight_bytes(model, dtype)
        module = CoderModule("none", lora=lora, gradient_checkpointing=gradient_checkpointing)
        module.attach(model)
        trained = [part for part in module.parameters() if part.requires_grad]
        held += sum(part.numel() * MOMENTS_BYTES + (part.nbytes if lora is not None else 0) for part in trained)
        with AliveBytes() as alive, replaced_attention(model):
            output = _Within().forward(model.base_model, model.get_input_embeddings()(ids), ids)
            hidden = output.last_hidden_state.flatten(0, 1)
            loss = chunked_nll(model, hidden.index_select(0, scored), scored).mean()
            del output, hidden
            forward = alive.restart()
            loss.backward()
        return held + forward, held + alive.peak

    return _at_full_depth(config, dtype, peaks)


def _at_full_depth(config: PretrainedConfig, dtype: str, peaks: Callable[[Any], tuple[float, float]]) -> int:
    """The higher of the peaks of forward and backward, each of which is linear in the number of layers."""
    layers = config.get_text_config().num_hidden_layers
    if layers <= max(SHALLOW):
        return round(max(peaks(shapes_of(config, dtype))))
    less, more = (peaks(shapes_of(at_depth(config, depth), dtype)) for depth in SHALLOW)
    further = (layers - SHALLOW[0]) / (SHALLOW[1] - SHALLOW[0])
    return round(max(a + (b - a) * further for a, b in zip(less, more, strict=True)))


def at_depth(config: PretrainedConfig, depth: int) -> PretrainedConfig:
    """The configuration with so many layers."""
    config = copy.deepcopy(config)
    text = config.get_text_config()
    text.num_hidden_layers = depth
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:depth]
    return config
