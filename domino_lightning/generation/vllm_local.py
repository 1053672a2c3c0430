"""vLLM in this process behind the interface of a language model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domino_lightning.errors import UserError
from domino_lightning.generation.language_model import LanguageModel, ModelSource, Prompt, Sampled
from domino_lightning.generation.prompt_vectors import PromptEncoder, soft_encoder
from domino_lightning.generation.prompts import PromptIds, end_ids
from domino_lightning.generation.sampling import Sampling
from domino_lightning.models.backbone import load_tokenizer, local_source
from domino_lightning.utils.jsonl import read_object
from domino_lightning.utils.seeding import derived_seed

if TYPE_CHECKING:
    from torch import Tensor


LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # what vLLM's max_lora_rank may be

log = logging.getLogger(__name__)


def load(source: ModelSource, dtype: str, options: Mapping[str, Any]) -> VLLMModel:
    """Start vLLM on a backbone, ready for the adapter or the soft prompt of the source.

    Raises:
        UserError: vLLM is not installed.
    """
    try:
        import vllm
        from vllm.lora.request import LoRARequest
    except ImportError as error:
        raise UserError(
            f"engine: vLLM cannot be imported ({error}). Install the extra with `pip install 'domino_lightning[vllm]'` "
            "in an environment of its own, since vLLM chooses its own torch, or name "
            "domino_lightning.synthesis.TransformersEngine."
        ) from None

    arguments: dict[str, Any] = {
        "model": local_source(source.backbone, "model"),
        "tokenizer": local_source(source.tokenizer or source.backbone, "tokenizer"),
        "dtype": dtype,
    }
    adapter = None
    if source.adapter is not None:
        arguments |= {"enable_lora": True, "max_lora_rank": lora_rank(source.adapter)}
        adapter = LoRARequest("coder", 1, str(source.adapter))
    if source.soft_prompt is not None:
        encoder: PromptIds = soft_encoder(source, dtype)
        arguments["enable_prompt_embeds"] = True
    else:
        encoder = PromptIds(load_tokenizer(source.tokenizer or source.backbone))
    return VLLMModel(vllm.LLM(**{**arguments, **options}), encoder, vllm.SamplingParams, adapter)


def lora_rank(adapter: Path) -> int:
    """The least `max_lora_rank` that vLLM takes and an adapter fits into.

    Raises:
        UserError: no adapter there, or one of a rank beyond what vLLM takes.
    """
    rank = int(read_object(adapter / "adapter_config.json")["r"])
    for allowed in LORA_RANKS:
        if rank <= allowed:
            return allowed
    raise UserError(f"engine: {adapter} has LoRA rank {rank}, and vLLM takes {LORA_RANKS[-1]} at most.")


def sampling_arguments(sampling: Sampling, eos_ids: frozenset[int], seed: int, row: int) -> dict[str, Any]:
    """Arguments of `vllm.SamplingParams`, which are also fields of a request; none is left to a default.

    The seed of a row is a function of (seed, row), so that a row does not depend on what shares its batch.
    """
    return {
        "max_tokens": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": -1,  # all
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "seed": derived_seed("row", seed, row),
        "stop_token_ids": sorted(eos_ids),
        "skip_special_tokens": True,
    }


class VLLMModel(LanguageModel):
    """A `vllm.LLM`.

    Args:
        llm: the engine.
        encoder: turns prompts into ids, or behind domain tokens into embeddings.
        parameters: `vllm.SamplingParams`.
        adapter: LoRA request of every prompt.
    """

    def __init__(self, llm: Any, encoder: PromptIds, parameters: Callable[..., Any], adapter: Any = None) -> None:
        self.llm, self.encoder, self.parameters, self.adapter = llm, encoder, parameters, adapter
        self.eos_ids = end_ids(encoder.tokenizer)

    def complete(
        self,
        prompts: Sequence[Prompt],
        rows: Sequence[int],
        seed: int,
        sampling: Sampling,
        on_tokens: Callable[[int], None] | None = None,
        sample_tokens: Sequence[Tensor] | None = None,
    ) -> list[Sampled]:
        """Hand the prompts to vLLM, which batches them by itself."""
        if not prompts:
            return []
        if self.encoder.behind_domain and sampling.repetition_penalty != 1:
            log.warning("vLLM: a repetition penalty behind a soft prompt counts ids left in slots; rows do not repeat.")
        if isinstance(self.encoder, PromptEncoder):
            whole = self.encoder.whole(prompts, sample_tokens)
            inputs: list[dict[str, Any]] = [{"prompt_embeds": each} for each in whole]
        else:
            inputs = [{"prompt_token_ids": self.encoder.ids(prompt)} for prompt in prompts]
        parameters = [self.parameters(**sampling_arguments(sampling, self.eos_ids, seed, row)) for row in rows]
        sampled = []
        for output in self.llm.generate(inputs, parameters, lora_request=self.adapter, use_tqdm=False):
            (best,) = output.outputs
            ids = [each for each in best.token_ids if each not in self.eos_ids]
            sampled.append(Sampled(best.text, best.finish_reason == "stop", len(ids)))
        if on_tokens is not None:
            on_tokens(sum(each.num_tokens for each in sampled))
        return sampled
