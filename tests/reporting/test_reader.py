"""Rows in their domain's terms, and as plain texts where the domain is not at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from domino_lightning.domains import CodeExec
from domino_lightning.reporting.reader import Reader, Untold, reader_of

CALL = {"id": "1", "code": "def f(x):\n    return x", "entry_point": "f", "input": "1", "output": "1", "text": "whole"}


def test_a_record_is_told_by_the_domain_of_the_experiment() -> None:
    reader = reader_of({"domain": {"class_path": "domino_lightning.domains.CodeExec", "init_args": {"example": False}}})
    assert (reader.subject(CALL), reader.question(CALL), reader.answer(CALL)) == (CALL["code"], "f(1)", "1")
    candidate = {"id": "2", "text": "no program"}
    assert (reader.subject(candidate), reader.question(candidate), reader.answer(candidate)) == ("no program", "", None)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"domain": "text"},
        {"domain": {"class_path": "not_at_hand.Domain"}},
        {"domain": {"class_path": "domino_lightning.domains.CodeExec", "init_args": {"no_such": 1}}},
        {"domain": {"class_path": "os.system", "init_args": {"command": "exit 1"}}},
    ],
    ids=str,
)
def test_without_its_domain_a_record_is_its_text(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.system", lambda **_: pytest.fail("a class path of a stored file was called"))
    reader = reader_of(config)
    assert (reader.subject(CALL), reader.question(CALL), reader.answer(CALL)) == ("whole", "", None)


class Stumbling(CodeExec):
    """A fork's domain that takes a field for granted."""

    def question(self, record: Mapping[str, Any]) -> str:
        return str(record["title"])


class Broken(CodeExec):
    def __init__(self) -> None:
        raise RuntimeError("no file here")


def test_what_a_domain_raises_on_a_record_is_counted_by_method() -> None:
    untold = Untold()
    reader = Reader(Stumbling(), untold)
    records = [{**CALL, "id": str(number), "kind": "codeexec"} for number in range(3)]
    for row in [*records, *records]:
        assert (reader.subject(row), reader.question(row)) == (CALL["code"], "")
    (said,) = untold.sentences
    assert said.startswith("Stumbling.question failed on 3 rows") and "(on '0': KeyError: 'title')" in said


def test_a_candidate_that_did_not_parse_is_no_failure_of_the_domain() -> None:
    untold = Untold()
    assert Reader(Stumbling(), untold).question({"id": "1", "text": "no program"}) == ""
    assert untold.sentences == []


@pytest.mark.parametrize(
    ("path", "why"),
    [("not_at_hand.Domain", "not_at_hand"), (f"{__name__}.Broken", "no file here"), ("os.system", "it is no Domain")],
)
def test_a_domain_that_is_not_at_hand_is_said(path: str, why: str) -> None:
    untold = Untold()
    assert reader_of({"domain": {"class_path": path}}, untold).domain is None
    (said,) = untold.sentences
    assert said.startswith(f"{path} is not at hand (") and why in said


def test_records_are_called_what_the_domain_calls_them() -> None:
    assert reader_of({"domain": {"class_path": "domino_lightning.domains.Instructions"}}).units == "prompts"
    assert Reader(None).units == "records"
