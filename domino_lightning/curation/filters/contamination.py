"""Decontamination: no candidate may carry what is tested, from the project's own splits or named benchmarks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from domino_lightning.curation.filters.base import Candidate, Context, Filter
from domino_lightning.curation.similarity import Gram, ngrams, tokens
from domino_lightning.data.source import Source
from domino_lightning.domains.base import Unparsable
from domino_lightning.domains.python.source import parse_python, same_names, stated_names, unparse
from domino_lightning.errors import UserError
from domino_lightning.store.contents import data_hash
from domino_lightning.utils.jsonl import Record

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


class Contaminated(Filter):
    """Rejects a record that has in common with a test item an n-gram, a function up to names, or a telling name.

    Items are the records of the named splits and the rows of the benchmarks. A benchmark's rows are read as they
    are, whatever their format: every text in them gives n-grams, every text that is a Python program gives
    its functions, and functions and entry points give names. A name is telling if it has two words or more
    (`has_close_elements`, `twoSum`; not `f` or `solve`).

    Args:
        splits: of the prepared data; `heldout` is not among the defaults since no score rests on it.
        benchmarks: further data sources.
        ngram: tokens of an n-gram; docs/curation.md says how often unrelated records share one.
        names: whether a telling name in common with a benchmark rejects. Names of the project's own splits
            do not count, since they belong to the domain.
    """

    reason = "contaminated"
    coded = True

    def __init__(
        self,
        splits: Sequence[str] = ("test",),
        benchmarks: Sequence[Source] = (),
        ngram: int = 20,
        names: bool = True,
    ) -> None:
        unknown = set(splits) - {"heldout", "test"}
        if unknown or ngram < 1:
            raise UserError(
                f"Contaminated: splits {list(splits)} may hold heldout and test, ngram {ngram} must be 1 or more."
            )
        self.splits, self.benchmarks, self.ngram, self.names = splits, benchmarks, ngram, names

    @classmethod
    def contents(cls, init_args: Mapping[str, Any]) -> dict[str, Any]:
        """The benchmarks' bytes."""
        found = {}
        listed = init_args.get("benchmarks")
        for number, source in enumerate(listed if isinstance(listed, list) else []):
            path = source.get("path") if isinstance(source, dict) else None
            if isinstance(path, str) and path:  # validation says what is wrong with anything else
                found[f"benchmarks.{number}.path"] = data_hash(path, f"Contaminated.benchmarks.{number}.path")
        return found

    def open(self, context: Context) -> None:
        """Index every item.

        Raises:
            UserError: a benchmark that cannot be read.
        """
        self.grams: dict[Gram, str] = {}
        self.functions: dict[str, str] = {}
        self.telling: dict[str, str] = {}
        for split in self.splits:
            self._index(((f"{split} item {row['id']}", row) for row in context.others.get(split, ())), names=False)
        for number, source in enumerate(self.benchmarks):
            rows = source.rows(key=f"Contaminated.benchmarks.{number}.path")
            self._index(rows, names=self.names)

    def _index(self, items: Iterable[tuple[str, Record]], names: bool) -> None:
        for where, row in items:
            for text in _texts(row):
                for gram in ngrams(tokens(text), self.ngram):
                    self.grams.setdefault(gram, where)
                for name, key in _functions(text):
                    if key:
                        self.functions.setdefault(key, where)
                    if names and _telling(name):
                        self.telling.setdefault(name, where)
            for name in stated_names(row):
                if names and _telling(name):
                    self.telling.setdefault(name, where)

    def reject(self, candidate: Candidate) -> str | None:
        """By functions, then names, then n-grams."""
        record = candidate.record
        texts = list(_texts(record))
        found = [pair for text in texts for pair in _functions(text)]
        for name, key in found:
            if key in self.functions:
                return f"function: '{name}' is that of {self.functions[key]}"
        for name in [*(name for name, _ in found), *stated_names(record)]:
            if name in self.telling:
                return f"name: '{name}' is also in {self.telling[name]}"
        for text in texts:
            for gram in ngrams(tokens(text), self.ngram):
                if gram in self.grams:
                    return f"ngram: {self.ngram} tokens in common with {self.grams[gram]}: {' '.join(gram)}"
        return None


def _texts(value: Any) -> Iterator[str]:
    """Every text in a row, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _functions(text: str) -> Iterator[tuple[str, str]]:
    """(name, normal form) of every function that a program defines; the form is empty for one without a body."""
    if "def " not in text:
        return
    try:
        nodes = [node for node in ast.walk(parse_python(text)) if isinstance(node, ast.FunctionDef)]
    except Unparsable:
        return
    for node in nodes:
        try:
            yield node.name, "" if _is_stub(node) else same_names(unparse(node))
        except Unparsable:
            continue


def _is_stub(node: ast.FunctionDef) -> bool:
    """Whether the body is nothing but a docstring, `pass` or `...`."""
    constants = (each.value for each in node.body if isinstance(each, ast.Expr))
    expressions = sum(isinstance(value, ast.Constant) for value in constants)
    return expressions + sum(isinstance(each, ast.Pass) for each in node.body) == len(node.body)


def _telling(name: str) -> bool:
    return len(_WORDS.findall(name)) > 1
