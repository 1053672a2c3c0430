"""evaluate: completions, verdicts and pass@k of a coder; a kill costs one block."""

from __future__ import annotations

import json
import math
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.domains import CodeExec, Verdict
from domino_lightning.errors import UserError
from domino_lightning.evaluation.breakdown import Breakdown
from domino_lightning.generation.engines import TransformersEngine
from domino_lightning.generation.kv_slots import Slots
from domino_lightning.generation.language_model import Engine
from domino_lightning.stages.evaluate import Evaluate
from domino_lightning.store.work import Work
from domino_lightning.synthesis import LanguageModel, Prompt, Sampled, Sampling
from domino_lightning.utils.block_log import BlockLog
from domino_lightning.utils.jsonl import Record, read_json, read_jsonl, write_json, write_jsonl

DOMAIN = CodeExec()
# Three functions; the second has three calls, the others one.
CALLS = [(1, 0), (2, 0), (2, 1), (2, 2), (3, 0)]
FILES = ("generations.jsonl", "verdicts.jsonl", "metrics.json")


def problems() -> list[Record]:
    rows = [{"id": f"{k}-{n}", "code": f"def f(a):\n    return a * {k}", "input": str(n)} for k, n in CALLS]
    return [{**DOMAIN.read(row, "row"), "output": str(k * n)} for row, (k, n) in zip(rows, CALLS, strict=True)]


class ScriptedCoder(LanguageModel):
    """Answers 0 to every problem; counts what it is asked, and fails when told to."""

    asked: list[list[int]] = []
    fail_after: int | None = None

    def complete(
        self,
        prompts: Sequence[Prompt],
        rows: Sequence[int],
        seed: int,
        sampling: Sampling,
        on_tokens: Any = None,
    ) -> list[Sampled]:
        if self.fail_after is not None and len(self.asked) >= self.fail_after:
            raise KeyboardInterrupt
        self.asked.append(list(rows))
        return [Sampled("[ANSWER]0[/ANSWER]" if row % 2 == 0 else "who knows", True, 3) for row in rows]


@pytest.fixture
def coder(monkeypatch: pytest.MonkeyPatch) -> type[ScriptedCoder]:
    monkeypatch.setattr(TransformersEngine, "load", lambda self, source: ScriptedCoder())
    ScriptedCoder.asked, ScriptedCoder.fail_after = [], None
    return ScriptedCoder


@pytest.fixture
def work(tmp_path: Path) -> Work:
    inputs = {"prepare": tmp_path / "prepare", "finetune": tmp_path / "finetune"}
    for folder in (*inputs.values(), tmp_path / "out"):
        folder.mkdir()
    write_jsonl(inputs["prepare"] / "test.jsonl", problems())
    write_jsonl(inputs["prepare"] / "heldout.jsonl", [])
    write_json(inputs["finetune"] / "coder.json", {"base": "scripted", "adapter": False})
    return Work(tmp_path / "out", inputs, "fingerprint", {})


def outputs(work: Work) -> dict[str, bytes]:
    return {name: (work.directory / name).read_bytes() for name in FILES}


def unbiased(total: int, correct: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k), by counting subsets."""
    from itertools import combinations

    subsets = list(combinations(range(total), k))
    return sum(any(i < correct for i in subset) for subset in subsets) / len(subsets)


def test_samples_have_the_prompt_and_what_is_expected(coder: type[ScriptedCoder], work: Work) -> None:
    Evaluate(DOMAIN).run(work)
    rows = Evaluate.samples(work.directory)
    problem = {row["id"]: row for row in problems()}
    assert [set(row) for row in rows] == [{"id", "prompt", "expected", "completion", "status", "detail"}] * 5
    for row in rows:
        assert row["prompt"].splitlines()[-1] == str(DOMAIN.prompt(problem[row["id"]])[-1]["content"]).splitlines()[-1]
        assert row["expected"] == problem[row["id"]]["output"]
        assert (row["status"] == "passed") == (row["completion"] == f"[ANSWER]{row['expected']}[/ANSWER]")


@pytest.mark.parametrize(("samples", "k"), [(1, [1]), (4, [1, 3])])
def test_pass_at_k_is_what_the_verdicts_say(coder: type[ScriptedCoder], work: Work, samples: int, k: list[int]) -> None:
    Evaluate(DOMAIN, samples=samples, k=k, temperature=0.8, batch_size=3).run(work)
    verdicts = read_jsonl(work.directory / "verdicts.jsonl")
    metrics = read_json(work.directory / "metrics.json")
    counts = [sum(each["passed"] for each in row["verdicts"]) for row in verdicts]
    assert 0 < sum(counts) < 5 * samples
    for each in k:
        by_hand = sum(unbiased(samples, count, each) for count in counts) / 5
        assert metrics[f"evaluate/test/pass@{each}"] == pytest.approx(by_hand, abs=1e-6)
        low, high = (metrics[f"evaluate/test/pass@{each}_{end}"] for end in ("low", "high"))
        assert low <= by_hand <= high
    assert [metrics[f"evaluate/test/{name}"] for name in ("problems", "groups", "samples")] == [
        5,
        3,
        5 * samples,
    ]
    statuses = [each["status"] for row in verdicts for each in row["verdicts"]]
    for status in set(statuses):
        assert metrics[f"evaluate/test/{status}"] == statuses.count(status)


def test_files_tell_of_every_problem_in_one_order(coder: type[ScriptedCoder], work: Work) -> None:
    Evaluate(DOMAIN, samples=2, temperature=1.0).run(work)
    generations, verdicts = (read_jsonl(work.directory / name) for name in FILES[:2])
    assert sorted(row["id"] for row in generations) == sorted(row["id"] for row in problems())
    assert [row["id"] for row in generations] == [row["id"] for row in verdicts]
    groups = {row["id"]: row["group"] for row in problems()}
    for generated, judged in zip(generations, verdicts, strict=True):
        assert generated["completions"] == ["[ANSWER]0[/ANSWER]", "who knows"]
        assert judged["group"] == groups[judged["id"]]
        assert [set(each) for each in judged["verdicts"]] == [
            {"passed", "status", "detail", "wall_s", "tier", "trust"}
        ] * 2


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_an_interrupted_evaluation_continues_where_it_stopped(
    coder: type[ScriptedCoder], work: Work, tmp_path: Path, blocks: int
) -> None:
    stage = Evaluate(DOMAIN, samples=2, temperature=1.0, batch_size=3)
    stage.run(work)
    complete, asked = outputs(work), coder.asked
    again = Work(tmp_path / "again", work.inputs, "fingerprint", {})
    again.directory.mkdir()
    coder.asked, coder.fail_after = [], blocks
    with pytest.raises(KeyboardInterrupt):
        stage.run(again)
    assert not (again.directory / "metrics.json").exists()
    coder.fail_after = None
    stage.run(again)
    assert outputs(again) == complete
    assert coder.asked == asked == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


class FailingDomain(CodeExec):
    """Grades so many problems, then is killed; counts what it is asked to grade."""

    left: int | None = None
    asked: list[int] = []

    def grade(
        self, records: Iterable[Record], completions: Iterable[Sequence[str]], workers: int
    ) -> Iterator[list[Verdict]]:
        rows = list(records)
        self.asked.append(len(rows))
        for number, row in enumerate(super().grade(rows, completions, workers)):
            if self.left is not None and number >= self.left:
                raise KeyboardInterrupt
            yield row


@pytest.mark.parametrize("graded", [0, 1, 4])
def test_a_kill_while_grading_keeps_the_verdicts_so_far(
    coder: type[ScriptedCoder], work: Work, tmp_path: Path, graded: int
) -> None:
    Evaluate(DOMAIN).run(work)
    again = Work(tmp_path / "again", work.inputs, "fingerprint", {})
    again.directory.mkdir()
    domain = FailingDomain()
    domain.left, domain.asked = graded, []
    with pytest.raises(KeyboardInterrupt):
        Evaluate(domain).run(again)
    asked, domain.left = list(coder.asked), None
    Evaluate(domain).run(again)
    assert coder.asked == asked  # nothing is generated again
    assert domain.asked == [5, 5 - graded]
    assert outputs(again) == outputs(work)


def test_a_k_above_the_samples_is_left_out_with_a_warning(
    coder: type[ScriptedCoder], work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    Evaluate(DOMAIN, samples=2, k=[1, 10], temperature=1.0).run(work)
    metrics = read_json(work.directory / "metrics.json")
    assert "evaluate/test/pass@1" in metrics
    assert "evaluate/test/pass@10" not in metrics
    assert "pass@10 is left out: 5 of 5 problems have fewer than 10 samples" in caplog.text


def test_without_k_every_k_up_to_the_samples_is_reported(coder: type[ScriptedCoder], work: Work) -> None:
    Evaluate(DOMAIN, samples=3, temperature=1.0).run(work)
    metrics = read_json(work.directory / "metrics.json")
    assert [name for name in metrics if name.count("_") == 0 and "@" in name] == [
        f"evaluate/test/pass@{k}" for k in (1, 2, 3)
    ]


def test_parts_of_the_problems_are_scored_on_their_own(coder: type[ScriptedCoder], work: Work) -> None:
    dated = [
        {**row, "difficulty": "easy" if i % 2 else "hard", "contest_date": f"2023-0{i + 1}-01"}
        for i, row in enumerate(problems())
    ]
    write_jsonl(work.inputs["prepare"] / "test.jsonl", dated)
    Evaluate(DOMAIN, breakdown=Breakdown(boundaries=("2023-03-01",))).run(work)
    metrics = read_json(work.directory / "metrics.json")
    parts = {name.split("/")[2] for name in metrics if name.count("/") == 3}
    assert parts == {
        "difficulty=easy", "difficulty=hard", "contest_date=before 2023-03-01", "contest_date=from 2023-03-01",
    }  # fmt: skip
    fields = {row["id"]: row for row in dated}
    verdicts = read_jsonl(work.directory / "verdicts.jsonl")
    for name, chosen in (
        ("difficulty=easy", lambda row: row["difficulty"] == "easy"),
        ("contest_date=from 2023-03-01", lambda row: row["contest_date"] >= "2023-03-01"),
    ):
        passed = [row["verdicts"][0]["passed"] for row in verdicts if chosen(fields[row["id"]])]
        assert metrics[f"evaluate/test/{name}/problems"] == len(passed)
        assert metrics[f"evaluate/test/{name}/pass@1"] == pytest.approx(sum(passed) / len(passed))


def test_completions_cut_at_the_limit_are_counted(coder: type[ScriptedCoder], work: Work) -> None:
    Evaluate(DOMAIN, limit=2).run(work)
    assert read_json(work.directory / "metrics.json")["evaluate/test/truncated"] == 0
    assert [row["finished"] for row in read_jsonl(work.directory / "generations.jsonl")] == [[True], [True]]


def test_a_limit_takes_problems_of_every_group_in_turn(coder: type[ScriptedCoder], work: Work) -> None:
    Evaluate(DOMAIN, limit=3).run(work)
    rows = read_jsonl(work.directory / "verdicts.jsonl")
    assert len({row["group"] for row in rows}) == 3
    assert read_json(work.directory / "metrics.json")["evaluate/test/problems"] == 3


def test_metrics_are_json_even_for_a_single_group(coder: type[ScriptedCoder], work: Work) -> None:
    Evaluate(DOMAIN, limit=1).run(work)

    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    metrics = json.loads((work.directory / "metrics.json").read_text(), parse_constant=refuse)
    assert metrics["evaluate/test/groups"] == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "samples 0"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"limit": 0}, "limit 0"),
        ({"heldout": -1}, "heldout -1"),
        ({"k": [0]}, r"k: \[0\]"),
        ({"k": [1, 1]}, r"k: \[1, 1\]"),
        ({"k": []}, r"k: \[\]"),
        ({"breakdown": Breakdown(boundaries=("2023-09-01", "2023-01-01"))}, "do not rise"),
        ({"breakdown": Breakdown(boundaries=("soon",))}, "boundaries: Invalid isoformat"),
        ({"samples": 2}, "temperature 0 would all be equal"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Evaluate(DOMAIN, **settings)


def test_held_out_answers_have_their_perplexity_taken_once(
    work: Work, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(work.inputs["finetune"] / "coder.json", {"base": str(tiny_backbone), "adapter": False})
    unanswered = {**problems()[0], "output": None}
    write_jsonl(work.inputs["prepare"] / "heldout.jsonl", [unanswered, *problems()])
    stage = Evaluate(DOMAIN, limit=1, max_new_tokens=2, heldout=3)
    stage.run(work)
    metrics = read_json(work.directory / "metrics.json")
    assert metrics["evaluate/heldout/answers"] == 3
    assert metrics["evaluate/heldout/perplexity"] == pytest.approx(math.exp(metrics["evaluate/heldout/nll"]))
    before = outputs(work)
    monkeypatch.setattr(TransformersEngine, "load", None)  # all that needs a model is kept
    stage.run(work)
    assert outputs(work) == before


def test_the_model_of_another_engine_is_unloaded_before_one_is_loaded_for_the_perplexity(
    work: Work, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(work.inputs["finetune"] / "coder.json", {"base": str(tiny_backbone), "adapter": False})
    write_jsonl(work.inputs["prepare"] / "heldout.jsonl", problems())
    loaded: list[weakref.ref[ScriptedCoder]] = []
    beside: list[bool] = []

    class Elsewhere(Engine):
        def load(self, source: Any) -> LanguageModel:
            model = ScriptedCoder()
            loaded.append(weakref.ref(model))
            return model

    load = TransformersEngine.load

    def load_alone(self: TransformersEngine, source: Any) -> LanguageModel:
        beside.append(loaded[0]() is not None)
        return load(self, source)

    monkeypatch.setattr(TransformersEngine, "load", load_alone)
    Evaluate(DOMAIN, limit=1, heldout=2, engine=Elsewhere()).run(work)
    assert beside == [False]
    assert len(loaded) == 1
    assert read_json(work.directory / "metrics.json")["evaluate/heldout/answers"] == 2


def test_an_untouched_backbone_answers_repeatably(work: Work, tiny_backbone: Path, tmp_path: Path) -> None:
    write_json(work.inputs["finetune"] / "coder.json", {"base": str(tiny_backbone), "adapter": False})
    results = []
    for name, batch_size in (("one", 10), ("two", 10), ("small", 3)):
        again = Work(tmp_path / name, work.inputs, "fingerprint", {})
        again.directory.mkdir()
        Evaluate(DOMAIN, samples=2, temperature=1.0, max_new_tokens=6, batch_size=batch_size).run(again)
        results.append(outputs(again)["generations.jsonl"])
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("blocks", [1, 2, 3, 4])
def test_rows_flow_through_the_slots_across_blocks_and_a_kill_changes_no_byte(
    work: Work, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    write_json(work.inputs["finetune"] / "coder.json", {"base": str(tiny_backbone), "adapter": False})
    encoded: list[int] = []
    encode, append = Slots._encode, BlockLog.append

    def counted(slots: Slots, places: Sequence[int], prompts: Sequence[Any]) -> None:
        encoded.append(len(places))
        encode(slots, places, prompts)

    def killed(log: BlockLog, first_row: int, rows: Sequence[Any]) -> None:
        if log.stem == "completions" and first_row >= 2 * blocks:
            raise KeyboardInterrupt
        append(log, first_row, rows)

    monkeypatch.setattr(Slots, "_encode", counted)
    stage = Evaluate(DOMAIN, samples=2, temperature=1.5, max_new_tokens=6, batch_size=2, heldout=0)  # queues of 8 rows
    stage.run(work)
    assert sum(encoded) == 4  # of the two samples of a problem one; the fifth is the beginning that its queue shares
    again = Work(tmp_path / "again", work.inputs, "fingerprint", {})
    again.directory.mkdir()
    monkeypatch.setattr(BlockLog, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        stage.run(again)
    monkeypatch.setattr(BlockLog, "append", append)
    assert len(read_jsonl(again.scratch / "completions-00000.jsonl")) == 2 * blocks
    stage.run(again)
    assert outputs(again)["generations.jsonl"] == outputs(work)["generations.jsonl"]
