"""Load a causal LM and its tokenizer from a backbone spec: hub id, local directory or `pip:<package>/<file.gguf>`."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from domino_lightning.errors import Unreachable, UserError
from domino_lightning.models.weights import quiet, read_model, why
from domino_lightning.store.contents import PIP, cache_dir, file_hash, packaged_file, writable_cache_dir
from domino_lightning.utils.atomic import follow_umask, temporary_beside

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

SHORTER = "Lower max_new_tokens, leave long rows out, or take a model with more positions."

log = logging.getLogger(__name__)

Dtype = Literal["auto", "float32", "bfloat16", "nf4"]  # of the weights of a backbone


def weights_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The dtype that weights are computed with on a device: `auto` is bfloat16 on a GPU that has it, else float32.

    So is `nf4`, whose weights are taken apart into it for every product.
    """
    import torch

    if dtype not in {"auto", "nf4"}:
        found: torch.dtype = getattr(torch, dtype)
        return found
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float32


def computes_bfloat16() -> bool:
    """Whether this machine's CPU has units for products in bfloat16 (AMX or AVX512-BF16)."""
    import torch

    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # which not every torch of the range has
    return any(bool(getattr(torch.cpu, name, bool)()) for name in names)


def check_nf4(where: str, device: str | None = None) -> None:
    """Refuse weights in NF4 where they cannot be had.

    Args:
        where: the key of the document that asks for them.
        device: the kind of device that they go to; None: not known yet.

    Raises:
        UserError: bitsandbytes is not installed, or the device is no NVIDIA GPU.
    """
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        raise UserError(
            f"{where}: nf4 needs bitsandbytes, which is not installed. Install the extra with `pip install "
            "'domino_lightning[quant]'`, or give bfloat16."
        )
    if device not in {None, "cuda"}:
        raise UserError(f"{where}: nf4 needs an NVIDIA GPU, and the weights would go to '{device}'. Give bfloat16.")


def load_backbone(spec: str, dtype: str = "float32", device: torch.device | None = None) -> PreTrainedModel:
    """The causal LM that a spec names, in eval mode.

    Args:
        spec: a hub id, a directory with config.json and safetensors, or `pip:<package>/<file.gguf>`. Pickled weights
            are never loaded.
        dtype: name of a torch dtype for the weights, auto (see `weights_dtype`), or nf4: the decoder's linear layers in
            four bits, by bitsandbytes.
        device: where the weights go, without a stop in the machine's memory; by default the CPU.

    Raises:
        UserError: the spec names nothing that can be loaded, its weights are not all that its configuration describes,
            or NF4 cannot be had here.
    """
    import torch
    from transformers import BitsAndBytesConfig

    device = device or torch.device("cpu")
    computed = weights_dtype(dtype, device)
    quantized = None
    if dtype == "nf4":
        check_nf4(f"backbone '{spec}'", device.type)
        quantized = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=computed,
        )
    return read_model(
        f"backbone '{spec}'",
        local_source(spec, "model"),
        dtype=computed,
        **({} if quantized is None else {"quantization_config": quantized}),
        device_map=None if device.type == "cpu" else device,
        use_safetensors=True,
    ).eval()


def decoder_layers(model: PreTrainedModel) -> list[torch.nn.Module]:
    """The layers of a causal LM, from the first to the last."""
    import torch

    count = model.config.get_text_config().num_hidden_layers
    stacks = (part for part in model.modules() if isinstance(part, torch.nn.ModuleList) and len(part) == count)
    return list(next(stacks))


def load_config(spec: str) -> PretrainedConfig:
    """The configuration of a backbone, without its weights.

    Raises:
        UserError: the spec names nothing that can be loaded.
        Unreachable: it is on a hub that does not answer.
    """
    from transformers import AutoConfig

    quiet()
    source = local_source(spec, "model")
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # whatever is in the file: its readers' errors derive from no common class
        raise _not_loaded(spec, f"backbone '{spec}'", error, "Mend its config.json") from None


def causal_config(spec: str) -> PretrainedConfig:
    """The configuration of a backbone that transformers has a causal LM for.

    Raises:
        UserError: there is none of its kind, or the spec names nothing that can be loaded.
        Unreachable: it is on a hub that does not answer.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    config = load_config(spec)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        kind = f"model_type '{config.model_type}' in its config.json, of which transformers has no causal LM"
        raise UserError(f"backbone '{spec}' cannot be loaded: it has {kind}. Name another model.")
    return config


def positions(config: PretrainedConfig) -> int | None:
    """How many tokens a model has positions for, where its configuration says."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def check_positions(limit: int | None, tokens: Mapping[str, int], new: int, where: str, remedy: str) -> None:
    """Refuse texts that do not fit a model.

    Args:
        limit: positions of the model; None: it does not say.
        tokens: of every text, by what the text is called.
        new: generated after each; the last of them needs no position.
        where: key of the document that names the model.
        remedy: ends the message.

    Raises:
        UserError: it names the longest that does not fit, and how many do not.
    """
    long = {name: count for name, count in tokens.items() if count + max(0, new - 1) > (limit or count + new)}
    if long:
        name = max(long, key=long.__getitem__)
        then = f" and {new} new ones" if new else ""
        more = f"; so do {len(long) - 1} more" if len(long) > 1 else ""
        told = f"{name} has {long[name]} tokens{then}, which exceed the model's {limit} positions{more}"
        raise UserError(f"{where}: {told}. {remedy}")


def load_tokenizer(spec: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a backbone spec; it must name an end-of-sequence token.

    Raises:
        UserError: it cannot be loaded, or has no EOS token.
    """
    from transformers import AutoTokenizer

    quiet()
    source = local_source(spec, "tokenizer")
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # whatever is in its files: their readers' errors derive from no common class
        what, remedy = f"tokenizer of backbone '{spec}'", "Look at its tokenizer.json, or save it with save_pretrained"
        raise _not_loaded(spec, what, error, remedy) from None
    if tokenizer.eos_token_id is None:
        raise UserError(f"backbone '{spec}': its tokenizer has no EOS token, which a text must end with.")
    return tokenizer


def _not_loaded(spec: str, what: str, error: Exception, remedy: str) -> UserError:
    """What it means that a spec could not be read: for a hub id, that it is neither at hand nor to be had now."""
    told = f"{what} cannot be loaded: {why(error)}."
    return UserError(f"{told} {remedy}.") if spec.startswith(PIP) or Path(spec).is_dir() else Unreachable(told)


def bos_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """`[BOS]` if the tokenizer puts one before a text, else `[]`."""
    ids = list(tokenizer("x").input_ids)
    bos = tokenizer.bos_token_id
    return [bos] if bos is not None and ids and ids[0] == bos else []


def start_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The token that a text begins behind where nothing else stands before it: BOS, or without one EOS."""
    bos = tokenizer.bos_token_id
    return bos_ids(tokenizer) or [tokenizer.eos_token_id if bos is None else bos]


def start_text(tokenizer: PreTrainedTokenizerBase) -> str:
    """The prompt that comes to `start_ids`: empty where the tokenizer begins every text with BOS by itself.

    Raises:
        UserError: the token has no text that stands for it.
    """
    if bos_ids(tokenizer):
        return ""
    ids = start_ids(tokenizer)
    text = str(tokenizer.convert_ids_to_tokens(ids[0]))
    if list(tokenizer(text, add_special_tokens=False).input_ids) != ids:
        raise UserError(f"backbone '{tokenizer.name_or_path}': its tokenizer reads '{text}' as another token.")
    return text


def local_source(spec: str, part: Literal["model", "tokenizer"]) -> str:
    """What `from_pretrained` takes for a backbone spec: a hub id or a directory."""
    return str(_converted(spec, part)) if spec.startswith(PIP) else spec


def _converted(spec: str, part: Literal["model", "tokenizer"]) -> Path:
    """Model or tokenizer of a GGUF file in an installed package, saved once as safetensors or JSON in the cache."""
    from filelock import FileLock

    gguf = packaged_file(spec, "backbone")
    name = Path("backbones") / f"{gguf.stem}-{file_hash(gguf)[:12]}" / part
    if (cache_dir() / name).is_dir():  # a cache that is only read serves too
        return cache_dir() / name
    target = writable_cache_dir() / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{part}.lock")):
        if target.is_dir():
            return target
        log.warning("Reading the %s of %s once and keeping it in %s.", part, gguf.name, target.parent)
        temporary = temporary_beside(target)
        (_save_model if part == "model" else _save_tokenizer)(gguf, temporary)
        for path in temporary.iterdir():
            follow_umask(path)
        os.replace(temporary, target)
    return target


def _save_model(gguf: Path, target: Path) -> None:
    import torch

    loaded = read_model(str(gguf), str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    # save_pretrained refuses a model that remembers its GGUF quantisation, so build a plain one around the weights.
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = type(loaded)(config)
    plain.load_state_dict(loaded.state_dict())
    plain.save_pretrained(str(target))


def _save_tokenizer(gguf: Path, target: Path) -> None:
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name).save_pretrained(str(target))
