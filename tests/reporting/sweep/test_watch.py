"""`domino report SWEEP --watch`: the page follows the sweep, and stops asking to be loaded again when it is over."""

from __future__ import annotations

from pathlib import Path

import pytest

from domino_lightning.cli.main import main
from domino_lightning.cli.report import write_sweep
from tests.conftest import refused
from tests.reporting.conftest import FakeStore
from tests.reporting.fake_sweep import LOSSES, FakeSweep

REFRESH = '<meta http-equiv="refresh" content="15">'


def half_done(store: FakeStore) -> FakeSweep:
    sweep = FakeSweep(store, {"loss": LOSSES}, "loss=likelihood")
    sweep.trial({"loss": "likelihood"}, 0, range(9))
    sweep.trial({"loss": "infonce"}, 0)
    return sweep


def finish(sweep: FakeSweep) -> None:
    sweep.trials.pop()
    sweep.trial({"loss": "infonce"}, 0, range(12))
    sweep.write()


def test_a_watched_page_is_written_until_every_trial_has_ended(store: FakeStore, tmp_path: Path) -> None:
    sweep = half_done(store)
    page, seen = tmp_path / "report.html", []

    def sleep(seconds: float) -> None:
        seen.append((seconds, REFRESH in page.read_text(encoding="utf-8")))
        if len(seen) == 2:
            finish(sweep)

    assert write_sweep(sweep.write(), tmp_path, None, watch=True, sleep=sleep)[0] == page
    assert seen == [(15, True), (15, True)]
    assert "http-equiv" not in page.read_text(encoding="utf-8")


def test_a_failed_trial_has_ended_too(store: FakeStore, tmp_path: Path) -> None:
    sweep = half_done(store)
    sweep.trials.pop()
    sweep.trial({"loss": "infonce"}, 0, status="failed", error="out of ideas")

    def never(seconds: float) -> None:
        raise AssertionError("nothing is left to wait for")

    write_sweep(sweep.write(), tmp_path, None, watch=True, sleep=never)
    assert "http-equiv" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_who_ends_the_watch_is_left_with_a_page_that_stays(store: FakeStore, tmp_path: Path) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sweep(half_done(store).write(), tmp_path, None, watch=True, sleep=interrupt)
    assert "http-equiv" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_page_that_is_not_watched_is_written_once_whatever_the_sweep_does(store: FakeStore, tmp_path: Path) -> None:
    assert main(["report", str(half_done(store).write()), "--output", str(tmp_path)]) == 0
    assert "http-equiv" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_runs_cannot_be_watched(store: FakeStore, capsys: pytest.CaptureFixture[str]) -> None:
    store.none_trial()
    assert "--watch follows a sweep" in refused(capsys, "report", store.root, "--watch")
