"""Rows in their domain's terms, and as plain texts where the domain is not at hand."""

from __future__ import annotations

from typing import Any

import pytest

from domino_lightning.reporting.reader import reader_of

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
