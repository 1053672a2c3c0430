"""Exercises a domain on rows of its data and says in plain words what it does there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from domino_lightning.domains.base import Domain, Unparsable
from domino_lightning.domains.repeats import check_repeats
from domino_lightning.errors import UserError
from domino_lightning.utils.contract import BrokenContract
from domino_lightning.utils.findings import CheckReport, Finding
from domino_lightning.utils.jsonl import Record

NONSENSE = ("", " \n", "?", "}{ ]) nothing of the kind", "\x00\ufeff", "word " * 2000)
GRADED = 8  # records whose answers are graded: grading may run programs


def report_on(domain: Domain, rows: Iterable[Mapping[str, Any]]) -> CheckReport:
    """Run every check on the rows; an exception inside the domain is a finding, not an error of the check."""
    report = CheckReport(type(domain).__name__)
    records, findings = _read(domain, list(rows))
    report.findings += findings
    checks = (
        (_texts, _repeats, _round_trip, _keys, _nonsense, _prompts, _answers, _grading, _measures, _answering)
        if records
        else ()
    )
    for check in checks:
        try:
            report.findings += check(domain, records)
        except Exception as error:  # whatever a fork's domain raises is what there is to report
            what = (check.__doc__ or "").rstrip(".")
            report.findings.append(Finding("failed", f"{what}: it raised {type(error).__name__}: {error}"))
    return report


def _read(domain: Domain, rows: Sequence[Mapping[str, Any]]) -> tuple[list[Record], list[Finding]]:
    """Rows as records, and what went wrong."""
    records, refused = [], []
    for number, row in enumerate(rows, start=1):
        try:
            record = domain.record(row, f"row {number}")
            problem = domain.problem(record)
            if problem is not None:
                raise UserError(f"row {number} {problem}.")
            records.append(record)
        except UserError as error:
            refused.append(str(error))
    if not rows:
        return [], [Finding("failed", "reading: no rows were given")]
    text = f"reading: {len(records)} of {len(rows)} rows are records"
    if not refused:
        return records, [Finding("passed", text)]
    return records, [Finding("warning" if records else "failed", f"{text}; the first that is not: {refused[0]}")]


def _texts(domain: Domain, records: Sequence[Record]) -> list[Finding]:
    """Fields of records."""
    empty = [each["id"] for each in records if not str(each["text"]).strip()]
    strange = []
    for record in records:
        try:
            json.dumps(record, allow_nan=False)
        except (TypeError, ValueError) as error:
            strange.append(f"'{record['id']}' ({error})")
    kinds = Counter(str(record["kind"]) for record in records)
    return [
        _told("every record has a text", empty, "records render to nothing"),
        _told("records can be written as JSON", strange, "records cannot"),
        _told("records are of one kind", list(kinds)[1:], f"kinds beside '{kinds.most_common(1)[0][0]}'"),
    ]


def _repeats(domain: Domain, records: Sequence[Record]) -> list[Finding]:
    """Asking twice."""
    against = []
    for record in records:
        try:
            check_repeats(domain, record, ("copied_part", "subject", "question"))
        except BrokenContract as error:
            against.append(str(error).splitlines()[0])
    return [_told("methods give one result for one record, and leave it as it is", against, "records differ")]


def _round_trip(domain: Domain, records: Sequence[Record]) -> list[Finding]:
    """Round trip."""
    lost, changed = [], []
    for record in records:
        try:
            back = domain.parsed(record["text"])
        except Unparsable as error:
            lost.append(f"'{record['id']}' ({error.reason}: {error})")
            continue
        if domain.canonical(back) != domain.canonical(record):
            changed.append(f"'{record['id']}'")
    return [
        _told("round trip: parse reads every text that render writes", lost, "texts are refused"),
        _told("round trip: what is read back has the same canonical key", changed, "have another"),
    ]


def _keys(domain: Domain, records: Sequence[Record]) -> list[Finding]:
    """Canonical keys and copies."""
    layout = []
    for record in records:
        try:
            back = domain.parsed(f"\n{record['text'].rstrip()}\n\n")
        except Unparsable as error:
            layout.append(f"'{record['id']}' ({error.reason})")
            continue
        for method in (domain.canonical, domain.copied_part):
            if method(back) != method(record):
                layout.append(f"'{record['id']}' ({method.__name__})")
    keys = Counter(domain.canonical(record) for record in records)
    groups: dict[str, set[str]] = {}
    for record in records:
        groups.setdefault(domain.copied_part(record), set()).add(str(record["group"]))
    split = [key[:40] for key, names in groups.items() if len(names) > 1]
    alike = [key[:40] for key, count in keys.items() if count > 1]
    return [
        _told("keys: blank lines around a text change no key", layout, "texts get other keys, or are refused"),
        _told("keys: records of different content differ", alike, "keys belong to several rows", "warning"),
        _told(
            "copies: records with the same copied_part share a group, so that no split holds a copy",
            split, "lie in several groups; the first begins with", "warning",
        ),
    ]  # fmt: skip


def _nonsense(domain: Domain, records: Sequence[Record]) -> list[Finding]:
    """Texts that are no record."""
    taken, broken = [], []
    for text in NONSENSE:
        try:
            domain.canonical(domain.parsed(text))
            taken.append(repr(text[:30]))
        except Unparsable:
            continue
        except Exception as error:
            broken.append(f"{text[:30]!r} ({type(error).__name__}: {error})")
    return [
        _told("parse: what is no record raises Unparsable and nothing else", broken, "texts raise another error"),
        _told("parse: nonsense is refused", taken, "texts are taken for records", "warning"),
    ]


def _prompts(domain: Domain, records: Sequence[Record]) -> list[Finding]:
    """Prompts."""
    if not domain.graded and not any(domain.prompt(record) for record in records):
        return [Finding("passed", "prompts: nothing is asked, so texts are learned as they are")]
    bad, told = [], []
    for record in records:
        messages = list(domain.prompt(record))
        if _is_blank(messages):
            bad.append(f"'{record['id']}'")
            continue
        answer = domain.answer_text(record)
        if answer and len(answer.strip()) > 12 and answer.strip() in messages[-1]["content"]:
            told.append(f"'{record['id']}'")
    return [
        _told("prompts end with a question", bad, "end with an empty message"),
        _told("prompts do not give the answer away", told, "hold it", "warning"),
    ]


def _answers(domain: Domain, records: Sequence[Record]) -> list[Finding]:
    """Chat pairs."""
    answered = [record for record in records if domain.has_answer(record)]
    if not answered:
        return [Finding("warning", "answers: no row has one, so neither pairs nor right answers were looked at")]
    bad, other = [], []
    for record in answered:
        pair = list(domain.pair(record))
        if _is_blank(pair):
            bad.append(f"'{record['id']}'")
        elif len(pair) > 1 and pair[-2]["content"] != list(domain.prompt(record))[-1]["content"]:
            other.append(f"'{record['id']}'")
    return [
        _told(f"pairs of {len(answered)} answered records end with an answer", bad, "end with an empty message"),
        _told("pairs ask as the evaluation does", other, "ask otherwise than prompt", "warning"),
    ]


def _grading(domain: Domain, records: Sequence[Record]) -> list[Finding]:
    """Grading."""
    if not domain.graded:
        return [Finding("passed", "grading: the domain says that answers are neither right nor wrong")]
    chosen = [record for record in records if domain.has_answer(record)][:GRADED]
    own = [str(domain.pair(record)[-1]["content"]) for record in chosen]
    findings = []
    if chosen:
        wrong = [_why(domain, record, [text]) for record, text in zip(chosen, own, strict=True)]
        missed = [why for why in wrong if why is not None]
        findings.append(_told("grading: a record's own answer passes", missed, "do not pass their own"))
    judged = chosen or list(records[:GRADED])
    lenient = [f"'{each['id']}'" for each in judged if _passes(domain, each, "") or _passes(domain, each, " \n")]
    findings.append(_told("grading: an empty answer fails", lenient, "pass without any text"))
    unlike = [
        f"'{record['id']}'"
        for place, record in enumerate(judged)
        if _passes(domain, record, _other(own, place) or "}{ this is no answer")
    ]
    level = "failed" if len(unlike) == len(judged) else "warning"
    findings.append(_told("grading: another record's answer, or nonsense, fails", unlike, "pass with it", level))
    return findings


def _measures(domain: Domain, records: Sequence[Record]) -> list[Finding]:
    """Measures of completions."""
    names = {name for record in records[:GRADED] for text in ("", "?") for name in domain.measures(record, text)}
    return [Finding("passed", f"measures: {', '.join(sorted(names))}")] if names else []


def _answering(domain: Domain, records: Sequence[Record]) -> list[Finding]:
    """Answering synthetic records."""
    chosen = [record for record in records if domain.has_answer(record)][:3] or list(records[:3])
    asked = [[str(domain.pair(each)[-1]["content"])] * 2 if domain.has_answer(each) else ["?"] * 2 for each in chosen]
    found = list(domain.answer(chosen, 1, asked if domain.needs_solutions else ()))
    if len(found) != len(chosen):
        return [Finding("failed", f"answer: it gave {len(found)} results for {len(chosen)} records")]
    lost = [
        f"'{each.record['id']}' ({each.reason}: {each.detail})"
        for each, record in zip(found, chosen, strict=True)
        if domain.has_answer(record) and each.reason is not None
    ]
    mute = [f"'{each.record['id']}'" for each in found if each.reason is None and not domain.has_answer(each.record)]
    return [
        _told("answer: one result a record; those whose answer is known get one", lost, "get none", "warning"),
        _told("answer: what it calls answered makes a pair", mute, "make none"),
    ]


def _told(claim: str, against: Sequence[str], problem: str, level: Any = "failed") -> Finding:
    """The claim, or how many speak against it and the first that does."""
    if not against:
        return Finding("passed", claim)
    return Finding(level, f"{claim}: no, {len(against)} {problem}: {against[0]}")


def _is_blank(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a chat, of whose form the domain's contract tells, ends without a word."""
    return not messages or not (messages[-1]["content"] or "").strip()


def _why(domain: Domain, record: Record, texts: Sequence[str]) -> str | None:
    ((verdict,),) = domain.grade([record], [texts], 1)
    return None if verdict.passed else f"'{record['id']}' ({verdict.status}: {verdict.detail})"


def _passes(domain: Domain, record: Record, text: str) -> bool:
    return _why(domain, record, [text]) is None


def _other(answers: Sequence[str], place: int) -> str | None:
    """The next answer that differs from the one at `place`."""
    if not answers:
        return None
    return next((text for text in [*answers[place + 1 :], *answers[:place]] if text != answers[place]), None)
