"""`domino report`: `report.html`, one page that needs nothing else, and `results.csv`, one row per trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from domino_lightning.errors import UserError
from domino_lightning.reporting.collect import (
    Trial,
    best_heldout,
    find_trials,
    read_metrics,
    read_optional,
    read_score,
    read_trial,
    whole,
)
from domino_lightning.reporting.funnel import read_funnel
from domino_lightning.reporting.runs.headline import describe_overlap, headline, test_set_warning
from domino_lightning.reporting.html import csv_text, render_page, write_files
from domino_lightning.reporting.runs.sections import (
    Shared,
    config_differences,
    corpus_section,
    distinct,
    evaluation_section,
    finetune_section,
    funnel_section,
    labels_of,
    rows_of,
    samples_section,
    splits_section,
    tune_section,
    versions_of,
)
from domino_lightning.stages import STAGES


def write_report(trials: Sequence[Path], output: Path) -> tuple[Path, Path]:
    """Write `report.html` and `results.csv` about the trials into the directory `output`.

    The same trials give the same bytes. A trial that failed or is not finished is shown as such.

    Args:
        trials: trial, experiment or `runs` directories, or store roots; see `find_trials`.
        output: a directory, created where it is missing; older reports in it are replaced.

    Returns:
        The paths of the page and of the table.

    Raises:
        UserError: there is no trial below a path, or `output` is not a directory that can be written to.
    """
    found = [read_trial(path) for path in find_trials(trials)]
    page, table = Path(output) / "report.html", Path(output) / "results.csv"
    write_files({table: csv_text([result_row(trial) for trial in found]), page: render(found)})
    return page, table


def result_row(trial: Trial) -> dict[str, Any]:
    """One row of `results.csv`; an empty cell is something that the trial does not have.

    pass@1 and its interval are shares in [0, 1], the held-out NLL is in nats/token, wall times in seconds.
    """
    stage = trial.stages
    score = read_score(stage["evaluate"])
    funnel = read_funnel(stage["synthesize"], stage["curate"], stage["answer"])
    try:
        best = best_heldout(read_metrics(stage["tune"].path))
    except UserError:  # the page says which line is broken
        best = None
    coder = read_optional(stage["finetune"], "coder.json") or {}
    counts = {name: read_optional(stage[name], file) or {} for name, file in _COUNTED.items()}
    row: dict[str, Any] = {
        "experiment": trial.experiment,
        "trial": trial.name,
        "status": trial.status,
        "error": trial.error.strip().splitlines()[-1] if trial.error.strip() else None,
        "overrides": " ".join(trial.overrides),
        "seed": trial.seed,
        "source": trial.source,
        "pass@1": score and score.value,
        "pass@1_low": score and score.low,
        "pass@1_high": score and score.high,
        "problems": score and score.problems,
        "groups": score and score.groups,
        "samples": score and score.samples,
        "candidates": funnel.candidates if funnel.steps else None,
        "accepted": whole(counts["curate"].get("accepted")),
        "answered": whole(counts["answer"].get("answered")),
        "optimiser_steps": whole(coder.get("steps")),
        "best_heldout_nll": best and best[1],
        "best_heldout_step": best and best[0],
    }
    row |= {f"{name}_fingerprint": stage[name].fingerprint for name in STAGES}
    return row | {f"{name}_wall_s": stage[name].wall_s for name in STAGES}


_COUNTED = {"curate": "funnel.json", "answer": "answers.json"}


def render(trials: Sequence[Trial]) -> str:
    """The page about the trials as HTML."""
    return render_page("report.html.j2", _context(trials))


def _context(trials: Sequence[Trial]) -> dict[str, Any]:
    labels = labels_of(trials)
    arms = headline(trials, labels)
    experiments = list(dict.fromkeys(trial.experiment for trial in trials))

    def shared(names: tuple[str, ...], build: Callable[[Shared], dict[str, Any]]) -> dict[str, Any]:
        groups, absent = distinct(trials, labels, names)
        return {"groups": [_built(group, build) for group in groups], "absent": absent}

    stages = [row for name in STAGES for row in rows_of(name, trials, labels)]
    finished = [row["finished_at"] for row in stages if row["finished_at"]]
    return {
        "experiments": experiments,
        "trials": list(zip(labels, trials, strict=True)),
        "arms": arms,
        "overlap": describe_overlap(arms.rows),
        "test_warning": test_set_warning(trials),
        "unfinished": [pair for pair in zip(labels, trials, strict=True) if pair[1].status != "finished"],
        "funnels": shared(("synthesize", "curate", "answer"), funnel_section),
        "tunes": shared(("tune",), tune_section),
        "finetunes": shared(("finetune",), finetune_section),
        "samples": shared(("prepare", "curate", "answer"), samples_section),
        "corpora": shared(("answer",), corpus_section),
        "evaluations": shared(("evaluate",), evaluation_section),
        "splits": shared(("prepare",), splits_section),
        "differences": config_differences(trials),
        "labels": labels,
        "stages": stages,
        "total_wall_s": sum(row["wall_s"] or 0.0 for row in stages),
        "last_finished": max(finished, default=""),
        "versions": versions_of(trials),
    }


def _built(group: Shared, build: Callable[[Shared], dict[str, Any]]) -> dict[str, Any]:
    """A section's content. A file that cannot be used costs its own section, where it is named."""
    try:
        content = build(group)
        problem = ""
    except (UserError, OSError) as error:
        content, problem = {}, str(error)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        content, problem = {}, f"a file is not in the expected format ({type(error).__name__}: {error})."
    return {"shared": group, "content": content, "problem": problem}
