"""A handful of candidates through the whole funnel, in a store of its own, before hours are spent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from domino_lightning.config.document import Config, checked, compose
from domino_lightning.config.layers import Document, Layer
from domino_lightning.config.tracking import Tracking
from domino_lightning.runner.pipeline import make_plan, validate
from domino_lightning.runner.planned import Announce, PlannedStage, StageOutcome, run_planned
from domino_lightning.store.coverage import check_sources
from domino_lightning.store.store import Store, read_manifest
from domino_lightning.synthesis.generators.untuned import UntunedBackbone
from domino_lightning.utils.jsonl import Record, read_jsonl

FOLDER = "preview"  # below the store's root
HELDOUT = 2  # held-out texts behind rows of a bare backbone
_SAMPLED = ("prepare", "synthesize", "curate", "answer")
_BORROWED = ("prepare", "tune")  # taken from the experiment's own store where they have finished there


@dataclass(frozen=True)
class PreviewRow:
    """One candidate and what became of it.

    Attributes:
        heldout: it is a held-out text, and not sampled.
        screen: `ok`, or why the row would not count towards `stop.accepted`.
        lost_in: stage that rejected it, curate or answer; empty: it was answered.
        reason: of the filter, or of the answer.
        answer: what the assistant says in its chat pair.
    """

    id: str
    text: str
    tokens: int
    heldout: bool
    screen: str
    lost_in: str = ""
    reason: str = ""
    detail: str = ""
    answer: str = ""


@dataclass(frozen=True)
class Preview:
    """What a preview found.

    Attributes:
        tune: fingerprint of the experiment's `tune`; empty: its generator reads none.
        bare: `tune` has not finished, so the rows are of the backbone as it is.
        reference: the text of the first reference, as `tune` reads it.
        rows: the candidates, in the order of sampling.
        seconds: that each stage took, now or when it was run; none of a stage borrowed from the experiment's store.
        ran: stages that ran now.
        directory: where all its files are.
    """

    tune: str
    bare: bool
    reference: str
    rows: list[PreviewRow]
    seconds: Mapping[str, float]
    ran: list[str]
    directory: Path


def preview(config: Config, rows: int, again: bool = False, announce: Announce = lambda text: None) -> Preview:
    """Sample a few rows, filter and answer them as the experiment would, in `<root>/preview` and nowhere else.

    Where `tune` has not finished, they are rows of the bare backbone, and two held-out texts go the same way. The
    corpus is not measured and W&B sees nothing. What a preview of the same configuration has done is kept.

    Args:
        config: the experiment.
        rows: candidates, sampled as one block.
        again: run everything behind `prepare` again.
        announce: called with one line per stage.

    Raises:
        UserError: bad input.
        StageFailed: a stage that did not finish.
    """
    validate(config, _SAMPLED)
    own = Store(config.document["root"])
    tune = next((planned for planned in make_plan(config, "answer") if planned.stage == "tune"), None)
    bare = tune is not None and not own.finished(*tune.id)
    store = Store(own.root / FOLDER)
    composed = checked(compose([*config.layers, Layer("domino preview", _small(config.document, store, rows, bare))]))
    validate(composed, _SAMPLED)
    plan = make_plan(composed, "answer")
    for planned in plan:
        check_sources(planned.stage, planned.section, planned.key.sources)
    store.create()
    outcomes: dict[str, StageOutcome] = {}
    borrowed = {planned.stage for planned in plan if planned.stage in _BORROWED and _borrow(own, store, planned)}
    for planned in plan:
        force = again and planned.stage not in _BORROWED
        outcomes[planned.stage] = run_planned(composed, store, planned, Tracking(), force, announce=announce)
    folders = {stage: outcome.directory for stage, outcome in outcomes.items()}
    return Preview(
        tune.key.fingerprint if tune else "",
        bare,
        str(read_jsonl(folders["prepare"] / "reference.jsonl")[0]["text"]),
        _fates(folders, rows),
        {stage: _seconds(folder) for stage, folder in folders.items() if stage not in borrowed},
        [stage for stage, outcome in outcomes.items() if outcome.ran],
        store.root,
    )


def _small(document: Document, store: Store, rows: int, bare: bool) -> Document:
    """The preview's keys over the experiment's."""
    whole = rows + HELDOUT if bare else rows
    stop = {"candidates": whole, "accepted": None, "tokens": None, "min_screened": 0}  # hopeless rows are shown, too
    synthesize: Document = {"block_size": whole, "stop": stop}
    if bare:
        inner = {"generator": document["synthesize"]["generator"], "sampled": rows}
        synthesize["generator"] = {"class_path": f"{UntunedBackbone.__module__}.UntunedBackbone", "init_args": inner}
    unmeasured: Document = {"embedding": None, "measures": []}  # it is no corpus
    return {"root": str(store.root), "synthesize": synthesize, "answer": unmeasured}


def _borrow(own: Store, store: Store, planned: PlannedStage) -> bool:
    """Link a stage that has finished in the experiment's own store into the preview's; whether it is linked."""
    here = store.path(*planned.id)
    with store.lock(*planned.id):
        if here.is_symlink() and not store.finished(*planned.id):  # what it pointed to is gone
            here.unlink()
        if own.finished(*planned.id) and not store.finished(*planned.id):
            store.discard(*planned.id)
            here.symlink_to(os.path.relpath(own.path(*planned.id), here.parent))
    return here.is_symlink()


def _seconds(folder: Path) -> float:
    return float((read_manifest(folder) or {}).get("wall_s", 0.0))


def _fates(folders: Mapping[str, Path], sampled: int) -> list[PreviewRow]:
    """Every candidate with where it ended; those from number `sampled` on are held-out texts."""
    lost: dict[str, Record] = {}
    for stage in ("curate", "answer"):
        rejected = read_jsonl(folders[stage] / "rejected.jsonl")
        lost |= {str(row["id"]): {**row, "lost_in": stage} for row in rejected}
    pairs = read_jsonl(folders["answer"] / "pairs.jsonl")
    answers = {str(pair["source_id"]): str(pair["messages"][-1]["content"]) for pair in pairs}
    raw = [row for shard in sorted(folders["synthesize"].glob("raw-*.jsonl")) for row in read_jsonl(shard)]
    found = []
    for row in raw:
        end = lost.get(row["id"], {})
        lost_in, reason, detail = (str(end.get(key) or "") for key in ("lost_in", "reason", "detail"))
        seen = PreviewRow(row["id"], row["text"], row["num_tokens"], row["k"] >= sampled, row["screen"])
        found.append(replace(seen, lost_in=lost_in, reason=reason, detail=detail, answer=answers.get(row["id"], "")))
    return found
