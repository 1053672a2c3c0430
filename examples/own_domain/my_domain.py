"""A domain that lives outside the package: acrostics, which a few lines can check."""

import re

from domino_lightning.domains import Unparsable, VerifiableDomain

FORM = re.compile(r"Word: ([A-Z]{3,10})\nAbout: (\S.*)")


class Acrostics(VerifiableDomain):
    """Lines about something, whose first letters spell a word.

    A record needs no answer: `answer` asks a language model, and keeps what passes `check`.
    """

    unit = "acrostic"
    corpus = ""  # a data source for --smoke, where the experiment's own data is not at hand

    def read(self, row, where):
        return {"word": row["word"].upper(), "about": row["about"].strip()}

    def render(self, record):
        return f"Word: {record['word']}\nAbout: {record['about']}"

    def parse(self, text):
        found = FORM.fullmatch(text.strip())
        if found is None:
            raise Unparsable("form", "no 'Word: ...' in capitals with an 'About: ...' below it")
        return {"word": found[1], "about": found[2].strip()}

    def prompt(self, record):
        asked = f"Write {len(record['word'])} lines about {record['about']}. Their first letters, from top to bottom, "
        return [{"role": "user", "content": f"{asked}spell {record['word']}. Write nothing else."}]

    def check(self, record, answer):
        lines = [line.strip() for line in answer.splitlines() if line.strip()]
        spelled = "".join(line[0].upper() for line in lines)
        if spelled != record["word"]:
            return f"the lines do not spell the word but {spelled[:12] or 'nothing'}"
        if any(len(line.split()) < 2 for line in lines):
            return "a line has fewer than two words"
        return True
