"""Instructions: IFEval's and IFBench's rows, accuracy strict and loose, the split by constraint type, the corpus."""

from __future__ import annotations

from typing import Any

import pytest

from domino_lightning.data.sides import by_kind
from domino_lightning.data.source import Source, Split, split_records
from domino_lightning.domains import Instructions, Unparsable
from domino_lightning.domains.instructions.domain import CONSTRAINTS, loosened
from domino_lightning.errors import UserError
from domino_lightning.evaluation.measures import measure
from domino_lightning.testing import check_domain

IFEVAL = {
    "key": 1000,
    "prompt": "Write about a lamp. Use no commas and at least 3 words.",
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
    "kwargs": [{}, {"relation": "at least", "num_words": 3}],
}
IFBENCH = {
    "key": "7",
    "prompt": "Use 2 different conjunctions and a pronoun.",
    "instruction_id_list": ["count:conjunctions", "count:pronouns"],
    "kwargs": [{"small_n": 2.0, "N": None, "keyword": None}, {"N": 5, "small_n": None}],
}
DOMAIN = Instructions()


def rows() -> list[dict[str, Any]]:
    return [row for _, row in Source(Instructions.corpus).rows()]


def test_ifeval_rows_are_read_as_they_are() -> None:
    record = DOMAIN.record(IFEVAL, "ifeval.jsonl, line 1")
    assert (record["id"], record["kind"]) == ("1000", "instructions")
    assert record["constraints"][1] == {
        "id": "length_constraints:number_words",
        "arguments": {"relation": "at least", "num_words": 3},
    }
    assert record["text"] == (
        "Write about a lamp. Use no commas and at least 3 words.\n\nConstraints:\npunctuation:no_comma\n"
        'length_constraints:number_words {"num_words": 3, "relation": "at least"}'
    )
    assert DOMAIN.canonical(DOMAIN.parsed(record["text"])) == DOMAIN.canonical(record)


def test_constraints_in_two_places_are_not_chosen_between() -> None:
    both = {**IFEVAL, "constraints": [{"id": "punctuation:no_comma"}]}
    with pytest.raises(UserError, match=r"line 4: there are constraints in 'instruction_id_list' and in 'constraints'"):
        DOMAIN.record(both, "ifeval.jsonl, line 4")
    other = {"prompt": "No comma.", "constraints": both["constraints"], "instruction_id_list": None, "kwargs": None}
    assert [each["id"] for each in DOMAIN.record(other, "own.jsonl, line 1")["constraints"]] == ["punctuation:no_comma"]


def test_a_type_that_cannot_be_checked_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"line 1: constraint 'count:pronouns' is not known\. Did you mean"):
        DOMAIN.record(IFBENCH, "ifbench.jsonl, line 1")


def test_or_counted_by_name() -> None:
    domain = Instructions(unknown="count")
    record = domain.record(IFBENCH, "ifbench.jsonl, line 1")
    assert record["constraints"] == [{"id": "count:conjunctions", "arguments": {"small_n": 2}}]
    (remark,) = domain.remarks([record, record])
    assert remark == "2 constraints cannot be checked and are left out of all scores: count:pronouns (2)."
    only = {**IFBENCH, "instruction_id_list": ["count:pronouns"], "kwargs": [{}]}
    with pytest.raises(UserError, match="no constraints but count:pronouns, which cannot be checked"):
        domain.record(only, "line 2")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"prompt": " "}, "field 'prompt' must be a text"),
        ({"kwargs": [{}]}, "must be lists of the same length"),
        ({"kwargs": [{}, {"num_words": "3"}]}, "constraint 'length_constraints:number_words' argument 'num_words'"),
        ({"instruction_id_list": [], "kwargs": []}, "the row has no constraints"),
    ],
)
def test_bad_rows_are_named(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        DOMAIN.record({**IFEVAL, **change}, "line 3")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Write about a lamp.", "no_constraints"),
        ("\nConstraints:\npunctuation:no_comma", "no_constraints"),
        ("Use no commas.\n\nConstraints:\npunctuation:no_comas", "unknown_constraint"),
        ("Use no commas.\n\nConstraints:\npunctuation:no_comma {", "arguments"),
        ("Use no commas.\n\nConstraints:\npunctuation:no_comma [1]", "arguments"),
        ("Use 3 words.\n\nConstraints:\nlength_constraints:number_words", "arguments"),
        ("Use no commas.\n\nConstraints:\npunctuation:no_comma\npunctuation:no_comma", "repeated"),
        ("Be brief.\n\nConstraints:\npunctuation:no_comma", "unstated"),
    ],
)
def test_what_is_no_record_has_a_reason(text: str, reason: str) -> None:
    with pytest.raises(Unparsable) as caught:
        DOMAIN.parsed(text)
    assert caught.value.reason == reason


def test_stating_is_not_asked_for_where_it_is_switched_off() -> None:
    assert Instructions(stated=False).parsed("Be brief.\n\nConstraints:\npunctuation:no_comma")["prompt"] == "Be brief."


def test_a_verdict_names_what_is_broken() -> None:
    record = DOMAIN.record(IFEVAL, "line 1")
    ((right, wrong),) = DOMAIN.grade([record], [["A lamp shines.", "A, b"]], 1)
    assert right.passed
    assert wrong.detail == "breaks punctuation:no_comma, length_constraints:number_words"


def test_strict_and_loose_accuracy_at_both_levels() -> None:
    record = DOMAIN.record(IFEVAL, "line 1")
    found = DOMAIN.measures(record, "Sure, here it is:\nA lamp shines.")
    assert found["strict_prompt"] == [0.0] and found["loose_prompt"] == [1.0]
    assert found["strict_instruction"] == [0.0, 1.0] and found["loose_instruction"] == [1.0, 1.0]
    assert found["type/punctuation:no_comma"] == [0.0]


def test_the_loose_forms_are_ifevals_eight() -> None:
    assert loosened("a\n*b*\nc") == ["a\n*b*\nc", "*b*\nc", "a\n*b*", "*b*", "a\nb\nc", "b\nc", "a\nb", "b"]


def test_means_have_intervals_over_prompts() -> None:
    records = [{**DOMAIN.record(IFEVAL, "line 1"), "group": str(n)} for n in range(3)]
    found = measure(DOMAIN, records, [["A lamp shines."], ["a, b"], ["A lamp shines."]])
    assert found["strict_prompt"] == pytest.approx(2 / 3)
    assert found["strict_instruction"] == pytest.approx(4 / 6)
    assert found["strict_instruction_low"] < 4 / 6 < found["strict_instruction_high"]


def test_the_corpus_reads_back_and_is_sound() -> None:
    report = check_domain(DOMAIN, rows())
    assert report.ok, report
    none, weak = report.of("warning")
    assert none == "answers: no row has one, so neither pairs nor right answers were looked at"
    assert weak.startswith("grading: another record's answer, or nonsense, fails: no, 2 pass")  # such as no commas
    assert len(rows()) >= 120
    assert len({each["id"] for row in rows() for each in row["constraints"]}) == 25


def test_test_types_are_in_no_reference() -> None:
    domain = Instructions(test_types=["startend", "detectable_format:title"])
    records = [domain.record(row, "line 1") for row in rows()]
    sides = by_kind(records, domain.side)
    assert sides is not None and sides.outside > 0
    splits = split_records(records, Split(60, 20, None), 0, sides)
    tested = {each["id"] for record in splits["test"] for each in record["constraints"]}
    learned = {
        each["id"] for name in ("reference", "heldout") for record in splits[name] for each in record["constraints"]
    }
    assert tested == {name for name in CONSTRAINTS if name.startswith("startend") or name == "detectable_format:title"}
    assert not tested & learned


def test_a_test_type_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match=r"test_types: 'startends' is no constraint's id. Did you mean 'startend'"):
        Instructions(test_types=["startends"])


@pytest.mark.parametrize("value", [0, False, {}, "punctuation:no_comma", [1]])
def test_unchecked_constraints_are_a_list_of_names(value: Any) -> None:
    with pytest.raises(UserError, match="row 1: field 'unchecked' must be a list of strings"):
        Instructions().read({**IFEVAL, "unchecked": value}, "rows.jsonl, row 1")
