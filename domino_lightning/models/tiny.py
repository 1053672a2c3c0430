"""Tiny random models and a byte-level tokenizer, made in milliseconds, for tests and smoke runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def byte_tokenizer(bos: bool = False) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per byte, `<|end|>` as EOS and pad, and a chat template.

    Args:
        bos: put `<|begin|>` before every text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|end|>", "<|start|>", "<|begin|>"]
    vocabulary = {token: index for index, token in enumerate([*special, *alphabet])}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    if bos:
        raw.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", special_tokens=[("<|begin|>", vocabulary["<|begin|>"])]
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        eos_token="<|end|>",
        pad_token="<|end|>",
        bos_token="<|begin|>",
        extra_special_tokens=["<|start|>"],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tiny_model(family: str = "llama", vocabulary: int = 259, seed: int = 0, **overrides: Any) -> PreTrainedModel:
    """A two-layer random causal LM of a transformers family, hidden size 32, on the CPU in float32."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "bos_token_id": 2,
    }
    config = AutoConfig.for_model(family, **{**sizes, **overrides})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model.eval()


def save_tiny_backbone(directory: Path, family: str = "llama", bos: bool = False, **overrides: Any) -> Path:
    """Save a tiny model and its tokenizer as a local backbone, unless they are there; the directory is returned."""
    if not (directory / "config.json").is_file():
        directory.mkdir(parents=True, exist_ok=True)
        byte_tokenizer(bos).save_pretrained(str(directory))
        tiny_model(family, **overrides).save_pretrained(str(directory))
    return directory
