"""Stages as processes on this machine, each on its own accelerators or its share of the cores."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from domino_lightning.errors import UserError
from domino_lightning.runner.child import Child, stop_all, wait_for_news
from domino_lightning.sweep.events import now
from domino_lightning.sweep.launchers.base import Launcher, Place, Report, Task, refuse_nodes
from domino_lightning.utils.ranges import WORKERS

# Read by torch, numpy and tokenizers when they are loaded.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "RAYON_NUM_THREADS")
PORTS = range(15_000, 32_000)  # below the ports that systems hand out by themselves
LAST_LINE_BYTES = 4096
ATTEMPT = "--- started again at"


@dataclass
class _Running:
    task: Task
    child: Child
    taken: list[str]  # slots
    devices: list[str]
    port: int


class LocalLauncher(Launcher):
    """Runs stages as processes on this machine.

    Where there are accelerators, a stage that uses k of them is given k for itself (or a share of each, see
    `stages_per_gpu`), and stages that use none run beside them in `slots`. Where there are none, a stage takes one
    slot a process. Cores are divided evenly, and a stage's threads are limited to its share; on one machine, equal
    shares give equal bits.

    Args:
        slots: places for stages without accelerator; by default one for every two cores or, beside accelerators, as
            many as leave every stage four.
        gpus: ids for CUDA_VISIBLE_DEVICES; by default what that variable names, or else all of them. `[]`: none.
        stages_per_gpu: how many stages share an accelerator at a time. One small model leaves a large card idle most
            of the time; several must fit its memory together, which nothing checks.
    """

    def __init__(self, slots: int | None = None, gpus: list[int] | None = None, stages_per_gpu: int = 1) -> None:
        for name, value in (("slots", slots), ("stages_per_gpu", stages_per_gpu)):
            if value is not None and value not in WORKERS:
                raise UserError(f"launcher.init_args.{name}: {value} must be {WORKERS.refusal(value)}.")
        if gpus is not None and (len(set(gpus)) < len(gpus) or min(gpus, default=0) < 0):
            raise UserError(f"launcher.init_args.gpus: {gpus} must be different numbers of 0 or more.")
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.gpus = visible_gpus() if gpus is None else [str(gpu) for gpu in gpus]
        shares = {f"gpu {gpu}" + f" share {n}" * bool(n): gpu for n in range(stages_per_gpu) for gpu in self.gpus}
        places = slots or max(1, cores // 4 - len(shares) if self.gpus else cores // 2)
        self.threads = max(1, cores // (places + len(shares)))
        self.slots = places + len(shares)
        started = time.monotonic()
        self._free = {f"slot {number}": started for number in range(places)}  # since when
        self._free_gpus = dict.fromkeys(shares, started)
        self._gpu_of = shares
        self._places = places
        self._running: list[_Running] = []

    def check(self, tasks: Sequence[Task]) -> None:
        """Refuse a stage that needs more accelerators, CPU ranks or machines than there are."""
        refuse_nodes(tasks, "the LocalLauncher")
        for task in tasks:
            needed, there, what = self._need(task)
            if needed > there:
                raise UserError(
                    f"stage {task.planned.stage} {task.planned.key.fingerprint} needs {needed} {what}, and the "
                    f"launcher has {there}. Lower {task.planned.stage}.trainer.devices or raise launcher.init_args."
                    f"{'gpus' if what == 'accelerators' else 'slots'}."
                )

    def _need(self, task: Task) -> tuple[int, int, str]:
        if self.gpus and task.devices:
            return task.devices, len(self.gpus), "accelerators"
        return task.processes, self._places, "slots"

    def start(self, task: Task) -> Place | None:
        """Start a process for the stage, if there is room."""
        needed, _, what = self._need(task)
        on_gpus = what == "accelerators"
        pool = self._free_gpus if on_gpus else self._free
        apart = {self._gpu_of.get(name, name): name for name in reversed(pool)}  # one share of a GPU at most
        chosen = list(reversed(apart.values()))[:needed]  # those that have been free longest
        if len(chosen) < needed:
            return None
        free_since = max(pool[name] for name in chosen)
        port = free_port({each.port for each in self._running})
        environment = dict.fromkeys(THREADS, str(self.threads))
        environment |= {"MASTER_PORT": str(port), "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
        if on_gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(self._gpu_of[name] for name in chosen)
        elif self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        task.log.parent.mkdir(parents=True, exist_ok=True)
        with open(task.log, "ab") as output:
            if output.tell():  # what an earlier attempt said, such as its error, is not this one's
                output.write(f"\n{ATTEMPT} {now()}\n".encode())
                output.flush()
            child = Child(task.store, task.planned, task.tracking, wait=False, environment=environment, output=output)
        for name in chosen:
            del pool[name]
        running = _Running(task, child, [] if on_gpus else chosen, chosen if on_gpus else [], port)
        self._running.append(running)
        return Place(", ".join(chosen), time.monotonic() - free_since)

    def poll(self, seconds: float) -> list[Report]:
        """Messages and ends of the processes."""
        wait_for_news([each.child for each in self._running], seconds)
        reports: list[Report] = []
        for each in list(self._running):
            messages, over = each.child.poll()
            reports += [Report(each.task, message) for message in messages if message["event"] == "begun"]
            if over:
                self._release(each)
                reports.append(Report(each.task, self._ended(each)))
        return reports

    def _ended(self, each: _Running) -> dict[str, object]:
        ended = {**each.child.ended(), "rss_mb": each.child.rss_mb}
        if ended["event"] == "failed" and not any(message["event"] == "failed" for message in each.child.received):
            words = last_line(each.task)
            ended["error"] = f"{ended['error']}; its last words: {words}" if words else ended["error"]
        return ended

    def _release(self, each: _Running) -> None:
        self._running.remove(each)
        now = time.monotonic()
        self._free |= dict.fromkeys(each.taken, now)
        self._free_gpus |= dict.fromkeys(each.devices, now)

    def stop(self) -> None:
        """Interrupt all processes, and kill their groups three seconds later."""
        stop_all([each.child for each in self._running])
        self._running = []


def visible_gpus() -> list[str]:
    """Ids of the NVIDIA devices that a process started now would see, without loading torch."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in {"", "-1"}]
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        done = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError):
        return []
    listed = [line for line in done.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number in range(len(listed))] if done.returncode == 0 else []


def free_port(taken: set[int]) -> int:
    """A port of this machine that nothing listens on, and that is not among those `taken`."""
    for port in random.sample(PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in taken:
            return port
    raise UserError("no free port in 15000 to 31999 for MASTER_PORT.")


def last_line(task: Task) -> str:
    """The last line of a task's log, as a terminal would show it."""
    try:
        with open(task.log, "rb") as file:
            file.seek(max(0, task.log.stat().st_size - LAST_LINE_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.rpartition("\r")[2].strip() for line in text.rstrip().split("\n")]
    return lines[-1][-200:] if lines and not lines[-1].startswith(ATTEMPT) else ""
