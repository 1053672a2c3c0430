"""The distinct stages of a sweep's trials as one graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from domino_lightning.config.document import Config
from domino_lightning.errors import UserError
from domino_lightning.runner.pipeline import make_plan
from domino_lightning.runner.step import Step
from domino_lightning.stages import STAGES
from domino_lightning.sweep.spec import Sweep, Trial

StepId = tuple[str, str]  # stage, fingerprint


@dataclass(frozen=True)
class Node:
    """A distinct stage: the configuration it runs with, the steps it reads, and how early it is wanted."""

    step: Step
    config: Config
    inputs: tuple[StepId, ...]
    order: tuple[int, int]  # of the first trial that needs it, and of the stage


@dataclass(frozen=True)
class Graph:
    """Nodes by (stage, fingerprint), in the order in which they are wanted; each trial's steps in order."""

    nodes: Mapping[StepId, Node]
    plans: Mapping[str, tuple[StepId, ...]]  # trial name → steps

    def trials(self, step: StepId) -> list[str]:
        """Names of the trials that need a step."""
        return [name for name, plan in self.plans.items() if step in plan]

    def counts(self) -> dict[str, int]:
        """Distinct steps by stage, in the order of stages."""
        found = Counter(stage for stage, _ in self.nodes)
        return {stage: found[stage] for stage in STAGES if found[stage]}


def make_graph(sweep: Sweep) -> Graph:
    """The distinct stages of all trials.

    Raises:
        UserError: as `make_plan`, naming the trial.
    """
    nodes: dict[StepId, Node] = {}
    plans: dict[str, tuple[StepId, ...]] = {}
    for index, trial in enumerate(sweep.trials):
        plan = _plan(trial, sweep.until)
        plans[trial.name] = tuple(step.id for step in plan)
        for step in plan:
            order = index, STAGES.index(step.stage)
            nodes.setdefault(step.id, Node(step, trial.config, tuple(step.key.inputs.items()), order))
    return Graph(nodes, plans)


def _plan(trial: Trial, until: str) -> Sequence[Step]:
    try:
        return make_plan(trial.config, until)
    except UserError as error:
        raise UserError(f"trial {trial.name}: {error}") from None
