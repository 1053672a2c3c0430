"""The event log: whole lines only, and the state it folds to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from domino_lightning.sweep.events import EventLog, StageState, fold, read_events

TUNE, CURATE = ("tune", "aa"), ("curate", "bb")


def event(name: str, step: tuple[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    where = {"stage": step[0], "fingerprint": step[1]} if step else {}
    return {"time": "2026-01-01T00:00:00.000Z", "event": name, **where, **fields}


def statuses(*events: dict[str, Any], finished: tuple[tuple[str, str], ...] = (), running: bool = True) -> list[str]:
    state = fold(events, [TUNE, CURATE], lambda *step: step in finished, running)
    return [step.status for step in state.stages.values()]


def test_events_are_appended_and_read_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "sweeps/mine/events.jsonl"
    for name in ("launched", "closed"):
        log = EventLog(path)
        log.write(name, pid=7, text="λ\nμ")
        log.close()
    events = read_events(path)
    assert [each["event"] for each in events] == ["launched", "closed"]
    assert events[0]["text"] == "λ\nμ"
    assert path.read_text().count("\n") == 2


def test_a_line_torn_by_a_kill_costs_that_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.write("launched")
    log.close()
    with open(path, "a") as file:
        file.write('{"time": "2026", "event": "fini')
    log = EventLog(path)
    log.write("closed")
    log.close()
    assert [each["event"] for each in read_events(path)] == ["launched", "closed"]


def test_no_log_is_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path / "events.jsonl") == []


def test_the_last_event_of_a_stage_tells_its_status() -> None:
    assert statuses() == ["pending", "pending"]
    assert statuses(event("started", TUNE), event("waiting", CURATE)) == ["running", "waiting"]
    assert statuses(event("started", TUNE), event("failed", TUNE, error="no", how="error")) == ["failed", "pending"]
    assert statuses(event("failed", TUNE, error="no"), event("started", TUNE)) == ["running", "pending"]


def test_what_ran_in_a_process_that_is_gone_is_interrupted() -> None:
    started = event("started", TUNE), event("waiting", CURATE)
    assert statuses(*started, running=False) == ["interrupted", "pending"]
    assert statuses(event("launched"), *started, event("launched")) == ["interrupted", "pending"]


def test_the_store_has_the_last_word_on_what_has_finished() -> None:
    assert statuses(finished=(TUNE,)) == ["finished", "pending"]
    assert statuses(event("failed", TUNE, error="no"), finished=(TUNE,)) == ["finished", "pending"]
    assert statuses(event("finished", TUNE, wall_s=1.0)) == ["pending", "pending"]  # discarded since


def test_events_of_stages_that_the_sweep_no_longer_has_are_left_out() -> None:
    state = fold([event("failed", ("tune", "old"), error="no")], [TUNE], lambda *_: False, True)
    assert state.stages == {TUNE: StageState()}


def test_error_time_and_memory_are_kept() -> None:
    events = event("finished", CURATE, wall_s=2.5, rss_mb=40), event("failed", TUNE, error="no more", how="memory")
    state = fold(events, [TUNE, CURATE], lambda *step: step == CURATE, True)
    assert state.stages[TUNE].error == "no more"
    assert (state.stages[CURATE].wall_s, state.stages[CURATE].rss_mb) == (2.5, 40)


def test_a_launch_that_tries_failed_stages_again_has_no_old_error() -> None:
    failed = [event("launched"), event("started", TUNE), event("failed", TUNE, error="the old one")]
    again = fold([*failed, event("launched", retry_failed=True)], [TUNE], lambda *_: False, running=True)
    assert (again.stages[TUNE].status, again.stages[TUNE].error) == ("pending", "")
    without = fold([*failed, event("launched")], [TUNE], lambda *_: False, running=True)
    assert (without.stages[TUNE].status, without.stages[TUNE].error) == ("failed", "the old one")
