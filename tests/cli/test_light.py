"""What a check and the start of a stage leave alone, since it takes seconds to import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from domino_lightning.cli.main import main

HEAVY = ("lightning", "torchmetrics", "torch._dynamo", "transformers", "scipy", "pandas", "wandb")
CODE = """
import sys
from domino_lightning.cli.main import main
from domino_lightning.config.document import load_config
from domino_lightning.runner.pipeline import build, make_plan

config = load_config(sys.argv[1])
make_plan(config)
build(config, ["prepare", "synthesize", "curate", "answer", "evaluate"])
assert "torch" not in sys.modules, "stages that need no torch have imported it"
assert main(["check", sys.argv[1]]) == 0
print("imported:", *(name for name in sys.argv[2:] if name in sys.modules))
"""


@pytest.mark.slow
def test_a_check_imports_neither_lightning_nor_models(write_experiment: Callable[..., Path]) -> None:
    path = str(write_experiment())
    assert main(["check", path]) == 0  # from here on positions of its backbone and lengths of texts are known
    done = subprocess.run(
        [sys.executable, "-c", CODE, path, *HEAVY], capture_output=True, text=True, check=False, cwd=Path(path).parent
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "imported:"
