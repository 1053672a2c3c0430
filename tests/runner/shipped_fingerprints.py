"""Fingerprints of every shipped experiment and sweep: `python -m tests.runner.shipped_fingerprints` records them."""

from __future__ import annotations

import json
from pathlib import Path

from domino_lightning.config.document import Config, load_config
from domino_lightning.runner.pipeline import make_plan
from domino_lightning.sweep import load_sweep

ROOT = Path(__file__).resolve().parents[2]
RECORDED = Path(__file__).with_name("shipped_fingerprints.json")

Recorded = dict[str, dict[str, list[str]]]


def hub_commit(spec: str, key: str) -> str:
    """What stands for a backbone on the hub, which tests do not ask."""
    return f"hub:{spec}@main"


def fingerprints() -> Recorded:
    """File → stage → fingerprints of its trials, each once, in the order of the trials."""
    return {
        str(path.relative_to(ROOT)): _stages(
            [trial.config for trial in load_sweep(path).trials] if path.parent.name == "sweeps" else [load_config(path)]
        )
        for path in sorted((ROOT / "experiments").rglob("*.yaml"))
    }


def _stages(configs: list[Config]) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for config in configs:
        for step in make_plan(config):
            found.setdefault(step.stage, {})[step.key.fingerprint] = None
    return {stage: list(digests) for stage, digests in found.items()}


if __name__ == "__main__":
    from domino_lightning.store import contents

    contents._hub_commit = hub_commit
    RECORDED.write_text(json.dumps(fingerprints(), indent=1, sort_keys=True) + "\n", encoding="utf-8")
