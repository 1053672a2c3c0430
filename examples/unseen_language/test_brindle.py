"""Run with pytest in this directory: the interpreter by hand, the generator, the domain by the package's own check."""

import json
from pathlib import Path

import brindle
import pytest
from brindle import BrindleError, parse, run, show, without_names, write
from brindle_domain import Brindle
from generate import rows

from domino_lightning.domains import Unparsable
from domino_lightning.testing import check_domain

HERE = Path(__file__).parent
EXAMPLE = (brindle.__doc__ or "").split("\n\n")[2]
PROGRAMS = [json.loads(line) for line in (HERE / "programs.jsonl").read_text(encoding="utf-8").splitlines()]


def one(value: str, kind: str = "num", argument: str = "0") -> str:
    return f"fen f a:{kind}\ngiv {value}\nask f {argument}"


def test_the_program_of_the_docstring_by_hand() -> None:
    # sel: 3, then 4 > 3 so 3+4=7, 9 > 3 so 7+9=16, 2 > 3 not so 16-1=15
    assert run(parse(EXAMPLE)) == 15


@pytest.mark.parametrize(
    ("value", "given"),
    [
        ("zum 2 kip 5 1", 6), ("dro -3 4", -12), ("mol -7 3", 2), ("hig 2 lum 9 5", 5), ("tal [1 2 3]", 6),
        ("cou []", 0), ("siz 'abc'", 3), ("glu 'a' rev 'bc'", "acb"), ("big 'a b'", "A B"), ("rep 'ab' 2", "abab"),
        ("rep 'ab' -1", ""), ("apn [1] 2", [1, 2]), ("tur ord [3 1 2]", [3, 2, 1]), ("cut [1 2 3] 2", [1, 2]),
        ("cut [1 2] -1", []),
    ],
)  # fmt: skip
def test_operators_by_hand(value: str, given: object) -> None:
    assert run(parse(one(value))) == given


def test_choices_and_loops_by_hand() -> None:
    body = "mak s ''\nevr i a\nwen evn i\nchg s glu s 'e'\nels\nwen has [3] i\nchg s glu s 't'\nfin\nfin\nfin\ngiv s"
    assert run(parse(f"fen f a:row\n{body}\nask f [1 2 3 4]")) == "ete"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "syntax"), ("hello", "syntax"), (one("zum 1"), "name"), (one("b"), "name"), (one("zum 1 'a'"), "type"),
        (one("1 2"), "syntax"), (one("'open"), "syntax"), (one("a", "num", "'x'"), "type"), (one("a", "bit"), "type"),
        (one("gro 1 2"), "type"), ("fen f a:num\nmak a 1\ngiv a\nask f 1", "name"), (one("a") + " 7", "syntax"),
        ("fen f a:num\nchg a 'x'\ngiv a\nask f 1", "type"), ("fen f a:num\ngiv a\nask g 1", "name"),
        ("fen f a:num\nwen evn a\ngiv a\nfin\ngiv a\nask f 1", "syntax"),
        ("fen f a:num\ngiv 1\ngiv a\nask f 1", "syntax"),
        ("fen f a:num\nwen evn a\nmak b 1\nfin\ngiv b\nask f 1", "name"), (one("1" * 40), "limit"),
    ],
)  # fmt: skip
def test_what_is_no_program_says_why(text: str, reason: str) -> None:
    with pytest.raises(BrindleError) as caught:
        parse(text)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (one("mol 1 a"), "value"),
        (one("rep 'abcdef' 40"), "limit"),
        (one("dro dro 99999 99999 9"), "limit"),
        ("fen f a:row\nmak s 0\n" + "evr i a\nevr j a\nevr k a\nchg s zum s 1\nfin\nfin\nfin\ngiv s\n"
         "ask f [" + "1 " * 20 + "]", "limit"),
    ],
)  # fmt: skip
def test_every_program_ends(text: str, reason: str) -> None:
    with pytest.raises(BrindleError) as caught:
        run(parse(text))
    assert caught.value.reason == reason


def test_writing_and_reading_is_a_round_trip_and_names_do_not_make_a_program_new() -> None:
    program = parse(EXAMPLE)
    assert parse(write(program)) == program
    renamed = EXAMPLE.replace("sel", "other").replace("pim", "list").replace("tarry", "g")
    assert without_names(parse(renamed)) == without_names(program)
    assert without_names(parse(EXAMPLE.replace("kip", "zum"))) != without_names(program)


def test_the_programs_are_those_that_the_generator_writes() -> None:
    assert rows(12, 0) == PROGRAMS[:12]
    assert all(show(run(parse(row["program"]))) == row["gives"] for row in PROGRAMS)
    assert len({without_names(parse(row["program"])) for row in PROGRAMS}) == len(PROGRAMS)


def test_the_domain_is_sound() -> None:
    report = check_domain(Brindle(), PROGRAMS[:40])
    assert report.ok and not report.of("warning"), report


def test_samples_are_answered_by_running_them() -> None:
    domain = Brindle()
    good, bad = (domain.parsed(one(value)) for value in ("zum 2 2", "mol 1 a"))
    answered, failed = domain.answer([good, bad], 1)
    assert (answered.record["gives"], answered.reason) == ("4", None)
    assert (failed.reason, failed.detail) == ("value", "mol by 0")
    with pytest.raises(Unparsable):
        domain.parse("(" * 3000)
