"""Low-rank adapters on a causal LM, as PEFT makes and saves them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from domino_lightning.models.loading import base_name, write_adapter_readme
from domino_lightning.modules.settings import Lora

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def with_adapter(backbone: PreTrainedModel, lora: Lora, seed: int) -> Any:
    """A `PeftModel` around the backbone, whose linear layers it wraps in place; only the adapter trains."""
    from peft import LoraConfig, get_peft_model

    settings = asdict(lora)
    config = LoraConfig(
        r=settings["rank"],
        lora_alpha=settings["alpha"],
        lora_dropout=settings["dropout"],
        target_modules=settings["target_modules"],
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):  # PEFT draws from the global generator
        torch.manual_seed(seed)
        return get_peft_model(backbone, config)


def leave_frozen_to_itself(module: torch.nn.Module) -> None:
    """Have DDP neither broadcast nor reduce what does not train."""
    frozen = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    buffers = {name for name, _ in module.named_buffers()}
    torch.nn.parallel.DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, frozen | buffers)


def trainable_state(module: torch.nn.Module, state: dict[str, Any]) -> dict[str, Any]:
    """The part of a state dict that trains."""
    trainable = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    return {name: value for name, value in state.items() if name in trainable}


def save_pretrained(model: Any, directory: Path, spec: str, state: dict[str, Any] | None = None) -> None:
    """Write an adapter, or a whole model, in the usual format, the same bytes each time.

    Args:
        model: the causal LM, or PEFT's around it.
        directory: made if it is not there.
        spec: of the backbone, which an adapter names as its base.
        state: the weights, where they are not those of the model.
    """
    from peft.utils.other import EMBEDDING_LAYER_NAMES

    options = {}
    for config in getattr(model, "peft_config", {}).values():
        # Left to itself PEFT asks the hub for the base whether its vocabulary was resized, which it never is here.
        targets = config.target_modules or ()
        options["save_embedding_layers"] = any(name in targets for name in EMBEDDING_LAYER_NAMES)
        config.base_model_name_or_path = base_name(spec)
        for name, value in vars(config).items():
            if isinstance(value, set):  # which would be written in the order of hashes
                setattr(config, name, sorted(value))
    model.save_pretrained(str(directory), state_dict=state, **options)
    if hasattr(model, "peft_config"):
        write_adapter_readme(directory, spec, "Low-rank adapter")
