"""Sections against their typed classes: values keep the type that the document gives them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from domino_lightning.config.document import load_config
from domino_lightning.errors import UserError
from domino_lightning.runner.pipeline import build

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_count_stays_a_count_whatever_was_imported_before() -> None:
    """Rich writes Optional[Union[float, int]], and Python gives Lightning's Optional[Union[int, float]] that order."""
    code = (
        "import rich.console, rich.table\n"
        "from domino_lightning.config.document import load_config\n"
        "from domino_lightning.stages import stage_class\n"
        "asked = ['tune.trainer.limit_train_batches=0.5', 'tune.trainer.detect_anomaly=false']\n"
        "config = load_config('experiments/quickstart.yaml', asked)\n"
        "trainer = stage_class('tune').from_config(config).trainer\n"
        "print([trainer[key] for key in ('limit_val_batches', 'val_check_interval', 'limit_train_batches')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[8, 11, 0.5]"


@pytest.mark.parametrize(
    "key",
    [
        "tune.model.learning_rate",
        "tune.model.domain_prompt.init_args.num_tokens",
        "synthesize.generator.init_args.temperature",
        "synthesize.generator.init_args.engine.init_args.dtype",
        "finetune.model.lora.rank",
        "answer.solver.samples",
        "answer.solver.sampling.temperature",
    ],
)
def test_null_is_refused_at_any_depth_where_a_type_has_none(key: str) -> None:
    with pytest.raises(UserError, match=f"key '{re.escape(key)}': expected a value, got null"):
        build(load_config(ROOT / "experiments" / "quickstart.yaml", [f"{key}=null"]))


def test_null_in_the_second_of_a_list_is_named_by_its_place() -> None:
    listed = (
        "{class_path: domino_lightning.curation.Trivial}, {class_path: domino_lightning.curation.Executes, init_args: "
    )
    with pytest.raises(UserError, match=r"key 'curate\.filters\.1\.init_args\.timeout_s': expected a value, got null"):
        build(
            load_config(ROOT / "experiments" / "quickstart.yaml", [f"curate.filters=[{listed}{{timeout_s: null}}}}]"])
        )


def test_null_is_taken_where_a_type_has_it() -> None:
    null = ["tune.model.domain_prompt.init_args.init_from=null", "finetune.model.lora=null"]
    stages = build(load_config(ROOT / "experiments" / "quickstart.yaml", null))
    assert vars(stages["finetune"])["model"]["lora"] is None


@pytest.mark.parametrize("key", ["tune.trainer.max_steps", "synthesize.generator.init_args.temperature"])
def test_a_number_that_no_float_holds_is_refused(key: str) -> None:
    with pytest.raises(UserError, match=f"key '{re.escape(key)}': 9+... is too large: give fewer"):
        build(load_config(ROOT / "experiments" / "quickstart.yaml", [f"{key}={'9' * 400}"]))
