"""The weights of a causal LM, as transformers reads them: all that its configuration describes, or none.

transformers fills what the files lack with random numbers, leaves out what has no place, and says so in a log alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domino_lightning.config.layers import one_line
from domino_lightning.errors import UserError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

REMEDY = "Save the whole model again with save_pretrained, or mend its config.json"
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def read_model(where: str, source: str, **options: Any) -> PreTrainedModel:
    """A causal LM with all its weights.

    Args:
        where: names the model at the beginning of a message.
        source: a hub id or a directory.
        options: of `from_pretrained`. On the device `meta` the headers of the files are read and nothing else.

    Raises:
        UserError: it cannot be loaded, or its weights are not those that its configuration describes.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    quiet()
    try:
        # Sizes that do not fit are told below, by name; transformers would refuse them without one.
        told = {"output_loading_info": True, "ignore_mismatched_sizes": True, "trust_remote_code": False}
        loaded: Any = AutoModelForCausalLM.from_pretrained(source, **told, **options)
    except (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError):  # no fault of the files
        raise
    except SafetensorError as error:
        name = _damaged(Path(source)) or "a safetensors file"
        raise UserError(f"{where}: {name} is damaged ({one_line(error)}). Get the file again.") from None
    except Exception as error:  # whatever is in the files: their readers' errors derive from no common class
        remedy = f" {REMEDY}." if isinstance(error, OSError) and Path(source).is_dir() else ""
        raise UserError(f"{where} cannot be loaded: {why(error)}.{remedy}") from None
    model: PreTrainedModel = loaded[0]
    _check_complete(where, model, loaded[1])
    return model


def check_packages(where: str, config: PretrainedConfig) -> bool:
    """Whether the weights are quantized, by a method whose packages are here.

    Raises:
        UserError: they are, and the packages are not.
    """
    from transformers.quantizers.auto import AutoHfQuantizer

    method = getattr(config, "quantization_config", None)
    if method is None or (isinstance(method, dict) and not AutoHfQuantizer.supports_quant_method(method)):
        return False
    try:
        AutoHfQuantizer.from_config(method, pre_quantized=True).validate_environment(device_map=None)
    except ImportError as error:
        raise UserError(f"{where} cannot be loaded: {why(error)}.") from None
    except (RuntimeError, ValueError):  # of the device, which may be another where it is loaded
        pass
    return True


def why(error: BaseException) -> str:
    """What a library says of a model that it cannot read; of errors that say little, with their kind."""
    if "use_safetensors" in str(error):
        return "it has no safetensors weights, and pickled ones, which can run code, are never loaded"
    said = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    return (
        said
        if isinstance(error, (OSError, ValueError, ImportError)) and said
        else f"{type(error).__name__} {said}".rstrip()
    )


def quiet() -> None:
    """Have transformers write no bars and no warnings."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


def _check_complete(where: str, model: PreTrainedModel, found: Mapping[str, Any]) -> None:
    """Refuse a model of which a parameter did not come from the files, or that leaves out a part of what they hold.

    What may be missing, such as a tied LM head, transformers does not name among the keys. Buffers are computed.
    """
    parameters = {name for name, _ in model.named_parameters()}
    absent, dropped = sorted(found["missing_keys"] & parameters), sorted(found["unexpected_keys"])
    if absent:
        told = f"its weights lack {len(absent)} of the {len(parameters)} parameters that its config.json describes"
        more = f", and hold {len(dropped)} that have no place in it{_some(dropped)}" if dropped else ""
        raise UserError(f"{where}: {told}{_some(absent)}{more}. Random numbers would stand for them. {REMEDY}.")
    if found["mismatched_keys"]:
        name, stored, described = min(found["mismatched_keys"])
        sizes = f"{_shape(stored)} in its weights and {_shape(described)} by its config.json"
        raise UserError(f"{where}: {name} is {sizes}. {REMEDY}.")
    dropped = [key for key in dropped if _is_part(key, model, parameters)]
    if dropped:
        told = f"its config.json leaves out {len(dropped)} parameters of layers that its weights hold{_some(dropped)}"
        raise UserError(f"{where}: {told}. {REMEDY}.")


def _is_part(key: str, model: PreTrainedModel, parameters: Collection[str]) -> bool:
    """Whether weights without a place are a layer more of the model's own, or a bias that its layers go without.

    Others, such as another head or an image encoder, are no part of the causal LM.
    """
    if _NUMBER.sub("#", key) in {_NUMBER.sub("#", name) for name in parameters}:
        return True
    holder, _, name = key.rpartition(".")
    return name in next((part._parameters for path, part in model.named_modules() if path == holder), {})


def _some(keys: list[str]) -> str:
    return f" ({keys[0]}{', …' if len(keys) > 1 else ''})"


def _shape(sizes: Any) -> str:
    return " × ".join(map(str, sizes))


def _damaged(folder: Path) -> Path | None:
    """The first safetensors file of a directory whose header cannot be read."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt"):
                pass
        except SafetensorError:
            return path
    return None
