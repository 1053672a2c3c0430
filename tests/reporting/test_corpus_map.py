"""Maps and the memorisation curve: from stored rows, with counts, the same every time."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from domino_lightning.errors import UserError
from domino_lightning.reporting import write_report, write_sweep_report
from domino_lightning.reporting.collect import StageDir
from domino_lightning.reporting.corpus_map import (
    CorpusPoints,
    exceeding,
    map_charts,
    memorisation_chart,
    read_points,
)
from domino_lightning.sweep.results import open_sweep
from tests.reporting.conftest import FakeStore
from tests.reporting.fake_sweep import FakeSweep


def rows_of(synthetic: Sequence[tuple[float, float, float]]) -> list[dict[str, Any]]:
    """Two references, two held-out texts, and synthetic ones at x, y with a similarity."""
    real = [("reference", 0.0, 0.0), ("reference", 1.0, 2.0), ("heldout", 0.5, 0.1), ("heldout", 0.2, 0.7)]
    rows: list[dict[str, Any]] = [{"id": str(n), "group": name, "at": [x, y]} for n, (name, x, y) in enumerate(real)]
    for row, near in zip(rows[2:], (0.4, 0.6), strict=True):
        row["nearest"] = near
    made = [{"id": f"s{n}", "group": "synthetic", "at": [x, y], "nearest": near} for n, (x, y, near) in
            enumerate(synthetic)]  # fmt: skip
    return rows + made


def write_map(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    (folder / "map.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    corpus = {"embedding": "HashedNgrams", "explained": [0.6, 0.25], "measures": {}}
    (folder / "corpus.json").write_text(json.dumps(corpus), encoding="utf-8")


def points(folder: Path, rows: Sequence[dict[str, Any]], label: str = "a") -> CorpusPoints:
    write_map(folder, rows)
    stage = StageDir("answer", "a" * 16, folder, "finished")
    found = read_points(stage, StageDir("prepare", "p" * 16, folder, "finished"), [label])
    assert found is not None
    return found


def test_points_are_read_by_group_with_their_similarities(tmp_path: Path) -> None:
    found = points(tmp_path, rows_of([(3.0, 4.0, 0.9)]))
    assert found.at["synthetic"].tolist() == [[3.0, 4.0]] and found.at["reference"].shape == (2, 2)
    assert found.nearest == {"heldout": [0.4, 0.6], "synthetic": [0.9]}
    assert (found.embedding, found.explained) == ("HashedNgrams", [0.6, 0.25])


def test_a_map_says_how_many_it_draws_and_in_which_vectors(tmp_path: Path) -> None:
    (chart,) = map_charts([points(tmp_path, rows_of([(3.0, 4.0, 0.9), (1.0, 1.0, 0.5)]))])
    assert chart["counts"] == [("references", 2), ("held-out", 2), ("synthetic", 2)]
    assert chart["embedding"] == "HashedNgrams"
    assert "component 1 (60%)" in chart["svg"] and "component 2 (25%)" in chart["svg"]


def test_corpora_of_equal_references_are_drawn_to_one_scale(tmp_path: Path) -> None:
    def ticks(chart: dict[str, Any]) -> list[str]:
        return [line for line in str(chart["svg"]).splitlines() if "<text" in line]

    near, far = points(tmp_path, rows_of([(1.0, 1.0, 0.5)])), points(tmp_path, rows_of([(50.0, 90.0, 0.1)]))
    both = map_charts([near, far])
    assert ticks(both[0]) == ticks(both[1])
    assert ticks(map_charts([near])[0]) != ticks(both[0])


def test_references_in_one_direction_have_no_map(tmp_path: Path) -> None:
    rows = [{**row, "at": row["at"][:1]} for row in rows_of([(3.0, 4.0, 0.9)])]
    assert map_charts([points(tmp_path, rows)]) == []


def test_umap_is_asked_once_for_all_corpora_of_a_space_and_equal_points_lie_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, dict[str, Any]]] = []

    class Umap:
        def __init__(self, **settings: Any) -> None:
            self.settings = settings

        def fit_transform(self, table: np.ndarray) -> np.ndarray:
            asked.append((len(table), self.settings))
            return table[:, ::-1]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Umap))
    corpora = [points(tmp_path, rows_of([(1.0, 1.0, 0.5)])), points(tmp_path, rows_of([(1.0, 1.0, 0.5), (7, 8, 0.1)]))]
    charts = map_charts(corpora, "umap")
    assert asked == [(6, {"n_neighbors": 5, "random_state": 0})]  # four real texts and two synthetic ones
    assert len(charts) == 2 and "UMAP 1" in charts[0]["svg"]


def test_without_umap_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UserError, match=r"pip install 'domino_lightning\[umap\]'"):
        map_charts([points(tmp_path, rows_of([(1.0, 1.0, 0.5)]))], "umap")


def test_a_file_that_is_no_map_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"map\.jsonl: not a map"):
        points(tmp_path, [{"id": "1", "group": "synthetic", "at": [1, 2]}])


def test_shares_above_a_threshold_by_hand() -> None:
    assert exceeding([0.2, 0.5, 0.5, 1.0], [0.0, 0.2, 0.4999, 0.5, 0.99, 1.0]) == [1.0, 0.75, 0.75, 0.25, 0.25, 0.0]


def test_the_curve_has_a_line_for_each_corpus_and_the_floor(tmp_path: Path) -> None:
    corpora = [points(tmp_path, rows_of([(1.0, 1.0, 0.5)]), name) for name in "abcdefgh"]
    chart = memorisation_chart(corpora, "t")
    assert chart is not None and chart["left_out"] == 2
    assert [line["label"] for line in chart["lines"]] == [*(f"{name} (1)" for name in "abcdef"), "held-out (2)"]
    assert memorisation_chart([points(tmp_path, rows_of([]))], "t") is None


@pytest.fixture
def sweep(store: FakeStore) -> FakeSweep:
    sweep = FakeSweep(store, {"arm": {"a": "a", "b": "b", "c": "c"}}, "arm=a")
    for number, arm in enumerate("abc"):
        for seed in (0, 1):
            entry = sweep.trial({"arm": arm}, seed, range(5 + number))
            if arm != "c":
                folder = store.root / "stages" / "answer" / entry["stages"]["answer"]
                write_map(folder, rows_of([(number, seed, 0.5)] * 3))
    return sweep


def test_a_sweep_has_a_map_and_a_curve_of_every_arm_and_says_which_has_none(sweep: FakeSweep, tmp_path: Path) -> None:
    pages = [write_sweep_report(open_sweep(sweep.write()), tmp_path / name)[0] for name in ("one", "two")]
    text = pages[0].read_text(encoding="utf-8")
    assert text.count("3 synthetic") == 2 and text.count("2 references") == 2
    assert "a (6)" in text and "b (6)" in text  # the texts of two seeds
    assert "c: 2 of 2 corpora have no map.jsonl" in text
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_a_report_of_runs_has_the_map_of_each_corpus(full_store: FakeStore, tmp_path: Path) -> None:
    for folder in (full_store.root / "stages" / "answer").iterdir():
        write_map(folder, rows_of([(2.0, 1.0, 0.5)] * 4))
    page, _ = write_report([full_store.root], tmp_path)
    text = page.read_text(encoding="utf-8")
    assert "4 synthetic" in text and "component 1 (60%)" in text and "held-out (2)" in text
