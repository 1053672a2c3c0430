"""Texts that nothing can check: learned as they are, or asked about, and measured by perplexity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from domino_lightning.cli.main import main
from domino_lightning.curation.answer_judge import AnswerJudge
from domino_lightning.data.chat import encode_pair
from domino_lightning.data.padded import collate_pairs
from domino_lightning.domains import AskedText, FreeText, Unparsable
from domino_lightning.errors import UserError
from domino_lightning.nn.answer_nll import answer_nll
from domino_lightning.testing import byte_tokenizer, check_domain, tiny_model
from domino_lightning.utils.jsonl import read_json, read_jsonl

ROWS = [{"text": f"Note {n}: the {n}th tide came at {n} in the morning and left {n * n} shells."} for n in range(24)]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps({"body": row["text"]}) + "\n" for row in ROWS))
    (tmp_path / "notes.yaml").write_text(
        "name: notes\ndomain:\n  class_path: domino_lightning.domains.FreeText\n"
        "prepare:\n  source: {path: notes.jsonl, fields: {text: body}}\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("domain", [FreeText(), AskedText()], ids=["alone", "asked"])
def test_the_domains_are_sound(domain: FreeText) -> None:
    report = check_domain(domain, ROWS)
    assert report.ok, report


@pytest.mark.parametrize(("text", "reason"), [(" \n", "empty"), ("two words", "short")])
def test_what_is_no_text(text: str, reason: str) -> None:
    with pytest.raises(Unparsable) as caught:
        FreeText().parse(text)
    assert caught.value.reason == reason
    with pytest.raises(UserError, match="line 1: field 'text'"):
        FreeText().record({"text": text}, "line 1")


def test_a_column_of_another_name_is_told_how_to_give() -> None:
    with pytest.raises(UserError, match=r"line 1: field 'text' must be a string.*source\.fields\.text=<column>"):
        FreeText().record({"body": "a b c d"}, "line 1")


def test_a_raw_text_is_encoded_without_a_template_and_scored_but_for_its_first_token() -> None:
    tokenizer, model = byte_tokenizer(), tiny_model()
    ids, start = encode_pair(FreeText().pair({"text": "abc"}), tokenizer)
    assert ids == [*tokenizer("abc", add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    assert start == 1
    nll = answer_nll(model, collate_pairs([(ids, start)]))
    logits = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    by_hand = torch.stack([-logits[place, ids[place + 1]] for place in range(len(ids) - 1)])
    torch.testing.assert_close(nll, by_hand)


@pytest.mark.slow
def test_texts_alone_go_through_every_stage_and_are_measured_by_perplexity(project: Path) -> None:
    assert main(["run", "notes.yaml", "--smoke", "--trial", "t", "finetune.source=both"]) == 0
    trial = project / "outputs" / "smoke" / "runs" / "notes" / "t"
    metrics = read_json(trial / "evaluate" / "metrics.json")
    assert metrics["evaluate/test/perplexity"] > 1 and metrics["evaluate/heldout/perplexity"] > 1
    assert "evaluate/test/pass@1" not in metrics
    pairs = read_jsonl(trial / "answer" / "pairs.jsonl")
    assert pairs and all([message["role"] for message in pair["messages"]] == ["assistant"] for pair in pairs)
    assert main(["report", str(trial), "--output", str(project / "report")]) == 0


def test_the_best_rated_answer_is_taken() -> None:
    domain = AskedText(question="What came?")
    record = domain.record(ROWS[0], "line 1")
    assert [each["role"] for each in domain.pair(record)] == ["assistant"]
    found, none = domain.answer([record, record], 1, [["The tide.", "Shells."], [" ", ""]])
    assert found.record["answer"] == "The tide." and none.reason == "no_answer"
    assert [each["content"] for each in domain.pair(found.record)] == [f"What came?\n\n{ROWS[0]['text']}", "The tide."]


class Rated(AnswerJudge):
    """A judge whose ratings are given."""

    def _rate(self, questions: Any, seed: int, scratch: Path) -> list[str]:
        assert questions[1][0]["content"].count("poor") == 1
        told = ['{"faithful": 3, "complete": 3, "clear": 3}', '{"faithful": 1, "complete": 5, "clear": 5}']
        return [*told, '{"faithful": 5, "complete": 4, "clear": 4}', "nice!"]


@pytest.mark.parametrize(("unparsable", "expected"), [("reject", ["good", "fair"]), ("keep", ["good", "fair", "odd"])])
def test_a_judge_orders_answers_and_bad_ones_count_as_answers_without_text(
    tmp_path: Path, unparsable: str, expected: list[str]
) -> None:
    judge = Rated("no model", unparsable=unparsable)
    prompts = [[{"role": "user", "content": "Why?"}]]
    found, counts = judge.ordered(prompts, [["fair", "", "poor", "good", "odd"]], 0, tmp_path)
    assert found == [expected + [""] * (5 - len(expected))]
    assert counts == {"rated": 3, "unparsable": 1, "too_low": 1}


@pytest.mark.slow
def test_asked_texts_are_answered_and_judged(project: Path) -> None:
    asked = ["domain.class_path=domino_lightning.domains.AskedText", "answer.judge={backbone: some/model}"]
    assert main(["run", "notes.yaml", "--smoke", "--trial", "t", *asked]) == 0
    trial = project / "outputs" / "smoke" / "runs" / "notes" / "t"
    summary = read_json(trial / "answer" / "answers.json")
    assert summary["answered"] > 0 and summary["judge"]["unparsable"] > 0
