"""What a domain makes of the texts of its own references is told before anything is sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from domino_lightning.data.source import Source
from domino_lightning.domains import CodeExec, CodeGen, Domain, FreeText, Instructions, Message, Unparsable
from domino_lightning.errors import UserError
from domino_lightning.synthesis.read_back import read_back
from domino_lightning.utils.jsonl import Record


class Rivers(Domain):
    """Rivers and the seas that they end in."""

    def read(self, row: Mapping[str, Any], where: str) -> Record:
        return dict(row)

    def render(self, record: Mapping[str, Any]) -> str:
        return f"{record['river']} -> {record['answer']}"

    def parse(self, text: str) -> Record:
        river, arrow, sea = text.partition(" -> ")
        if not arrow:
            raise Unparsable("arrow", "there is none")
        return {"river": river.strip(), "answer": sea.strip()}

    def prompt(self, record: Mapping[str, Any]) -> list[Message]:
        return [{"role": "user", "content": f"Where does the {record['river']} end?"}]


class Never(Rivers):
    """Looks for an arrow that it does not write."""

    def parse(self, text: str) -> Record:
        return super().parse(text.replace("->", "=>"))


class OneWord(Rivers):
    """Reads seas of one word alone."""

    def parse(self, text: str) -> Record:
        record = super().parse(text)
        if " " in record["answer"]:
            raise Unparsable("words", f"{record['answer']} has several")
        return record


class Shouts(Rivers):
    """Reads seas in capitals."""

    def parse(self, text: str) -> Record:
        return {**super().parse(text), "answer": text.partition(" -> ")[2].upper()}


class Dry(Rivers):
    """Reads rivers without their first letter."""

    def parse(self, text: str) -> Record:
        return super().parse(text[1:])


class Stumbles(Rivers):
    """Trips over what is no ASCII."""

    def parse(self, text: str) -> Record:
        text.encode("ascii")
        return super().parse(text)


class Asked(Shouts):
    """Its answers are a model's, whatever the text says."""

    needs_solutions = True


SEAS = {"Rhine": "North Sea", "Ebro": "Mediterranean", "Loire": "Biscay", "Vistula": "Baltic"}


def references(domain: Domain, rows: Sequence[Mapping[str, Any]] | None = None) -> list[Record]:
    rows = [{"river": river, "answer": sea} for river, sea in SEAS.items()] if rows is None else rows
    return [domain.record(row, f"rivers.jsonl, line {number}") for number, row in enumerate(rows, 1)]


def test_a_domain_that_reads_nothing_that_it_writes_is_refused() -> None:
    with pytest.raises(
        UserError,
        match=r"test_read_back\.Never\.parse reads none of the 4 references looked at, .* '1' \(arrow: there is none\)"
        r".*Mend render or parse; domino_lightning\.testing\.check_domain",
    ):
        read_back(Never(), references(Never()))


@pytest.mark.parametrize(
    ("domain", "told"),
    [
        (OneWord(), "4 references, 1 of which it refuses; the first: '1' (words: North Sea has several)"),
        (Shouts(), "4 of which it reads with another answer; the first: '1' ('NORTH SEA', and its answer is 'North"),
        (Dry(), "4 of which it reads as records of another canonical key; the first: '1' ('hine -> North Sea', and"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Domain) else "",
)
def test_what_a_domain_reads_otherwise_than_it_was_written_is_counted(domain: Domain, told: str) -> None:
    (note,) = read_back(domain, references(domain))
    assert f".{type(domain).__name__}.parse" in note and told in note


def test_a_parser_that_stumbles_over_a_later_text_breaks_its_contract() -> None:
    rows = [{"river": f"Brook {number}", "answer": "sea"} for number in range(20)]
    with pytest.raises(UserError, match="Stumbles breaks .* raised UnicodeEncodeError"):
        read_back(Stumbles(), references(Stumbles(), [*rows, {"river": "Èbre", "answer": "sea"}]))


@pytest.mark.parametrize("domain", [Rivers(), Asked()])
def test_nothing_is_said_where_the_round_trip_holds_or_a_model_answers(domain: Domain) -> None:
    assert [note for note in read_back(domain, references(domain)) if "answer" in note] == []
    assert read_back(Rivers(), references(Rivers())) == [] == read_back(Never(), [])


@pytest.mark.parametrize("kind", [CodeExec, CodeGen, Instructions])
def test_shipped_domains_read_their_own_corpora_back(kind: type[Domain]) -> None:
    domain = kind()
    rows = [row for _, row in Source(kind.corpus).rows()]
    assert read_back(domain, references(domain, rows)) == []


def test_texts_are_read_back_whatever_their_case_and_layout() -> None:
    rows = [{"text": "  The Rhine\n\n ends HERE. "}, {"text": "\tAnd so\r\ndoes the Maas.\n"}]
    assert read_back(FreeText(), references(FreeText(), rows)) == []
