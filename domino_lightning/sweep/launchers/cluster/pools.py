"""Pools of a cluster, and what of them a stage asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from domino_lightning.errors import UserError
from domino_lightning.stages import STAGES
from domino_lightning.sweep.launchers.base import Task
from domino_lightning.utils.ranges import ONE_OR_MORE, ZERO_OR_MORE, check_ranges

_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<hours>\d{1,3}):(?P<minutes>\d{2}):(?P<seconds>\d{2})")
_MEMORY = re.compile(r"\d+[KMGT]?")


@dataclass(frozen=True)
class Pool:
    """What one pilot of a pool asks the cluster for; a pilot runs one stage after another.

    Args:
        cpus: cores a node.
        gpus: accelerators a node that a stage may have; a stage that uses fewer asks for fewer.
        nodes: nodes that a stage may have; a stage on one node asks for one.
        mem: memory a node, such as 32G; by default the cluster's.
        time: limit of a pilot, [days-]hh:mm:ss; by default the cluster's.
        pilots: so many at a time at most.
        partition: of Slurm.
        account: of Slurm.
        qos: of Slurm.
        grace: seconds before the limit at which stages are asked to save and end.
        max_stages: a pilot ends after so many stages; 1 is one job a stage. None: when its time is over.
        options: further lines for #SBATCH, such as --constraint=a100.
    """

    cpus: int = 1
    gpus: int = 0
    nodes: int = 1
    mem: str | None = None
    time: str | None = None
    pilots: int = 1
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    grace: int = 60
    max_stages: int | None = None
    options: list[str] = field(default_factory=list)

    def check(self, where: str) -> None:
        """Refuse values out of range.

        Raises:
            UserError: the first one.
        """
        counts = dict.fromkeys(("cpus", "nodes", "pilots", "grace", "max_stages"), ONE_OR_MORE)
        check_ranges(where, self, gpus=ZERO_OR_MORE, **counts)
        if self.mem is not None and not _MEMORY.fullmatch(self.mem):
            raise UserError(f"{where}.mem: {self.mem!r} is no amount of memory. Write 32G or 32000M.")
        if self.time is not None and not _TIME.fullmatch(self.time):
            raise UserError(f'{where}.time: {self.time!r} is no time. Write "04:00:00" in quotes, or "2-00:00:00".')
        if self.seconds is not None and self.seconds < 3 * self.grace:
            raise UserError(f"{where}.time: {self.time} leaves no time to work beside a grace of {self.grace} s.")

    @property
    def seconds(self) -> int | None:
        """The limit in seconds."""
        match = _TIME.fullmatch(self.time or "")
        if match is None:
            return None
        days, hours, minutes, seconds = (int(match[name] or 0) for name in ("days", "hours", "minutes", "seconds"))
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@dataclass(frozen=True)
class Shape:
    """A pool as one stage needs it: pilots of one shape are alike."""

    name: str
    pool: Pool

    @property
    def key(self) -> str:
        """The same text for equal shapes."""
        return f"{self.name}:{sorted(asdict(self.pool).items())}"


class Pools:
    """The pools of a launcher and which stages run where.

    Args:
        pools: name → what a pilot asks for.
        stages: stage → name of its pool, or a mapping of `pool` and keys of it that differ. The rest goes to the
            first pool.

    Raises:
        UserError: an unknown stage, pool or key, or a value out of range.
    """

    def __init__(self, pools: Mapping[str, Pool], stages: Mapping[str, str | dict[str, Any]]) -> None:
        where = "launcher.init_args"
        if not pools:
            raise UserError(f"{where}.pools: names none. Give one, such as `pools: {{cpu: {{cpus: 8}}}}`.")
        self.pools = dict(pools)
        for name, pool in self.pools.items():
            if not re.fullmatch(r"[A-Za-z0-9_]+", name):
                raise UserError(f"{where}.pools: '{name}' is no name. Use letters, digits and _.")
            pool.check(f"{where}.pools.{name}")
        self.default = next(iter(self.pools))
        self.stages: dict[str, tuple[str, dict[str, Any]]] = {}
        for stage, given in stages.items():
            at = f"{where}.stages.{stage}"
            if stage not in STAGES:
                raise UserError(f"{at}: there is no such stage. Stages: {', '.join(STAGES)}.")
            own = {"pool": given} if isinstance(given, str) else dict(given)
            name = own.pop("pool", self.default)
            if name not in self.pools:
                raise UserError(f"{at}: there is no pool '{name}'. Pools: {', '.join(self.pools)}.")
            known = set(asdict(Pool())) - {"pilots"}
            if unknown := sorted(set(own) - known):
                raise UserError(f"{at}: unknown key '{unknown[0]}'. Keys: pool, {', '.join(sorted(known))}.")
            for key, value in own.items():
                wanted = type(getattr(self.pools[name], key))
                if wanted in (int, list) and type(value) is not wanted:
                    raise UserError(f"{at}.{key}: expected {wanted.__name__}, got {value!r}.")
            replace(self.pools[name], **own).check(at)
            self.stages[stage] = name, own

    @property
    def pilots(self) -> int:
        """How many there can be at a time."""
        return sum(pool.pilots for pool in self.pools.values())

    def pool_of(self, task: Task) -> str:
        """Name of the pool that a task runs in."""
        return self.stages.get(task.planned.stage, (self.default, {}))[0]

    def shape(self, task: Task) -> Shape:
        """What a task's pilot asks for."""
        name, own = self.stages.get(task.planned.stage, (self.default, {}))
        pool = replace(self.pools[name], **own)
        gpus = own.get("gpus", min(task.devices, pool.gpus)) if task.devices else 0
        return Shape(name, replace(pool, nodes=task.nodes, gpus=gpus))

    def check(self, tasks: Sequence[Task]) -> None:
        """Refuse tasks that no pilot has room for.

        Raises:
            UserError: the first one.
        """
        for task in tasks:
            stage = task.planned.stage
            name, own = self.stages.get(stage, (self.default, {}))
            pool = replace(self.pools[name], **own)
            where = f"stage {stage} {task.planned.key.fingerprint}"
            if task.nodes > pool.nodes:
                raise UserError(
                    f"{where} needs {task.nodes} nodes, and pool '{name}' has {pool.nodes} for a stage. Lower {stage}."
                    f"trainer.num_nodes or raise launcher.init_args.pools.{name}.nodes."
                )
            if pool.gpus and task.devices > pool.gpus:
                raise UserError(
                    f"{where} needs {task.devices} accelerators a node, and pool '{name}' has {pool.gpus}. Lower "
                    f"{stage}.trainer.devices or raise launcher.init_args.pools.{name}.gpus."
                )
