"""What a sweep on a cluster does when places are lost, taken away, refused or unheard of; agents are acted out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.errors import UserError
from domino_lightning.store.store import Store, read_manifest
from domino_lightning.sweep import Pool, Sweep
from domino_lightning.sweep.events import EVENTS, read_events
from domino_lightning.sweep.graph import Graph, make_graph
from domino_lightning.sweep.launchers.base import Detached
from domino_lightning.sweep.launchers.cluster.engine import Refused, State
from domino_lightning.sweep.launchers.cluster.mailbox import Mailbox
from domino_lightning.sweep.scheduler import Scheduler
from tests.sweep.conftest import Load
from tests.sweep.launchers.fake_cluster import Acted, ActedLauncher, finish

TREE = {"axes": {"evaluate.limit": [1, 2]}, "until": "evaluate"}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("domino_lightning.sweep.launchers.cluster.launcher.TICK_S", 0.001)


def run(sweep: Sweep, engine: Acted, **options: Any) -> bool:
    retry = options.pop("retry_failed", False)
    return Scheduler(sweep, make_graph(sweep), ActedLauncher(engine, **options), retry).run()


def events(sweep: Sweep, *names: str) -> list[dict[str, Any]]:
    return [event for event in read_events(sweep.folder / EVENTS) if event["event"] in names]


def attempts(sweep: Sweep, stage: str) -> list[str]:
    """How the attempts at the first distinct stage of that name ended."""
    key = next(key for key in make_graph(sweep).nodes if key[0] == stage)
    return [(attempt.end() or {})["event"] for attempt in Mailbox(sweep.folder).attempts(*key)]


def test_every_stage_runs_once_in_pilots_that_take_one_after_another(load: Load) -> None:
    sweep = load(TREE)
    engine = Acted(sweep.root)
    assert run(sweep, engine)
    assert sorted(engine.ran) == sorted(stage for stage, _ in make_graph(sweep).nodes)
    assert engine.calls.count("submit") <= 2
    assert engine.phases.keys() == engine.pilots.keys()
    assert all(state.phase == "over" for state in engine.phases.values())


def test_a_lost_place_is_no_failure_and_its_node_is_avoided(load: Load) -> None:
    sweep = load(TREE)
    engine = Acted(sweep.root, {"tune": ["lose", "silent"]})
    assert run(sweep, engine)
    assert attempts(sweep, "tune") == ["lost", "lost", "finished"]
    assert [event["where"] for event in events(sweep, "lost")] == ["h0", "h1"]
    assert not events(sweep, "failed")
    assert ["h0"] in engine.avoided


def test_where_too_few_nodes_are_left_the_one_that_was_lost_has_to_do(load: Load) -> None:
    sweep = load({"until": "tune"})
    engine = Acted(sweep.root, {"tune": ["lose"]})
    submit = engine.submit

    def refusing(name: str, pool: Pool, mailbox: Path, avoid: Sequence[str] = ()) -> None:
        if avoid:
            raise Refused("Requested node configuration is not available")
        submit(name, pool, mailbox, avoid)

    engine.submit = refusing  # type: ignore[method-assign]
    assert run(sweep, engine)
    assert attempts(sweep, "tune") == ["lost", "finished"]


def test_a_stage_that_loses_its_place_every_time_fails_at_last_and_can_be_retried(load: Load) -> None:
    sweep = load({"until": "tune"})
    assert not run(sweep, Acted(sweep.root, {"tune": ["lose"] * 3}))
    (failed,) = events(sweep, "failed")
    assert failed["how"] == "lost"
    assert "lost its place 3 times (nodes: h0, h1, h2)" in failed["error"]
    assert run(sweep, Acted(sweep.root, {"tune": ["lose"] * 2}), retry_failed=True)
    assert attempts(sweep, "tune") == ["lost"] * 5 + ["finished"]


def test_what_has_to_make_room_is_continued_as_long_as_it_gets_further(load: Load) -> None:
    sweep = load({"until": "tune"})
    assert run(sweep, Acted(sweep.root, {"tune": ["yield"] * 5 + ["stall"] * 2 + ["yield", "stall"]}))
    assert len(events(sweep, "yielded")) == 9
    assert not events(sweep, "failed", "lost")


def test_what_never_gets_anywhere_in_its_time_is_told_what_to_do(load: Load) -> None:
    sweep = load({"until": "tune"})
    assert not run(sweep, Acted(sweep.root, {"tune": ["stall"] * 3}))
    (failed,) = events(sweep, "failed")
    assert "launcher.init_args.pools.cpu.time" in failed["error"]


def test_a_failure_is_one(load: Load) -> None:
    sweep = load({"until": "tune"})
    assert not run(sweep, Acted(sweep.root, {"tune": ["fail"]}))
    assert [event["error"] for event in events(sweep, "failed")] == ["no ideas"]


def test_a_cluster_that_does_not_answer_costs_nothing_but_time(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    sweep = load({"until": "tune"})
    engine = Acted(sweep.root)
    waits = iter([True] * 5)
    answer = engine.states

    def states() -> dict[str, State]:
        engine.away = next(waits, False)
        return answer()

    engine.away, engine.states = True, states  # type: ignore[method-assign]
    assert run(sweep, engine)
    assert Counter(engine.ran) == {"prepare": 1, "tune": 1}
    assert "does not answer" in caplog.text


def test_a_submission_that_reports_failure_and_was_taken_is_not_repeated(load: Load) -> None:
    sweep = load({"until": "tune"})
    engine = Acted(sweep.root)
    engine.refuses, engine.submits_yet_refuses = "unknown error", True
    assert run(sweep, engine, pools={"cpu": Pool()})
    assert engine.calls.count("submit") == 1


def test_a_refusal_ends_the_sweep_with_the_clusters_own_words(load: Load) -> None:
    sweep = load({"until": "tune"})
    engine = Acted(sweep.root)
    engine.refuses = "invalid partition specified: h1000"
    with pytest.raises(UserError, match=r"refuses a pilot of pool 'cpu': invalid partition.*pools\.cpu"):
        run(sweep, engine)


def test_pilots_that_never_begin_end_the_sweep_with_their_last_words(load: Load) -> None:
    sweep = load({"until": "tune"})
    engine = Acted(sweep.root)
    engine.begins = False
    with pytest.raises(UserError, match=r"3 pilots of pool 'cpu' in a row ended before they could begin.*agent\.log"):
        run(sweep, engine)


def test_a_held_pilot_is_told_once_and_its_stage_waits(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    sweep = load({"until": "prepare"})
    engine = Acted(sweep.root)
    looks = 0
    answer = engine.states

    def states() -> dict[str, State]:
        nonlocal looks
        looks += 1
        if looks < 4:
            return dict.fromkeys(engine.phases, State("held", "job 7 is held: `scontrol release 7`"))
        return answer()

    engine.states = states  # type: ignore[method-assign]
    assert run(sweep, engine, pools={"cpu": Pool()})
    assert caplog.text.count("scontrol release 7") == 1
    assert engine.ran == ["prepare"]
    assert engine.calls.count("submit") == 1


class Launches:
    """Two launches of one sweep on one cluster."""

    def __init__(self, sweep: Sweep, engine: Acted) -> None:
        self.sweep, self.engine = sweep, engine
        self.first = Scheduler(sweep, make_graph(sweep), ActedLauncher(engine))

    def detach_at(self, stage: str) -> None:
        """Leave when a stage hangs."""
        act = self.engine.states

        def states() -> dict[str, State]:
            if any(attempt.stage[0] == stage for attempt in self.engine.held.values()):
                self.engine.states = act  # type: ignore[method-assign]
                raise Detached
            return act()

        self.engine.states = states  # type: ignore[method-assign]
        with pytest.raises(Detached):
            self.first.run()


def test_a_launch_takes_up_what_an_earlier_one_left_running(load: Load) -> None:
    sweep = load({"until": "synthesize"})
    engine = Acted(sweep.root, {"tune": ["hang"]})
    Launches(sweep, engine).detach_at("tune")
    assert "cancel" not in engine.calls
    assert read_events(sweep.folder / EVENTS)[-1]["status"] == "detached"
    engine.script["tune"].clear()
    assert run(sweep, engine)
    assert attempts(sweep, "tune") == ["finished"]
    assert Counter(engine.ran) == {"prepare": 1, "tune": 1, "synthesize": 1}


def test_what_ended_while_nobody_looked_is_found(load: Load) -> None:
    sweep = load({"until": "tune"})
    engine = Acted(sweep.root, {"tune": ["hang"]})
    Launches(sweep, engine).detach_at("tune")
    engine.script["tune"].clear()
    engine.states()
    assert run(sweep, engine)
    assert engine.ran == ["prepare", "tune"]


def test_what_died_while_nobody_looked_is_tried_again(load: Load) -> None:
    sweep = load({"until": "tune"})
    engine = Acted(sweep.root, {"tune": ["hang"]})
    Launches(sweep, engine).detach_at("tune")
    (name,) = engine.held
    engine.over(name, "NODE_FAIL")
    engine.pilots.pop(name)
    engine.script["tune"].clear()
    assert run(sweep, engine)
    assert attempts(sweep, "tune") == ["lost", "finished"]


def test_two_launchers_at_once_run_every_stage_once(load: Load) -> None:
    sweep = load(TREE)
    engine = Acted(sweep.root)
    one, two = (Scheduler(sweep, make_graph(sweep), ActedLauncher(engine)) for _ in range(2))
    poll = one.launcher.poll

    def both(seconds: float) -> list[Any]:
        """While the first waits, the second takes its turn."""
        two._start_what_is_ready()
        for report in two.launcher.poll(0.0):
            two._take(report)
        return poll(seconds)

    two.launcher.open(sweep.folder)
    two._settle(two.keys)
    one.launcher.poll = both  # type: ignore[method-assign]
    assert one.run()
    assert sorted(engine.ran) == sorted(stage for stage, _ in make_graph(sweep).nodes)


def test_of_two_attempts_that_both_end_one_is_published(load: Load) -> None:
    """The first was silent for so long that it was given up; it lives, and ends after the second."""
    sweep = load({"until": "prepare"})
    engine = Acted(sweep.root, {"prepare": ["silent"]})
    assert run(sweep, engine)
    (key,) = make_graph(sweep).nodes
    first, second = Mailbox(sweep.folder).attempts(*key)
    manifest = read_manifest(Store(sweep.root).path(*key)) or {}
    assert manifest["by"] == second.name
    assert not finish(Store(sweep.root), first)
    assert (read_manifest(Store(sweep.root).path(*key)) or {})["by"] == second.name


def test_ctrl_c_ends_all_pilots_and_the_next_launch_goes_on(load: Load) -> None:
    sweep = load({"until": "tune"})
    engine = Acted(sweep.root, {"tune": ["hang"]})
    launcher = ActedLauncher(engine)
    poll = launcher.poll

    def interrupted(seconds: float) -> list[Any]:
        if engine.held and next(iter(engine.held.values())).stage[0] == "tune":
            engine.held.clear()
            raise KeyboardInterrupt
        return poll(0.01)

    launcher.poll = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        Scheduler(sweep, make_graph(sweep), launcher).run()
    assert all(state.phase == "over" for state in engine.phases.values())
    again = Acted(sweep.root)
    assert run(sweep, again)
    assert again.ran == ["tune"]
    assert attempts(sweep, "tune") == ["stopped", "finished"]
    assert not events(sweep, "lost")


def test_stages_that_need_no_accelerator_ask_for_none(load: Load) -> None:
    gpu = {"tune.trainer.accelerator": "gpu", "tune.trainer.devices": 2, "tune.trainer.num_nodes": 2}
    sweep = load({"until": "synthesize", "set": {**gpu, "tune.data.batch_size": 4}})
    pools = {"cpu": Pool(pilots=2), "gpu": Pool(gpus=4, nodes=2, cpus=8)}
    launcher = ActedLauncher(Acted(sweep.root), pools=pools, stages={"tune": "gpu", "synthesize": {"pool": "gpu"}})
    scheduler = Scheduler(sweep, make_graph(sweep), launcher)
    shapes = {key[0]: launcher.pools.shape(task).pool for key, task in scheduler.progress.tasks.items()}
    assert [(shapes[each].nodes, shapes[each].gpus) for each in ("prepare", "tune", "synthesize")] == [
        (1, 0), (2, 2), (1, 1),
    ]  # fmt: skip
    launcher.check(list(scheduler.progress.tasks.values()))
    small = ActedLauncher(Acted(sweep.root), pools=pools, stages={"tune": {"pool": "gpu", "nodes": 1}})
    with pytest.raises(UserError, match=r"needs 2 nodes, and pool 'gpu' has 1.*tune\.trainer\.num_nodes"):
        small.check(list(scheduler.progress.tasks.values()))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pools": {}}, "names none"),
        ({"pools": {"cpu": Pool(cpus=0)}}, r"pools\.cpu: cpus 0 must be 1 or more"),
        ({"pools": {"cpu": Pool(mem="much")}}, "no amount of memory"),
        ({"pools": {"cpu": Pool(time="4 hours")}}, "no time"),
        ({"pools": {"cpu": Pool(time="00:01:00", grace=60)}}, "leaves no time to work"),
        ({"stages": {"tun": "cpu"}}, "no such stage"),
        ({"stages": {"tune": "gpu"}}, "no pool 'gpu'"),
        ({"stages": {"tune": {"gpu": 1}}}, "unknown key 'gpu'"),
        ({"stages": {"tune": {"gpus": "many"}}}, r"stages\.tune\.gpus: expected int"),
    ],
)
def test_pools_that_make_no_sense_are_refused(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        ActedLauncher(Acted(tmp_path), **options)


def many(sweep: Sweep, trials: int) -> tuple[Sweep, Graph]:
    """The sweep's one trial so many times, each with an `evaluate` of its own."""
    (trial,) = sweep.trials
    graph = make_graph(sweep)
    *shared, last = graph.plans[trial.name]
    nodes = {key: graph.nodes[key] for key in shared}
    copies, plans = [], {}
    for number in range(trials):
        copy = replace(trial, arm=f"number={number}")
        planned = graph.nodes[last].planned
        own = replace(planned, key=replace(planned.key, fingerprint=f"{number:016x}"))
        nodes[own.id] = replace(graph.nodes[last], planned=own)
        plans[copy.name] = (*shared, own.id)
        copies.append(copy)
    return replace(sweep, trials=tuple(copies)), Graph(nodes, plans)


@pytest.mark.slow
def test_a_thousand_trials_cost_each_as_much_as_a_hundred(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in calls, not in time; the trials' configurations are not written."""
    monkeypatch.setattr("domino_lightning.runner.pipeline.write_document", lambda *arguments: None)
    counts = []
    for trials in (100, 1000):
        sweep, graph = many(load({}, f"root={tmp_path / str(trials)}"), trials)
        engine = Acted(sweep.root)
        launcher = ActedLauncher(engine, pools={"cpu": Pool(pilots=20)})
        scheduler = Scheduler(sweep, graph, launcher)
        calls: Counter[str] = Counter()

        def counted(owner: Any, name: str, calls: Counter[str] = calls) -> None:
            original = getattr(owner, name)

            def call(*arguments: Any, **named: Any) -> Any:
                calls[name] += 1
                return original(*arguments, **named)

            monkeypatch.setattr(owner, name, call)

        for owner, names in (
            (scheduler.store, ("finished", "busy", "link")),
            (scheduler, ("_settle", "_offer", "_tell")),
            (launcher, ("start", "_read", "_accept")),
        ):
            for name in names:
                counted(owner, name)
        assert scheduler.run()
        assert Counter(engine.ran)["evaluate"] == trials
        counts.append({**calls, "engine": len(engine.calls)})
    few, most = counts
    for name, count in most.items():
        assert count <= 11 * few[name], (name, few, most)
