"""A domain says the same of a record whenever it is asked, and leaves it as it is."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from domino_lightning.domains import CodeExec, Domain, Unparsable
from domino_lightning.domains.repeats import check_repeats
from domino_lightning.errors import UserError
from domino_lightning.utils.contract import BrokenContract

ROW = {"word": "level", "answer": "yes", "seen": ["once"]}


class Words(Domain):
    """Whether words are palindromes."""

    def __init__(self) -> None:
        self.numbers = itertools.count()

    def read(self, row: Any, where: str) -> Any:
        return dict(row)

    def render(self, record: Any) -> str:
        return f"{record['word']}: {record['answer']}"

    def parse(self, text: str) -> Any:
        raise Unparsable("none", "none")

    def prompt(self, record: Any) -> Any:
        return [{"role": "user", "content": f"Is {record['word']} a palindrome?"}]


class Counted(Words):
    """Keys with a running number."""

    def canonical(self, record: Any) -> str:
        return f"{record['word']} {next(self.numbers)}"


class Chatty(Words):
    """Asks otherwise every time."""

    def prompt(self, record: Any) -> Any:
        return [{"role": "user", "content": f"{next(self.numbers)}: {record['word']}?"}]


class Numbered(Words):
    """Answers with a running number."""

    def pair(self, record: Any) -> Any:
        return [*self.prompt(record), {"role": "assistant", "content": f"{next(self.numbers)}"}]


@pytest.mark.parametrize(
    ("domain", "told"),
    [
        (Counted(), "canonical must give one result for one record, and for '3' gave 'level 1', then 'level 2'"),
        (Chatty(), "prompt must give one result for one record, and for '3' gave "),
        (Numbered(), "pair must give one result for one record, and for '3' gave "),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Domain) else "",
)
def test_a_method_that_gives_two_results_for_one_record_is_named(domain: Domain, told: str) -> None:
    record = domain.record(ROW, "words.jsonl, line 3")
    with pytest.raises(BrokenContract, match=f"{type(domain).__name__} breaks .*{told}"):
        check_repeats(domain, record)


def test_methods_beside_the_usual_ones_are_asked_where_that_is_wanted() -> None:
    class Ordered(Words):
        def subject(self, record: Any) -> str:
            return str(next(self.numbers))

    record = Ordered().record(ROW, "words.jsonl, line 3")
    check_repeats(Ordered(), record)
    with pytest.raises(BrokenContract, match="subject must give one result"):
        check_repeats(Ordered(), record, ("subject",))


@pytest.mark.parametrize("method", ["render", "canonical", "prompt", "answer_text", "pair"])
def test_a_method_that_changes_the_record_it_is_given_is_named_with_the_line(method: str) -> None:
    def changes(self: Any, record: Any) -> Any:
        record["seen"].append(method)
        return getattr(Words, method)(self, record)

    kind = type("Marks", (Words,), {method: changes, "__module__": __name__})
    told = rf"words\.jsonl, line 3: .*Marks breaks .* {method} changed record\['seen'\]"
    with pytest.raises(UserError, match=told):
        kind().record(ROW | {"seen": []}, "words.jsonl, line 3")


def test_domains_that_keep_to_it_pass() -> None:
    check_repeats(Words(), Words().record(ROW, "words.jsonl, line 3"))
    row = {"code": "def f(x):\n    return x", "input": "'a'"}
    check_repeats(CodeExec(), CodeExec().record(row, "calls.jsonl, line 1"))
    check_repeats(CodeExec(), CodeExec().record(row | {"output": "'a'"}, "calls.jsonl, line 1"))
