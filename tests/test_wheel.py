"""The wheel is whole: built, installed into an empty environment, it runs the quickstart."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import domino_lightning

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("domino_lightning", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources, so that no build product lies in the checkout."""
    if not os.environ.get("DOMINO_REQUIRE_EXTRAS"):
        pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(folder / "dist"),
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (folder / "dist").iterdir()
    return built


@pytest.mark.slow
def test_the_wheel_holds_what_the_checkout_holds(wheel: Path) -> None:
    package = ROOT / "domino_lightning"
    here = {str(path.relative_to(ROOT)) for path in package.rglob("*") if path.is_file()}
    with zipfile.ZipFile(wheel) as archive:
        there = {name for name in archive.namelist() if name.startswith("domino_lightning/")}
    assert there == {name for name in here if "__pycache__" not in name}
    assert wheel.name == f"domino_lightning-{domino_lightning.__version__}-py3-none-any.whl"


@pytest.mark.slow
def test_an_empty_environment_with_the_wheel_runs_the_quickstart(wheel: Path, tmp_path: Path) -> None:
    """The dependencies are those of this environment, seen through a path; the package is the wheel's."""
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True, timeout=600)
    (site,) = (tmp_path / "env" / "lib").glob("python3*/site-packages")
    shared = dict.fromkeys([sysconfig.get_path("purelib"), *(path for path in sys.path if path.endswith("-packages"))])
    (site / "shared.pth").write_text("\n".join(shared), encoding="utf-8")
    shutil.copy(ROOT / "experiments" / "quickstart.yaml", tmp_path)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run(str(python), "-c", "import domino_lightning; print(domino_lightning.__file__)")
    assert Path(where.strip()).is_relative_to(site)
    domino = str(tmp_path / "env" / "bin" / "domino")
    run(domino, "run", "quickstart.yaml", "--smoke", "--trial", "wheel", "tracking.wandb=disabled")
    run(domino, "report", "outputs/smoke/runs/quickstart", "--output", "report")
    assert (tmp_path / "report" / "report.html").is_file()
