"""A fork outside the package."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.runner.experiment import FORK, ROOT


@pytest.fixture
def fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module with a loss of its own, outside the package."""
    module = tmp_path / "fork" / "fork_under_test.py"
    module.parent.mkdir()
    module.write_text(FORK)
    monkeypatch.syspath_prepend(str(module.parent))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{module.parent}")
    monkeypatch.delitem(sys.modules, "fork_under_test", raising=False)
    return module
