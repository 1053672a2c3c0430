"""What a `trainer` section may say: Lightning takes some senseless numbers, and refuses others only at the fit."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Collection, Mapping
from math import isfinite
from typing import Any

from domino_lightning.config.layers import one_line
from domino_lightning.errors import OutOfRange, UserError
from domino_lightning.utils.packages import is_there
from domino_lightning.utils.ranges import ONE_OR_MORE, UNIT, UNIT_OPEN_LOW, WORKERS, ZERO_OR_MORE, Range

NUMBERS = {
    "num_nodes": ONE_OR_MORE,
    "accumulate_grad_batches": ONE_OR_MORE,
    "check_val_every_n_epoch": ONE_OR_MORE,
    "gradient_clip_val": ZERO_OR_MORE,
    "min_epochs": ZERO_OR_MORE,
    "min_steps": ZERO_OR_MORE,
    "reload_dataloaders_every_n_epochs": ZERO_OR_MORE,
    "val_check_interval": ONE_OR_MORE,
    "limit_train_batches": ONE_OR_MORE,
    "limit_val_batches": ZERO_OR_MORE,
}
# Those that are a number of batches, or as a number with a point a share of them.
SHARES = {
    "val_check_interval": UNIT_OPEN_LOW,
    "limit_train_batches": UNIT_OPEN_LOW,
    "limit_val_batches": UNIT,
}
# Key, how names begin that need a module beside Lightning, and that module.
PACKAGES = (
    ("precision", "transformer-engine", "transformer_engine"),
    ("strategy", "deepspeed", "deepspeed"),
    ("strategy", "xla", "torch_xla"),
    ("strategy", "single_xla", "torch_xla"),
    ("strategy", "single_tpu", "torch_xla"),
    ("accelerator", "tpu", "torch_xla"),
)
GPUS_ALONE = ("fsdp", "deepspeed")  # how strategies begin that no CPU has
# Settings to try something out with, each with why it is refused.
TRIALS = {
    "fast_dev_run": "false, since a few batches would be stored as finished training; for a trial there is --smoke",
    "barebones": "false, since a few batches would be stored as finished training; for a trial there is --smoke",
    "overfit_batches": "0, since every epoch draws its batches anew, so that none would be overfit; for fewer batches "
    "there are limit_train_batches and limit_val_batches",
}
LIMIT = Range("1 or more, or -1 for none", 1)


def _whole(value: Any) -> bool:
    return type(value) is int


def _number(value: Any) -> bool:
    return value is None or type(value) is int or (type(value) is float and isfinite(value))


# Keys whose types are known here, and values that Lightning takes on any machine. A section of these alone, as most
# are, is judged without importing Lightning, which takes longer than all the rest of a check.
USUAL: Mapping[str, Callable[[Any], bool]] = {
    "max_steps": _whole,
    "max_epochs": lambda value: value is None or _whole(value),
    "check_val_every_n_epoch": lambda value: value is None or _whole(value),
    "accumulate_grad_batches": _whole,
    "num_nodes": _whole,
    "devices": lambda value: value == "auto" or _whole(value),
    "val_check_interval": _number,
    "limit_train_batches": _number,
    "limit_val_batches": _number,
    "gradient_clip_val": _number,
    "accelerator": {"auto", "cpu", "gpu", "cuda"}.__contains__,
    "strategy": {"auto", "ddp"}.__contains__,
    "precision": {"32-true", "bf16-true", "bf16-mixed", "16-mixed"}.__contains__,
}


def is_usual(trainer: Any) -> bool:
    """Whether a section says nothing that only Lightning can judge; the ranges of its numbers are another matter."""
    if not isinstance(trainer, Mapping) or not trainer.keys() <= USUAL.keys():
        return False
    if any(isinstance(value, (list, dict)) or not USUAL[name](value) for name, value in trainer.items()):
        return False
    # Without epochs to count in, an interval must be a number of batches.
    return trainer.get("check_val_every_n_epoch", 1) is not None or _whole(trainer.get("val_check_interval"))


def add_trainer(parser: Any, trainer: Any, skip: Collection[str]) -> None:
    """Add the section `trainer` to a jsonargparse parser, typed by Lightning's own signature unless it is usual."""
    if is_usual(trainer):
        parser.add_argument("--trainer", type=dict)
        return
    from lightning.pytorch import Trainer

    parser.add_class_arguments(Trainer, "trainer", skip=set(skip), instantiate=False)


def check_trainer(stage: str, trainer: Mapping[str, Any]) -> None:
    """Refuse what no fit could begin with, or what would do nothing or never end.

    Raises:
        UserError: it names the key, the value and the remedy.
    """
    where = f"{stage}.trainer"
    for name, allowed in NUMBERS.items():
        value = trainer.get(name)
        allowed = SHARES.get(name, allowed) if isinstance(value, float) else allowed
        if isinstance(value, (int, float)) and value not in allowed:
            raise OutOfRange(where, name, value, allowed.refusal(value))
    _check_length(where, trainer)
    _check_devices(where, trainer.get("devices"))
    if trainer.get("accelerator") == "cpu" and (lack := lacking(trainer)) is not None:
        raise OutOfRange(where, *lack)
    for name, why in TRIALS.items():
        if trainer.get(name):
            raise OutOfRange(where, name, trainer[name], why)
    _check_packages(where, trainer)
    own_loggers(stage, trainer.get("logger"))
    if not is_usual(trainer):
        _check_names(where, trainer)
        _try(where, trainer)


def _check_length(where: str, trainer: Mapping[str, Any]) -> None:
    steps, epochs = trainer.get("max_steps", -1), trainer.get("max_epochs")
    for name, value in (("max_steps", steps), ("max_epochs", epochs)):
        if value not in (None, -1) and value not in LIMIT:
            raise OutOfRange(where, name, value, LIMIT.refusal(value))
    if steps == -1 and epochs in (None, -1) and trainer.get("max_time") is None:
        raise UserError(f"{where}: max_steps -1 without max_epochs never ends. Give {where}.max_steps or max_epochs.")
    for what in ("steps", "epochs"):
        least, most = trainer.get(f"min_{what}"), trainer.get(f"max_{what}")
        if least is not None and most not in (None, -1) and least > most:
            raise UserError(
                f"{where}: min_{what} {least} is more than max_{what} {most}. Lower the one or raise the other."
            )


def _check_devices(where: str, devices: Any) -> None:
    numbers = str(devices).strip("[] ").split(",") if isinstance(devices, (list, str)) else [str(devices)]
    one = len(numbers) == 1 and not isinstance(devices, list)
    whole = [int(text) for text in map(str.strip, numbers) if text.removeprefix("-").isdigit()]
    named = devices in (None, "auto")
    good = len(whole) == len(numbers) and len(set(whole)) == len(whole)
    good = good and (whole[0] == -1 or whole[0] in WORKERS if one else min(whole) >= 0)
    if not named and not good:
        what = "a number from 1 to 1024, -1 or auto for all, or a list of different device numbers"
        raise OutOfRange(where, "devices", devices, what)


def lacking(trainer: Mapping[str, Any]) -> tuple[str, Any, str] | None:
    """A key that asks for what this machine does not have, its value, and what it must be; None: nothing is missing.

    One device, of whatever kind there is, is everywhere, which is told without importing torch.
    """
    devices, accelerator = trainer.get("devices"), trainer.get("accelerator") or "auto"
    by_number = isinstance(devices, list) or "," in str(devices)
    count = int(text) if (text := str(devices)).removeprefix("-").isdigit() else 1
    anywhere = not by_number and (count == 1 or (count > 1 and accelerator == "cpu"))
    alone = _gpus_alone(trainer)
    if accelerator not in ("auto", "cpu", "gpu", "cuda") or (
        accelerator in ("auto", "cpu") and anywhere and alone is None
    ):
        return None
    gpus = 0
    if accelerator != "cpu":
        import torch

        if torch.backends.mps.is_available():
            return None
        gpus = torch.cuda.device_count()
    if not gpus and accelerator in ("gpu", "cuda"):
        return "accelerator", accelerator, "auto or cpu, since this machine has no GPU"
    if not gpus and alone is not None:
        return alone
    if not gpus and (by_number or count == -1):
        return "devices", devices, "a number of processes, such as 1, where it is the CPU that is trained on"
    named = [int(each) for each in str(devices).strip("[] ").split(",") if each.strip()] if by_number else [count - 1]
    if gpus and max(named) >= gpus:
        return "devices", devices, f"of the {gpus} GPU{'s'[gpus == 1 :]} that this machine has"
    return None


def _gpus_alone(trainer: Mapping[str, Any]) -> tuple[str, Any, str] | None:
    """A key that asks for what no CPU has, its value, and what it must be there."""
    strategy = trainer.get("strategy")
    given = strategy.get("class_path") if isinstance(strategy, Mapping) else strategy
    name = given if isinstance(given, str) else type(given).__name__
    if name.rpartition(".")[2].lower().startswith(GPUS_ALONE):
        return "strategy", strategy, "auto, ddp or a ModelParallelStrategy where it is the CPU that is trained on"
    if str(precision := trainer.get("precision")) in {"16", "16-mixed"}:
        return "precision", precision, "32-true, or bf16-mixed, which Lightning would make of it on the CPU"
    return None


def _check_packages(where: str, trainer: Mapping[str, Any]) -> None:
    """Refuse names of Lightning's behind which is a package that is not installed."""
    for key, beginning, module in PACKAGES:
        value = trainer.get(key)
        if isinstance(value, str) and value.lower().startswith(beginning) and not is_there(module):
            raise UserError(
                f"{where}.{key}: {value} needs the package {module}, which is not installed. Install it, or leave the "
                "key out."
            )


def _check_names(where: str, trainer: Mapping[str, Any]) -> None:
    from lightning.pytorch.accelerators import AcceleratorRegistry
    from lightning.pytorch.strategies import StrategyRegistry

    registries = {"accelerator": AcceleratorRegistry, "strategy": StrategyRegistry}
    for name, registry in registries.items():
        value = trainer.get(name)
        known = {"auto", "gpu", *registry} if name == "accelerator" else {"auto", *registry}
        if isinstance(value, str) and value.lower() not in known:
            raise OutOfRange(where, name, repr(value), f"one of {', '.join(sorted(known))}")
    _check_start(where, trainer.get("strategy"))
    if trainer.get("precision") == "16-true":
        raise UserError(
            f"{where}.precision: 16-true keeps trained weights in float16, where the optimizer's steps underflow. Use "
            "bf16-mixed, bf16-true or 32-true."
        )


def _check_start(where: str, strategy: Any) -> None:
    """Refuse ranks that are started within a stage's process: what they have trained does not come back to it."""
    from lightning.pytorch.strategies import StrategyRegistry

    known: Mapping[str, Any] = StrategyRegistry
    if isinstance(strategy, str):
        settings = known[strategy.lower()]["init_params"] if strategy.lower() in known else {}
        start = settings.get("start_method", "popen")
    else:
        start = getattr(strategy, "_start_method", "popen")
    if start != "popen":
        name = strategy if isinstance(strategy, str) else f"{type(strategy).__name__} with start_method {start}"
        raise OutOfRange(where, "strategy", name, "ddp, since what processes of another start have trained is lost")


def with_cluster_environment(plugins: Any) -> list[Any]:
    """Plugins of a Trainer with the one that says which rank it is: whoever started this process, or Lightning.

    Lightning would go through all managers it knows, and to ask whether this is an MPI job it starts MPI wherever
    mpi4py is installed, which ends the process on machines without a working one. A plugin of the user's stays.
    """
    from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    given = list(plugins) if isinstance(plugins, list | tuple) else [] if plugins is None else [plugins]
    if any(isinstance(plugin, ClusterEnvironment) for plugin in given):
        return given
    return [*given, TorchElasticEnvironment() if TorchElasticEnvironment.detect() else LightningEnvironment()]


def own_loggers(stage: str, given: Any) -> list[Any]:
    """The loggers that a section names, which are told beside ours.

    Raises:
        UserError: it says true or false, which have no meaning where ours are always there.
    """
    if isinstance(given, bool):
        raise UserError(
            f"{stage}.trainer.logger: {str(given).lower()} has no meaning here: metrics.csv is always written, and "
            "`tracking.wandb` says whether W&B is told. Name Lightning loggers by class_path, or leave it out."
        )
    return [] if given is None else list(given) if isinstance(given, list | tuple) else [given]


def _try(where: str, trainer: Mapping[str, Any]) -> None:
    """Let Lightning look at all that does not depend on the machine."""
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch import Trainer

    elsewhere = {"accelerator", "devices", "num_nodes", "strategy", "precision", "callbacks", "plugins", "logger"}
    elsewhere |= {"deterministic", "benchmark"}  # it would set them for the whole process
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a GPU is there and not used
            Trainer(
                **{name: value for name, value in trainer.items() if name not in elsewhere},
                accelerator="cpu",
                devices=1,
                plugins=[LightningEnvironment()],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
    except (MisconfigurationException, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{where}: Lightning refuses it: {one_line(error)}.") from None
