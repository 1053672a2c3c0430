"""Every notebook runs from top to bottom with --smoke, and ships without outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

MADE = {  # a file that the notebook leaves behind
    "01_quickstart": "report-quickstart/report.html",
    "02_inspect_a_sweep": "sweeps/two_losses/report/report.html",
    "03_write_your_own_loss": "runs/quickstart/Gap/tune/soft_prompt.json",
}
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_in_smoke_mode(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMINO_SMOKE", "1")
    monkeypatch.setenv("MPLBACKEND", "agg")
    project = path.parents[1]
    monkeypatch.setenv("PYTHONPATH", str(project))
    (tmp_path / "experiments").symlink_to(project / "experiments")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    assert (tmp_path / "outputs" / "smoke" / MADE[path.stem]).is_file()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_ships_without_outputs(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert cells and all(not cell.outputs and cell.execution_count is None for cell in cells)
