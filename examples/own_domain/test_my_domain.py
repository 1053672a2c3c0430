"""Run with pytest in this directory: the check by hand, then the domain by the package's own check."""

import json
from pathlib import Path

import pytest
from my_domain import Acrostics

from domino_lightning.domains import Unparsable
from domino_lightning.testing import check_domain

ROWS = [json.loads(line) for line in Path(__file__).with_name("acrostics.jsonl").read_text().splitlines()]
RECORD = {"word": "FOG", "about": "a harbour"}


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("Few boats leave\n\nOr none\ngulls wait", True),
        ("Few boats leave\nGulls wait", "the lines do not spell the word but FG"),
        ("Fog\nOver it\nGulls wait", "a line has fewer than two words"),
    ],
)
def test_answers_by_hand(answer: str, found: object) -> None:
    assert Acrostics().check(RECORD, answer) == found


@pytest.mark.parametrize("text", ["", "Word: fog\nAbout: x", "Word: FOG", "Word: FOG\nAbout: a\nb"])
def test_what_is_no_acrostic_is_refused(text: str) -> None:
    with pytest.raises(Unparsable):
        Acrostics().parse(text)


def test_the_domain_is_sound() -> None:
    report = check_domain(Acrostics(), ROWS)
    assert report.ok, report
