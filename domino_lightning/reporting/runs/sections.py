"""The content of each section of the page, from the stages that hold it; shared stages come once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from domino_lightning.errors import UserError
from domino_lightning.reporting.charts import Line, curves
from domino_lightning.reporting.collect import (
    StageDir,
    TrialDir,
    read_optional,
    read_score,
    whole,
)
from domino_lightning.reporting.corpus import corpus_rows
from domino_lightning.reporting.corpus_map import Projection, map_charts, memorisation_chart, read_points
from domino_lightning.reporting.funnel import read_funnel
from domino_lightning.reporting.reader import Untold, reader_of
from domino_lightning.reporting.runs.scores import heldout_numbers, how_graded, other_numbers, score_rows
from domino_lightning.reporting.samples import accepted_samples, evaluation_items, novelty, rejected_samples
from domino_lightning.tracking.metrics_file import Metric, best_heldout, read_metrics, series
from domino_lightning.utils.jsonl import Record, read_jsonl

_DOTTED_KEY = re.compile(r"((?:\w+\.)+)(\w+)(?==)")
_NOT_TERMS = {"nll", "learning_rate", "tokens"}  # logged beside the loss terms, on other scales
_DRAWN = 6  # loss terms


@dataclass(frozen=True)
class Shared:
    """Stages that one or more trials have in common; `trial` is one of them, from which they are read."""

    trial: TrialDir
    labels: list[str]
    number: int

    def stage(self, name: str) -> StageDir:
        """One of the shared stages."""
        return self.trial.stages[name]


def labels_of(trials: Sequence[TrialDir]) -> list[str]:
    """A short name for every trial, unique on the page.

    A trial named by its overrides has only the last part of every dotted key, unless two keys end alike.
    """
    several = len({trial.experiment for trial in trials}) > 1
    full = [f"{trial.experiment}/{trial.name}" if several else trial.name for trial in trials]
    keys = {match for name in full for match in _DOTTED_KEY.findall(name)}
    alike = len({last for _, last in keys}) < len(keys)
    short = full if alike else [_DOTTED_KEY.sub(r"\2", name) for name in full]
    names = short if len(set(short)) == len(set(full)) else full
    seen = Counter(names)
    return [
        f"{name} ({trial.root.name})" if seen[name] > 1 else name for name, trial in zip(names, trials, strict=True)
    ]


def distinct(
    trials: Sequence[TrialDir], labels: Sequence[str], names: tuple[str, ...]
) -> tuple[list[Shared], list[str]]:
    """Groups of trials with the same fingerprints of the stages `names`, and labels of trials that ran none.

    `prepare` only tells groups apart: a trial that ran nothing else of `names` has nothing to show.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    absent: list[str] = []
    for index, trial in enumerate(trials):
        own = [trial.stages[name] for name in names]
        if not any(stage.exists for stage in own if stage.name != "prepare" or len(names) == 1):
            absent.append(labels[index])
            continue
        key = tuple(f"{stage.fingerprint}:{stage.state}" for stage in own)
        groups.setdefault(key, []).append(index)
    shared = [
        Shared(trials[members[0]], [labels[member] for member in members], number)
        for number, members in enumerate(groups.values(), start=1)
    ]
    return shared, absent


def funnel_section(shared: Shared) -> dict[str, Any]:
    """Steps with the share of the first candidates that is left after each."""
    funnel = read_funnel(shared.stage("synthesize"), shared.stage("curate"), shared.stage("answer"))
    first = funnel.candidates
    rows = [(step, step.out / first if first else None) for step in funnel.steps]
    synthesis = read_optional(shared.stage("synthesize"), "synthesis.json") or {}
    screen = funnel.screen
    missing = [name for name in ("synthesize", "curate", "answer") if shared.stage(name).state != "finished"]
    states = [f"{name}: {shared.stage(name).state}" for name in missing]
    return {
        "rows": rows,
        "warnings": funnel.warnings,
        "tokens": whole(synthesis.get("tokens")),
        "states": states,
        "screen": screen,
    }


def tune_section(shared: Shared) -> dict[str, Any]:
    """NLL curves with the best held-out step, the loss terms, and what was learned says of itself."""
    stage = shared.stage("tune")
    metrics = read_metrics(stage.path)
    best = best_heldout(metrics)
    nll = [
        Line("train", series(metrics, "tune/train/nll"), 0),
        Line("held-out", series(metrics, "tune/heldout/nll"), 1, dots=True),
    ]
    disentangled = [
        Line("under D − with own tokens", series(metrics, "tune/health/own_gain"), 2, dots=True),
        Line("with another's − with own tokens", series(metrics, "tune/health/other_gap"), 3, dots=True),
    ]
    learned = read_optional(stage, "soft_prompt.json") or read_optional(stage, "adapter.json") or {}
    facts = [(key, value) for key, value in learned.items() if isinstance(value, (str, int, float))]
    title, terms = _terms(metrics, "tune")
    return {
        "best": best,
        "state": stage.state,
        "facts": facts,
        "charts": _charts(
            f"tune {shared.number}",
            [
                ("Negative log-likelihood", "nats/token", nll, best),
                (title, "", terms, None),
                ("Disentanglement, NLL gaps on a probe", "nats/token", disentangled, None),
            ],
        ),
        "texts": sampled_texts(stage),
    }


def sampled_texts(stage: StageDir) -> list[Record]:
    """The first and the last look of `samples.jsonl`: `step` and `texts`; nothing where there is no whole file."""
    try:
        looks = sorted(_rows(stage, "samples.jsonl"), key=lambda row: row["step"])
    except UserError:  # a run that is not finished may hold half a line
        return []
    return looks[:1] + looks[1:][-1:]


def finetune_section(shared: Shared) -> dict[str, Any]:
    """Training loss and held-out NLL of the coder, and what `coder.json` says."""
    stage = shared.stage("finetune")
    metrics = read_metrics(stage.path)
    coder = read_optional(stage, "coder.json") or {}
    best = best_heldout(metrics, "finetune/heldout/nll")
    lines = [
        Line("train loss", series(metrics, "finetune/train/loss"), 0),
        Line("held-out NLL", series(metrics, "finetune/heldout/nll"), 1, dots=True),
    ]
    return {
        "best": best,
        "state": stage.state,
        "source": shared.trial.source,
        "facts": [(key, value) for key, value in coder.items() if isinstance(value, (str, int, float))],
        "charts": _charts(f"finetune {shared.number}", [("Fine-tuning the coder", "nats/token", lines, best)]),
    }


def _terms(metrics: Sequence[Metric], stage: str) -> tuple[str, list[Line]]:
    """A title and lines of the logged loss terms but the NLL: the loss, then by name; train solid, held-out dashed."""
    splits = (f"{stage}/train/", f"{stage}/heldout/")
    keys = {row.key for row in metrics if row.key.count("/") == 2 and row.key.startswith(splits)}
    names = sorted({key.rpartition("/")[2] for key in keys} - _NOT_TERMS, key=lambda name: (name != "loss", name))
    title = "Loss terms" + (f", {_DRAWN} of {len(names)} (metrics.csv has all)" if len(names) > _DRAWN else "")
    lines = []
    for index, name in enumerate(names[:_DRAWN]):
        for split, dashed in (("train", False), ("heldout", True)):
            points = series(metrics, f"{stage}/{split}/{name}")
            if points:
                label = f"{name}, held-out" if dashed else name
                lines.append(Line(label, points, index, dashed=dashed))
    return title, lines


def _charts(
    prefix: str, drawings: Sequence[tuple[str, str, list[Line], tuple[int, float] | None]]
) -> list[dict[str, Any]]:
    charts = []
    for title, unit, lines, mark in drawings:
        lines = [line for line in lines if line.points]
        svg = curves(lines, unit or "value", f"{title}, {prefix}", mark)
        if svg:
            charts.append({"title": title, "svg": Markup(svg), "lines": lines, "mark": mark})
    return charts


def samples_section(shared: Shared) -> dict[str, Any]:
    """Accepted rows beside their nearest references, rejected ones with reasons, and how many are new."""
    curate, answer = shared.stage("curate"), shared.stage("answer")
    accepted = _rows(curate, "accepted.jsonl")
    references = _rows(shared.stage("prepare"), "reference.jsonl")
    untold = Untold()
    reader = reader_of(shared.trial.config, untold)
    rejected = {"curate": _rows(curate, "rejected.jsonl"), "answer": _rows(answer, "rejected.jsonl")}
    content = {
        "accepted": accepted_samples(accepted, _rows(answer, "answered.jsonl"), references, reader),
        "answered": answer.exists,
        "rejected": rejected_samples(rejected, reader),
        "novelty": novelty(accepted, references, reader) if accepted and references else None,
        "curated": curate.exists,
    }
    return content | {"untold": untold.sentences}


def corpus_section(shared: Shared, projection: Projection) -> dict[str, Any]:
    """How varied and how new the answered rows are, beside held-out data, and where they lie.

    Raises:
        UserError: a file that cannot be used, or UMAP where it is not installed.
    """
    answer = shared.stage("answer")
    counts, rows = corpus_rows(answer)
    points = read_points(answer, shared.stage("prepare"), shared.labels)
    chart = memorisation_chart([points], f"Texts above a similarity, corpus {shared.number}") if points else None
    maps = map_charts([points], projection) if points else []
    units = reader_of(shared.trial.config).units
    return {
        "counts": counts, "rows": rows, "units": units, "state": answer.state, "memorisation": chart, "maps": maps,
    }  # fmt: skip


def evaluation_section(shared: Shared) -> dict[str, Any]:
    """Some passed and some failed problems of one arm, and its further metrics."""
    stage = shared.stage("evaluate")
    verdicts = _rows(stage, "verdicts.jsonl")
    test = _rows(shared.stage("prepare"), "test.jsonl")
    untold = Untold()
    reader = reader_of(shared.trial.config, untold)
    passed, failed = evaluation_items(test, _rows(stage, "generations.jsonl"), verdicts, reader)
    score = read_score(stage)
    statuses = Counter(str(one.get("status")) for row in verdicts for one in row.get("verdicts") or [])
    return {
        "passed": passed,
        "failed": failed,
        "untold": untold.sentences,
        "state": stage.state,
        "statuses": statuses.most_common(),
        "scores": score_rows(score),
        "others": other_numbers(score, list(statuses)),
        "heldout": heldout_numbers(stage),
        "graded": how_graded(shared.trial.config, verdicts),
    }


def splits_section(shared: Shared) -> dict[str, Any]:
    """Rows and groups of every split, and the groups that two splits share."""
    splits = read_optional(shared.stage("prepare"), "splits.json")
    if splits is None:
        return {"splits": [], "overlap": {}, "state": shared.stage("prepare").state}
    rows, groups = splits.get("rows") or {}, splits.get("groups") or {}
    table = [(name, whole(number), whole(groups.get(name))) for name, number in rows.items()]
    overlap = {pair: whole(number) or 0 for pair, number in (splits.get("overlap") or {}).items()}
    return {"splits": table, "overlap": overlap, "state": shared.stage("prepare").state}


def _rows(stage: StageDir, name: str) -> list[Record]:
    path = stage.path / name
    return read_jsonl(path) if stage.exists and path.is_file() else []
