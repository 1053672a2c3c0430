"""The order in which distinct stages run, what a failure takes along, and what is written down; no processes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.stages import STAGES
from domino_lightning.store.store import MANIFEST, Store
from domino_lightning.sweep import Launcher, Place, Report, Sweep, Task
from domino_lightning.sweep.events import EVENTS, read_events
from domino_lightning.sweep.graph import make_graph
from domino_lightning.sweep.scheduler import Scheduler
from domino_lightning.utils.jsonl import read_json
from tests.sweep.conftest import LOSS, Load

TREE = {"axes": {"loss": LOSS, "evaluate.limit": [1, 2]}, "seeds": [0, 1]}


class FakeLauncher(Launcher):
    """Finishes the oldest running stage at every poll, by writing its manifest."""

    def __init__(self, slots: int = 2, fails: Sequence[str] = (), interrupt_at: int = 10**9) -> None:
        self.slots, self.fails, self.interrupt_at = slots, set(fails), interrupt_at
        self.running: list[Task] = []
        self.started: list[tuple[str, str]] = []
        self.most = 0
        self.stopped = False

    def start(self, task: Task) -> Place | None:
        if len(self.running) == self.slots:
            return None
        for stage, digest in task.planned.key.inputs.items():
            assert task.store.finished(stage, digest), "started before its inputs were there"
        self.running.append(task)
        self.started.append(task.planned.id)
        self.most = max(self.most, len(self.running))
        return Place("here", 0.0)

    def poll(self, seconds: float) -> list[Report]:
        if len(self.started) >= self.interrupt_at:
            raise KeyboardInterrupt
        if not self.running:
            return []
        task = self.running.pop(0)
        if task.planned.stage in self.fails or task.planned.key.fingerprint in self.fails:
            return [Report(task, {"event": "failed", "how": "error", "error": "no ideas"})]
        finish(task.store, *task.planned.id)
        return [Report(task, {"event": "finished", "ran": True, "wall_s": 2.0, "rss_mb": 5})]

    def stop(self) -> None:
        self.stopped = True


def finish(store: Store, stage: str, digest: str) -> None:
    store.path(stage, digest).mkdir(parents=True, exist_ok=True)
    manifest = {"stage": stage, "fingerprint": digest, "inputs": {}, "outputs": {}}
    (store.path(stage, digest) / MANIFEST).write_text(json.dumps(manifest))


def run(sweep: Sweep, launcher: FakeLauncher, **options: Any) -> bool:
    return Scheduler(sweep, make_graph(sweep), launcher, **options).run()


def trial(sweep: Sweep, name: str) -> dict[str, Any]:
    record: dict[str, Any] = read_json(sweep.root / "runs/mine" / name / "trial.json")
    return record


def test_every_distinct_stage_runs_once_when_its_inputs_are_there(load: Load) -> None:
    sweep, launcher = load(TREE), FakeLauncher()
    graph = make_graph(sweep)
    assert run(sweep, launcher)
    assert sorted(launcher.started) == sorted(graph.nodes)
    assert len(launcher.started) == 1 + 4 * 5 + 8 < 8 * 7
    assert launcher.most == 2
    assert launcher.stopped


def test_earlier_trials_go_first(load: Load) -> None:
    sweep, launcher = load({"seeds": [0, 1]}), FakeLauncher(slots=1)
    assert run(sweep, launcher)
    first = [step for step in launcher.started if step in make_graph(sweep).plans["default,seed=0"]]
    assert launcher.started[: len(first)] == first
    assert [stage for stage, _ in first] == list(STAGES)


def test_all_arms_have_a_seed_before_one_has_the_next(load: Load) -> None:
    """A sweep that is stopped early then has arms to compare."""
    sweep, launcher = load(TREE), FakeLauncher(slots=1)
    assert run(sweep, launcher)
    plans = make_graph(sweep).plans
    assert list(plans) == [trial.name for trial in sweep.trials]  # tables stay in the order of the file
    seed = {key: min(trial.seed for trial in sweep.trials if key in plans[trial.name]) for key in launcher.started}
    order = [seed[key] for key in launcher.started]
    assert order == sorted(order)


def test_trials_are_recorded_with_their_place_in_the_sweep_and_linked(load: Load) -> None:
    sweep = load(TREE)
    assert run(sweep, FakeLauncher())
    name = "loss=infonce,limit=2,seed=1"
    record = trial(sweep, name)
    assert record["status"] == "finished"
    assert record["axes"] == {"loss": "infonce", "limit": "2"}
    assert record["values"]["limit"] == 2
    assert (record["arm"], record["seed"], record["sweep"]) == ("loss=infonce,limit=2", 1, "mine")
    for stage, digest in record["stages"].items():
        assert (sweep.root / "runs/mine" / name / stage).resolve() == Store(sweep.root).path(stage, digest).resolve()


def test_a_failure_takes_along_only_the_trials_that_need_the_stage(load: Load) -> None:
    sweep = load(TREE)
    graph = make_graph(sweep)
    bad = dict(graph.plans["loss=likelihood,limit=1,seed=1"])["synthesize"]
    launcher = FakeLauncher(fails=[bad])
    assert not run(sweep, launcher)
    status = {each.name: trial(sweep, each.name)["status"] for each in sweep.trials}
    lost = {"loss=likelihood,limit=1,seed=1", "loss=likelihood,limit=2,seed=1"}
    assert {name for name, value in status.items() if value == "failed"} == lost
    assert {name for name, value in status.items() if value == "finished"} == set(status) - lost
    assert trial(sweep, "loss=likelihood,limit=1,seed=1")["error"] == "no ideas"
    needed = {step for name in set(status) - lost for step in graph.plans[name]}
    assert needed < set(launcher.started)
    assert not any(step in launcher.started for step in graph.nodes if bad in dict(graph.nodes[step].inputs).values())
    events = read_events(sweep.folder / EVENTS)
    assert events[-1]["event"] == "closed"
    assert events[-1]["status"] == "failed"


def test_a_second_run_repeats_nothing_and_retries_failures_only_when_asked(load: Load) -> None:
    sweep = load(TREE)
    assert not run(sweep, FakeLauncher(fails=["answer"]))
    again = FakeLauncher()
    assert not run(sweep, again)
    assert again.started == []
    retried = FakeLauncher()
    assert run(sweep, retried, retry_failed=True)
    assert {stage for stage, _ in retried.started} == {"answer", "finetune", "evaluate"}
    assert all(trial(sweep, each.name)["status"] == "finished" for each in sweep.trials)
    done = FakeLauncher()
    assert run(sweep, done)
    assert done.started == []


def test_an_interrupted_sweep_continues_with_what_is_left(load: Load) -> None:
    sweep, launcher = load(TREE), FakeLauncher(interrupt_at=6)
    with pytest.raises(KeyboardInterrupt):
        run(sweep, launcher)
    assert launcher.stopped
    assert read_events(sweep.folder / EVENTS)[-1]["status"] == "interrupted"
    assert "interrupted" in {trial(sweep, each.name)["status"] for each in sweep.trials}
    done = {step for step in launcher.started if Store(sweep.root).finished(*step)}
    rest = FakeLauncher()
    assert run(sweep, rest)
    assert sorted([*rest.started, *done]) == sorted(make_graph(sweep).nodes)


def test_what_anything_else_has_finished_counts(load: Load) -> None:
    sweep = load(TREE)
    graph = make_graph(sweep)
    tunes = [step for step in graph.nodes if step[0] in {"prepare", "tune"}]
    for step in tunes:
        finish(Store(sweep.root), *step)
    launcher = FakeLauncher()
    assert run(sweep, launcher)
    assert not set(tunes) & set(launcher.started)


def test_a_stage_that_another_process_holds_takes_no_slot(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domino_lightning.sweep.scheduler.LOOK_AGAIN_S", 0.0)
    sweep = load({"seeds": [0, 1]})
    graph, store = make_graph(sweep), Store(sweep.root)
    held = graph.plans["default,seed=0"][1]
    launcher = FakeLauncher(slots=1)
    poll = launcher.poll

    with store.lock(*held):

        def finished_elsewhere(seconds: float) -> list[Report]:
            reports = poll(seconds)
            if not reports:  # all that can run without it has run
                finish(store, *held)
            return reports

        monkeypatch.setattr(launcher, "poll", finished_elsewhere)
        assert run(sweep, launcher)
    assert held not in launcher.started
    other = graph.plans["default,seed=1"]
    assert launcher.started[: len(other)] == list(other)  # the other trial ran to its end meanwhile
    events = [event["event"] for event in read_events(sweep.folder / EVENTS) if event.get("fingerprint") == held[1]]
    assert events == ["waiting", "finished"]


def test_no_stage_overtakes_an_earlier_one_that_needs_more_room(load: Load) -> None:
    """A stage of two devices is not starved by later ones of one device."""

    class OneByOne(FakeLauncher):
        def start(self, task: Task) -> Place | None:
            big = task.planned.stage == "finetune"
            if self.running and (big or self.running[0].planned.stage == "finetune"):
                return None
            return super().start(task)

    sweep, launcher = load({"seeds": [0, 1]}), OneByOne()
    assert run(sweep, launcher)
    stages = [stage for stage, _ in launcher.started]
    assert stages.index("finetune") < len(stages) - 3


def test_the_event_log_is_one_json_object_a_line(load: Load) -> None:
    sweep = load({})
    assert run(sweep, FakeLauncher())
    lines = (Path(sweep.folder) / EVENTS).read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["event"] for event in events] == [
        "launched", *["started", "finished"] * 7, "trial", "closed"
    ]  # fmt: skip
    assert events[2]["wall_s"] == 2.0
    assert events[2]["waited_s"] == 0.0


def test_a_stage_is_tagged_with_the_sweep_and_every_arm_that_uses_it(load: Load) -> None:
    sweep = load(TREE)
    graph = make_graph(sweep)
    tasks = Scheduler(sweep, graph, FakeLauncher()).progress.tasks
    arms = list(dict.fromkeys(trial.arm for trial in sweep.trials))
    assert len(arms) == 4
    for name, plan in graph.plans.items():
        for key in plan:
            assert f"arm:{name.rpartition(',')[0]}" in tasks[key].tracking.tags
    (prepare,) = (key for key in graph.nodes if key[0] == "prepare")
    assert tasks[prepare].tracking.tags == ("sweep:mine", *(f"arm:{arm}" for arm in arms))
    tune = [task.tracking.tags for key, task in tasks.items() if key[0] == "tune"]
    assert all(len(tags) == 3 for tags in tune)  # two limits of one loss
