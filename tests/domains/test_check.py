"""`check_domain` finds what a newcomer gets wrong, and passes what is right."""

from __future__ import annotations

from typing import Any

import pytest

from domino_lightning.domains import CodeExec, CodeGen, Domain, Unparsable
from domino_lightning.testing import check_domain

ROWS = [{"question": f"What is {n} plus {n + 1}?", "answer": f"It is {2 * n + 1}, I think."} for n in range(6)]


class Sound(Domain):
    """Questions with answers, as docs/write_a_domain.md has them."""

    def read(self, row: Any, where: str) -> Any:
        return {"question": row["question"], "answer": row["answer"]}

    def render(self, record: Any) -> str:
        return f"Q: {record['question']}\nA: {record['answer']}"

    def parse(self, text: str) -> Any:
        question, mark, answer = text.strip().removeprefix("Q: ").partition("\nA: ")
        if not mark or not answer.strip():
            raise Unparsable("form", "no question with an answer")
        return {"question": question.strip(), "answer": answer.strip()}

    def prompt(self, record: Any) -> Any:
        return [{"role": "user", "content": record["question"]}]


def test_a_sound_domain_has_nothing_to_be_told() -> None:
    report = check_domain(Sound(), ROWS)
    assert report.ok and not report.of("warning"), report
    assert "round trip: parse reads every text that render writes" in report.of("passed")


class Lossy(Sound):
    """Reads back another question."""

    def parse(self, text: str) -> Any:
        return super().parse(text.replace("plus", "minus"))


class Refusing(Sound):
    """Reads back nothing that it writes."""

    def parse(self, text: str) -> Any:
        raise Unparsable("form", "never")


class Fragile(Sound):
    """Stumbles over what is no record."""

    def parse(self, text: str) -> Any:
        question, answer = text.strip().removeprefix("Q: ").split("\nA: ")
        return {"question": question, "answer": answer}


class Generous(Sound):
    """Passes everything."""

    def grade(self, records: Any, completions: Any, workers: int) -> Any:
        for verdicts in super().grade(records, completions, workers):
            yield [verdict._replace(passed=True, status="passed") for verdict in verdicts]


class Severe(Sound):
    """Passes nothing."""

    def grade(self, records: Any, completions: Any, workers: int) -> Any:
        for verdicts in super().grade(records, completions, workers):
            yield [verdict._replace(passed=False, status="failed") for verdict in verdicts]


class Telling(Sound):
    """Has the answer in its prompt."""

    def prompt(self, record: Any) -> Any:
        return [{"role": "user", "content": self.render(record)}]


class Mute(Sound):
    """Ends its prompts with the assistant."""

    def prompt(self, record: Any) -> Any:
        return [{"role": "assistant", "content": record["question"]}]


class Blank(Sound):
    """Asks without a word."""

    def prompt(self, record: Any) -> Any:
        return [{"role": "user", "content": " "}]


class Deaf(Sound):
    """Asks nothing, and says that answers can be right."""

    def prompt(self, record: Any) -> Any:
        return []


class Alone(Sound):
    """Has pairs without an answer."""

    def pair(self, record: Any) -> Any:
        return list(self.prompt(record))


class Loud(Sound):
    """Measures in decibels."""

    def measures(self, record: Any, completion: str) -> Any:
        return {"loudness": [60.0]}


class Fickle(Sound):
    """Counts how often it is asked what must be new in a record."""

    asked = 0

    def copied_part(self, record: Any) -> str:
        self.asked += 1
        return f"{record['question']} {self.asked}"


@pytest.mark.parametrize(
    ("domain", "level", "told"),
    [
        (Lossy(), "failed", "the same canonical key: no, 6 have another: '1'"),
        (Refusing(), "failed", "no, 6 texts are refused: '1' (form: never)"),
        (Fragile(), "failed", "texts raise another error: '' (ValueError"),
        (Generous(), "failed", "nonsense, fails: no, 6 pass with it: '1'"),
        (Generous(), "failed", "an empty answer fails: no, 6 pass"),
        (Severe(), "failed", "own answer passes: no, 6 do not pass their own: '1'"),
        (Telling(), "warning", "do not give the answer away: no, 6 hold it: '1'"),
        (Mute(), "failed", "row 1: tests.domains.test_check.Mute breaks domino_lightning.domains.Domain: prompt must"),
        (Blank(), "failed", "prompts end with a question: no, 6 end with an empty message: '1'"),
        (Deaf(), "failed", "Deaf breaks domino_lightning.domains.Domain: prompt gave no message"),
        (Alone(), "failed", "row 1: tests.domains.test_check.Alone breaks domino_lightning.domains.Domain: pair must"),
        (Fickle(), "failed", "no, 6 records differ: tests.domains.test_check.Fickle breaks domino_lightning.domains."),
        (Loud(), "failed", "Measures of completions: it raised BrokenContract: tests.domains.test_check.Loud breaks"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Domain) else "",
)
def test_what_is_wrong_is_said(domain: Domain, level: Any, told: str) -> None:
    report = check_domain(domain, ROWS)
    assert any(told in text for text in report.of(level)), report
    assert report.ok is (level == "warning")


def test_rows_that_are_refused_are_counted() -> None:
    report = check_domain(Sound(), [*ROWS, {"question": "Why?"}])
    (warning,) = report.of("warning")
    assert warning.startswith("reading: 6 of 7 rows are records; the first that is not: row 7: Sound fails on the row")
    assert not check_domain(Sound(), [{"x": 1}]).ok
    assert not check_domain(Sound(), []).ok


def test_an_exception_in_a_check_is_a_finding() -> None:
    class Broken(Sound):
        def copied_part(self, record: Any) -> str:
            raise ZeroDivisionError("no")

    assert "Canonical keys and copies: it raised ZeroDivisionError: no" in check_domain(Broken(), ROWS).of("failed")


@pytest.mark.parametrize(("kind", "rows"), [(CodeExec, 8), (CodeGen, 2)])
def test_the_shipped_domains_pass(kind: type[Domain], rows: int) -> None:
    from domino_lightning.data.source import Source

    raw = [row for _, row in Source(kind.corpus).rows()[:rows]]
    report = check_domain(kind(), raw)
    assert report.ok, report
