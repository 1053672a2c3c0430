"""Brindle programs as a domain: samples are read by the parser, and answered by running them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from brindle import BrindleError, parse, run, show, without_names, write

from domino_lightning.domains import Agreement, Answered, Domain, Message, Unparsable, Verdict
from domino_lightning.errors import UserError

ASK = "This program is written in Brindle. Say what its call gives, and nothing else."


class Brindle(Domain):
    """A program and what its call gives.

    The interpreter has no input, no output and a step limit, so that samples run here, without a sandbox.
    """

    answer_field = "gives"
    answered_by = "the interpreter"
    unit = "program"
    tags = ("unseen-language",)

    def read(self, row: Mapping[str, Any], where: str) -> dict[str, Any]:
        """A row with a `program`; what it gives is worked out, and compared with `gives` where the row says it."""
        try:
            record = self.parse(row["program"])
        except Unparsable as error:
            raise UserError(f"{where}: field 'program' is no Brindle ({error.reason}: {error}).") from None
        gives = self._run(record)[0]
        if row.get("gives") not in (None, gives):
            raise UserError(f"{where}: field 'gives' is {row['gives']!r}, but running the program gives {gives!r}.")
        return {**{key: value for key, value in row.items() if key == "id"}, **record, "gives": gives}

    def render(self, record: Mapping[str, Any]) -> str:
        """The program."""
        return str(record["program"])

    def parse(self, text: str) -> dict[str, Any]:
        """The program in its one layout."""
        try:
            program = parse(text)
        except BrindleError as error:
            raise Unparsable(error.reason, str(error)) from None
        except RecursionError:
            raise Unparsable("limit", "too deep") from None
        return {"program": write(program)}

    def copied_part(self, record: Mapping[str, Any]) -> str:
        """The function without its names and without the call."""
        return without_names(parse(record["program"]))

    def prompt(self, record: Mapping[str, Any]) -> list[Message]:
        """The program, under a line that asks what it gives."""
        return [{"role": "user", "content": f"{ASK}\n\n{record['program']}"}]

    def answer(
        self,
        records: Sequence[dict[str, Any]],
        workers: int,
        solutions: Sequence[Sequence[str]] = (),
        agreement: Agreement | None = None,
    ) -> Iterator[Answered]:
        """Run each program; one that exceeds a limit has no answer."""
        for record in records:
            gives, error = self._run(record)
            if error is None:
                yield Answered({**record, "gives": gives})
            else:
                yield Answered(record, error.reason, str(error))

    def grade(self, records: Any, completions: Any, workers: int) -> Iterator[list[Verdict]]:
        """The first line counts, blanks in it do not."""
        firsts = ([(text.strip().splitlines() or [""])[0] for text in texts] for texts in completions)
        yield from super().grade(records, firsts, workers)

    def _run(self, record: Mapping[str, Any]) -> tuple[str | None, BrindleError | None]:
        try:
            return show(run(parse(record["program"]))), None
        except BrindleError as error:
            return None, error
