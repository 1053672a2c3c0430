"""The distinct stages of a sweep's trials as one graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from domino_lightning.config.document import Config
from domino_lightning.errors import UserError
from domino_lightning.runner.pipeline import make_plan
from domino_lightning.runner.planned import PlannedStage
from domino_lightning.stages import STAGES
from domino_lightning.sweep.spec import Sweep, Trial

StageId = tuple[str, str]  # stage, fingerprint


@dataclass(frozen=True)
class Node:
    """A distinct stage: the configuration it runs with, the stages it reads, and how early it is wanted."""

    planned: PlannedStage
    config: Config
    inputs: tuple[StageId, ...]
    order: tuple[int, int]  # of the first trial that needs it, and of the stage


@dataclass(frozen=True)
class Graph:
    """Nodes by (stage, fingerprint), in the order in which they are wanted; each trial's stages in order."""

    nodes: Mapping[StageId, Node]
    plans: Mapping[str, tuple[StageId, ...]]  # trial name → stages

    @cached_property
    def _trials(self) -> dict[StageId, list[str]]:
        found: dict[StageId, list[str]] = {}
        for name, plan in self.plans.items():
            for key in plan:
                found.setdefault(key, []).append(name)
        return found

    def twins(self, sweep: Sweep) -> list[str]:
        """What a sweep varies without effect: arms with the same stages under every seed, and seeds in every arm."""
        arms: dict[tuple[object, ...], list[str]] = {}
        for arm in sweep.arms:
            plans = tuple(self.plans.get(trial.name) for trial in sweep.trials if trial.arm == arm)
            arms.setdefault(plans, []).append(arm)
        said = [
            f"arms {' and '.join(same)} have the same stages: what they vary has no effect"
            for same in arms.values()
            if len(same) > 1
        ]
        if len(sweep.seeds) > 1 and all(len(set(plans)) == 1 for plans in arms):
            said.append("the seed has no effect: every arm has the same stages under all seeds")
        return said

    @cached_property
    def readers(self) -> dict[StageId, list[StageId]]:
        """The stages that read each one."""
        found: dict[StageId, list[StageId]] = {key: [] for key in self.nodes}
        for key, node in self.nodes.items():
            for each in node.inputs:
                found[each].append(key)
        return found

    def trials(self, key: StageId) -> list[str]:
        """Names of the trials that need a stage."""
        return self._trials.get(key, [])

    def counts(self) -> dict[str, int]:
        """Distinct stages by name, in the order of stages."""
        found = Counter(stage for stage, _ in self.nodes)
        return {stage: found[stage] for stage in STAGES if found[stage]}


def make_graph(sweep: Sweep) -> Graph:
    """The distinct stages of all trials.

    They are wanted one seed of all arms after the other, so that a sweep which is stopped early has arms to compare.

    Raises:
        UserError: as `make_plan`, naming the trial.
    """
    plans = {trial.name: _plan(trial, sweep.until) for trial in sweep.trials}
    nodes: dict[StageId, Node] = {}
    for index, trial in enumerate(sorted(sweep.trials, key=lambda trial: sweep.seeds.index(trial.seed))):
        for planned in plans[trial.name]:
            order = index, STAGES.index(planned.stage)
            nodes.setdefault(planned.id, Node(planned, trial.config, tuple(planned.key.inputs.items()), order))
    return Graph(nodes, {name: tuple(planned.id for planned in plan) for name, plan in plans.items()})


def _plan(trial: Trial, until: str) -> Sequence[PlannedStage]:
    try:
        return make_plan(trial.config, until)
    except UserError as error:
        raise UserError(f"trial {trial.name}: {error}") from None
