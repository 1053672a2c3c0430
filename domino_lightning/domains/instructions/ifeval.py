"""The 25 constraint types of IFEval (Zhou et al. 2023, arXiv 2311.07911), under its names and with its arguments.

The meaning is that of IFEval's own checkers, with these differences: keywords are texts and no regular expressions;
sentences are split by `wording.sentences`; languages are told by `language`, and a text that has none passes no
constraint on its language. Relations may also be "at most" and "exactly".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from domino_lightning.domains.instructions.constraints import RELATIONS, Constraint
from domino_lightning.domains.instructions.language import language as language_of
from domino_lightning.domains.instructions.wording import first_word, sentences, tokens, words

CHOICES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def _has_keywords(answer: str, keywords: Sequence[str]) -> bool:
    return all(keyword.casefold() in answer.casefold() for keyword in keywords)


def _keyword_count(answer: str, keyword: str, frequency: int, relation: str = "at least") -> bool:
    return RELATIONS[relation](answer.casefold().count(keyword.strip().casefold()), frequency)


def _lacks_words(answer: str, forbidden_words: Sequence[str]) -> bool:
    return not any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", answer, re.IGNORECASE) for word in forbidden_words)


def _letter_count(answer: str, letter: str, let_frequency: int, let_relation: str = "at least") -> bool:
    return RELATIONS[let_relation](answer.lower().count(letter.strip().lower()), let_frequency)


def _is_language(answer: str, language: str) -> bool:
    return language_of(answer) == language


def _sentence_count(answer: str, num_sentences: int, relation: str = "at least") -> bool:
    return RELATIONS[relation](len(sentences(answer)), num_sentences)


def _word_count(answer: str, num_words: int, relation: str = "at least") -> bool:
    return RELATIONS[relation](len(words(answer)), num_words)


def _paragraph_count(answer: str, num_paragraphs: int) -> bool:
    """Paragraphs that `***` separates; none may be empty but what precedes the first and follows the last."""
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", answer)]
    return all(parts[1:-1]) and len([part for part in parts if part]) == num_paragraphs


def _nth_paragraph(answer: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Paragraphs that a blank line separates."""
    parts = [part.strip() for part in answer.split("\n\n")]
    filled = [part for part in parts if part]
    if len(filled) != num_paragraphs or not 1 <= nth_paragraph <= len(filled):
        return False
    return _first_word(parts[nth_paragraph - 1]) == first_word.strip().lower()


_first_word = first_word  # an argument of IFEval's has the same name


def _placeholders(answer: str, num_placeholders: int) -> bool:
    return len(re.findall(r"\[.*?\]", answer)) >= num_placeholders


def _postscript(answer: str, postscript_marker: str) -> bool:
    """The marker anywhere, but not within a word; P.S. and P.P.S also with blanks in them."""
    marker = postscript_marker.strip()
    spaced = re.fullmatch(r"(?:P\.)+S\.?", marker, re.IGNORECASE)
    pattern = re.escape(marker).replace(r"\.", r"\.\s?").removesuffix(r"\s?") if spaced else re.escape(marker)
    return re.search(rf"(?<!\w){pattern}", answer, re.IGNORECASE) is not None


def _bullets(answer: str, num_bullets: int) -> bool:
    """Lines that begin with `*` (not `**`) or `-`."""
    return len(re.findall(r"^\s*(?:\*[^*].*|-.*)$", answer, re.MULTILINE)) == num_bullets


def _choice(answer: str, options: Sequence[str] = CHOICES) -> bool:
    return any(option in answer for option in options)


def _highlights(answer: str, num_highlights: int) -> bool:
    """Stretches in a line between `*` and `*`, or `**` and `**`."""
    found = re.findall(r"\*\*([^\n*]+)\*\*|\*([^\n*]+)\*", answer)
    return len([each for each in found if "".join(each).strip()]) >= num_highlights


def _sections(answer: str, section_spliter: str, num_sections: int) -> bool:
    return len(re.findall(rf"{re.escape(section_spliter.strip())}\s?\d+", answer)) >= num_sections


def _is_json(answer: str) -> bool:
    """JSON, perhaps in a fence."""
    fenced = re.fullmatch(r"```(?:json)?(.*?)(?:```)?", answer.strip(), re.DOTALL | re.IGNORECASE)
    try:
        json.loads(fenced[1] if fenced else answer)
    except (ValueError, RecursionError):
        return False
    return True


def _has_title(answer: str) -> bool:
    return any(found.strip("<> ") for found in re.findall(r"<<([^\n]+?)>>", answer))


def _two_responses(answer: str) -> bool:
    parts = [part.strip() for part in answer.split("******")]
    filled = [part for part in parts if part]
    return all(parts[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


def _repeats(answer: str, prompt_to_repeat: str) -> bool:
    return answer.strip().lower().startswith(prompt_to_repeat.strip().lower())


def _ends(answer: str, end_phrase: str) -> bool:
    return answer.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def _quoted(answer: str) -> bool:
    text = answer.strip()
    return len(text) > 1 and text.startswith('"') and text.endswith('"')


def _capital_words(answer: str, capital_frequency: int, capital_relation: str = "at least") -> bool:
    return RELATIONS[capital_relation](sum(word.isupper() for word in tokens(answer)), capital_frequency)


def _english(text: str) -> bool:
    return language_of(text) in ("en", None)  # a text too short to tell is let pass


def _capital(answer: str) -> bool:
    return answer.isupper() and _english(answer.lower())


def _lowercase(answer: str) -> bool:
    return answer.islower() and _english(answer)


def _no_comma(answer: str) -> bool:
    return not set(answer) & set(",，、،")


IFEVAL: Mapping[str, Constraint] = {
    "keywords:existence": Constraint(_has_keywords, {"keywords": "texts"}),
    "keywords:frequency": Constraint(
        _keyword_count,
        {"keyword": "text", "frequency": "count", "relation": "relation"},
        optional=frozenset(["relation"]),
    ),
    "keywords:forbidden_words": Constraint(
        _lacks_words,
        {"forbidden_words": "texts"},
        r"\b(?:not|never|without|avoid\w*|don'?t|no|nothing|neither|forbidden|ban\w*|leave out)\b",
    ),
    "keywords:letter_frequency": Constraint(
        _letter_count,
        {"letter": "letter", "let_frequency": "count", "let_relation": "relation"},
        r"\bletter|\bcharacter", frozenset(["let_relation"]),
    ),
    "language:response_language": Constraint(_is_language, {"language": "language"}),
    "length_constraints:number_sentences": Constraint(
        _sentence_count, {"num_sentences": "count", "relation": "relation"}, r"\bsentence", frozenset(["relation"])
    ),
    "length_constraints:number_words": Constraint(
        _word_count, {"num_words": "count", "relation": "relation"}, r"\bword", frozenset(["relation"])
    ),
    "length_constraints:number_paragraphs": Constraint(
        _paragraph_count, {"num_paragraphs": "count"}, r"\bparagraph|\*\*\*"
    ),
    "length_constraints:nth_paragraph_first_word": Constraint(
        _nth_paragraph, {"num_paragraphs": "count", "nth_paragraph": "count", "first_word": "text"}, r"\bparagraph"
    ),
    "detectable_content:number_placeholders": Constraint(
        _placeholders, {"num_placeholders": "count"}, r"\bplaceholder|bracket"
    ),
    "detectable_content:postscript": Constraint(
        _postscript, {"postscript_marker": "text"}, r"\bpostscript|p\.\s?s|p\.\s?p"
    ),
    "detectable_format:number_bullet_lists": Constraint(_bullets, {"num_bullets": "count"}, r"\bbullet|\*|\bpoints?\b"),
    "detectable_format:constrained_response": Constraint(
        _choice, {"options": "texts"}, r"\b(?:answer|option|choose|one of|reply)", frozenset(["options"])
    ),
    "detectable_format:number_highlighted_sections": Constraint(
        _highlights, {"num_highlights": "count"}, r"\bhighlight|\*"
    ),
    "detectable_format:multiple_sections": Constraint(
        _sections, {"section_spliter": "text", "num_sections": "count"}
    ),
    "detectable_format:json_format": Constraint(_is_json, hint=r"\bjson\b"),
    "detectable_format:title": Constraint(_has_title, hint=r"\btitle|<<|double angular"),
    "combination:two_responses": Constraint(_two_responses, hint=r"\*{6}|\basterisk"),
    "combination:repeat_prompt": Constraint(_repeats, {"prompt_to_repeat": "text"}, r"\brepeat|\bword for word"),
    "startend:end_checker": Constraint(_ends, {"end_phrase": "text"}, r"\b(?:end|finish|clos|last|conclud|final)"),
    "startend:quotation": Constraint(_quoted, hint=r"\bquot"),
    "change_case:capital_word_frequency": Constraint(
        _capital_words,
        {"capital_frequency": "count", "capital_relation": "relation"},
        r"\bcapital|\bupper", frozenset(["capital_relation"]),
    ),
    "change_case:english_capital": Constraint(_capital, hint=r"\bcapital|\bupper"),
    "change_case:english_lowercase": Constraint(_lowercase, hint=r"\blower\s?-?case|\bsmall letters|\bcapital"),
    "punctuation:no_comma": Constraint(_no_comma, hint=r"\bcomma"),
}  # fmt: skip
