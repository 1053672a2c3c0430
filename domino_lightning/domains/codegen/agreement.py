"""Answers to synthetic code-generation problems: sampled solutions, kept where they agree by execution.

A synthetic problem has no solution to check against, and the outputs that its tests state were made up by the
model that wrote it. So several solutions are run on the stated inputs and on variations of them; where enough of
them give the same outputs, one of those is the answer (self-consistency by execution, as in AlphaCode and CodeT).
Agreement is evidence, not proof: samples of one model can share a mistake.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from domino_lightning.domains.base import Agreement, Answered
from domino_lightning.domains.codegen import case_runner
from domino_lightning.domains.codegen.grading import grade_completion
from domino_lightning.domains.codegen.inputs import (
    Arguments,
    stated_arguments,
    stated_stdin,
    varied_arguments,
    varied_stdin,
)
from domino_lightning.domains.python.extraction import find_program, insert_before
from domino_lightning.execution.beside import beside
from domino_lightning.execution.calls import Call, Limits, run_calls, run_program
from domino_lightning.execution.literals import NotALiteral, parse_literal
from domino_lightning.utils.jsonl import Record

CallOutcome = tuple[str, Any]  # ("value", what it returned), or another word and the name of an exception or type
CallOutcomes = list[CallOutcome]

_PRELUDE = beside(case_runner, "_domino_runner")


def answer_by_agreement(record: Record, completions: Sequence[str], rule: Agreement, workers: int) -> Answered:
    """The record with the solution that most others agree with, or why it has none.

    Reasons: `no_program` (fewer than two completions hold a program), `no_inputs` (the tests state no input on
    which most solutions return), `disagree`, `no_value` (they agree on returning nothing), `contradicts_tests`
    (they agree, but not with what the problem's own tests state).
    """
    programs = [find_program(text, record.get("starter_code") or "", record.get("entry_point")) for text in completions]
    found = list(dict.fromkeys(program for program in programs if program is not None))
    if sum(program is not None for program in programs) < 2:
        return Answered(record, "no_program", f"{len(found)} of {len(completions)} completions hold a program")
    outcomes = dict(zip(found, _run(found, record, rule, workers), strict=True))
    table = [(program, outcomes[program]) for program in programs if program is not None]
    chosen = _telling(list(outcomes.values()))
    if not chosen:
        return Answered(record, "no_inputs", "no input on which most solutions return a plain value")
    agreeing = _largest_class(table, chosen)
    facts = {
        "agreeing": len(agreeing),
        "samples": len(completions),
        "rate": round(len(agreeing) / len(completions), 4),
        "inputs": len(chosen),
    }
    record = {**record, "agreement": facts}
    told = f"at most {len(agreeing)} of {len(completions)} solutions agree on {len(chosen)} inputs"
    if len(agreeing) < max(2, math.ceil(rule.min_share * len(completions))):
        return Answered(record, "disagree", told)
    solution = min(agreeing, key=len)
    values = [(outcomes[solution] or [])[place] for place in chosen]
    if all(outcome == ("value", None) or outcome == ("value", "") for outcome in values):
        return Answered(record, "no_value", f"{len(agreeing)} solutions agree on returning nothing")
    verdict = grade_completion(record, f"```python\n{solution}\n```") if rule.own_tests else None
    if verdict is not None and not verdict.passed:
        return Answered(record, "contradicts_tests", f"{len(agreeing)} solutions agree; {verdict.detail}")
    return Answered({**record, "solution": solution})


def _run(programs: Sequence[str], record: Record, rule: Agreement, workers: int) -> list[CallOutcomes | None]:
    """Each program's outcome on every input; None for one that failed as a whole or took too long."""
    limits = Limits(timeout_s=rule.timeout_s)
    stdin = stated_stdin(record)
    if stdin:
        texts = varied_stdin(record, stdin, rule.inputs, rule.seed)
        return [[_printed(program, text, limits) for text in texts] for program in programs]
    cases = varied_arguments(record, stated_arguments(record), rule.inputs, rule.seed)
    if not cases:
        return [None] * len(programs)
    done = run_calls((_call(program, record, cases) for program in programs), limits, workers)
    return [_read(each.value, len(cases)) if each.status == "ok" else None for each in done]


def _call(program: str, record: Mapping[str, Any], cases: Sequence[Arguments]) -> Call:
    name = record["entry_point"]
    # A method of `Solution` gets an instance of its own each time; a name is looked up when it is called.
    target = f"(lambda *a, **k: (Solution().{name} if 'Solution' in globals() else {name})(*a, **k))"
    arguments = repr([tuple(each) for each in cases])
    return Call(insert_before(_PRELUDE, program), f"_domino_runner['on_all']({target})", arguments)


def _read(value: str | None, count: int) -> CallOutcomes | None:
    try:
        listed: Any = parse_literal(value or "", max_chars=len(value or ""))
    except NotALiteral:
        return None
    return [(str(kind), what) for kind, what in listed] if isinstance(listed, list) and len(listed) == count else None


def _printed(program: str, stdin: str, limits: Limits) -> CallOutcome:
    done = run_program(program, stdin, limits)
    if done.status != "ok":
        return "raised", done.status
    return "value", "\n".join(line.strip() for line in done.stdout.strip().split("\n"))


def _telling(outcomes: Sequence[CallOutcomes | None]) -> list[int]:
    """Inputs on which most programs return a value: others are outside of what the problem is about."""
    ran = [each for each in outcomes if each is not None]
    places = range(len(ran[0]) if ran else 0)
    return [place for place in places if 2 * sum(each[place][0] == "value" for each in ran) > len(ran)]


def _largest_class(table: Sequence[tuple[str, CallOutcomes | None]], places: Sequence[int]) -> list[str]:
    """The programs of the largest set that have the same outcomes; the first of equally large sets."""
    classes: list[tuple[CallOutcomes, list[str]]] = []
    for program, outcomes in table:
        if outcomes is None:
            continue
        own = [outcomes[place] for place in places]
        for outputs, members in classes:
            if all(same(left, right) for left, right in zip(outputs, own, strict=True)):
                members.append(program)
                break
        else:
            classes.append((own, [program]))
    return max((members for _, members in classes), key=len, default=[])


def same(left: Any, right: Any) -> bool:
    """Equal as `==` has it within one type, floats up to rounding (1e-9 relative); an int may equal a float."""
    numbers = (int, float)
    if isinstance(left, numbers) and isinstance(right, numbers):
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-12)
    if type(left) is not type(right):
        return False
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return bool(left == right)
