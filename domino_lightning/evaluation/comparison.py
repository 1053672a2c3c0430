"""Two coders on the same problems: a paired difference with its interval, and tests of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from domino_lightning.errors import UserError
from domino_lightning.evaluation.intervals import CONFIDENCE
from domino_lightning.evaluation.statistics import Estimate, exact_mcnemar, paired_difference, pass_at_k
from domino_lightning.utils.jsonl import read_jsonl


class Outcome(NamedTuple):
    """What a coder's samples of one problem came to."""

    correct: int
    total: int
    group: str


Outcomes = Mapping[str, Outcome]  # by problem id


class Comparison(NamedTuple):
    """The second coder against the first.

    Attributes:
        difference: mean pass@k of the second minus that of the first, with its interval.
        p_value: of a t test over groups of problems, which agrees with the interval.
        mcnemar: p of the exact McNemar test, which takes problems as independent.
        only_first: problems on which the first has the higher share of correct samples.
        only_second: and the second.
        problems: compared.
        groups: of the problems, over which interval and test generalize.
    """

    difference: Estimate
    p_value: float
    mcnemar: float
    only_first: int
    only_second: int
    problems: int
    groups: int


def read_outcomes(path: str | Path) -> dict[str, Outcome]:
    """Outcomes of an `evaluate` stage, from its verdicts.jsonl.

    Raises:
        UserError: a missing file, a bad line, or a problem that comes twice.
    """
    outcomes: dict[str, Outcome] = {}
    for row in read_jsonl(path, required=("id", "verdicts")):
        if row["id"] in outcomes:
            raise UserError(f"{path}: problem '{row['id']}' comes twice. Evaluate again.")
        outcomes[row["id"]] = outcome(row)
    return outcomes


def outcome(row: Mapping[str, Any]) -> Outcome:
    """Counts of one row of verdicts.jsonl; a problem without a group is one of its own."""
    passed = [bool(verdict["passed"]) for verdict in row["verdicts"]]
    return Outcome(sum(passed), len(passed), str(row.get("group", row["id"])))


def pooled(runs: Sequence[Outcomes]) -> dict[str, Outcome]:
    """The samples of several runs (the seeds of one arm, say) on the same problems, taken together.

    Raises:
        UserError: runs on different problems.
    """
    for run in runs[1:]:
        _same_problems(runs[0], run)
    return {
        name: Outcome(sum(run[name].correct for run in runs), sum(run[name].total for run in runs), first.group)
        for name, first in (runs[0].items() if runs else ())
    }


def compare(first: Outcomes, second: Outcomes, k: int = 1, confidence: float = CONFIDENCE) -> Comparison:
    """Compare two coders problem by problem.

    Difference, interval and test are over groups of problems: what they claim holds for new groups and these two
    coders. McNemar's test asks of every problem which coder did better on it, and leaves out ties. With one sample
    of each, that is the test as usually stated; with more, shares of correct samples are compared, and it is the
    sign test over problems.

    Raises:
        UserError: different problems, none, or one with fewer than k samples.
    """
    _same_problems(first, second)
    if not first:
        raise UserError("no problems to compare two coders on.")
    names = list(first)
    before, after = ([pass_at_k(run[name].total, run[name].correct, k) for name in names] for run in (first, second))
    groups = [first[name].group for name in names]
    difference, p_value = paired_difference(before, after, groups, confidence)
    only_first, only_second = leads(first, second)
    return Comparison(
        difference=difference,
        p_value=p_value,
        mcnemar=exact_mcnemar(only_first, only_second),
        only_first=only_first,
        only_second=only_second,
        problems=len(names),
        groups=len(set(groups)),
    )


def leads(first: Outcomes, second: Outcomes) -> tuple[int, int]:
    """On how many problems the first has the higher share of correct samples, and on how many the second."""
    # Cross-multiplied: shares of samples compared as whole numbers.
    found = [second[n].correct * first[n].total - first[n].correct * second[n].total for n in first]
    return sum(lead < 0 for lead in found), sum(lead > 0 for lead in found)


def _same_problems(first: Iterable[str], second: Iterable[str]) -> None:
    differing = sorted(set(first) ^ set(second))
    if differing:
        raise UserError(
            f"two coders were scored on different problems: {len(differing)} are only one's, such as "
            f"'{differing[0]}'. Evaluate both on the same test split and limit."
        )
