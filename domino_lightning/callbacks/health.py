"""How tuning fares, as callbacks: what they share, and the norms of what trains.

Nothing here draws from global random state or touches a gradient, so no cadence changes a result. Numbers go to every
logger as `tune/health/<name>`, and those that depend on the clock as `tune/speed/<name>`; tables and images go to W&B,
and tables besides to JSON Lines in the stage's directory, one line a step.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from domino_lightning.utils.jsonl import json_text, write_jsonl

if TYPE_CHECKING:
    from domino_lightning.modules.domain_learner import DomainLearner


NORM_SAMPLES = 64  # samples whose tokens' norm is looked at


class StepTable:
    """JSON Lines of one object a step, appended to; of a step done twice after a kill the last line counts."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, step: int, content: Mapping[str, Any]) -> None:
        """Add the line of a step."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json_text({"step": step, **content}) + "\n")

    def read(self) -> list[dict[str, Any]]:
        """The last whole line of every step, in order."""
        if not self.path.is_file():
            return []
        rows: dict[int, dict[str, Any]] = {}
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:  # cut off by a kill
                continue
            rows[row["step"]] = row
        return [rows[step] for step in sorted(rows)]

    def tidy(self) -> None:
        """Keep what `read` gives."""
        if not self.path.is_file():
            return
        write_jsonl(self.path, self.read())


@contextmanager
def any_algorithm() -> Iterator[None]:
    """Let torch take the algorithms it has, also in a deterministic fit: for looks that change nothing that trains.

    Drawing tokens sums in float, for which a GPU has no deterministic kernel.
    """
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warns)


class Periodic(Callback, ABC):
    """Calls `observe` before the first step, every n optimizer steps and after the last one, on the first rank.

    Args:
        every: n; 0 never.
    """

    def __init__(self, every: int) -> None:
        self.every = every

    @abstractmethod
    def observe(self, trainer: Trainer, module: Any, step: int) -> None:
        """Look at the module after so many steps, in the precision of training; gradients are off."""

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Where training starts, unless it continues."""
        if self.every and trainer.global_step == 0:
            self._observe(trainer, module)

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        """On cadence, and at the last step."""
        step = trainer.global_step
        last = step == int(trainer.estimated_stepping_batches)
        if self.every and (step % self.every == 0 or last) and not trainer.fit_loop._should_accumulate():
            self._observe(trainer, module)

    def _observe(self, trainer: Trainer, module: Any) -> None:
        if trainer.is_global_zero:
            with torch.no_grad(), trainer.precision_plugin.forward_context():
                self.observe(trainer, module, trainer.global_step)


class Norms(Periodic):
    """Mean norm of what trains, such as D and S, its distribution, and the norm of its last gradients before clipping.

    Gradients are looked at every step and kept as one number a part; they are logged on cadence.
    """

    def on_before_optimizer_step(self, trainer: Trainer, module: Any, optimizer: Any) -> None:
        """Keep the gradients' norms of a step that will be logged."""
        if self.every and trainer.is_global_zero:
            self.gradients = {
                f"{name}_grad_norm": gradient_norm(part)
                for name, part in module.parts().items()
                if any(p.grad is not None for p in part.parameters())
            }

    def observe(self, trainer: Trainer, module: DomainLearner, step: int) -> None:
        """Log norms."""
        norms = module.norms(list(probe_samples(trainer, NORM_SAMPLES)))
        metrics = {name: fmean(values) for name, values in norms.items()} | getattr(self, "gradients", {})
        for name, values in norms.items():
            if len(values) > 1:
                log_histogram(trainer, f"tune/health/{name}s", values)
        log_metrics(trainer, {f"tune/health/{name}": value for name, value in metrics.items()})


def probe_samples(trainer: Trainer, count: int) -> dict[int, list[int]]:
    """The first `count` samples of the references whose tokens lie on this rank, each with the ids of a text."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    owned = set(data.owned_samples())
    first: dict[int, list[int]] = {}
    for ids, sample in zip(data.encoded["reference"], data.samples["reference"], strict=True):
        if sample in owned:
            first.setdefault(sample, ids)
    return dict(list(first.items())[:count])


def gradient_norm(module: torch.nn.Module) -> float:
    """The 2-norm over all gradients of a module, sparse ones included."""
    total = 0.0
    for parameter in module.parameters():
        gradient = parameter.grad
        if gradient is not None:
            values = gradient.coalesce().values() if gradient.is_sparse else gradient
            total += float(values.float().square().sum())
    return total**0.5


def log_metrics(trainer: Trainer, metrics: Mapping[str, float]) -> None:
    """Hand numbers to every logger, at the steps done."""
    for logger in trainer.loggers:
        logger.log_metrics(dict(metrics), step=trainer.global_step)


def log_table(trainer: Trainer, key: str, columns: Sequence[str], data: list[list[Any]]) -> None:
    """Hand a table to the loggers that take one (W&B)."""
    for logger in trainer.loggers:
        if hasattr(logger, "log_table"):
            logger.log_table(key, columns=list(columns), data=data)


def log_histogram(trainer: Trainer, key: str, values: Sequence[float]) -> None:
    """Hand the distribution of some values to the loggers that take one (W&B)."""
    for logger in trainer.loggers:
        if hasattr(logger, "log_histogram"):
            logger.log_histogram(key, values, trainer.global_step)


def log_image(trainer: Trainer, key: str, matrix: Tensor, step: int) -> None:
    """Hand the pair matrix as a heat map to the loggers that take one (W&B)."""
    takers: list[Any] = [logger for logger in trainer.loggers if hasattr(logger, "log_image")]
    if not takers:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3.4), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(matrix.float().cpu().numpy(), cmap="viridis")
    axes.set(xlabel="sample tokens of k", ylabel="text i", title=f"NLL(x_i | D, S_k) at step {step}")
    figure.colorbar(shown, label="nats/token")
    for logger in takers:
        logger.log_image(key, images=[figure])


def rounded(values: Tensor) -> list[Any]:
    """Nested lists of the values to six decimals."""
    rows: list[Any] = (values.double() * 1e6).round().div(1e6).tolist()
    return rows
