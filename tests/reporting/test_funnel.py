"""The funnel's arithmetic."""

from __future__ import annotations

from typing import Any

import pytest

from domino_lightning.reporting import Funnel, read_funnel, read_trial
from tests.reporting.conftest import FakeStore


def funnel_of(store: FakeStore, **synthetic: Any) -> Funnel:
    stages = read_trial(store.synthetic_trial(**synthetic)).stages
    return read_funnel(stages["synthesize"], stages["curate"], stages["answer"])


def test_the_steps_form_one_chain_from_candidates_to_answers(store: FakeStore) -> None:
    funnel = funnel_of(store)
    assert [(step.stage, step.name, step.taken, step.rejected, step.out) for step in funnel.steps] == [
        ("synthesize", "screen", 60, 10, 50),
        ("curate", "parse", 50, 10, 40),
        ("curate", "near_duplicate", 40, 20, 20),
        ("answer", "answer", 20, 3, 17),
    ]
    assert funnel.steps[0].reasons == {"parse": 8, "duplicate": 2}
    assert funnel.candidates == 60
    assert funnel.warnings == []


@pytest.mark.parametrize(
    ("steps", "warning"),
    [
        ([{"filter": "a", "in": 50, "rejected": 29, "out": 20}], "curate/a: 50 in, 29 rejected, 20 out."),
        (
            [
                {"filter": "a", "in": 50, "rejected": 10, "out": 40},
                {"filter": "b", "in": 39, "rejected": 19, "out": 20},
            ],
            "curate/a lets 40 out, curate/b takes 39 in.",
        ),
        (
            [{"filter": "a", "in": 50, "rejected": 29, "out": 21}],
            "funnel.json counts 20 accepted, its last filter",
        ),
        (
            [{"filter": "a", "in": 51, "rejected": 31, "out": 20}],
            "funnel.json counts 50 candidates, its first filter",
        ),
        ([{"in": "50"}], "curate/? lets 0 out, answer/answer takes 20 in."),
    ],
)
def test_a_step_that_does_not_add_up_is_named(store: FakeStore, steps: list[dict[str, Any]], warning: str) -> None:
    assert any(text.startswith(warning) for text in funnel_of(store, steps=steps).warnings)


def test_the_codes_of_a_step_are_its_reasons_and_must_add_up(store: FakeStore) -> None:
    step = {"filter": "parse", "in": 50, "rejected": 30, "out": 20, "codes": {"syntax": 28, "no_call": 2}}
    funnel = funnel_of(store, steps=[step])
    assert funnel.steps[1].reasons == {"syntax": 28, "no_call": 2}
    assert funnel.warnings == []


def test_codes_that_do_not_add_up_are_named(store: FakeStore) -> None:
    step = {"filter": "parse", "in": 50, "rejected": 30, "out": 20, "codes": {"syntax": 28}}
    assert funnel_of(store, steps=[step]).warnings == ["curate/parse: its codes count 28 of 30 rejected."]


def test_a_file_with_other_than_the_counted_rows_is_named(store: FakeStore) -> None:
    path = store.synthetic_trial()
    file = path / "curate" / "accepted.jsonl"
    file.write_text("".join(file.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")
    stages = read_trial(path).stages
    warnings = read_funnel(stages["synthesize"], stages["curate"], stages["answer"]).warnings
    assert warnings == ["accepted.jsonl has 19 rows where 20 are counted."]


def test_a_curate_that_read_the_raw_rows_is_counted_from_them(store: FakeStore) -> None:
    path = store.synthetic_trial()
    steps = [{"filter": "parse", "in": 60, "rejected": 40, "out": 20}]
    store.stage("curate", "c" * 16, {"funnel.json": {"candidates": 60, "steps": steps, "accepted": 20}})
    stages = read_trial(path).stages
    funnel = read_funnel(stages["synthesize"], stages["curate"], stages["answer"])
    assert [step.name for step in funnel.steps] == ["parse", "answer"]
    assert funnel.screen is not None and (funnel.screen.taken, funnel.screen.out) == (60, 50)
    assert funnel.warnings == []

    store.stage("synthesize", "s" * 16, {"synthesis.json": {"candidates": 60, "screened_in": 50, "reasons": {"a": 9}}})
    again = read_funnel(stages["synthesize"], stages["curate"], stages["answer"])
    assert again.warnings == ["synthesize/screen: 60 in, 9 rejected, 50 out."]


def test_stages_that_were_not_run_add_no_step(store: FakeStore) -> None:
    stages = read_trial(store.none_trial()).stages
    funnel = read_funnel(stages["synthesize"], stages["curate"], stages["answer"])
    assert (funnel.steps, funnel.warnings, funnel.candidates) == ([], [], 0)
