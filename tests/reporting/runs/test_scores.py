from __future__ import annotations

from pathlib import Path

from domino_lightning.reporting.collect import StageDir, read_score
from domino_lightning.reporting.runs.scores import Row, heldout_numbers, how_graded, other_numbers, score_rows
from domino_lightning.utils.jsonl import write_json

METRICS = {
    "evaluate/test/pass@1": 0.5,
    "evaluate/test/pass@1_low": 0.2,
    "evaluate/test/pass@1_high": 0.8,
    "evaluate/test/pass@10": 0.75,
    "evaluate/test/problems": 4,
    "evaluate/test/groups": 3,
    "evaluate/test/samples": 40,
    "evaluate/test/difficulty=easy/pass@1": 1.0,
    "evaluate/test/difficulty=easy/problems": 2,
    "evaluate/test/failed": 20,
    "evaluate/test/truncated": 7,
    "evaluate/heldout/perplexity": 3.5,
}


def test_numbers_of_an_evaluation_are_told_apart(tmp_path: Path) -> None:
    write_json(tmp_path / "metrics.json", METRICS)
    stage = StageDir("evaluate", "x", tmp_path, "finished")
    score = read_score(stage)
    assert score_rows(score) == [
        Row("all problems", 1, 0.5, 0.2, 0.8, 4),
        Row("all problems", 10, 0.75, None, None, 4),
        Row("difficulty=easy", 1, 1.0, None, None, 2),
    ]
    assert other_numbers(score, ["failed"]) == {"truncated": 7}
    assert heldout_numbers(stage) == {"perplexity": 3.5}
    assert score_rows(None) == []


def test_settings_and_isolation_are_listed() -> None:
    verdicts = [{"verdicts": [{"tier": "bubblewrap", "trust": "parent"}, {"tier": "bubblewrap", "trust": "shared"}]}]
    domain = {"class_path": "x.CodeGen", "init_args": {"compat": "lcb"}}
    config = {"evaluate": {"samples": 2, "temperature": 0.2, "limit": None, "domain": domain}}
    assert how_graded(config, verdicts) == [
        ("samples", "2"),
        ("temperature", "0.2"),
        ("rules", "--compat lcb"),
        ("tier", "bubblewrap 2"),
        ("trust", "parent 1, shared 1"),
    ]
    assert how_graded({}, []) == [("rules", "the project's own")]


def test_nothing_is_said_of_isolation_where_nothing_ran() -> None:
    verdicts = [{"verdicts": [{"passed": True, "tier": "none", "trust": "parent"}]}]
    facts = dict(how_graded({"evaluate": {"samples": 1}}, verdicts))
    assert facts == {"samples": "1"}
