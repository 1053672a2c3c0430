"""`domino report`: `report.html`, one page that needs nothing else, and `results.csv`, one row per trial."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Sequence
from importlib.resources import files
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
from domino_lightning.reporting.headline import describe_overlap, headline, test_set_warning
from domino_lightning.reporting.sections import (
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
    output = Path(output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        page, table = output / "report.html", output / "results.csv"
        _replace(table, _csv_text(found))
        _replace(page, render(found))
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        reason = error.strerror or "not a directory"
        raise UserError(f"{output}: cannot write a report here ({reason}). Name another directory.") from None
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


def _csv_text(trials: Sequence[Trial]) -> str:
    rows = [result_row(trial) for trial in trials]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def render(trials: Sequence[Trial]) -> str:
    """The page about the trials as HTML."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    formats = (percent, fixed, count, duration, when)
    environment.filters |= {function.__name__: function for function in formats}
    source = files("domino_lightning.reporting").joinpath("report.html.j2").read_text(encoding="utf-8")
    # Lone surrogates are legal in JSON text and cannot be written as UTF-8.
    page = environment.from_string(source).render(_context(trials))
    return page.encode("utf-8", "replace").decode("utf-8")


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


def percent(value: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage."""
    return "–" if value is None else f"{100 * value:.{digits}f}%"


def fixed(value: float | None, digits: int = 3) -> str:
    """A number with a fixed number of digits after the point."""
    return "–" if value is None else f"{value:.{digits}f}"


def count(value: float | None) -> str:
    """A whole number with thin spaces between thousands."""
    return "–" if value is None else f"{int(value):,}".replace(",", "\u202f")


def duration(seconds: float | None) -> str:
    """Seconds as 4.2 s, 3 min 05 s or 2 h 07 min."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def when(stamp: str) -> str:
    """An ISO 8601 time to the minute; other text as it is."""
    if len(stamp) < 16 or stamp[10] != "T":
        return stamp
    return f"{stamp[:10]} {stamp[11:16]}" + (" UTC" if stamp.endswith(("Z", "+00:00")) else "")


def _replace(path: Path, text: str) -> None:
    """Write a file under a temporary name and move it over the old one, so that nobody reads half a page."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(text.encode("utf-8", "replace"))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
