"""The domain of docs/write_a_domain.md, four methods and nothing else, in a file beside the experiment."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.cli.main import main
from domino_lightning.curation.solver import Solver
from domino_lightning.domains import Domain
from domino_lightning.errors import UserError
from domino_lightning.stages.answer import Answer
from domino_lightning.stages.finetune import Finetune
from domino_lightning.utils.contract import BrokenContract
from domino_lightning.utils.jsonl import read_json, read_jsonl
from tests.domains.conftest import CODE, ROWS


@pytest.fixture
def domain(project: Path) -> Any:
    return importlib.import_module("my_domain").Trivia()


def test_four_methods_are_all_that_must_be_written() -> None:
    assert Domain.__abstractmethods__ == {"read", "render", "parse", "prompt"}


def test_it_goes_through_every_stage(project: Path) -> None:
    assert main(["run", "trivia.yaml", "--smoke", "--trial", "t", "finetune.source=both"]) == 0
    trial = project / "outputs" / "smoke" / "runs" / "trivia" / "t"
    rows = read_jsonl(trial / "prepare" / "reference.jsonl")
    assert {row["kind"] for row in rows} == {"trivia"}
    assert all(row["text"] == f"Q: {row['question']}\nA: {row['answer']}" for row in rows)
    pairs = read_jsonl(trial / "answer" / "pairs.jsonl")
    assert pairs
    for pair in pairs:
        question, answer = (message["content"] for message in pair["messages"])
        assert {"question": question.removesuffix(" Answer in a few words."), "answer": answer} in ROWS
        assert pair["provenance"]["answered_by"] == "the text itself"
    assert read_json(trial / "finetune" / "coder.json")["pairs"] == len(pairs) + len(rows)
    assert read_json(trial / "evaluate" / "metrics.json")["evaluate/heldout/perplexity"] > 1


def test_what_it_leaves_out_is_filled_in(domain: Any) -> None:
    record = domain.record({"question": "Why?", "answer": "So."}, "rows.jsonl, line 7")
    assert (record["id"], record["kind"], record["text"]) == ("7", "trivia", "Q: Why?\nA: So.")
    assert domain.parsed("Q: Why? \nA:  So.", "s")["group"] == record["group"]


def test_a_row_that_it_stumbles_over_is_named(domain: Any) -> None:
    with pytest.raises(UserError, match=r"rows\.jsonl, line 7: Trivia fails on the row \(KeyError: 'answer'\)"):
        domain.record({"question": "Why?"}, "rows.jsonl, line 7")


def test_answers_are_compared_but_for_layout(domain: Any) -> None:
    record = domain.record({"question": "Who?", "answer": "Ada Lovelace"}, "line 1")
    ((right, wrong),) = domain.grade([record], [["Ada\nLovelace ", "ada"]], 1)
    assert right.passed
    assert (wrong.status, wrong.detail) == ("failed", "gave 'ada', expected 'Ada Lovelace'")


class Labelled(Domain):
    """A domain whose answers stand in a field of its own, which it says by its pairs alone."""

    def read(self, row: Any, where: str) -> Any:
        return dict(row)

    def render(self, record: Any) -> str:
        return str(record["body"])

    def parse(self, text: str) -> Any:
        return {"body": text}

    def prompt(self, record: Any) -> Any:
        return [{"role": "user", "content": record["body"]}]

    def pair(self, record: Any) -> Any:
        return [*self.prompt(record), {"role": "assistant", "content": record["label"]}]


class Given(Labelled):
    """The same, by the field's name."""

    answer_field = "label"
    pair = Domain.pair


@pytest.mark.parametrize("domain", [Labelled(), Given()], ids=["pair", "answer_field"])
def test_answers_in_a_field_of_another_name_count(domain: Domain, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"body": "a", "label": "x"}, {"body": "b"}, {"body": "c", "label": None}, {"body": "d", "label": "y"}]
    records = [domain.record(row, f"line {n}") for n, row in enumerate(rows)]
    assert [record["body"] for record in domain.answered(records, "split reference")] == ["a", "d"]
    assert "split reference: 2 of 4 rows have no answer" in caplog.text


def test_references_without_any_answer_are_refused_before_training() -> None:
    finetune = object.__new__(Finetune)
    finetune.source, finetune.domain = "reference", Given()
    with pytest.raises(UserError, match=r"none of 1 references has an answer.*Give the rows a field 'label'"):
        finetune.answered({"reference": [{"id": "1", "body": "a"}], "heldout": []})


def test_the_check_tells_which_references_make_no_pairs(
    project: Path, tiny_backbone: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    module = CODE.replace("class Trivia(Domain):", "class Trivia(Domain):\n    answer_field = 'told'")
    (project / "my_domain.py").write_text(module, encoding="utf-8")
    arguments = ["check", "trivia.yaml", f"backbone={tiny_backbone}"]
    arguments += ["prepare.split.reference=20", "prepare.split.heldout=4"]
    assert main([*arguments, "finetune.source=both"]) == 0
    assert "finetune: split reference: 20 of 20 rows have no answer, as Trivia.has_answer has it" in caplog.text
    assert main([*arguments, "finetune.source=reference"]) == 2
    assert "none of 20 references has an answer" in capsys.readouterr().err


def test_nothing_outside_of_this_folder_names_a_domain_or_a_field_of_one() -> None:
    package = Path(importlib.import_module("domino_lightning").__file__ or "").parent
    words = re.compile(r"""\bCodeExec\b|\bCodeGen\b|["'](?:codeexec|codegen|starter_code|canonical_solution)["']""")
    outside = [path for path in package.rglob("*.py") if path.relative_to(package).parts[0] != "domains"]
    assert [path.name for path in outside if words.search(path.read_text(encoding="utf-8"))] == []


def test_a_model_that_answers_needs_an_answer_that_uses_it() -> None:
    class Asked(Given):
        needs_solutions = True

    with pytest.raises(UserError, match="Asked: needs_solutions is set, but its `answer` makes nothing of them"):
        Answer(Asked(), Solver("model"))


@pytest.mark.parametrize(
    ("record", "text"), [({"answer": 3}, "3"), ({"answer": [1, "é"]}, '[1, "é"]'), ({"answer": None}, None), ({}, None)]
)
def test_an_answer_that_is_no_text_is_shown_as_json(domain: Any, record: dict[str, Any], text: str | None) -> None:
    assert domain.answer_text({"question": "Why?", **record}) == text
    assert domain.has_answer({"question": "Why?", **record}) is (text is not None)
    (answered,) = domain.answer([{"question": "Why?", **record}], 1)
    assert (answered.reason is None) is (text is not None)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("group", 5, "'group' of a record must be a text, and is 5"),
        ("group", ["x"], "'group' of a record must be a text, and is ['x']"),
        ("kind", None, "'kind' of a record must be a text, and is None"),
        ("text", 3, "'text' of a record must be a text, and is 3"),
        ("id", ["x"], "'id' of a record must be a text or a number, and is ['x']"),
    ],
)
def test_what_every_record_has_is_text_wherever_it_comes_from(domain: Any, field: str, value: Any, words: str) -> None:
    class Odd(type(domain)):  # type: ignore[misc]
        def read(self, row: Any, where: str) -> Any:
            return {**super().read(row, where), field: value}

        def parse(self, text: str) -> Any:
            return {**super().parse(text), field: value}

    row = {"question": "Why?", "answer": "So."}
    text = domain.record(row, "line 1")["text"]
    with pytest.raises(UserError, match=re.escape(words)):
        Odd().record(row, "line 1")
    with pytest.raises(BrokenContract, match=re.escape(words)):
        Odd().parsed(text)


@pytest.mark.parametrize("value", [True, [1], {"a": 1}], ids=str)
def test_an_id_that_is_neither_text_nor_number_is_refused(domain: Any, value: object) -> None:
    with pytest.raises(UserError, match="line 7: field 'id' must be a text or a number"):
        domain.record({"id": value, "question": "Why?", "answer": "So."}, "rows.jsonl, line 7")


@pytest.mark.parametrize("field", ["notes", "agreement", "reason", "detail"])
def test_a_record_read_back_has_no_field_that_stages_add(
    project: Path, field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parsed = '{"question": question.strip(),'
    assert parsed in CODE
    given = CODE.replace(parsed, f'{{"{field}": "mine", "question": question.strip(),')
    (project / "my_domain.py").write_text(given, encoding="utf-8")
    assert main(["check", "trivia.yaml", "prepare.split.reference=4", "prepare.split.heldout=2"]) == 2
    told = capsys.readouterr().err.strip()
    assert "Trivia breaks domino_lightning.domains.Domain: parse gave a field" in told and f"'{field}'" in told
    assert "rename it in read and parse" in told and "\n" not in told


def test_a_column_of_references_alone_may_have_such_a_name() -> None:
    assert Labelled().record({"id": "1", "body": "a", "notes": "mine"}, "line 1")["notes"] == "mine"


def test_half_a_character_that_the_pair_alone_shows_is_refused_by_line(domain: Any) -> None:
    class Reasons(type(domain)):  # type: ignore[misc]
        def read(self, row: Any, where: str) -> Any:
            return {**super().read(row, where), "steps": row["steps"]}

        def pair(self, record: Any) -> Any:
            return [*self.prompt(record), {"role": "assistant", "content": f"{record['steps']}: {record['answer']}"}]

    row = {"question": "Why?", "answer": "So."}
    assert Reasons().record({**row, "steps": "one, two 🙂"}, "line 1")["steps"] == "one, two 🙂"
    with pytest.raises(UserError, match=r"^line 5: the text holds '\\udc4d', half of a character"):
        Reasons().record({**row, "steps": "thumbs \udc4d"}, "line 5")
