"""Constraint types of IFBench (Pyatkin et al. 2025, arXiv 2507.02833) that take neither data nor a parser of English.

The meaning is that of IFBench's own checkers. The others of its 58 types need lists of names, syllables, parts of
speech or emoji; `Instructions(unknown="count")` scores the rest of a prompt and says how many it leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from domino_lightning.domains.instructions.constraints import Constraint
from domino_lightning.domains.instructions.wording import bare_words, sentences, words

_ALPHABET = "abcdefghijklmnopqrstuvwxyz"
_CONJUNCTIONS = frozenset(["and", "but", "for", "nor", "or", "so", "yet"])
_MARKS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ "
_OPENING = {")": "(", "]": "[", "}": "{"}
_DEPTH, _PALINDROMES = 5, (10, 5)  # how many, of how many letters at least


def _word_range(answer: str, min_words: int, max_words: int) -> bool:
    return min_words <= len(words(answer)) <= max_words


def _unique_words(answer: str, N: int) -> bool:
    return len({word.strip(_MARKS) for word in answer.lower().split()}) >= N


def _conjunctions(answer: str, small_n: int) -> bool:
    """Different ones of the seven coordinating conjunctions."""
    return len({word.strip(_MARKS) for word in answer.lower().split()} & _CONJUNCTIONS) >= small_n


def _numbers(answer: str, N: int) -> bool:
    """Runs of digits once punctuation is gone, so that 1,000.5 is one."""
    return len(re.findall(r"\d+", " ".join(bare_words(answer)))) == N


def _all_marks(answer: str) -> bool:
    """The interrobang, and beside it each of `. , ! ? ; :`."""
    if not re.search(r"\?!|!\?|‽", answer):
        return False
    return set(".,!?;:") <= set(re.sub(r"\?!|!\?", "", answer, count=1))


def _ends_with(answer: str, mark: str) -> int:
    return sum(sentence.endswith(mark) for sentence in sentences(answer))


def _two_to_one(answer: str) -> bool:
    return _ends_with(answer, ".") == 2 * _ends_with(answer, "?")


def _balanced(answer: str) -> bool:
    return _ends_with(answer, ".") == _ends_with(answer, "?") == _ends_with(answer, "!")


def _alphabet(answer: str) -> bool:
    """Each word begins with the letter after that of the word before, and a follows z."""
    first = [word[0].lower() for word in bare_words(answer)]
    if not first or first[0] not in _ALPHABET:
        return False
    start = _ALPHABET.index(first[0])
    return all(letter == _ALPHABET[(start + place) % 26] for place, letter in enumerate(first))


def _three_vowels(answer: str) -> bool:
    """One paragraph with at most three of the five vowels."""
    return "\n" not in answer.strip() and len(set(answer.lower()) & set("aeiou")) <= 3


def _clusters(answer: str) -> bool:
    """Every word has two consonants in a row."""
    return all(re.search("[bcdfghjklmnpqrstvwxyz]{2}", word) for word in answer.lower().split())


def _palindromes(answer: str) -> bool:
    count, length = _PALINDROMES
    return sum(len(word) >= length and word == word[::-1] for word in bare_words(answer.lower())) >= count


def _prime_lengths(answer: str) -> bool:
    lengths = {len(word) for word in bare_words(answer)}
    return all(length > 1 and all(length % divisor for divisor in range(2, length)) for length in lengths)


def _nested(answer: str) -> bool:
    """Brackets of any kind in each other, five deep, of which the innermost is closed."""
    open_ones: list[str] = []
    deepest = 0
    for character in answer:
        if character in "([{":
            open_ones.append(character)
            deepest = max(deepest, len(open_ones))
        elif character in _OPENING:
            if not open_ones or open_ones.pop() != _OPENING[character]:
                open_ones, deepest = [], 0
            elif deepest >= _DEPTH:
                return True
    return False


def _options(answer: str, options: str) -> bool:
    """Exactly one of the options, which `/`, "or" or a comma separates; layout counts only for a), b), c)."""
    separator = "/" if "/" in options else r"\bor\b" if re.search(r"\bor\b", options) else ","
    listed = [option.strip() for option in re.split(separator, options)]
    if re.match(r"\W*[aA]\W*[bB]\W*[cC]\W*", options):
        return answer in listed
    return answer.strip(_MARKS).lower() in [option.strip(_MARKS).lower() for option in listed]


def _a_line_each(answer: str) -> bool:
    lines: Sequence[str] = [line for line in answer.split("\n") if bare_words(line)]
    return len(lines) == len(bare_words(answer))


IFBENCH: Mapping[str, Constraint] = {
    "count:word_count_range": Constraint(_word_range, {"min_words": "count", "max_words": "count"}, r"\bword"),
    "count:unique_word_count": Constraint(_unique_words, {"N": "count"}, r"\b(?:unique|different|distinct)\b"),
    "count:conjunctions": Constraint(_conjunctions, {"small_n": "count"}, r"\bconjunction"),
    "count:numbers": Constraint(_numbers, {"N": "count"}, r"\bnumber"),
    "count:punctuation": Constraint(_all_marks, hint=r"\bpunctuation"),
    "ratio:sentence_type": Constraint(_two_to_one, hint=r"\bratio|\bquestion|\binterrogative"),
    "ratio:sentence_balance": Constraint(_balanced, hint=r"\bbalance|\bratio|\bequal|\bas many"),
    "words:alphabet": Constraint(_alphabet, hint=r"\balphabet"),
    "words:vowel": Constraint(_three_vowels, hint=r"\bvowel"),
    "words:consonants": Constraint(_clusters, hint=r"\bconsonant"),
    "words:palindrome": Constraint(_palindromes, hint=r"\bpalindrome"),
    "words:prime_lengths": Constraint(_prime_lengths, hint=r"\bprime"),
    "format:parentheses": Constraint(_nested, hint=r"\bparenthes|\bbracket|\bnest"),
    "format:options": Constraint(_options, {"options": "text"}, r"\b(?:answer|option|choose|one of|reply)"),
    "format:newline": Constraint(_a_line_each, hint=r"\bline"),
}
