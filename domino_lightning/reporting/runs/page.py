"""`domino report`: `report.html`, one page that needs nothing else, and `results.csv`, one row per trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from domino_lightning.errors import UserError
from domino_lightning.reporting.collect import (
    TrialDir,
    find_trials,
    read_trial,
)
from domino_lightning.reporting.corpus_map import Projection
from domino_lightning.reporting.html import csv_text, render_page, write_report_files
from domino_lightning.reporting.runs.headline import describe_overlap, headline
from domino_lightning.reporting.runs.sections import (
    Shared,
    corpus_section,
    distinct,
    evaluation_section,
    finetune_section,
    funnel_section,
    labels_of,
    samples_section,
    splits_section,
    tune_section,
)
from domino_lightning.reporting.shared import config_differences, result_row, rows_of, test_set_warning, versions_of
from domino_lightning.stages import STAGES


def write_report(trials: Sequence[Path], output: Path, projection: Projection = "pca") -> tuple[Path, Path]:
    """Write `report.html` and `results.csv` about the trials into the directory `output`.

    The same trials give the same bytes. A trial that failed or is not finished is shown as such.

    Args:
        trials: trial, experiment or `runs` directories, or store roots; see `find_trials`.
        output: a directory, created where it is missing; older reports in it are replaced.
        projection: of the maps of corpora.

    Returns:
        The paths of the page and of the table.

    Raises:
        UserError: there is no trial below a path, `output` is not a directory that can be written to or holds such
            files of others, or UMAP is not installed.
    """
    found = [read_trial(path) for path in find_trials(trials)]
    page, table = Path(output) / "report.html", Path(output) / "results.csv"
    write_report_files(page, render(found, projection), {table.name: csv_text([result_row(each) for each in found])})
    return page, table


def render(trials: Sequence[TrialDir], projection: Projection = "pca") -> str:
    """The page about the trials as HTML."""
    return render_page("report.html.j2", _context(trials, projection))


def _context(trials: Sequence[TrialDir], projection: Projection) -> dict[str, Any]:
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
        "corpora": shared(("answer",), partial(corpus_section, projection=projection)),
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
