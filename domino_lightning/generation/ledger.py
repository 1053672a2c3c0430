"""Answers that were paid for: kept one by one until a stage is done, so that none is paid for twice, and added up."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from threading import Lock
from typing import Any

from domino_lightning.utils.jsonl import Record, json_text, read_object, write_json

# The name is one of a block of rows, which tells the runner that an unfinished stage is worth keeping.
ANSWERS, TOTALS = "answers-00000.jsonl", "api.json"
NUMBERS = ("requests", "attempts", "prompt_tokens", "completion_tokens", "without_usage", "cost_usd")


class Ledger:
    """A file of answers, one JSON object a line, each written through to the disk when it comes.

    Args:
        folder: gives the directory of the file when it is first needed.
    """

    def __init__(self, folder: Callable[[], Path]) -> None:
        self.folder = folder
        self._answers: dict[str, Record] | None = None
        self._lock = Lock()

    def find(self, key: str) -> Record | None:
        """The answer that was kept under a key."""
        with self._lock:
            return self._read().get(key)

    def keep(self, key: str, answer: Mapping[str, Any]) -> None:
        """Put an answer down."""
        with self._lock:
            self._read()[key] = dict(answer)
            with open(self.folder() / ANSWERS, "a", encoding="utf-8") as file:
                file.write(f"\n{json_text({'key': key, **answer})}\n")  # a line that a kill tore stands alone
                file.flush()
                os.fsync(file.fileno())

    def totals(self) -> dict[str, float]:
        """Sums over all answers, those of earlier runs among them; no `cost_usd` where an answer has no price."""
        answers = list((self._answers or {}).values())
        priced = all(answer.get("cost_usd") is not None for answer in answers)
        names = [name for name in NUMBERS if name != "cost_usd" or priced]
        sums = {name: sum(answer.get(name) or 0 for answer in answers) for name in names}
        return {name: round(value, 6) for name, value in sums.items()} if answers else {}

    def close(self, directory: Path) -> None:
        """Leave the sums in the stage's directory, if anything was asked."""
        if sums := self.totals():
            write_json(directory / TOTALS, sums)

    def _read(self) -> dict[str, Record]:
        if self._answers is None:
            self._answers = {}
            path = self.folder() / ANSWERS
            for line in path.read_bytes().splitlines() if path.is_file() else ():
                try:
                    answer = json.loads(line)
                except ValueError:  # torn by a kill, or empty
                    continue
                self._answers[answer.pop("key")] = answer
        return self._answers


_current: ContextVar[Ledger | None] = ContextVar("ledger", default=None)


@contextmanager
def keeping(folder: Callable[[], Path]) -> Iterator[Ledger]:
    """Have models that are paid for put their answers down there, wherever a stage calls them."""
    ledger = Ledger(folder)
    token = _current.set(ledger)
    try:
        yield ledger
    finally:
        _current.reset(token)


def current_ledger() -> Ledger | None:
    """The ledger of the running stage; None outside of one, where every answer is asked for."""
    return _current.get()


def usage(stage: str, directory: Path) -> dict[str, float]:
    """What a finished stage asked of models that are paid for, as `<stage>/api/<name>`."""
    path = directory / TOTALS
    return {f"{stage}/api/{name}": value for name, value in read_object(path).items()} if path.is_file() else {}
