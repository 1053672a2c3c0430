"""Run candidates through filters in order; every row ends accepted, or rejected by one filter with a reason."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from domino_lightning.curation.filters.base import Candidate, Context, Filter, Parses
from domino_lightning.domains.base import Unparsable
from domino_lightning.domains.rows import Accepted
from domino_lightning.errors import StageFailed, UserError
from domino_lightning.utils.block_log import BlockLog
from domino_lightning.utils.conformance import shown
from domino_lightning.utils.contract import broken
from domino_lightning.utils.jsonl import Record, json_fault
from domino_lightning.utils.progress import progress_bar

log = logging.getLogger(__name__)


class Curated(NamedTuple):
    """Accepted records, rejected rows with `reason` and `detail`, and the count of each step."""

    accepted: list[Accepted]
    rejected: list[Record]
    funnel: dict[str, Any]


def curate(rows: Iterable[Record], filters: Sequence[Filter], context: Context, journal: Path | None = None) -> Curated:
    """Apply the filters one after another, each to the rows that the ones before let pass.

    One that looks at what records of the domain cannot have is left out.

    A filter that crashes on a row rejects that row, never the run. What costly filters find is appended to the
    directory `journal` block by block, and is not worked out again after a kill. The second filter of a reason, and
    the second that notes something by one name, have theirs told apart by a number: `judge`, `judge-2`.

    Raises:
        UserError: something outside the rows that a filter needs is missing, such as a benchmark's file.
    """
    candidates = [Candidate(row, context.domain) for row in rows]
    rejections: dict[int, tuple[str, str]] = {}
    steps = []
    left = list(range(len(candidates)))
    reasons: Counter[str] = Counter()
    noted: list[Record] = [{} for _ in candidates]  # by row
    names: set[str] = set()  # that are in use among the notes
    # Without a parse filter among them, a row that is no record still cannot be accepted.
    for number, each in enumerate([*filters, Parses()]):
        if not each.concerns(context.domain):
            continue
        each.open(context)
        reasons[each.reason] += 1
        label = _numbered(each.reason, reasons[each.reason])
        taken = [candidates[index] for index in left]
        for candidate in taken:
            candidate.notes = {}
        codes: Counter[str] = Counter()
        kept = []
        for index, detail in zip(left, _details(each, number, taken, journal), strict=True):
            if detail is None:
                kept.append(index)
            else:
                rejections[index] = label, detail
                codes[_code(each, detail)] += 1
        if number < len(filters) or codes:
            step: dict[str, Any] = {"filter": label, "in": len(left)}
            step |= {"rejected": codes.total(), "out": len(kept)}
            if each.coded:
                step["codes"] = dict(sorted(codes.items()))
            if facts := each.facts(taken):
                step["facts"] = facts
            steps.append(step)
        labels = _labels({name for candidate in taken for name in candidate.notes}, names, each.reason, label)
        names.update(labels.values())
        for index in left:
            noted[index] |= {labels[name]: note for name, note in candidates[index].notes.items()}
            candidates[index].earlier = MappingProxyType(noted[index])
        left = kept
    accepted = [cast(Accepted, _with_notes(candidates[index].record, noted[index])) for index in left]
    rejected = [
        _with_notes({**candidates[index].row, "reason": reason, "detail": detail}, noted[index])
        for index, (reason, detail) in sorted(rejections.items())
    ]
    return Curated(accepted, rejected, {"candidates": len(candidates), "steps": steps, "accepted": len(accepted)})


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def _labels(found: set[str], taken: set[str], reason: str, label: str) -> dict[str, str]:
    """What a filter's notes are called beside those of the filters before it: one name for all rows."""
    labels = {}
    for name in sorted(found):
        free = (_numbered(name, number) for number in itertools.count(1))
        labels[name] = label if name == reason and label not in taken else next(n for n in free if n not in taken)
    return labels


def _with_notes(row: Record, notes: Record) -> Record:
    return {**row, "notes": notes} if notes else row


def _code(each: Filter, detail: str) -> str:
    return detail.partition(":")[0] if each.coded else each.reason


def _details(each: Filter, number: int, candidates: Sequence[Candidate], journal: Path | None) -> Iterator[str | None]:
    """Each candidate's rejection or None; a costly filter's from the journal as far as it goes."""
    if each.block_size is None or journal is None:
        details = _guarded(each, candidates)
        yield from progress_bar(
            iterable=details, total=len(candidates), desc=f"curate: {each.reason}", unit="row", leave=False, delay=2
        )
        return
    blocks = BlockLog(journal, f"filter{number:02d}", each.block_size, len(candidates))
    found = blocks.recover()
    for row in found:
        candidate = candidates[row["n"]]
        if candidate.row["id"] != row["id"]:
            raise StageFailed(
                f"{journal}: what the filter '{each.reason}' found before belongs to other rows "
                f"('{row['id']}' where '{candidate.row['id']}' is). Run again with --force curate."
            )
        candidate.notes = row["notes"]
        yield row["detail"]
    done = len(found)
    bar = progress_bar(total=len(candidates), initial=done, desc=f"curate: {each.reason}", unit="row")
    while done < len(candidates):
        block = candidates[done : done + each.block_size]
        reviewed = list(_guarded(each, block))
        rows = [
            {"n": done + offset, "id": candidate.row["id"], "detail": detail, "notes": candidate.notes}
            for offset, (candidate, detail) in enumerate(zip(block, reviewed, strict=True))
        ]
        blocks.append(done, rows)
        yield from reviewed
        done += len(block)
        bar.update(len(block))
    bar.close()


def _guarded(each: Filter, candidates: Sequence[Candidate]) -> Iterator[str | None]:
    """What the filter says of each row; where it crashes, that, and on with the next row.

    Raises:
        UserError: it breaks its contract, or something outside the rows that it needs is missing.
    """
    results: Iterator[str | None] = iter(())
    start = done = 0
    while done < len(candidates):
        if start == done:
            results = iter(each.review(candidates[start:]))
        try:
            detail = next(results)
            _check_left(each, candidates[done], detail)
        except StopIteration:  # a generator that crashed before is over; begin again with the rows it left
            if start == done:
                raise StageFailed(
                    f"filter {type(each).__name__} gave no verdict on row '{candidates[done].row['id']}'"
                ) from None
            start = done
            continue
        except (UserError, StageFailed):
            raise  # about the set-up, not about the row
        except Unparsable as error:
            detail = f"{error.reason}: {error}"
        except Exception as error:
            log.warning("filter %s crashed on row %s: %r", type(each).__name__, candidates[done].row["id"], error)
            detail = f"filter crashed: {type(error).__name__}: {error}"
        yield detail
        done += 1
    next(results, None)  # whether it gives more than there are rows
    for candidate in candidates:
        if altered := candidate.altered():
            what = f"rows and records are there to be read, and it changed candidate.{altered}"
            raise broken(each, f"{what} of row '{candidate.row.get('id')}'; write what it finds out to candidate.notes")


def _check_left(each: Filter, candidate: Candidate, detail: str | None) -> None:
    """Look at what a filter leaves behind with a row: why it is rejected, and notes.

    Raises:
        BrokenContract: a row is rejected without a word, or what is noted cannot be written as JSON.
    """
    if detail == "":
        raise broken(each, "a row is rejected by a text that says why, and this one is empty; None lets the row pass")
    if fault := json_fault(candidate.notes):
        what = f"candidate.notes{fault[0]} must be what JSON can hold, and is {shown(fault[1])}"
        raise broken(each, f"{what}, on row '{candidate.row['id']}'")
