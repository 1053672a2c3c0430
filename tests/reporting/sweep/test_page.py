"""The report of a sweep: its answer in words, its tables, and that it stays honest on half-finished sweeps."""

from __future__ import annotations

import csv
import json
import re
from html import unescape
from pathlib import Path

import pytest
from scipy.special import stdtr

from domino_lightning.cli.main import main
from domino_lightning.errors import UserError
from domino_lightning.evaluation.power import power, variances
from domino_lightning.reporting import write_sweep_report
from domino_lightning.reporting.sweep.answer import answer
from domino_lightning.reporting.sweep.arms import SweepData, read_sweep, short_labels
from domino_lightning.reporting.sweep.curves import numeric_axes
from domino_lightning.reporting.sweep.estimates import arm_scores, difference_components, differences
from domino_lightning.reporting.sweep.side_by_side import corpus_texts, disputed
from domino_lightning.reporting.sweep.tables import corpora, costs, failures, measures
from domino_lightning.sweep.results import open_sweep
from tests.reporting.conftest import FakeStore
from tests.reporting.fake_sweep import FakeSweep, losses_sweep


def read(sweep: FakeSweep) -> SweepData:
    return read_sweep(open_sweep(sweep.write()))


def said(data: SweepData) -> tuple[str, str]:
    head, sentences = answer(data.arms, arm_scores(data.arms), differences(data.arms, data.baseline))
    return head, " ".join(sentences)


def page_of(sweep: FakeSweep, tmp_path: Path) -> tuple[str, list[dict[str, str]], list[dict[str, str]]]:
    """The page's text, and the rows of results.csv and arms.csv."""
    page, arms, results = write_sweep_report(open_sweep(sweep.write()), tmp_path / "out")
    text = page.read_text(encoding="utf-8")
    assert text.count("<script") == text.count("<script>") == 1  # which sorts tables, in the page itself
    assert "@import" not in text and "http" not in text
    assert not re.search(r"url\((?!#)", text)  # of another part of the page only
    rows = [list(csv.DictReader(path.open(encoding="utf-8"))) for path in (results, arms)]
    return text, rows[0], rows[1]


@pytest.fixture
def ab(store: FakeStore) -> FakeSweep:
    return FakeSweep(store, {"arm": {"a": "a", "b": "b"}, "size": {"1": 1, "2": 2}}, "arm=a,size=1")


def test_the_answer_names_the_arm_by_how_much_and_how_sure(store: FakeStore) -> None:
    head, rest = said(read(losses_sweep(store)))
    assert head == "loss=infonce, weight=0.3 beats loss=likelihood by 50.0 points of pass@1."
    assert re.search(r"95% interval of the difference is \+\d+\.\d to \+\d+\.\d points; p < 0\.001", rest)
    assert "Holm's correction for 4 comparisons (t test over problems and seeds)" in rest
    assert "1 to 3 seeds per arm" in rest
    assert "Of 15 trials, 1 pending, 1 failed" in rest


def test_one_seed_is_said_to_cover_no_choice_of_seed(store: FakeStore) -> None:
    head, rest = said(read(losses_sweep(store, seeds=(0,))))
    assert "beats" in head
    assert "(t test over problems)" in rest
    assert "new problems, not of new seeds" in rest


def test_two_seeds_are_said_to_be_few(store: FakeStore) -> None:
    _, rest = said(read(losses_sweep(store, seeds=(0, 1))))
    assert "Two seeds say little of how much seeds vary" in rest
    assert "Arms with one seed borrow" in rest  # infonce at weight 1.0 has one
    _, rest = said(read(losses_sweep(FakeStore(store.root / "more"))))
    assert "new problems and new seeds" in rest
    assert "Two seeds" not in rest


def test_it_says_what_a_sweep_of_this_size_can_see(store: FakeStore) -> None:
    sweep = losses_sweep(store)
    data = read(sweep)
    _, rest = said(data)
    found = re.search(r"with 3 seeds, a true difference of (\d+\.\d) points is seen with 80% power", rest)
    assert found is not None
    tables = [row[1] for row in difference_components(data.arms, data.baseline) if isinstance(row, tuple)]
    assert 0.8 <= power(variances(tables), float(found[1]) / 100 + 0.001, 3, 20) < 0.85
    _, rest = said(read(losses_sweep(FakeStore(store.root / "one"), seeds=(0,))))
    assert "power" not in rest


def test_scores_that_rest_on_one_or_two_groups_are_named(ab: FakeSweep) -> None:
    ab.trial({"arm": "a", "size": "1"}, 0, range(5))  # 12.5% of 20 groups: two and a half
    ab.trial({"arm": "b", "size": "1"}, 0, range(6))
    _, rest = said(read(ab))
    assert "fewer than 3 groups of problems, solved or left (a), depend on one or two of them" in rest
    ab.trial({"arm": "b", "size": "2"}, 0, range(36))
    assert "solved or left (arm=a, size=1, arm=b, size=2)" in said(read(ab))[1]


def test_one_group_of_problems_is_said_to_say_nothing(ab: FakeSweep, store: FakeStore, tmp_path: Path) -> None:
    for arm, solved in (("a", 1), ("b", 2)):
        entry = ab.trial({"arm": arm, "size": "1"}, 0, range(solved))
        verdicts = store.root / "stages" / "evaluate" / entry["stages"]["evaluate"] / "verdicts.jsonl"
        verdicts.write_text("".join(verdicts.read_text().splitlines(keepends=True)[:2]))
    text, _, arms = page_of(ab, tmp_path)
    assert "neither an interval nor a test" in text
    assert "nan" not in re.sub(r"<[^>]+>", " ", text).lower().split()
    assert (arms[1]["pass@1_difference"], arms[1]["pass@1_p"], arms[1]["pass@1_low"]) == ("0.5", "", "")


def test_a_lead_that_is_no_evidence_is_not_called_one(ab: FakeSweep) -> None:
    ab.trial({"arm": "a", "size": "1"}, 0, range(10))
    ab.trial({"arm": "b", "size": "1"}, 0, range(11))
    head, rest = said(read(ab))
    assert head == "No arm is shown to beat a."  # size is the same in both arms
    assert "The largest lead is b's, 2.5 points" in rest
    # One of 20 groups gains: the sum squared is the sum of squares, and t of 1.4 degrees of freedom 1.
    assert f"p = {2 * stdtr(1.4, -1):.3f}" in rest


def test_a_baseline_that_nothing_exceeds_and_arms_that_are_worse(ab: FakeSweep) -> None:
    ab.trial({"arm": "a", "size": "1"}, 0, range(30))
    ab.trial({"arm": "b", "size": "1"}, 0, range(4))
    head, rest = said(read(ab))
    assert head.startswith("No arm scores above")
    assert "is worse than" in rest


def test_before_anything_is_scored_the_answer_says_so(ab: FakeSweep) -> None:
    ab.trial({"arm": "a", "size": "1"}, 0)
    assert said(read(ab))[0] == "No arm has been evaluated yet."
    ab.trial({"arm": "b", "size": "1"}, 0, range(4))
    head, rest = said(read(ab))
    assert head.startswith("Nothing can be compared with the baseline")
    assert "solves 10.0% of 40 problems" in rest


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)], ids=["one seed", "three seeds"])
def test_the_page_and_the_tables_hold_every_arm(store: FakeStore, tmp_path: Path, seeds: tuple[int, ...]) -> None:
    text, results, arms = page_of(losses_sweep(store, seeds), tmp_path)
    assert len(results) == 5 * len(seeds)
    assert [row["arm"] for row in arms][:2] == ["loss=likelihood", "loss=released"]
    best = arms[3]
    assert float(best["pass@1"]) == 0.75 and float(best["pass@1_difference"]) == 0.5
    assert float(best["pass@1_p"]) <= float(best["pass@1_p_holm"])
    assert arms[0]["pass@1_p"] == ""
    plain = unescape(re.sub(r"<[^>]+>", " ", text))
    for arm in ("loss=likelihood", "loss=released", "loss=infonce, weight=0.3"):
        assert arm in plain
    assert "75.0%" in plain and "+50.0" in plain
    assert "nan" not in plain.lower().split()


def test_the_same_sweep_gives_the_same_bytes(store: FakeStore, tmp_path: Path) -> None:
    sweep = open_sweep(losses_sweep(store).write())
    first = [path.read_bytes() for path in write_sweep_report(sweep, tmp_path / "one")]
    assert [path.read_bytes() for path in write_sweep_report(sweep, tmp_path / "two")] == first


def test_what_failed_is_shown_with_its_last_error_as_text(store: FakeStore, tmp_path: Path) -> None:
    text, results, _ = page_of(losses_sweep(store), tmp_path)
    assert "out of memory &lt;b&gt;" in text and "out of memory <b>" not in text
    assert "loss=infonce,weight=1.0,seed=2" in text
    assert [row["status"] for row in results].count("failed") == 1


def test_a_sweep_that_has_only_been_expanded_has_a_page(ab: FakeSweep, tmp_path: Path) -> None:
    ab.trial({"arm": "a", "size": "1"}, 0)
    text, results, arms = page_of(ab, tmp_path)
    assert "No arm has been evaluated yet." in text
    assert (results[0]["status"], arms[0]["arm"]) == ("pending", "arm=a,size=1")


def test_a_failure_that_a_later_run_mended_is_no_failure(store: FakeStore) -> None:
    sweep = losses_sweep(store)
    assert [(one.what, one.trials) for one in failures(read(sweep))] == [("tune", ["loss=infonce,weight=1.0,seed=2"])]
    sweep.events.append({**sweep.events[-1], "event": "finished"})
    assert [one.what for one in failures(read(sweep))] == ["trial"]  # its trial.json still says failed


def test_funnels_are_means_over_distinct_corpora(ab: FakeSweep) -> None:
    ab.trial({"arm": "a", "size": "1"}, 0, range(3), pairs=10)
    ab.trial({"arm": "a", "size": "1"}, 1, range(3), pairs=20)
    ab.trial({"arm": "b", "size": "1"}, 0)
    steps, rows = corpora(read(ab).arms)
    assert steps == ["candidates", "parses", "near_duplicate", "answer"]
    (row,) = rows
    assert dict(row.steps) == {"candidates": 60, "parses": 40, "near_duplicate": 20, "answer": 15}
    assert (row.pairs, row.seeds, row.tokens) == (15, 2, 5400.5)
    assert row.share == pytest.approx(15 / 60)


def test_measures_of_corpora_are_means_beside_the_held_out_floor(ab: FakeSweep, store: FakeStore) -> None:
    for seed, value in ((0, 0.5), (1, 0.7)):
        entry = ab.trial({"arm": "a", "size": "1"}, seed, range(3))
        content = {"measures": {"distinct_2": {"value": value, "floor_value": 0.8}, "self_bleu": {"value": None}}}
        path = store.root / "stages" / "answer" / entry["stages"]["answer"] / "corpus.json"
        path.write_text(json.dumps(content), encoding="utf-8")
    ab.trial({"arm": "b", "size": "1"}, 0, range(3))
    found = measures(corpora(read(ab).arms)[1])
    assert [(one.name, one.cells, one.floor) for one in found] == [
        ("distinct-2", ["0.600", "–"], "0.800"),
        ("Self-BLEU", ["–", "–"], "–"),
    ]


def test_cost_counts_shared_stages_once_and_says_what_sharing_saved(ab: FakeSweep) -> None:
    ab.trial({"arm": "a", "size": "1"}, 0, range(3))
    ab.trial({"arm": "b", "size": "1"}, 0, range(3))
    rows, distinct, alone = costs(read(ab).arms)
    # Seven stages of 12.5 s a trial; prepare is shared.
    assert [row.total for row in rows] == [87.5, 87.5]
    assert (distinct, alone) == (87.5 + 75, 175)


def test_disputed_problems_are_those_that_divide_the_arms(ab: FakeSweep) -> None:
    ab.trial({"arm": "a", "size": "1"}, 0, [0, 1, 2])
    ab.trial({"arm": "b", "size": "1"}, 0, [2, 3])
    shown, count = disputed(read(ab).arms)
    assert count == 3
    assert {one.id: [each.passed for each in one.attempts] for one in shown} == {
        "test-0": [True, False],
        "test-1": [True, False],
        "test-3": [False, True],
    }
    assert shown[0].code and shown[0].attempts[0].completion == "[0]"


def test_corpora_that_arms_share_come_once(ab: FakeSweep, store: FakeStore) -> None:
    first = ab.trial({"arm": "a", "size": "1"}, 0, range(3))
    second = ab.trial({"arm": "b", "size": "1"}, 0, range(3))
    assert [one.labels for one in corpus_texts(read(ab).arms)] == [["a"], ["b"]]
    trial = store.root / "runs" / ab.name / second["folder"] / "trial.json"
    trial.write_text(trial.read_text().replace(second["stages"]["curate"], first["stages"]["curate"]))
    assert [one.labels for one in corpus_texts(read(ab).arms)] == [["a", "b"]]


def test_only_axes_of_numbers_are_drawn(store: FakeStore, tmp_path: Path) -> None:
    sweep = losses_sweep(store)
    assert numeric_axes(read(sweep)) == ["weight"]
    text, _, _ = page_of(sweep, tmp_path)
    assert "pass@1 over weight" in text


def test_labels_leave_out_what_all_arms_share() -> None:
    arms = {"x=1,y=a": {"x": "1", "y": "a"}, "x=1,y=b": {"x": "1", "y": "b"}}
    assert short_labels(arms, ["x", "y"]) == {"x=1,y=a": "a", "x=1,y=b": "b"}
    arms["x=2,y=b"] = {"x": "2", "y": "b"}
    assert short_labels(arms, ["x", "y"])["x=2,y=b"] == "x=2, y=b"
    assert short_labels({"default": {}}, []) == {"default": "default"}


def test_another_baseline_can_be_named(store: FakeStore, tmp_path: Path) -> None:
    sweep = open_sweep(losses_sweep(store).write())
    write_sweep_report(sweep, tmp_path, baseline="loss=released")
    (base,) = [row for row in csv.DictReader((tmp_path / "arms.csv").open()) if row["baseline"] == "True"]
    assert base["arm"] == "loss=released"
    with pytest.raises(UserError, match="no arm 'nothing' to compare with; there are: loss=likelihood; "):
        write_sweep_report(sweep, tmp_path, baseline="nothing")


def test_the_command_writes_beside_the_sweep(store: FakeStore, capsys: pytest.CaptureFixture[str]) -> None:
    path = losses_sweep(store).write()
    assert main(["report", str(path)]) == 0
    assert str(path / "report" / "report.html") in capsys.readouterr().out
    assert (path / "report" / "arms.csv").is_file()


def test_the_command_keeps_sweeps_and_runs_apart(store: FakeStore, capsys: pytest.CaptureFixture[str]) -> None:
    path = losses_sweep(store).write()
    assert main(["report", str(path), str(store.root / "runs")]) == 2
    assert "Name it alone" in capsys.readouterr().err
    assert main(["report", str(store.root / "runs"), "--baseline", "x"]) == 2
    assert "--baseline names an arm of a sweep" in capsys.readouterr().err
