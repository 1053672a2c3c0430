"""Every constraint type on answers that keep it and answers that break it, at the edges of what it says."""

from __future__ import annotations

from typing import Any

import pytest

from domino_lightning.domains.instructions.constraints import NAMES, RELATIONS, problem_of, unstated
from domino_lightning.domains.instructions.domain import CONSTRAINTS, keeps

HELLO = "Hello there, my friend."
CASES: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    (
        "keywords:existence",
        {"keywords": ["lamp", "C++ code"]},
        ["A LAMP and c++ code", "lampshade c++ coder"],
        ["lamp", ""],
    ),
    (
        "keywords:frequency",
        {"keyword": "ha", "frequency": 3, "relation": "at least"},
        ["Ha ha HA", "hahaha"],
        ["ha ha"],
    ),
    ("keywords:frequency", {"keyword": "ha", "frequency": 1, "relation": "less than"}, ["hm"], ["ha"]),
    (
        "keywords:forbidden_words",
        {"forbidden_words": ["rain", "c++"]},
        ["training is dry", "rainy"],
        ["The RAIN.", "a c++ b"],
    ),
    (
        "keywords:letter_frequency",
        {"letter": "E", "let_frequency": 2, "let_relation": "at least"},
        ["ee", "Ee"],
        ["e x"],
    ),
    ("keywords:letter_frequency", {"letter": "!", "let_frequency": 1, "let_relation": "less than"}, ["no"], ["no!"]),
    (
        "language:response_language",
        {"language": "fr"},
        ["Le chat est dans la maison et il ne dort pas."],
        ["The cat is in the house and it does not sleep.", "El gato no está en la casa.", "12345"],
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": "exactly"},
        ["One. Two!", "Dr. Who came, e.g. by box. Fine.", "1. It is.\n2. So it is."],
        ["One.", "One. Two. Three.", "One?! Two... Three"],
    ),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "less than"}, ["One."], ["One. Two."]),
    (
        "length_constraints:number_words",
        {"num_words": 3, "relation": "at least"},
        ["a b c", "it's so"],
        ["a b", "a – b"],
    ),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at most"}, ["a b c"], ["a b c d"]),
    (
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 2},
        ["a\n***\nb", "***a***b***"],
        ["a", "a***b***c", "a******b"],
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"},
        ["a\n\nThen, b", 'a\n\n"then" b', "a\n\nTHEN. b"],
        ["Then a\n\nb", "a\n\nThence b", "a\n\nthen\n\nc", "then", "a\n\n\n\nthen b"],
    ),
    (
        "detectable_content:number_placeholders",
        {"num_placeholders": 2},
        ["[a] [b c] [d]", "[a][b]"],
        ["[a] b]", "(a) (b)"],
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.S."},
        ["a\nP.S. b", "x p. s. y"],
        ["PS b", "a\nP.S b", "UP.S. b"],
    ),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, ["a\nP.P.S. b", "p. p. s b"], ["a\nP.S. b"]),
    ("detectable_content:postscript", {"postscript_marker": "PS:"}, ["a\nps: b"], ["a\nP.S. b"]),
    (
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        ["* a\n* b", "- a\n  - b", "x\n* a\n- b\ny"],
        ["* a", "**a**\n* b", "- a\n- b\n- c"],
    ),
    (
        "detectable_format:constrained_response",
        {},
        ["My answer is no.", " My answer is yes. Really"],
        ["my answer is no.", "No."],
    ),
    ("detectable_format:constrained_response", {"options": ["Up", "Down"]}, ["Up"], ["up"]),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        ["*a* b *c*", "**a** *b*"],
        ["*a*", "* * *a*", "**a**", "*a\nb* *c*"],
    ),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Part", "num_sections": 2},
        ["Part 1 a Part 2 b", "x\nPart1\nPart 2\nPart 3"],
        ["Part 1", "Part one Part two", "part 1 part 2"],
    ),
    (
        "detectable_format:json_format",
        {},
        ['{"a": 1}', "```json\n[1]\n```", "```\n{}\n```", "3"],
        ["{'a': 1}", 'Here: {"a": 1}', "```json\n{\n```"],
    ),
    ("detectable_format:title", {}, ["<<A>>\ntext", "a <<b c>> d"], ["<a>", "<<>>", "<< >>", "<<a\nb>>"]),
    (
        "combination:two_responses",
        {},
        ["a\n******\nb", "******a******b******"],
        ["a", "a******a", "a******b******c", "a****** ******b"],
    ),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, [" say it. It."], ["It. Say it."]),
    (
        "startend:end_checker",
        {"end_phrase": "The end."},
        ["a the end.", '"a The end."', "The end.\n"],
        ["The end. Or not.", "The end"],
    ),
    ("startend:quotation", {}, ['"a"', ' "a\nb" '], ['"', '"a', "'a'", 'He said "a"']),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        ["A B", "NASA's I", "WELL-KNOWN IT"],
        ["NASA", "Nasa IT's"],
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 1, "capital_relation": "at most"},
        ["A b", "b"],
        ["A B"],
    ),
    (
        "change_case:english_capital",
        {},
        ["THE CAT IS ON THE MAT.", "OK 3"],
        ["The cat", "DIE KATZE IST AUF DEM DACH UND SCHLÄFT", "123"],
    ),
    (
        "change_case:english_lowercase",
        {},
        ["the cat is on the mat.", "ok"],
        ["The cat", "le chat est dans la maison et il dort", "1"],
    ),
    ("punctuation:no_comma", {}, ["a; b"], ["a, b", "a，b", "a、b"]),
    ("count:word_count_range", {"min_words": 2, "max_words": 3}, ["a b", "a b c"], ["a", "a b c d"]),
    ("count:unique_word_count", {"N": 2}, ["a b a", "A, b."], ["a A a."]),
    ("count:conjunctions", {"small_n": 2}, ["a and b, but c", "So? Yet."], ["and and and", "andy orb"]),
    ("count:numbers", {"N": 2}, ["1,000.5 and 3", "42 7"], ["3", "1 2 3"]),
    (
        "count:punctuation",
        {},
        ["a. b, c! d? e; f: g?!", "?! a. b, c! d? e; f:"],
        ["a. b, c! d? e; f:", "a. b, c? e; f: g?!"],
    ),
    ("ratio:sentence_type", {}, ["Up. So. Why?", "Up! So!"], ["Up. So?", "Up."]),
    ("ratio:sentence_balance", {}, ["Up. So? Oh!"], ["Up. So?"]),
    ("words:alphabet", {}, ["Yes, zebras ask bees.", "x"], ["a c", "1 a", ""]),
    ("words:vowel", {}, ["a big banana is in it", "up"], ["education", "a\nb"]),
    ("words:consonants", {}, ["tree grass", "Strength"], ["tree area"]),
    (
        "words:palindrome",
        {},
        ["level radar civic kayak refer level radar civic kayak Refer!"],
        ["level radar civic", "noon " * 10],
    ),
    ("words:prime_lengths", {}, ["hi cat hello", "an, ox"], ["four", "a cat"]),
    ("format:parentheses", {}, ["(a [b {c (d [e])}])", "x) ((((()))))"], ["((((a))))", "([)]{{{", "((((("]),
    ("format:options", {"options": "yes/no/maybe"}, ["Yes.", "maybe"], ["yes and no", "perhaps"]),
    ("format:options", {"options": "a), b), c)"}, ["b)"], ["b", "B)"]),
    ("format:options", {"options": "I know or I don't know"}, ["I don't know."], ["I think"]),
    ("format:newline", {}, ["one\ntwo\n\nthree.", "one"], ["one two\nthree"]),
]


@pytest.mark.parametrize(
    ("name", "arguments", "kept", "broken"), CASES, ids=lambda each: each if isinstance(each, str) else ""
)
def test_answers_keep_or_break_it(name: str, arguments: dict[str, Any], kept: list[str], broken: list[str]) -> None:
    constraint = {"id": name, "arguments": arguments}
    assert problem_of(CONSTRAINTS[name], arguments) is None
    assert [text for text in kept if not keeps(constraint, text)] == []
    assert [text for text in broken if keeps(constraint, text)] == []


@pytest.mark.parametrize("name", sorted(CONSTRAINTS))
def test_no_type_is_kept_by_no_text_and_every_type_has_cases(name: str) -> None:
    (arguments, *_) = [arguments for found, arguments, _, _ in CASES if found == name]
    assert not keeps({"id": name, "arguments": arguments}, " \n ")


def test_there_are_ifevals_25_types_and_more() -> None:
    assert len(CONSTRAINTS) >= 40
    assert len({name for name in CONSTRAINTS if not name.startswith(("count:", "ratio:", "words:", "format:"))}) == 25


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("keywords:existence", {"keywords": "lamp"}, "argument 'keywords' must be a list of texts; it is 'lamp'"),
        ("keywords:existence", {"keywords": []}, "must be a list of texts"),
        ("keywords:existence", {}, "lacks the argument 'keywords'"),
        ("punctuation:no_comma", {"n": 1}, "takes no argument 'n'; those it takes: none"),
        ("length_constraints:number_words", {"num_words": -1}, "must be 0 or more; it is -1"),
        ("length_constraints:number_words", {"num_words": True}, "must be 0 or more; it is True"),
        ("length_constraints:number_words", {"num_words": 3, "relation": "about"}, "one of less than, at least"),
        ("keywords:letter_frequency", {"letter": "ab", "let_frequency": 1}, "must be one letter; it is 'ab'"),
        ("language:response_language", {"language": "xx"}, "must be one of ar, bg"),
    ],
)
def test_arguments_that_do_not_fit_are_named(name: str, arguments: dict[str, Any], problem: str) -> None:
    assert problem in str(problem_of(CONSTRAINTS[name], arguments))


@pytest.mark.parametrize(
    ("relation", "passing"), [("less than", {1}), ("at least", {2, 3}), ("at most", {1, 2}), ("exactly", {2})]
)
def test_relations_at_their_edges(relation: str, passing: set[int]) -> None:
    assert {found for found in (1, 2, 3) if RELATIONS[relation](found, 2)} == passing


@pytest.mark.parametrize(
    ("name", "arguments", "prompt", "missing"),
    [
        ("punctuation:no_comma", {}, "Use no commas.", None),
        ("punctuation:no_comma", {}, "Be brief.", "the constraint itself"),
        ("length_constraints:number_words", {"num_words": 40, "relation": "at most"}, "At most forty words.", None),
        ("length_constraints:number_words", {"num_words": 40, "relation": "at most"}, "Now 41 words.", "num_words 40"),
        ("keywords:existence", {"keywords": ["Lamp"]}, "Mention a lamp.", None),
        ("keywords:existence", {"keywords": ["lamp", "oil"]}, "Mention a lamp.", "keywords 'oil'"),
        ("language:response_language", {"language": "de"}, "Answer in German.", None),
        ("language:response_language", {"language": "de"}, "Answer in Dutch.", "language German"),
    ],
)  # fmt: skip
def test_a_prompt_must_state_what_is_asked(name: str, arguments: Any, prompt: str, missing: str | None) -> None:
    assert unstated(CONSTRAINTS[name], arguments, prompt) == missing


def test_every_language_has_a_name() -> None:
    assert len(NAMES) >= 30
