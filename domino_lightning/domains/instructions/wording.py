"""Words, sentences and paragraphs of an answer, by plain rules."""

from __future__ import annotations

import re
import string

# What a full stop after these ends is not a sentence; single letters (initials, "e.g.") are told by their length.
_SHORT = frozenset(
    ["mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "jr", "sr", "fig", "approx", "dept", "inc", "ltd", "co", "cf"]
)
_STOP = re.compile(r"""(?P<mark>[.!?…]+|[。！？]+)(?P<close>["'”’)\]*_]*)(?=\s|$|(?<=[。！？]))""")
_LIST_NUMBER = re.compile(r"^\s*\d+[.)]\s", re.MULTILINE)
_NO_MARKS = str.maketrans("", "", string.punctuation)


def words(text: str) -> list[str]:
    """Runs of letters, digits and underscores: "it's" is two."""
    return re.findall(r"\w+", text)


def tokens(text: str) -> list[str]:
    """Words with their inner hyphens: "well-known" is one, "it's" is two."""
    return re.findall(r"\w+(?:-\w+)*", text)


def bare_words(text: str) -> list[str]:
    """What white space separates, without any punctuation; what was punctuation alone is left out."""
    return text.translate(_NO_MARKS).split()


def sentences(text: str) -> list[str]:
    """Stretches that end with a full stop, question mark or exclamation mark, or with the text.

    A stop after a usual abbreviation, an initial or the number of a list item ends nothing; a line break ends nothing
    either, as in IFEval, whose own splitter (NLTK's Punkt) was trained and may count a few sentences otherwise.
    """
    text = _LIST_NUMBER.sub(" ", text)
    found, start = [], 0
    for match in _STOP.finditer(text):
        before = text[start : match.start()].split()
        last = before[-1].strip("(\"'").lower() if before else ""
        short = last in _SHORT or (len(last.rpartition(".")[2]) == 1 and last.rpartition(".")[2].isalpha())
        if match["mark"] == "." and short and text[match.end() :].strip() and last != "i":
            continue
        if stretch := text[start : match.end()].strip():
            found.append(stretch)
        start = match.end()
    if rest := text[start:].strip():
        found.append(rest)
    return [each for each in found if words(each)]


def first_word(text: str) -> str:
    """The first word in lower case, up to the punctuation in or after it."""
    head = text.split()[0].lstrip("'\"") if text.split() else ""
    return re.split(r"""[.,?!'"]""", head, maxsplit=1)[0].lower()
