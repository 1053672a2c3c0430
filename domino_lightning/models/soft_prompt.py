"""The exported domain tokens: safetensors beside JSON, checked against backbone and tokenizer when loaded.

Beside them lies the same prompt as a PEFT adapter, for programs that know PEFT and not this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from domino_lightning.errors import UserError
from domino_lightning.models.loading import base_name, write_adapter_readme
from domino_lightning.store.contents import backbone_hash
from domino_lightning.utils.atomic import atomic_write
from domino_lightning.utils.jsonl import read_object, sha256_text, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WEIGHTS, DESCRIPTION = "soft_prompt.safetensors", "soft_prompt.json"
SAMPLES = "sample_tokens.safetensors"


def save_soft_prompt(
    directory: Path, domain: Tensor, backbone: str, tokenizer: PreTrainedTokenizerBase, **extra: Any
) -> None:
    """Write (D, H) domain tokens with the identity of what they belong to."""
    from safetensors.torch import save_file

    with atomic_write(directory / WEIGHTS) as temporary:
        save_file({"domain": domain.detach().float().cpu().contiguous()}, str(temporary))
    described = {"num_tokens": domain.shape[0], **identity(backbone, tokenizer), **extra}
    write_json(directory / DESCRIPTION, described)


def save_peft_adapter(directory: Path, prefix: Tensor, backbone: str) -> None:
    """Write the prompt as a PEFT prompt-tuning adapter, with a README that says how it is loaded.

    `PeftModel.from_pretrained(model, directory)` then gives the logits that this package gives, for text ids without
    special tokens. PEFT puts its virtual tokens before everything, so a BOS has to be the first of them.

    Args:
        directory: made if it is not there.
        prefix: (P, H) embeddings before a text: of BOS where the tokenizer begins texts with one, then D.
        backbone: spec, kept as the adapter's base model.
    """
    from peft import PromptTuningConfig, TaskType
    from safetensors.torch import save_file

    from domino_lightning.models.backbone import load_config

    config = load_config(backbone).get_text_config()
    directory.mkdir(exist_ok=True)
    save_file(
        {"prompt_embeddings": prefix.detach().float().cpu().contiguous()}, str(directory / "adapter_model.safetensors")
    )
    adapter = PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        base_model_name_or_path=base_name(backbone),
        inference_mode=True,
        num_virtual_tokens=len(prefix),
        token_dim=prefix.shape[1],
        num_transformer_submodules=1,
        num_attention_heads=config.num_attention_heads,
        num_layers=config.num_hidden_layers,
    )
    adapter.save_pretrained(str(directory))
    write_adapter_readme(directory, backbone, "Soft prompt")


def identity(backbone: str, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What domain tokens belong to: hashes of backbone and tokenizer, and what tells two of them apart in words."""
    from domino_lightning.models.backbone import bos_ids, load_config

    config = load_config(backbone).get_text_config()
    return {
        "backbone": backbone,
        "backbone_hash": backbone_hash(backbone, "backbone"),
        "model_type": config.model_type,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "tokenizer_hash": tokenizer_hash(tokenizer),
        "tokenizer_size": len(tokenizer),
        "bos_ids": bos_ids(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
    }


def save_sample_tokens(directory: Path, vectors: Tensor) -> None:
    """Write the (N, S, H) sample tokens of all references; only ablations of generation read them."""
    from safetensors.torch import save_file

    with atomic_write(directory / SAMPLES) as temporary:
        save_file({"samples": vectors.detach().float().cpu().contiguous()}, str(temporary))


def read_sample_tokens(directory: Path) -> Tensor:
    """(N, S, H) float32 sample tokens of an export.

    Raises:
        UserError: the export has none.
    """
    from safetensors.torch import load_file

    if not (directory / SAMPLES).is_file():
        raise UserError(
            f"{directory}: no {SAMPLES}, which the generator's sample_tokens asks for. Set "
            "tune.keep_sample_tokens=true and a loss that has sample tokens, or "
            "synthesize.generator.init_args.sample_tokens=none."
        )
    return load_file(str(directory / SAMPLES))["samples"]


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of the vocabulary and its ids, which is what token embeddings depend on."""
    return sha256_text("\n".join(f"{index}\t{token}" for token, index in sorted(tokenizer.get_vocab().items())))


def read_soft_prompt(directory: Path, backbone: str) -> tuple[Tensor, dict[str, Any]]:
    """(D, H) float32 domain tokens of an export and the content of its `soft_prompt.json`.

    Raises:
        UserError: files missing, or the backbone or tokenizer differs from the one D was learned on.
    """
    from safetensors.torch import load_file

    if not (directory / DESCRIPTION).is_file():
        raise UserError(f"{directory}: no {DESCRIPTION}, which `tune` writes where it learns domain tokens.")
    description = read_object(directory / DESCRIPTION)
    check_identity(description, backbone, directory / DESCRIPTION)
    return load_file(str(directory / WEIGHTS))["domain"], description


def check_identity(description: Mapping[str, Any], backbone: str, file: Path) -> None:
    """Refuse a backbone that is not the one that something was learned on.

    Args:
        description: content of the export's JSON.
        backbone: spec to be used.
        file: that JSON, for the message.

    Raises:
        UserError: it names what differs.
    """
    from domino_lightning.models.backbone import load_tokenizer

    here = identity(backbone, load_tokenizer(backbone))
    # An export of an earlier version names fewer things; what it does not name cannot be compared.
    differing = [key for key in here if key != "backbone" and key in description and description[key] != here[key]]
    if differing:
        told = "; ".join(f"{key} {_short(description[key])} there, {_short(here[key])} here" for key in differing)
        raise UserError(
            f"{file}: learned on backbone '{description['backbone']}', which is not '{backbone}': "
            f"{told}. Use the backbone and tokenizer of the export, or tune again."
        )


def _short(value: Any) -> Any:
    return value[:12] if isinstance(value, str) else value


def read_soft_tokens(file: Path) -> Tensor:
    """The (D, H) float32 tokens of one safetensors file.

    Raises:
        UserError: it is no safetensors file, or holds neither `domain` nor PEFT's `prompt_embeddings`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(str(file))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file}: cannot be read as safetensors ({error}). Tune again, or name another file.") from None
    for name in ("domain", "prompt_embeddings"):
        if name in tensors and tensors[name].ndim == 2:
            return tensors[name].float()
    raise UserError(
        f"{file}: holds {', '.join(sorted(tensors)) or 'nothing'}, where a matrix 'domain' (domino) or "
        "'prompt_embeddings' (PEFT) is expected."
    )
