"""What tune and finetune share: sections `model`, `data` and `trainer` typed by classes, and a resumable fit."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from domino_lightning.config.document import Config
from domino_lightning.config.layers import lookup
from domino_lightning.config.nodes import ClassNode
from domino_lightning.config.types import evaluate_types
from domino_lightning.data.slots import rank_slots
from domino_lightning.errors import OutOfRange, StageFailed, Unreachable
from domino_lightning.models.backbone import check_nf4
from domino_lightning.modules.settings import DEFAULT_LORA, Lora
from domino_lightning.stages.base import Stage
from domino_lightning.stages.epochs import Epochs
from domino_lightning.stages.trainer import OWNED, TrainingRuntime, make_trainer
from domino_lightning.stages.trainer_callbacks import check_callbacks, failure
from domino_lightning.stages.trainer_settings import add_trainer, check_trainer, lacking
from domino_lightning.store.contents import backbone_hash
from domino_lightning.store.work import Section, Work
from domino_lightning.tracking.metrics_file import METRICS, MetricsFile
from domino_lightning.utils.yielding import watched

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

log = logging.getLogger(__name__)

UNVALIDATED = "no step is validated, and the last one is taken for the best"
# What changes no result: which ranks share the work, since a step's batch is the same on any number of them, and what
# else is told of it.
BESIDE = ("devices", "num_nodes", "strategy", "logger")


class TrainingStage(Stage):
    """A stage that fits a LightningModule on a LightningDataModule; it runs in a process of its own.

    Args:
        model: arguments of the module class; or where the stage takes several, `class_path` and `init_args`.
        data: arguments of the data class, but for the files.
        trainer: arguments of `lightning.pytorch.Trainer`; its loggers are told beside ours.
        runtime: checkpoint cadence, logging, workers.
        seed: of initialization and batch order.

    Class attributes:
        files: arguments of the data class that the stage itself gives.
        from_runtime: arguments of the module class that change no result, and so are keys of `runtime`.

    Attributes:
        named: the class that `model.class_path` names; None where it is left out.
        model: arguments of the module, wherever the section has them.
    """

    files: ClassVar[tuple[str, ...]]
    from_runtime: ClassVar[tuple[str, ...]] = ()

    def __init__(self, model: Any, data: Any, trainer: Any, runtime: TrainingRuntime, seed: int = 0) -> None:
        model = _keys(model)
        self.named = self.named_module({"model": model})
        self.model = _keys(model["init_args"]) if "class_path" in model else model
        self.data, self.trainer = _keys(data), _keys(trainer)
        self.runtime, self.seed = runtime, seed
        self._check()

    @classmethod
    @abstractmethod
    def settings(cls) -> tuple[type, type]:
        """What takes the arguments of `classes` and refuses what they refuse, without Lightning."""

    @classmethod
    @abstractmethod
    def classes(cls) -> tuple[type[LightningModule], type[LightningDataModule]]:
        """The module, where the section names none, and the data class, imported when they are asked for."""

    @classmethod
    def model_node(cls, section: Section) -> ClassNode | None:
        """What `model.class_path` names, not imported; None where it is left out, or the stage takes but one class."""
        return None

    @classmethod
    def named_module(cls, section: Section) -> type[LightningModule] | None:
        """The class of `model_node`.

        Raises:
            UserError: it names no class that the stage takes.
        """
        return None

    @classmethod
    def model_key(cls, section: Section) -> str:
        """Where the section has the module's arguments."""
        return "model" if cls.model_node(section) is None else "model.init_args"

    @classmethod
    def parser(cls, section: Section) -> Any:
        """model, data and trainer are typed by their classes, the rest by the constructor."""
        from jsonargparse import ArgumentParser

        named = cls.named_module(section)
        model, data = named or cls.settings()[0], cls.settings()[1]
        parser = ArgumentParser(exit_on_error=False)
        if named is not None:
            parser.add_argument("--model.class_path", type=str)
        skipped = {"seed", *cls.from_runtime}
        parser.add_class_arguments(evaluate_types(model), cls.model_key(section), skip=skipped, instantiate=False)
        skipped = {"seed", "num_workers", *cls.files}
        parser.add_class_arguments(evaluate_types(data), "data", skip=skipped, instantiate=False)
        add_trainer(parser, section.get("trainer"), skip=OWNED | {"log_every_n_steps"})
        parser.add_class_arguments(evaluate_types(cls), None, skip={"model", "data", "trainer"})
        return parser

    @classmethod
    def own_process(cls, section: Section) -> bool:
        """Always: DDP children repeat the command line."""
        return True

    @classmethod
    def processes(cls, section: Section) -> int:
        """The ranks."""
        return ranks(section)

    @classmethod
    def devices(cls, section: Section) -> int:
        """One a rank, unless it trains on the CPU."""
        return 0 if lookup(section, "trainer.accelerator") == "cpu" else ranks(section)

    @classmethod
    def nodes(cls, section: Section) -> int:
        """`trainer.num_nodes`."""
        count = lookup(section, "trainer.num_nodes")
        return count if type(count) is int and count > 1 else 1

    @classmethod
    def lacking(cls, section: Section) -> str | None:
        """Of `trainer`, devices and accelerator."""
        lack = lacking(section["trainer"])
        return None if lack is None else "trainer.{}: {!r} must be {}.".format(*lack)

    @classmethod
    def small(cls, config: Config, backbone: str) -> dict[str, Any]:
        """Two steps of two rows on the CPU."""
        schedule = {"max_steps": 2, "max_epochs": None, "val_check_interval": 1, "check_val_every_n_epoch": None}
        alone = {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "strategy": "auto", "precision": "32-true"}
        named = cls.named_module(config.document[cls.name])
        known = signature(named or cls.settings()[0]).parameters
        model = {key: value for key, value in (("backbone", backbone), ("warmup_steps", 0)) if key in known}
        return {
            "model": model if named is None else {"init_args": model},
            "data": {"tokenizer": backbone, "batch_size": 2},
            "trainer": {**schedule, **alone},
            "runtime": {"checkpoint_every_n_steps": 1, "num_workers": 0},
        }

    @classmethod
    def identity(cls, section: Section) -> Section:
        """Not which ranks share the work, nor who else is told of it."""
        section = super().identity(section)
        trainer = section.get("trainer")
        if not isinstance(trainer, dict):  # validation says what is wrong with it
            return section
        return {**section, "trainer": {key: value for key, value in trainer.items() if key not in BESIDE}}

    @classmethod
    def contents(cls, section: Section) -> dict[str, str]:
        """Backbone and tokenizer."""
        specs = {key: lookup(section, key) for key in (f"{cls.model_key(section)}.backbone", "data.tokenizer")}
        return {key: backbone_hash(spec, f"{cls.name}.{key}") for key, spec in specs.items() if isinstance(spec, str)}

    def _check(self) -> None:
        """What the constructors of model and data refuse is told before anything runs; no backbone is loaded."""
        check_trainer(self.name, self.trainer)
        check_callbacks(self.name, self.trainer, self._logged())
        if self.model.get("backbone_dtype") == "nf4":
            device = "cpu" if self.trainer.get("accelerator") == "cpu" else None
            check_nf4(f"{self.name}.model.backbone_dtype", device)
        lora = getattr(self.described(), "lora", None)
        if isinstance(lora, Lora) and lora.target_modules != DEFAULT_LORA.target_modules:
            from domino_lightning.modules.lora import check_adapter

            targets = lora.target_modules
            named = targets if isinstance(targets, str) else tuple(targets)
            group = "model" if self.named is None else "model.init_args"
            with suppress(Unreachable):  # a check names it
                check_adapter(self.model["backbone"], named, f"{self.name}.{group}.lora")
        data = self._given_data(self.settings()[1], **dict.fromkeys(self.files, ""))
        rank_slots(data.batch_size, 0, ranks({"trainer": self.trainer}) * int(self.trainer.get("num_nodes") or 1))

    def _logged(self) -> list[str] | None:
        """What a callback may monitor, with a slash at the end of what more begins with; None: a fork's module says."""
        if self.named is not None and self.named.__module__.partition(".")[0] != "domino_lightning":
            return None
        terms = "train/" if self.name == "tune" else "train/loss"  # of losses, which name them
        return [f"{self.name}/{name}" for name in ("heldout/nll", terms, "train/learning_rate")] + ["step"]

    def idle_settings(self, owners: Sequence[int] | None) -> list[str]:
        """Settings that will have no effect, or less than they say, on rows of the given samples (None: unknown).

        Raises:
            OutOfRange: a share of an epoch's batches that comes to none.
        """
        notes, trainer = [], self.trainer
        epochs = Epochs.of(trainer, int(self.data["batch_size"]), self.seed, owners)
        size = int(self.data["batch_size"])
        if owners and epochs.batches == 0:
            whole = Epochs.of({**trainer, "limit_train_batches": None}, size, self.seed, owners).batches
            asked = f"a number of batches, or a share that comes to one of an epoch's {whole} at least"
            raise OutOfRange(f"{self.name}.trainer", "limit_train_batches", trainer.get("limit_train_batches"), asked)
        if epochs.sizes and max(epochs.sizes) < size:
            rows = max(epochs.sizes)
            notes.append(f"{self.name}.data.batch_size {size} is never reached: no batch has more than {rows} rows.")
        if epochs.batches is not None and epochs.together > epochs.batches:
            notes.append(
                f"{self.name}.trainer.accumulate_grad_batches {epochs.together} is more than the {epochs.batches} "
                f"batches of an epoch, at whose end a step is taken: it has the effect of {epochs.batches}."
            )
        validated = trainer.get("limit_val_batches") != 0
        if not validated:
            notes.append(f"{self.name}.trainer.limit_val_batches 0: {UNVALIDATED}.")
        warmup = int(self.model.get("warmup_steps") or 0)
        if epochs.steps is not None and warmup >= epochs.steps:
            notes.append(
                f"{self.name}.model.warmup_steps {warmup} is not less than the {epochs.steps} steps: the learning rate "
                "is never reached."
            )
        for key, most in (("min_epochs", epochs.begun), ("min_steps", epochs.steps)):
            least = trainer.get(key)
            if least is not None and most is not None and least > most:
                end = f"the run ends after {epochs.steps} steps"
                notes.append(f"{self.name}.trainer.{key} {least} has no effect: {end}, in epoch {epochs.begun}.")
        every = trainer.get("val_check_interval")
        over_epochs = trainer.get("check_val_every_n_epoch", 1) is None
        if validated and over_epochs and isinstance(every, int) and epochs.run is not None and every > epochs.run:
            never = f"{self.name}.trainer.val_check_interval {every} is never reached in {epochs.run} batches"
            notes.append(f"{never}: {UNVALIDATED}.")
        return notes

    def described(self) -> Any:
        """What the module is told; a module that the section names itself."""
        return self._given_model(self.named or self.settings()[0])

    def module(self) -> Any:
        """The module, without its backbone."""
        return self._given_model(self.named or self.classes()[0])

    def datamodule(self, **files: Any) -> Any:
        """The data, not yet read."""
        return self._given_data(self.classes()[1], **files)

    def _given_model(self, made: Any) -> Any:
        given = {name: getattr(self.runtime, name) for name in self.from_runtime}
        return made(seed=self.seed, **given, **self.model)

    def _given_data(self, made: Any, **files: Any) -> Any:
        return made(**files, seed=self.seed, num_workers=self.runtime.num_workers, **self.data)

    def fit(
        self,
        model: LightningModule,
        data: LightningDataModule,
        work: Work,
        owners: Sequence[int],
        monitor: str | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> tuple[Trainer, Path, Path]:
        """Fit, continuing from the stage's last checkpoint if there is one.

        Args:
            model: the module.
            data: what to train on, read.
            work: the stage's directory.
            owners: the sample of every row.
            monitor: what the best step is chosen by; None: nothing.
            callbacks: they see a step before it is saved.

        Returns:
            The trainer, the last checkpoint and the best one (the last, if nothing was monitored).

        Raises:
            UserError: a seed, a callback or a combination of trainer settings that Lightning refuses.
            StageFailed: the run was interrupted before its last step.
        """
        from domino_lightning.callbacks.checkpoint import BEST, LAST, intact

        trainer = make_trainer(self.name, self.trainer, self.runtime, self.seed, work, monitor, callbacks)
        if trainer.is_global_zero:
            for note in self.idle_settings(owners):
                log.warning("%s", note)
        last, best = work.scratch / LAST, work.scratch / BEST
        damaged = [path for path in (last, best) if path.is_file() and not intact(path)]
        if damaged:  # told before other ranks are started
            log.warning("%s is damaged, so stage %s starts again from its first step.", damaged[0], self.name)
            for path in (last, best):
                path.unlink(missing_ok=True)
        # weights_only: a checkpoint of ours holds tensors and plain values; nothing is unpickled.
        try:
            with watched():
                trainer.fit(model, datamodule=data, ckpt_path=str(last) if last.is_file() else None, weights_only=True)
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # what Lightning makes of Ctrl-C
                raise KeyboardInterrupt from None
            raise
        except Exception as error:
            if (told := failure(self.name, self.trainer, error)) is not None:
                raise told from None
            raise
        if not last.is_file():
            raise StageFailed(f"stage {self.name} ended without a checkpoint in {work.scratch}.")
        if trainer.is_global_zero:
            MetricsFile(work.directory / METRICS).tidy()
        return trainer, last, best if best.is_file() else last


def _keys(group: Any) -> dict[str, Any]:
    """The keys of a group, a mapping or jsonargparse's namespace, and what they hold."""
    return dict(group) if isinstance(group, Mapping) else dict(vars(group))


def ranks(section: Section) -> int:
    """Processes of one node that a training section asks for; `auto` and -1 count as one, the launcher's one."""
    trainer = section.get("trainer")
    devices = trainer.get("devices") if isinstance(trainer, Mapping) else None
    if isinstance(devices, str) and "," in devices:
        devices = [number for number in devices.split(",") if number.strip()]
    if isinstance(devices, list):
        return max(1, len(devices))
    return int(text) if (text := str(devices)).isdigit() and int(text) else 1
