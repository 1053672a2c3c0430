"""What a person sees of a sweep: one row a stage while it runs, one row a trial afterwards, and when it will end."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from domino_lightning.stages import STAGES
from domino_lightning.sweep.events import SweepState, log_file
from domino_lightning.sweep.graph import StageId
from domino_lightning.sweep.launchers.local import last_line
from domino_lightning.sweep.scheduler import Progress
from domino_lightning.utils.jsonl import Record
from domino_lightning.utils.progress import duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Plans = Mapping[str, Sequence[StageId]]
STATUSES = ("finished", "running", "waiting", "pending", "interrupted", "failed", "blocked")
_CELLS = {"finished": "done", "running": "runs", "waiting": "elsewhere", "pending": "·", "blocked": "–"}


def stage_table(state: SweepState) -> Table:
    """One row a stage: its distinct stages by status, and the mean time of those that ran."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    used = [status for status in STATUSES if any(known.status == status for known in state.stages.values())]
    table.add_column("stage")
    for name in ("distinct", *used, "mean time"):
        table.add_column(name, justify="right")
    for stage in STAGES:
        stages = [known for (name, _), known in state.stages.items() if name == stage]
        if stages:
            counts = Counter(known.status for known in stages)
            times = [known.wall_s for known in stages if known.wall_s is not None]
            mean = duration(sum(times) / len(times)) if times else ""
            table.add_row(stage, str(len(stages)), *(str(counts[status] or "") for status in used), mean)
    return table


def trial_table(plans: Plans, state: SweepState, scores: Mapping[str, str]) -> Table:
    """One row a trial: its stages, its score."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    stages = [stage for stage in STAGES if any(name == stage for plan in plans.values() for name, _ in plan)]
    for name in ("trial", *stages, "pass@1"):
        table.add_column(name, overflow="fold")
    for trial, plan in plans.items():
        status = {stage: state.stages[stage, digest].status for stage, digest in plan}
        cells = [_CELLS.get(status[stage], status[stage]) if stage in status else "" for stage in stages]
        table.add_row(trial, *cells, scores.get(trial, ""))
    return table


def failures(plans: Plans, state: SweepState, folder: Path) -> list[str]:
    """Each failed stage: what, the trials that it fails, its last error, its log; then what can be done.

    Args:
        plans: stages of the trials.
        state: of the stages.
        folder: of the sweep.
    """
    lines = []
    for key, known in state.stages.items():
        if known.status == "failed":
            trials = [trial for trial, plan in plans.items() if key in plan]
            lines.append(f"failed: {key[0]} {key[1]}, for {few(trials)}: {first_line(known.error)}")
            lines += named_log(log_file(folder, *key))
    return [*lines, "--retry-failed starts failed stages again."] if lines else []


def named_log(path: Path) -> list[str]:
    """The line that names the log of a stage; none where it has printed nothing."""
    return [f"  log: {path}"] if path.is_file() and path.stat().st_size else []


def first_line(error: str) -> str:
    """The message; the lines of a fork's own code that may follow are in the stage's log and in the report."""
    return error.partition("\n")[0]


def few(names: Sequence[str]) -> str:
    """The first two names, and how many more there are."""
    shown = ", ".join(names[:2])
    return shown if len(names) <= 2 else f"{shown} and {len(names) - 2} more"


def time_left(state: SweepState, running_s: Mapping[StageId, float], slots: int) -> str:
    """What is left in words, by the mean time of each stage so far, over the slots; empty where none is known.

    A stage of which none has finished may take whatever it takes: then it is "more than", for the others alone.

    Args:
        state: of the stages.
        running_s: how long those that run have been running.
        slots: stages that run at the same time.
    """
    times: dict[str, list[float]] = {}
    for (stage, _), known in state.stages.items():
        if known.wall_s is not None:
            times.setdefault(stage, []).append(known.wall_s)
    ahead = [key for key, known in state.stages.items() if known.status in {"pending", "waiting", "running"}]
    left = [
        max(0.0, sum(times[stage]) / len(times[stage]) - running_s.get((stage, digest), 0.0))
        for stage, digest in ahead
        if stage in times
    ]
    if not left:
        return ""
    how = "about" if len(left) == len(ahead) else "more than"
    return f"{how} {duration(max([sum(left) / max(1, slots), *left]))} left"


class Display:
    """Shows a running sweep: a table that is redrawn on a terminal, a line an event elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live: Any = None
        self.drawn = 0.0
        self.left = ""
        self.left_at = -math.inf

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            from rich.live import Live

            self.live = Live(console=self.console, auto_refresh=False, transient=True)
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def __call__(self, progress: Progress, event: Record | None) -> None:
        """Take note of an event, or of the time."""
        if self.live is None:
            line = event_line(progress, event, self._left(progress)) if event else ""
            if line:
                self.console.print(line, highlight=False, soft_wrap=True)
                sys.stdout.flush()
        elif event is None or time.monotonic() - self.drawn > 0.2:
            self.drawn = time.monotonic()
            self.live.update(self._picture(progress), refresh=True)

    def _left(self, progress: Progress) -> str:
        """What is left; worked out at most once a second, however many events there are."""
        now = time.monotonic()
        if now - self.left_at > 1.0:
            self.left, self.left_at = time_left(progress.state, {}, progress.slots), now
        return self.left

    def _picture(self, progress: Progress) -> Any:
        from rich.console import Group
        from rich.text import Text

        plans, state = progress.graph.plans, progress.state
        now = time.monotonic()
        running = {key: now - begun for key, begun in progress.started_at.items()}
        lines = []
        for key, known in state.stages.items():
            if known.status == "running":
                last = last_line(progress.tasks[key])
                what = f"{key[0]:<11} {key[1][:8]}  {known.where}  {duration(running[key])}"
                lines.append(f"{what}  {few(progress.graph.trials(key))}")
                lines += [f"            {last}"] if last else []
        over = Counter(trial_status(plan, state) for plan in plans.values())
        left = time_left(state, running, progress.slots)
        total = f"{over['finished']} of {len(plans)} trials finished"
        total += f", {over['failed']} failed" if over["failed"] else ""
        total += f" · {left}" if left else ""
        lines += [*failures(plans, state, progress.sweep.folder), total]
        texts = [Text(line, no_wrap=True, overflow="ellipsis") for line in lines]
        return Group(stage_table(state), *texts)


def trial_status(plan: Sequence[StageId], state: SweepState) -> str:
    """finished, failed or unfinished."""
    statuses = {state.stages[key].status for key in plan}
    if "failed" in statuses:
        return "failed"
    return "finished" if statuses == {"finished"} else "unfinished"


def event_line(progress: Progress, event: Mapping[str, Any], left: str = "") -> str:
    """An event for a log: time, how far the sweep is, what happened; empty for events that are no news.

    Args:
        progress: of the sweep.
        event: of its log.
        left: what is left, for a finished stage.
    """
    name, state = event["event"], progress.state
    head = f"{event['time'][11:19]}  {progress.finished}/{len(state.stages)}"
    if name == "trial":
        error = f": {first_line(event['error'])}" if "error" in event else ""
        return f"{head}  trial {event['trial']} {event['status']}{error}"
    if "stage" not in event or name == "begun":
        return ""
    trials = progress.graph.trials((event["stage"], event["fingerprint"]))
    what = f"{head}  {event['stage']:<11} {event['fingerprint']}  {name}"
    if name == "started":
        return f"{what} in {event['where']}, for {few(trials)}"
    if name == "waiting":
        return f"{what} for another process that is running it"
    if name == "finished":
        how = f"in {duration(event['wall_s'])}" if event["how"] == "ran" else "by another process"
        return f"{what} {how}" + (f"; {left}" if left else "")
    if name == "yielded":
        return f"{what} its place in {event['where']}; the next pilot continues it"
    log = progress.tasks[event["stage"], event["fingerprint"]].log
    return "\n".join([f"{what}: {first_line(event['error'])}", *named_log(log)])
