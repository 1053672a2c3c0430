"""A sweep's trials before anything runs: settings and data, without a model. `python -m …sweep.validation FILE ...`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from domino_lightning.errors import StageFailed, UserError
from domino_lightning.runner.pipeline import needed_stages
from domino_lightning.stages import STAGES, stage_class
from domino_lightning.sweep.spec import Sweep, Trial, load_sweep
from domino_lightning.utils.jsonl import Record, canonical_json

_NOTES = "domino notes: "  # begins the line that tells the parent


def validate(sweep: Sweep) -> list[str]:
    """Check every distinct section that trials need against its typed classes, and every arm against its data.

    Returns:
        What will have no effect and what is out of reach, each with the arms that it holds for.

    Raises:
        UserError: a bad key or value, or what a stage would end with after hours, in one line that names the trial.
    """
    seen: set[str] = set()  # sections
    notes = _arms(sweep, seen)
    for trial in sweep.trials:
        for stage, section in _sections(trial, sweep.until).items():
            if section not in seen:
                seen.add(section)
                with _named(trial):
                    stage_class(stage).from_config(trial.config)
    return notes


def _arms(sweep: Sweep, seen: set[str]) -> list[str]:
    """What `domino check` says of one trial of each arm."""
    from domino_lightning.planning.ahead import Ahead

    data: dict[str, Mapping[str, Sequence[Record]]] = {}
    looked: set[str] = set()  # arms: seeds never move the split
    said: dict[str, list[str]] = {}
    for trial in sweep.trials:
        sections = _sections(trial, sweep.until)
        split = sections.get(STAGES[0], "")  # an untouched coder that is not evaluated reads no data
        if trial.arm in looked:
            continue
        looked.add(trial.arm)
        seen.update(sections.values())
        with _named(trial):
            ahead = Ahead(trial.config, sweep.until or STAGES[-1], data.get(split) or None)  # out of reach: said again
            data[split] = ahead.splits
            for text in dict.fromkeys([*ahead.notes(), *(f"not checked: {each}" for each in ahead.missing)]):
                said.setdefault(text, []).append(trial.arm)
    return [f"{text} ({_which(arms, len(sweep.arms))})" for text, arms in said.items()]


def _sections(trial: Trial, until: str | None) -> dict[str, str]:
    """Stage → its section, as a key."""
    document = trial.config.document
    return {stage: f"{stage}{canonical_json(document[stage])}" for stage in needed_stages(trial.config, until)}


@contextmanager
def _named(trial: Trial) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"trial {trial.name}: {error}") from None


def _which(arms: Sequence[str], count: int) -> str:
    if len(arms) == count:
        return "in every arm" if count > 1 else "in the only arm"
    return f"in {len(arms)} of {count} arms, the first: {arms[0]}"


def validate_apart(sweep: Sweep) -> list[str]:
    """As `validate`, in a process of its own: the launcher stays small, since torch is imported there alone.

    Raises:
        UserError: the first bad key or value.
        StageFailed: the process did not get that far.
    """
    command = [sys.executable, "-m", "domino_lightning.sweep.validation", str(sweep.path), *sweep.overrides]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    words = done.stderr.strip().splitlines()
    if done.returncode == 2 and words:
        raise UserError(words[-1])
    if done.returncode:
        raise StageFailed(f"checking {sweep.path} ended with exit code {done.returncode}: {(words or ['?'])[-1]}")
    lines = done.stdout.splitlines()  # what a fork's own code prints, at exit too, stands around the one
    told = [line.removeprefix(_NOTES) for line in lines if line.startswith(_NOTES)]
    if not told:
        raise StageFailed(f"checking {sweep.path} ended without a word: {(words or ['?'])[-1]}")
    notes: list[str] = json.loads(told[-1])
    return notes


def main(arguments: Sequence[str]) -> int:
    """Validate a sweep file with overrides; notes go to standard output, what is wrong to standard error."""
    try:
        notes = validate(load_sweep(arguments[0], arguments[1:]))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    sys.stdout.write(f"\n{_NOTES}{json.dumps(notes)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
