"""What a sweep writes for people and reports: `trials.json`, and a folder of links and records a trial."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from domino_lightning.config.document import write_document
from domino_lightning.runner.earlier import earlier_record, lost_stages, set_aside
from domino_lightning.runner.pipeline import write_record, write_trial
from domino_lightning.store.store import Store, safe_name
from domino_lightning.sweep.events import StageState
from domino_lightning.sweep.graph import Graph, StageId
from domino_lightning.sweep.spec import Sweep
from domino_lightning.utils.jsonl import Record, write_json
from domino_lightning.utils.masking import masked, masked_override

log = logging.getLogger(__name__)

SWEEP, TRIALS = "sweep.yaml", "trials.json"


def write_expansion(sweep: Sweep, graph: Graph) -> None:
    """Write `sweep.yaml` and `trials.json` into the sweep's folder."""
    sweep.folder.mkdir(parents=True, exist_ok=True)
    write_document(sweep.folder / SWEEP, masked(sweep.source.document))
    trials = [
        {**trial.record(), "folder": safe_name(trial.name), "stages": dict(graph.plans[trial.name])}
        for trial in sweep.trials
    ]
    record = {**sweep.record(), "overrides": [masked_override(text) for text in sweep.overrides]}
    write_json(sweep.folder / TRIALS, masked({**record, "trials": trials}))


class TrialRecords:
    """The trials' folders under `runs/<sweep>/`, kept in step with the stages.

    Args:
        sweep: the expanded file.
        graph: its stages.
        store: where the folders lie.
    """

    def __init__(self, sweep: Sweep, graph: Graph, store: Store) -> None:
        self.graph, self.store = graph, store
        self.records: dict[str, Record] = {}
        self.folders: dict[str, Path] = {}
        kept = []
        for trial in sweep.trials:
            folder = self.folders[trial.name] = store.trial(sweep.name, trial.name)
            earlier = earlier_record(folder)
            if lost_stages(store, earlier, dict(graph.plans[trial.name])):
                kept.append(set_aside(folder, earlier))
            self.records[trial.name] = {
                "experiment": sweep.name,
                **trial.record(),
                "sweep": sweep.name,
                "overrides": [*trial.overrides, *sweep.overrides],
                "stages": dict(graph.plans[trial.name]),
                "status": "pending",
            }
            write_trial(folder, trial.config.document, self.records[trial.name])
        if kept:
            what = "%d trials of an earlier form of this sweep have other stages; they are kept, the first as %s."
            log.warning(what, len(kept), kept[0])

    def _write(self, name: str) -> None:
        write_record(self.folders[name], self.records[name])

    def running(self, key: StageId) -> None:
        """Note that a stage of theirs runs in the trials that wait for it."""
        for name in self.graph.trials(key):
            if self.records[name]["status"] == "pending":
                started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                self.records[name] |= {"status": "running", "started_at": started}
                self._write(name)

    def update(self, stages: Iterable[StageId], states: Mapping[StageId, StageState]) -> list[tuple[str, str, str]]:
        """Link what has finished, and give name, status and error of the trials that are over now."""
        over: list[tuple[str, str, str]] = []
        changed: dict[str, list[StageId]] = {}
        for key in stages:
            for name in self.graph.trials(key):
                changed.setdefault(name, []).append(key)
        for name, keys in changed.items():
            if self.records[name]["status"] in {"finished", "failed"}:
                continue
            plan = self.graph.plans[name]
            for key in keys:
                if states[key].status == "finished" and self.store.finished(*key):  # imported trials lack some
                    self.store.link(self.folders[name], *key)
            failed = next((key for key in plan if states[key].status == "failed"), None)
            if failed is not None:
                over.append((name, "failed", states[failed].error))
            elif all(states[key].status == "finished" for key in plan):
                over.append((name, "finished", ""))
        for name, status, error in over:
            self.records[name] |= {"status": status, **({"error": error} if error else {})}
            self._write(name)
        return over

    def interrupt(self) -> None:
        """Note in the trials that were running that they are not."""
        for name, record in self.records.items():
            if record["status"] == "running":
                record["status"] = "interrupted"
                self._write(name)
