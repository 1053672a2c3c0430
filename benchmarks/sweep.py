"""What a sweep's launcher costs and saves: a sweep of twelve small trials on two cores, run in two ways.

The trials are the embedded quickstart on SmolLM2-135M with a few steps a stage: two losses × two sampling
temperatures × three learning rates of the coder, so that 12 trials need 2 tunings, 4 syntheses and 12 fine-tunings.

- *Two slots*: `domino sweep` with a core for each slot. `efficiency` is the share of both slots' time, from the first
  start to the last end, in which a stage's process ran: what two cores could give at most is 1.
- *One after another*: `domino run` for every trial, with both cores and a store of its own: the naive way.

Everything runs on two cores of the machine, whatever it has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from _report import parser, publish, table

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENT = ROOT / "experiments" / "quickstart.yaml"
SMALL: dict[str, Any] = {
    "tune.trainer.max_steps": 6,
    "tune.trainer.val_check_interval": 6,
    "tune.trainer.limit_val_batches": 1,
    "tune.runtime.health_every_n_steps": 0,
    "tune.runtime.samples_every_n_steps": 0,
    "synthesize.generator.init_args.max_new_tokens": 48,
    "synthesize.stop.candidates": 24,
    "synthesize.block_size": 24,
    "finetune.source": "both",
    "finetune.trainer.max_steps": 2,
    "finetune.trainer.val_check_interval": 2,
    "finetune.trainer.limit_val_batches": 1,
    "evaluate.limit": 4,
    "evaluate.max_new_tokens": 8,
    "evaluate.heldout": 4,
}
LOSSES = {name: {"class_path": f"domino_lightning.losses.{name}"} for name in ("LikelihoodOnly", "InfoNCE")}
AXES: dict[str, Any] = {
    "loss": {"key": "tune.model.loss", "values": LOSSES},
    "synthesize.generator.init_args.temperature": [0.7, 0.9],
    "finetune.model.learning_rate": [5.0e-4, 1.0e-3, 2.0e-3],
}
QUICK: dict[str, Any] = {"finetune.model.learning_rate": [5.0e-4, 1.0e-3]}


def domino(cores: Sequence[int], *arguments: str) -> subprocess.Popen[bytes]:
    """Start the command line on some cores."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.Popen(
        [sys.executable, "-m", "domino_lightning", *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )


def finish(*processes: subprocess.Popen[bytes]) -> None:
    """Wait; stop the benchmark where one failed."""
    codes = [process.wait() for process in processes]  # of all, also where one failed
    if any(codes):
        sys.exit("a run of the benchmark failed; its error is above")


def sweep_file(folder: Path, name: str, axes: Mapping[str, Any], until: str = "evaluate") -> Path:
    """A sweep over the small experiment; JSON is YAML."""
    path = folder / f"{name}.yaml"
    path.write_text(
        json.dumps({"name": name, "experiment": str(EXPERIMENT), "set": SMALL, "axes": axes, "until": until})
    )
    return path


def events(root: Path, name: str) -> list[dict[str, Any]]:
    """The event log of a sweep."""
    lines = (root / "sweeps" / name / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def run_sweep(file: Path, root: Path, cores: Sequence[int], slots: int) -> tuple[float, list[dict[str, Any]]]:
    """Seconds of a sweep, the start of the command included, and its events."""
    started = time.perf_counter()
    finish(domino(cores, "sweep", str(file), f"root={root}", f"launcher.init_args.slots={slots}"))
    return time.perf_counter() - started, events(root, file.stem)


def one_after_another(folder: Path, axes: Mapping[str, Any], cores: Sequence[int]) -> float:
    """Seconds of all trials by `domino run`, each with a store of its own."""
    sys.path.insert(0, str(ROOT))
    from domino_lightning.sweep import load_sweep

    sweep = load_sweep(sweep_file(folder, "naive", axes))
    total = 0.0
    for number, trial in enumerate(sweep.trials):
        file = folder / f"trial{number}.yaml"
        file.write_text(json.dumps({**trial.config.document, "root": str(folder / f"trial{number}")}))
        started = time.perf_counter()
        finish(domino(cores, "run", str(file)))
        total += time.perf_counter() - started
    return total


def busy_share(log: Sequence[dict[str, Any]], slots: int) -> float:
    """Share of the slots' time, from the first start of a stage to the last end, in which its process ran."""
    begun: dict[tuple[str, str], float] = {}
    busy, ends = 0.0, []
    for event in log:
        step = event.get("stage", ""), event.get("fingerprint", "")
        if event["event"] == "started":
            begun[step] = seconds_of(event)
        elif event["event"] == "finished":
            ends.append(seconds_of(event))
            busy += ends[-1] - begun[step]
    return busy / (slots * (max(ends) - min(begun.values())))


def seconds_of(event: Mapping[str, Any]) -> float:
    """When an event was written."""
    return datetime.fromisoformat(event["time"]).timestamp()


def summary(log: Sequence[dict[str, Any]], two: float, naive: float) -> dict[str, Any]:
    """The benchmark's numbers.

    Args:
        log: events of the sweep on two slots.
        two: seconds of the sweep on two slots.
        naive: seconds of the trials one after another.
    """
    waits = [event["waited_s"] for event in log if event["event"] == "finished"]
    startup: dict[str, list[float]] = {}
    for event in log:
        if event["event"] == "begun":
            startup.setdefault(event["stage"], []).append(event["startup_s"])
    return {
        "wait_s_per_stage": sum(waits) / len(waits),
        "wait_s_at_most": max(waits),
        "launcher_cpu_s": log[-1]["launcher_cpu_s"],
        "import_s_per_stage": sum(map(sum, startup.values())) / sum(map(len, startup.values())),
        "import_s": {stage: sum(values) / len(values) for stage, values in startup.items()},
        "efficiency": busy_share(log, slots=2),
        "saved": 1 - two / naive,
        "two_slots_s": two,
        "one_after_another_s": naive,
    }


def main() -> None:
    flags = parser(__doc__).parse_args()
    axes = QUICK if flags.quick else AXES
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        sys.exit("this benchmark needs two cores")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = sweep_file(folder, "small", axes)
        two, log = run_sweep(file, folder / "two", cores, slots=2)
        naive = one_after_another(folder, axes, cores)
    found = summary(log, two, naive)
    trials, stages = log[0]["trials"], log[0]["stages"]
    ways = table(
        ["way", "seconds", "times two slots"],
        [["two slots", two, 1.0], ["one after another", naive, naive / two]],
    )
    imports = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in found["import_s"].items())
    text = f"""\
{trials} small trials on SmolLM2-135M, {stages} distinct stages instead of {7 * trials}, on two cores.

{ways}

Stages ran in {found["efficiency"]:.0%} of the two slots' time. Sharing stages and filling both slots saves
{found["saved"]:.0%} of the time of one trial after another. A ready stage waits
{found["wait_s_per_stage"]:.3f} s beside a free slot ({found["wait_s_at_most"]:.3f} s at most); the launcher takes
{found["launcher_cpu_s"]:.1f} s of CPU. Seconds from the start of a stage's process to its own work, imports above all,
with both cores busy: {imports}.
"""
    publish("sweep", "Sweeps", text, found, flags)


if __name__ == "__main__":
    main()
