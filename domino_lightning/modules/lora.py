"""Low-rank adapters on a causal LM, as PEFT makes and saves them."""

from __future__ import annotations

import re
import warnings
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from domino_lightning.config.layers import one_line
from domino_lightning.errors import UserError
from domino_lightning.models.backbone import causal_config
from domino_lightning.models.loading import base_name, write_adapter_readme
from domino_lightning.modules.settings import Lora

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def with_adapter(backbone: PreTrainedModel, lora: Lora, seed: int, where: str = "model.lora") -> Any:
    """A `PeftModel` around the backbone, whose linear layers it wraps in place; only the adapter trains.

    Raises:
        UserError: target modules that the backbone does not have, or that PEFT cannot wrap; `where` begins it.
    """
    from peft import LoraConfig, get_peft_model

    settings = asdict(lora)
    targets = settings["target_modules"]
    config = LoraConfig(
        r=settings["rank"],
        lora_alpha=settings["alpha"],
        lora_dropout=settings["dropout"],
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    names = [name for name, _ in backbone.named_modules()]
    absent = [each for each in targets if not any(f".{name}".endswith(f".{each}") for name in names)]
    try:
        if isinstance(targets, list) and absent:
            raise ValueError(f"there is no {', '.join(absent)}")
        with torch.random.fork_rng(devices=[]):  # PEFT draws from the global generator
            torch.manual_seed(seed)
            return get_peft_model(backbone, config)
    except (ValueError, re.error) as error:
        linear = {name.rpartition(".")[2] for name, part in backbone.named_modules() if type(part) is torch.nn.Linear}
        raise UserError(
            f"{where}: target_modules {targets} cannot be adapted ({one_line(error)}). Give all-linear, or some of "
            f"{', '.join(sorted(linear))}."
        ) from None


@lru_cache(maxsize=8)
def check_adapter(spec: str, targets: str | tuple[str, ...], where: str) -> None:
    """Refuse target modules that a backbone does not have, on its shapes alone: no weights are loaded.

    Raises:
        UserError: what `with_adapter` would raise, or the spec names nothing that can be loaded.
        Unreachable: it is on a hub that does not answer.
    """
    from transformers import AutoModelForCausalLM

    config = causal_config(spec)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # told, if ever, when it trains
        backbone = AutoModelForCausalLM.from_config(config)
        lora = Lora(rank=1, target_modules=targets if isinstance(targets, str) else [*targets])
        with_adapter(backbone, lora, 0, where)


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
