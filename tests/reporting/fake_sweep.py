"""A sweep written by hand into a fake store: trials.json, events, and trials whose scores a test chooses."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from domino_lightning.utils.jsonl import sha256_text
from tests.reporting.conftest import FakeStore, function, record

PROBLEMS = 40
LOSSES = {
    "likelihood": {"class_path": "domino_lightning.losses.LikelihoodOnly"},
    "released": {"class_path": "domino_lightning.losses.ReleasedObjective"},
    "infonce": {"class_path": "domino_lightning.losses.InfoNCE"},
}


class FakeSweep:
    """Collects trials, then writes the sweep.

    Args:
        store: where trials and stages go.
        axes: axis name → label → value, in order.
        baseline: an arm's name.
    """

    def __init__(
        self, store: FakeStore, axes: Mapping[str, Mapping[str, Any]], baseline: str, name: str = "losses"
    ) -> None:
        self.store, self.axes, self.baseline, self.name = store, axes, baseline, name
        self.trials: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        store.prepare()

    @property
    def path(self) -> Path:
        return self.store.root / "sweeps" / self.name

    def trial(
        self,
        labels: Mapping[str, str],
        seed: int,
        solved: Sequence[int] | None = None,
        status: str = "finished",
        error: str = "",
        shared: bool = False,
        **numbers: float,
    ) -> dict[str, Any]:
        """A trial that solves the problems `solved`; pending without them, unless it failed.

        `shared` gives all seeds one evaluation. Numbers: nll, pairs.
        """
        arm = ",".join(f"{axis}={label}" for axis, label in labels.items()) or "default"
        name = f"{arm},seed={seed}"
        entry = {
            "trial": name,
            "folder": name,
            "arm": arm,
            "axes": dict(labels),
            "values": {axis: self.axes[axis][label] for axis, label in labels.items()},
            "seed": seed,
            "stages": {"prepare": "p" * 16},
        }
        digest = {
            stage: sha256_text(f"{stage} {arm} {'' if shared else seed}")[:16]
            for stage in ("tune", "synthesize", "curate", "answer", "finetune", "evaluate")
        }
        entry["stages"] |= digest
        if solved is None and status == "finished":
            status = "pending"
        if solved is not None:
            self._stages(digest, seed, solved, numbers)
        if status != "pending":
            self._folder(entry, status, error)
        self.trials.append(entry)
        return entry

    def _stages(
        self, digest: Mapping[str, str], seed: int, solved: Sequence[int], numbers: Mapping[str, float]
    ) -> None:
        nll, pairs = numbers.get("nll", 1.5), int(numbers.get("pairs", 17))
        rows = ["step,key,value"]
        for step in range(0, 31, 10):
            rows.append(f"{step},tune/heldout/nll,{nll + 0.4 * (30 - step) / 30}")
            rows.append(f"{step},tune/train/loss,{nll + 1 - step / 40}")
        self.store.stage("tune", digest["tune"], {"metrics.csv": "\n".join(rows) + "\n"})
        synthesis = {"candidates": 60, "screened_in": 50, "reasons": {"parse": 10}, "tokens": 5400 + seed}
        self.store.stage("synthesize", digest["synthesize"], {"synthesis.json": synthesis})
        accepted = [record(f"syn-{i}", function(i, 100 * seed + i)) for i in range(20)]
        steps = [{"filter": "parses", "in": 60, "rejected": 20, "out": 40}]
        steps.append({"filter": "near_duplicate", "in": 40, "rejected": 20, "out": 20})
        funnel = {"candidates": 60, "steps": steps, "accepted": 20}
        self.store.stage("curate", digest["curate"], {"accepted.jsonl": accepted, "funnel.json": funnel})
        answered = [{**row, "output": str(index)} for index, row in enumerate(accepted[:pairs])]
        answers = {"accepted": 20, "answered": pairs, "rejected": {"timeout": 20 - pairs}}
        self.store.stage("answer", digest["answer"], {"answered.jsonl": answered, "answers.json": answers})
        self.store.finetune(digest["finetune"], "synthetic")
        verdicts = [
            {
                "id": f"test-{i}",
                "group": f"g{i // 2}",
                "verdicts": [{"passed": i in solved, "status": "passed" if i in solved else "failed"}],
            }
            for i in range(PROBLEMS)
        ]
        completions = [{"id": f"test-{i}", "completions": [f"[{i if i in solved else -1}]"]} for i in range(PROBLEMS)]
        metrics = {"evaluate/test/pass@1": len(solved) / PROBLEMS, "evaluate/test/problems": PROBLEMS}
        files = {"verdicts.jsonl": verdicts, "generations.jsonl": completions, "metrics.json": metrics}
        self.store.stage("evaluate", digest["evaluate"], files)

    def _folder(self, entry: Mapping[str, Any], status: str, error: str) -> None:
        path = self.store.root / "runs" / self.name / entry["folder"]
        path.mkdir(parents=True)
        keep = ("trial", "arm", "axes", "values", "seed", "stages")
        info = {"experiment": self.name, "overrides": [], "status": status, "started_at": "2026-05-01T09:00:00Z"}
        info |= {key: entry[key] for key in keep} | ({"error": error} if error else {})
        (path / "trial.json").write_text(json.dumps(info), encoding="utf-8")
        tree = {"seed": entry["seed"], "tracking": {"wandb": "disabled"}, "tune": {"trainer": {"max_steps": 30}}}
        (path / "config.yaml").write_text(json.dumps(tree | {"axes": entry["axes"]}), encoding="utf-8")
        for stage, digest in entry["stages"].items():
            if (target := self.store.root / "stages" / stage / digest).is_dir():
                (path / stage).symlink_to(target, target_is_directory=True)

    def write(self) -> Path:
        """The sweep's directory."""
        self.path.mkdir(parents=True, exist_ok=True)
        axes = [
            {"name": name, "key": f"tune.{name}", "values": dict(values), "when": {}}
            for name, values in self.axes.items()
        ]
        content = {
            "sweep": self.name,
            "file": "losses.yaml",
            "experiment": "quickstart.yaml",
            "overrides": [],
            "budget": "steps",
            "seeds": sorted({trial["seed"] for trial in self.trials}),
            "baseline": self.baseline,
            "axes": axes,
            "trials": self.trials,
        }
        (self.path / "trials.json").write_text(json.dumps(content), encoding="utf-8")
        (self.path / "sweep.yaml").write_text("experiment: quickstart.yaml\nseeds: [0, 1]\n", encoding="utf-8")
        lines = "".join(json.dumps(event) + "\n" for event in self.events)
        (self.path / "events.jsonl").write_text(lines, encoding="utf-8")
        return self.path


def some(count: int, seed: int) -> list[int]:
    """`count` of the problems, mostly the same ones for every seed."""
    easy = list(range(count - count // 4))
    return easy + random.Random(seed).sample(range(len(easy), PROBLEMS), count - len(easy))


def losses_sweep(store: FakeStore, seeds: Sequence[int] = (0, 1, 2)) -> FakeSweep:
    """Five arms: infonce at weight 0.3 is far ahead, released behind; one trial failed, one is pending."""
    axes = {"loss": LOSSES, "weight": {"0.1": 0.1, "0.3": 0.3, "1.0": 1.0}}
    sweep = FakeSweep(store, axes, "loss=likelihood")
    for seed in seeds:
        sweep.trial({"loss": "likelihood"}, seed, some(10, seed), nll=1.50 + 0.01 * seed)
        sweep.trial({"loss": "released"}, seed, some(8, seed + 10), nll=1.62, pairs=12)
        for label, count in (("0.1", 12), ("0.3", 30), ("1.0", 16)):
            if label != "1.0" or seed == 0:
                sweep.trial({"loss": "infonce", "weight": label}, seed, some(count, seed + count), nll=1.45, pairs=19)
    last = seeds[-1]
    if last:
        for seed in seeds[1:]:
            status = "failed" if seed == last else "pending"
            error = "stage tune: RuntimeError: out of memory <b>" if status == "failed" else ""
            entry = sweep.trial({"loss": "infonce", "weight": "1.0"}, seed, None, status, error)
        tune = entry["stages"]["tune"]
        sweep.events += [
            {"event": "started", "stage": "tune", "fingerprint": tune},
            {"event": "failed", "stage": "tune", "fingerprint": tune, "error": error, "how": "memory"},
        ]
    return sweep
