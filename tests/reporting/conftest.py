"""A store written by hand, file by file: what the reporting code reads, without running any stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

BODIES = (
    "    return sorted(set(xs))",
    "    out = []\n    for x in xs:\n        if x % 2 == 0:\n            out.append(x * 3)\n    return out",
    '    return "".join(reversed(str(xs)))',
    "    total = 0\n    for i, x in enumerate(xs):\n        total += i * x\n    return total",
    "    return {x: xs.count(x) for x in xs}",
)


def function(index: int, shift: int = 0) -> str:
    """A small function; `shift` changes a constant, so that other splits have other functions."""
    body = BODIES[index % len(BODIES)]
    return f"def f(xs):\n    xs = xs + [{index + shift}]\n{body}"


def record(row_id: str, code: str, value: int = 1, **fields: Any) -> dict[str, Any]:
    """A codeexec record without an output."""
    text = f"{code}\n\nf([{value}, 2, 3])"
    base = {"id": row_id, "kind": "codeexec", "group": row_id, "code": code, "entry_point": "f"}
    return {**base, "input": f"[{value}, 2, 3]", "text": text, **fields}


class FakeStore:
    """Writes stage directories and trials in the layout of a store's root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def stage(
        self, name: str, fingerprint: str, files: dict[str, Any], manifest: Any = None, done: bool = True
    ) -> Path:
        """A stage directory; JSON for objects, JSON Lines for lists, text as it is."""
        path = self.root / "stages" / name / fingerprint
        path.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            if isinstance(content, list):
                content = "".join(json.dumps(row) + "\n" for row in content)
            elif not isinstance(content, str):
                content = json.dumps(content)
            (path / file).write_text(content, encoding="utf-8")
        if done:
            base = {
                "stage": name,
                "version": 1,
                "fingerprint": fingerprint,
                "inputs": {},
                "outputs": {},
                "config": {},
            }
            base |= {
                "versions": {"torch": "2.13.0", "python": "3.11.9"},
                "git_sha": "0123abcd",
                "wall_s": 12.5,
            }
            base |= {"finished_at": "2026-05-01T10:00:00Z", **(manifest or {})}
            (path / "manifest.json").write_text(json.dumps(base), encoding="utf-8")
        return path

    def trial(
        self,
        name: str,
        stages: dict[str, str],
        overrides: tuple[str, ...] = (),
        source: str = "none",
        **info: Any,
    ) -> Path:
        """A trial directory with links to the stages that exist."""
        path = self.root / "runs" / "exec" / name
        path.mkdir(parents=True)
        seed = info.pop("seed", 0)
        base = {"experiment": "exec", "trial": name, "overrides": list(overrides), "stages": stages}
        base |= {"status": "finished", "started_at": "2026-05-01T09:00:00Z", **info}
        (path / "trial.json").write_text(json.dumps(base), encoding="utf-8")
        config = (
            f"seed: {seed}\nbackbone: tiny\nfinetune:\n  source: {source}\n  trainer:\n    max_steps: 40\n"
            "domain:\n  class_path: domino_lightning.domains.CodeExec\n"
        )
        (path / "config.yaml").write_text(config, encoding="utf-8")
        for stage, fingerprint in stages.items():
            target = self.root / "stages" / stage / fingerprint
            if target.is_dir():
                (path / stage).symlink_to(target, target_is_directory=True)
        return path

    def prepare(self, fingerprint: str = "p" * 16) -> str:
        """24 references, 10 test problems."""
        references = [record(f"ref-{i}", function(i), output="[1]") for i in range(24)]
        test = [record(f"test-{i}", function(i, 500), value=i, output=repr([i])) for i in range(10)]
        splits = {
            "rows": {"reference": 24, "heldout": 6, "test": 10},
            "groups": {"reference": 24, "heldout": 6, "test": 10},
            "overlap": {"reference/heldout": 0, "reference/test": 0, "heldout/test": 0},
        }
        self.stage("prepare", fingerprint, {"reference.jsonl": references, "test.jsonl": test, "splits.json": splits})
        return fingerprint

    def tune(self, fingerprint: str = "t" * 16, done: bool = True) -> str:
        """30 steps; the lowest held-out NLL, 1.25, is at step 20."""
        rows = ["step,key,value"]
        for step in range(31):
            rows.append(f"{step},tune/train/nll,{2.5 - 0.05 * step}")
            rows.append(f"{step},tune/train/loss,{4.0 - 0.08 * step}")
            rows.append(f"{step},tune/train/contrast,{1.5 - 0.03 * step}")
            rows.append(f"{step},tune/train/learning_rate,0.001")
        rows += [f"{step},tune/heldout/nll,{value}" for step, value in ((0, 2.6), (10, 1.6), (20, 1.25), (30, 1.4))]
        prompt = {"backbone": "tiny", "D": 16, "H": 64, "init": "vocabulary"}
        self.stage(
            "tune",
            fingerprint,
            {"metrics.csv": "\n".join(rows) + "\n", "soft_prompt.json": prompt},
            done=done,
        )
        return fingerprint

    def synthetic(self, extra_code: str = "", steps: list[dict[str, Any]] | None = None) -> dict[str, str]:
        """Synthesize, curate and answer: 60 candidates, 50 screened in, 20 accepted, 17 answered."""
        synthesis = {
            "candidates": 60,
            "screened_in": 50,
            "reasons": {"parse": 8, "duplicate": 2},
            "tokens": 5400,
        }
        self.stage("synthesize", "s" * 16, {"synthesis.json": synthesis})
        accepted = [record(f"syn-{i}", function(i, 100 if i > 1 else 0)) for i in range(20)]
        if extra_code:
            accepted[0] = record("syn-0", extra_code)
        listed = steps or [
            {"filter": "parse", "in": 50, "rejected": 10, "out": 40},
            {"filter": "near_duplicate", "in": 40, "rejected": 20, "out": 20},
        ]
        rejected = [record(f"rej-{i}", function(i), reason="parse", detail="line 2") for i in range(10)]
        rejected += [record(f"rej-{i}", function(i), reason="near_duplicate", detail="ref-1") for i in range(10, 30)]
        funnel = {"candidates": 50, "steps": listed, "accepted": 20}
        curate = {"accepted.jsonl": accepted, "rejected.jsonl": rejected, "funnel.json": funnel}
        self.stage("curate", "c" * 16, curate)
        answered = [{**row, "output": f"'answer {i}'"} for i, row in enumerate(accepted[:17])]
        timeouts = [{**row, "reason": "timeout", "detail": "6 s"} for row in accepted[17:]]
        answers = {"accepted": 20, "answered": 17, "rejected": {"timeout": 3}}
        files = {"answered.jsonl": answered, "rejected.jsonl": timeouts, "answers.json": answers}
        self.stage("answer", "a" * 16, files)
        return {"synthesize": "s" * 16, "curate": "c" * 16, "answer": "a" * 16}

    def finetune(self, fingerprint: str, source: str, steps: int = 40) -> str:
        """A coder; one that was not trained has no curves."""
        files: dict[str, Any] = {
            "coder.json": {"base": "tiny", "adapter": True, "source": source, "steps": steps, "pairs": 17}
        }
        rows = ["step,key,value"] + [f"{step},finetune/train/loss,{1.0 - 0.01 * step}" for step in range(steps)]
        rows += [f"{step},finetune/heldout/nll,{1.1 - 0.01 * step}" for step in range(0, steps, 10)]
        if steps:
            files["metrics.csv"] = "\n".join(rows) + "\n"
        self.stage("finetune", fingerprint, files)
        return fingerprint

    def evaluate(self, fingerprint: str, value: float, low: float, high: float, completion: str = "[1]") -> str:
        """10 problems, the first `10·value` of them passed."""
        passed = [i < round(10 * value) for i in range(10)]
        verdicts = [
            {
                "id": f"test-{i}",
                "group": f"test-{i}",
                "verdicts": [{"passed": ok, "status": "passed" if ok else "failed"}],
            }
            for i, ok in enumerate(passed)
        ]
        generations = [{"id": f"test-{i}", "completions": [completion]} for i in range(10)]
        prefix = "evaluate/test/"
        metrics = {f"{prefix}pass@1": value, f"{prefix}pass@1_low": low, f"{prefix}pass@1_high": high}
        metrics |= {f"{prefix}problems": 10, f"{prefix}groups": 9, f"{prefix}samples": 10}
        files = {"verdicts.jsonl": verdicts, "generations.jsonl": generations, "metrics.json": metrics}
        self.stage("evaluate", fingerprint, files)
        return fingerprint

    def none_trial(self) -> Path:
        """A base model that was only evaluated: no tune, no synthetic data."""
        stages = {"prepare": self.prepare(), "finetune": self.finetune("f0" * 8, "none", steps=0)}
        return self.trial("source-none", stages | {"evaluate": self.evaluate("e0" * 8, 0.2, 0.05, 0.4)})

    def synthetic_trial(self, **synthetic: Any) -> Path:
        """A full run on synthetic data."""
        stages = {"prepare": self.prepare(), "tune": self.tune(), **self.synthetic(**synthetic)}
        stages["finetune"] = self.finetune("f1" * 8, "synthetic")
        stages["evaluate"] = self.evaluate("e1" * 8, 0.3, 0.125, 0.5)
        return self.trial("source-synthetic", stages, ("finetune.source=synthetic",), "synthetic")

    def both_trial(self) -> Path:
        """Shares tune and the synthetic data with `synthetic_trial`."""
        stages = {"prepare": self.prepare(), "tune": self.tune(), **self.synthetic()}
        stages["finetune"] = self.finetune("f2" * 8, "both", steps=80)
        stages["evaluate"] = self.evaluate("e2" * 8, 0.4, 0.2, 0.6)
        return self.trial("source-both", stages, ("finetune.source=both",), "both")

    def failed_trial(self) -> Path:
        """Stopped in synthesize, after it had begun to tune."""
        stages = {"prepare": self.prepare(), "tune": self.tune("u" * 16, done=False), "synthesize": "x" * 16}
        error = "Traceback:\n  <b>bad</b>\nRuntimeError: out of memory"
        return self.trial("lr-1", stages, ("tune.lr=1",), "synthetic", status="failed", error=error)

    def synthetic_trial_with_long_names(self) -> Path:
        """A trial whose name, override and error have no place to break."""
        name = "a_very_long_trial_name_" * 4
        overrides = ("tune.loss.init_args." + "deeply_nested_key_" * 6 + "=1",)
        return self.trial(name, {"prepare": self.prepare()}, overrides, status="failed", error="E" * 300)


@pytest.fixture
def store(tmp_path: Path) -> FakeStore:
    """An empty store below the test's own directory."""
    return FakeStore(tmp_path / "store")


@pytest.fixture
def full_store(store: FakeStore) -> FakeStore:
    """Three finished arms and a failed one."""
    store.none_trial()
    store.synthetic_trial()
    store.both_trial()
    store.failed_trial()
    return store
