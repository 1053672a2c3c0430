"""The numbers of one evaluation as rows of the page's tables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from domino_lightning.reporting.collect import Score, StageDir, read_optional, whole
from domino_lightning.utils.jsonl import Record

_PASS_AT = re.compile(r"pass@(\d+)(?:_low|_high)?")
_HELDOUT = "evaluate/heldout/"


class Row(NamedTuple):
    """One line of the table: all problems, or a part of them, at one k."""

    part: str
    k: int
    value: float
    low: float | None
    high: float | None
    problems: int | None


def score_rows(score: Score | None) -> list[Row]:
    """pass@k of all problems by k, then of every part."""
    if score is None:
        return []
    whole_test = {"pass@1": score.value, "pass@1_low": score.low, "pass@1_high": score.high, **score.others}
    rows = _rows("all problems", whole_test, score.problems)
    for name, numbers in score.parts.items():
        rows += _rows(name, numbers, whole(numbers.get("problems")))
    return rows


def _rows(part: str, numbers: Mapping[str, float | None], problems: int | None) -> list[Row]:
    found = {int(match[1]) for match in map(_PASS_AT.fullmatch, numbers) if match}
    return [
        Row(part, k, value, numbers.get(f"pass@{k}_low"), numbers.get(f"pass@{k}_high"), problems)
        for k in sorted(found)
        if (value := numbers.get(f"pass@{k}")) is not None
    ]


def other_numbers(score: Score | None, statuses: Sequence[str]) -> dict[str, float]:
    """What is neither pass@k nor a count of a status."""
    others = score.others if score else {}
    return {name: value for name, value in others.items() if not _PASS_AT.fullmatch(name) and name not in statuses}


def heldout_numbers(stage: StageDir) -> dict[str, float]:
    """Perplexity of held-out answers, and what it was taken over."""
    metrics = read_optional(stage, "metrics.json") or {}
    return {key.removeprefix(_HELDOUT): value for key, value in metrics.items() if key.startswith(_HELDOUT)}


def how_graded(config: Mapping[str, Any], verdicts: Sequence[Record]) -> list[tuple[str, str]]:
    """Settings that a score depends on, and the isolation under which the verdicts came about."""
    section = config.get("evaluate")
    section = section if isinstance(section, dict) else {}
    domain = section.get("domain")
    rules = (domain.get("init_args") or {}).get("compat") if isinstance(domain, dict) else None
    facts = [
        (name, str(section[name]))
        for name in ("samples", "temperature", "top_p", "max_new_tokens", "limit")
        if section.get(name) is not None
    ]
    graded = [one for row in verdicts for one in row.get("verdicts") or []]
    ran = [one for one in graded if one.get("tier") not in (None, "none")]
    if ran or rules or not graded:
        facts.append(("rules", "the project's own" if not rules else f"--compat {rules}"))
    for field in ("tier", "trust"):  # of what was executed; most domains compare answers, or check them
        seen = Counter(str(one.get(field)) for one in ran)
        facts.append((field, ", ".join(f"{name} {number}" for name, number in seen.most_common())))
    return [(name, value) for name, value in facts if value]
