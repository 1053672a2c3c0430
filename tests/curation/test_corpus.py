"""Measures of a corpus: against values by hand, and what must hold of any."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_lightning.curation import CorpusMeasure, Embedding, HashedNgrams
from domino_lightning.curation.corpus import look_at
from domino_lightning.curation.measures.base import Measured
from domino_lightning.curation.measures.wording import compression_ratio, distinct, self_bleu
from domino_lightning.curation.similarity import tokens
from domino_lightning.domains import CodeExec
from domino_lightning.errors import UserError

DOMAIN = CodeExec()
texts = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=8), min_size=1, max_size=5)


def records(count: int, start: int = 0) -> list[dict[str, Any]]:
    body = "total = {}\n    for x in a:\n        total = total * {} + x\n    return total"
    numbers = range(start, start + count)
    return [
        DOMAIN.read({"id": str(n), "code": f"def f(a):\n    {body.format(n, n + 2)}", "input": "[1]"}, "row")
        for n in numbers
    ]


def test_distinct_n_is_the_share_of_different_ngrams() -> None:
    assert distinct([["a", "b", "a"], ["b", "a"]], 1) == 2 / 5
    assert distinct([["a", "b", "a"], ["b", "a"]], 2) == 2 / 3  # ab, ba | ba
    assert math.isnan(distinct([["a"]], 2))


@given(texts, st.integers(1, 3))
def test_a_corpus_written_twice_is_half_as_distinct(corpus: list[list[str]], order: int) -> None:
    once = distinct(corpus, order)
    assert math.isnan(once) or distinct(corpus + corpus, order) == pytest.approx(once / 2)


def test_repetition_compresses() -> None:
    varied = [f"{n * 7919 % 1000} {n * 104729 % 997}" for n in range(200)]
    assert compression_ratio(["same words here"] * 200) > 5 * compression_ratio(varied)


def test_self_bleu_of_equal_texts_is_100_and_of_strangers_near_0() -> None:
    assert self_bleu([["a", "b", "c", "d", "e"]] * 3) == pytest.approx([100.0] * 3)
    assert max(self_bleu([["a", "b", "c", "d"], ["e", "f", "g", "h"]])) < 20
    assert self_bleu([["a"]]) == []


def test_copies_of_the_references_show_as_memorised_and_similar() -> None:
    references, heldout = records(4), records(4, 4)
    found = look_at(DOMAIN, references, references, heldout)["measures"]
    assert (found["memorised"]["value"], found["reference_similarity"]["value"]) == (1.0, 1.0)
    assert found["reference_similarity"]["floor_value"] < 1.0


def test_equally_many_functions_are_compared_one_row_of_each() -> None:
    several = [{**row, "id": f"{row['id']}-{n}", "input": f"[{n}]"} for row in records(5) for n in range(3)]
    found = look_at(DOMAIN, several, records(2), records(3, 5))
    assert (found["rows"], found["functions"], found["references"], found["compared"]) == (15, 5, 2, 3)
    assert set(found["measures"]["self_bleu"]) == {"value", "low", "high", "floor_value", "floor_low", "floor_high"}


def test_the_same_corpora_give_the_same_numbers_whatever_the_order() -> None:
    ours, references, heldout = records(6), records(3, 6), records(4, 9)
    assert look_at(DOMAIN, ours, references, heldout) == look_at(DOMAIN, ours[::-1], references, heldout[::-1])


@pytest.mark.parametrize(("ours", "heldout"), [(0, 3), (3, 0), (1, 1)])
def test_too_few_rows_leave_gaps_that_are_json(ours: int, heldout: int) -> None:
    found = look_at(DOMAIN, records(ours), records(2), records(heldout))
    assert "NaN" not in json.dumps(found)
    assert found["compared"] == min(ours, heldout)
    assert bool(found["measures"]) == (min(ours, heldout) > 0)


@pytest.mark.parametrize("name", ["length", "distinct_2", "compression_ratio", "self_bleu", "reference_similarity"])
def test_an_interval_holds_its_value(name: str) -> None:
    found = look_at(DOMAIN, records(12), records(4, 12), records(12, 16))["measures"][name]
    assert found["low"] <= found["value"] <= found["high"]
    assert found["floor_low"] <= found["floor_value"] <= found["floor_high"]


def test_longer_texts_do_not_count_as_less_distinct() -> None:
    short = [{**row, "code": row["code"].rpartition("\n    return")[0]} for row in records(6)]
    found = look_at(DOMAIN, records(6), records(2, 20), [{**row, "group": row["id"]} for row in short])["measures"]
    assert found["length"]["value"] > found["length"]["floor_value"]
    # Over as many tokens as the shorter corpus has, it repeats itself less than over all its own.
    assert found["distinct_1"]["value"] > distinct([tokens(row["code"]) for row in records(6)], 1)
    assert found["distinct_1"]["floor_value"] == pytest.approx(
        distinct([tokens(row["code"]) for row in short], 1), abs=1e-6
    )


VECTORS = ("vendi", "remote_clique", "chamfer", "novelsum", "precision", "recall", "density", "coverage", "novelty")


def test_measures_over_vectors_stand_beside_their_floor_at_equal_numbers() -> None:
    found = look_at(DOMAIN, records(9), records(6, 20), records(7, 30))
    assert (found["compared"], found["supporting"], found["embedding"]) == (7, 6, "HashedNgrams")
    for name in (*VECTORS, "support"):
        values = found["measures"][name]
        assert values["value"] is not None and values["floor_value"] is not None
        assert values["low"] <= values["value"] <= values["high"]


def test_a_corpus_that_repeats_itself_is_less_varied_than_its_floor() -> None:
    once = records(1)[0]
    ours = [{**once, "id": str(n), "group": str(n)} for n in range(8)]
    found = look_at(DOMAIN, ours, records(6, 20), records(8, 30))["measures"]
    assert found["vendi"]["value"] == pytest.approx(1.0)
    assert found["chamfer"]["value"] == found["remote_clique"]["value"] == 0.0
    assert all(found[name]["value"] < found[name]["floor_value"] for name in ("vendi", "chamfer", "novelsum"))


def test_copies_of_the_references_have_no_novelty_and_support_nothing_new() -> None:
    references = records(6)
    found = look_at(DOMAIN, references, references, records(7, 30))["measures"]
    assert (found["novelty"]["value"], found["precision"]["value"], found["coverage"]["value"]) == (0.0, 1.0, 1.0)
    assert found["support"]["value"] == 0.5
    # Held-out texts in place of the references are nearest to themselves.
    assert look_at(DOMAIN, records(7, 30), references, records(7, 30))["measures"]["support"]["value"] > 0.5


def test_a_corpus_is_seen_in_the_vectors_that_were_asked_for() -> None:
    class OneWord(HashedNgrams):
        pass

    found = look_at(DOMAIN, records(5), records(4, 9), records(5, 20), embedding=OneWord(orders=(1,), dimensions=2))
    assert found["embedding"] == "OneWord"
    assert found["measures"]["vendi"]["value"] == pytest.approx(1.0)  # all grams meet in one dimension


def test_the_map_has_a_row_for_each_text_and_how_close_it_is_to_a_reference() -> None:
    found = look_at(DOMAIN, records(9), records(6, 20), records(7, 30))
    groups = [row["group"] for row in found["map"]]
    assert {name: groups.count(name) for name in groups} == {"reference": 6, "heldout": 7, "synthetic": 7}
    assert {len(row["at"]) for row in found["map"]} == {len(found["explained"])} == {5}  # six references
    for group, name in (("synthetic", "value"), ("heldout", "floor_value")):
        near = [row["nearest"] for row in found["map"] if row["group"] == group]
        assert sum(near) / 7 == pytest.approx(found["measures"]["reference_similarity"][name], abs=1e-4)


def test_corpora_of_equal_references_lie_on_one_map_whatever_their_size() -> None:
    def real(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found = look_at(DOMAIN, rows, records(6, 20), records(7, 30))["map"]
        return [row for row in found if row["group"] != "synthetic"]

    assert real(records(9))[: 6 + 4] == real(records(4, 50))


class Gives(Embedding):
    """An embedding that gives what it is told to."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def embed(self, references: Any, *others: Any) -> Any:
        return self.make(HashedNgrams().embed(references, *others))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda found: None, "embed must return one array for each of 3 groups, and gave None"),
        (lambda found: found[:2], "one array for each of 3 groups"),
        (lambda found: [each.tolist() for each in found], "must return arrays of"),
        (lambda found: [each[:-1] for each in found], "must return an array of shape"),
        (lambda found: [each[:, : 9 - n] for n, each in enumerate(found)], "length 1|of shape"),
        (lambda found: [2 * each for each in found], "vectors of length 1, or of zeros, and one has length 2"),
        (lambda found: [each * np.nan for each in found], "one has length nan"),
    ],
)
def test_an_embedding_that_gives_no_such_vectors_is_told(make: Any, words: str) -> None:
    with pytest.raises(UserError, match=f"Gives breaks .*Embedding: .*({words})"):
        look_at(DOMAIN, records(3), records(3, 4), records(3, 8), embedding=Gives(make))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda count: None, "measure must return a dict by names"),
        (lambda count: {"a": 1.0}, r"\['a'\] is 1.0"),
        (lambda count: {"a": Measured(np.float32(1), 0.0, 1.0)}, r"\['a'\]\.value is .*write float"),
    ],
)
def test_a_measure_that_gives_no_values_is_told(make: Any, words: str) -> None:
    class Mine(CorpusMeasure):
        def measure(self, group: Any, references: Any, seed: int) -> Any:
            return make(len(group.texts))

    with pytest.raises(UserError, match=f"Mine breaks .*CorpusMeasure: .*{words}"):
        look_at(DOMAIN, records(3), records(3, 4), records(3, 8), further=[Mine()])
