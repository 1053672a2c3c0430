"""The command line: what each command prints and exits with, and that bad input is one line."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.cli.main import main, parse_arguments
from domino_lightning.stages import STAGES
from tests.conftest import refused

Write = Callable[..., Path]
Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).resolve().parents[2]
REPLAYED = {"synthesize": {"generator": {"class_path": "domino_lightning.synthesis.HeldoutReplay"}}}


def snapshot(folder: Path) -> set[tuple[str, int]]:
    return {(str(path.relative_to(folder)), path.lstat().st_mtime_ns) for path in folder.rglob("*")}


def run_python(code: str, cwd: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, env=environment, check=True
    )
    return done.stdout


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import runpy, sys\n"
        "sys.argv = ['domino', '--help']\n"
        "try:\n    runpy.run_module('domino_lightning', run_name='__main__')\n"
        "except SystemExit as end:\n    print('exit', end.code)\n"
        "print('loaded', sorted(m for m in sys.modules if '.' not in m))\n"
    )
    out = run_python(code, tmp_path)
    assert "exit 0" in out
    loaded = out[out.index("loaded") :]
    heavy = (
        "torch",
        "transformers",
        "lightning",
        "numpy",
        "pandas",
        "matplotlib",
        "wandb",
        "omegaconf",
        "rich",
    )
    assert [name for name in heavy if f"'{name}'" in loaded] == []
    assert all(stage in out for stage in STAGES)


def test_planning_imports_no_torch(write_experiment: Write, tmp_path: Path) -> None:
    """So a run that finds everything finished, and every process of a sweep, answers at once."""
    code = (
        "import sys\n"
        "from domino_lightning.config.document import load_config\n"
        "from domino_lightning.runner.pipeline import make_plan\n"
        f"print(len(make_plan(load_config({str(write_experiment())!r}))))\n"
        "print(sorted({'torch', 'lightning', 'transformers', 'pandas', 'wandb'} & set(sys.modules)))\n"
    )
    assert run_python(code, tmp_path).split("\n")[:2] == ["7", "[]"]


def test_a_sweep_with_its_launcher_and_an_agent_import_no_torch(write_experiment: Write, tmp_path: Path) -> None:
    """They wait most of the time: on a login node, and once for every pilot."""
    write_experiment({"tune": {"model": "domino_lightning.modules.LoraTuningModule"}})
    launcher = "{class_path: domino_lightning.sweep.SlurmLauncher, init_args: {pools: {cpu: {cpus: 1}}}}"
    path = tmp_path / "sweep.yaml"
    lines = ["experiment: experiment.yaml", "axes: {tune.trainer.max_steps: [1, 2]}", "budget: axis"]
    path.write_text("\n".join([*lines, f"launcher: {launcher}"]))
    code = (
        "import sys\n"
        "import domino_lightning.sweep.launchers.cluster.agent\n"
        "from domino_lightning.cli.sweep import check_budgets, load_sweep, make_graph, make_launcher\n"
        f"loaded = load_sweep({str(path)!r})\n"
        "check_budgets(loaded)\n"
        "make_launcher(loaded)\n"
        "print(make_graph(loaded).counts()['tune'])\n"
        "print(sorted({'torch', 'lightning', 'transformers', 'pandas', 'wandb'} & set(sys.modules)))\n"
    )
    assert run_python(code, tmp_path).split("\n")[:2] == ["2", "[]"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "x.yaml", "seed=1", "a.b=2", "--trial", "t", "--force", "tune"],
        ["run", "--trial", "t", "x.yaml", "seed=1", "--force", "tune", "a.b=2"],
        ["run", "--force", "tune", "--trial=t", "x.yaml", "seed=1", "a.b=2"],
        ["run", "x.yaml", "--force", "tune", "seed=1", "--trial", "t", "a.b=2"],
        ["run", "x.yaml", "seed=1", "--force", "tune", "a.b=2", "--trial", "t"],
    ],
)
def test_overrides_stand_before_between_and_after_flags(arguments: list[str]) -> None:
    parsed = parse_arguments(arguments)
    assert parsed.experiment == Path("x.yaml")
    assert parsed.overrides == ["seed=1", "a.b=2"]
    assert (parsed.trial, parsed.force) == ("t", ["tune"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "x.yaml", "--forse", "tune"],
        ["run", "x.yaml", "--force", "tun"],
        ["run"],
        ["rum", "x.yaml"],
        ["report"],
        [],
    ],
)
def test_a_command_line_that_does_not_parse_exits_with_2(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "domino" in capsys.readouterr().err


def test_unknown_flag_is_named(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["run", "x.yaml", "--smokey"])
    assert "--smokey" in capsys.readouterr().err


def test_smoke_runs_every_stage_for_real(smoke_root: Path, smoke_experiment: Path) -> None:
    folder = smoke_root / "runs" / "small" / "first"
    trial = json.loads((folder / "trial.json").read_text())
    assert trial["status"] == "finished"
    assert list(trial["stages"]) == list(STAGES)
    for stage in STAGES:
        assert json.loads((folder / stage / "manifest.json").read_text())["stage"] == stage
    assert (folder / "tune" / "soft_prompt.safetensors").is_file()
    assert (folder / "finetune" / "model" / "adapter_model.safetensors").is_file()
    assert json.loads((folder / "evaluate" / "metrics.json").read_text())["evaluate/test/problems"] > 0
    assert not (smoke_experiment.parent / "outputs" / "runs").exists()


def test_smoke_finds_its_work_done(smoke_experiment: Path, capsys: Capture) -> None:
    assert main(["run", str(smoke_experiment), "--smoke", "--trial", "first"]) == 0
    out = capsys.readouterr().out
    assert "nothing to do: every stage had finished before" in out
    assert out.count("finished before, not run again") == len(STAGES)


def test_smoke_takes_any_number_of_groups(write_experiment: Write, tmp_path: Path) -> None:
    from domino_lightning.config.document import load_config
    from domino_lightning.runner.smoke import smoke_layer

    path = write_experiment()
    lines = (tmp_path / "data.jsonl").read_text().splitlines()
    (tmp_path / "data.jsonl").write_text("\n".join(lines[:6]))  # three functions
    tree = smoke_layer(load_config(path), tmp_path / "smoke").tree
    assert tree["prepare"]["split"] == {"reference": 1, "heldout": 1, "test": 1, "windows": None}


def test_report_of_a_smoke_run_is_one_page_and_one_table(smoke_root: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["report", str(smoke_root), "--output", str(tmp_path / "report")]) == 0
    html = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    with open(tmp_path / "report" / "results.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert "small" in html
    assert any("first" in row.values() for row in rows)
    assert str(tmp_path / "report" / "report.html") in capsys.readouterr().out


def test_report_without_a_run_is_told(tmp_path: Path, capsys: Capture) -> None:
    assert str(tmp_path / "none") in refused(capsys, "report", tmp_path / "none", "--output", tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_ls_lists_runs_with_status_and_stages(smoke_root: Path, capsys: Capture) -> None:
    assert main(["ls", str(smoke_root)]) == 0
    out = capsys.readouterr().out
    trial = json.loads((smoke_root / "runs/small/first/trial.json").read_text())
    assert "small/first" in out
    assert "finished" in out
    assert f"tune:{trial['stages']['tune'][:6]}" in out


def test_ls_without_a_store_is_told(tmp_path: Path, capsys: Capture) -> None:
    assert str(tmp_path / "none") in refused(capsys, "ls", tmp_path / "none")


def test_check_loads_no_model_and_writes_nothing(
    write_experiment: Write, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    path = write_experiment()
    monkeypatch.setattr(
        transformers.AutoModelForCausalLM,
        "from_pretrained",
        lambda *_, **__: pytest.fail("a model was loaded"),
    )
    monkeypatch.chdir(tmp_path)
    before = snapshot(tmp_path)
    assert main(["check", str(path), "seed=4"]) == 0
    assert snapshot(tmp_path) == before
    out = capsys.readouterr().out
    assert "configuration and data are valid" in out
    assert "reference: 6 rows of 3 groups, heldout: 6 rows of 3 groups, test: 6 rows of 3 groups" in out
    assert out.count("to run") == len(STAGES)


def test_check_tells_what_is_finished(smoke_experiment: Path, write_experiment: Write, capsys: Capture) -> None:
    path = write_experiment(REPLAYED)
    assert main(["prepare", str(path)]) == 0
    capsys.readouterr()
    assert main(["check", str(path)]) == 0
    prepare = next(line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("prepare"))
    assert prepare.endswith("finished")


def test_single_stages_run_one_after_another(write_experiment: Write, capsys: Capture) -> None:
    path = write_experiment(REPLAYED)
    message = refused(capsys, "curate", path)
    assert message.startswith("domino curate: stage prepare (")
    assert "Run it first with `domino prepare`, or all with `domino run --until curate`" in message
    for stage in ("prepare", "synthesize", "curate"):
        assert main([stage, str(path)]) == 0
        assert f"ran {stage} ·" in capsys.readouterr().out
    assert main(["run", str(path), "--until", "curate"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(["curate", str(path), "--force", "curate"]) == 0
    assert "ran curate ·" in capsys.readouterr().out


def test_tampered_input_exits_with_1(write_experiment: Write, tmp_path: Path, capsys: Capture) -> None:
    path = write_experiment(REPLAYED)
    assert main(["prepare", str(path)]) == 0
    (reference,) = (tmp_path / "outputs/stages/prepare").glob("*/heldout.jsonl")
    reference.write_text("{}\n")
    capsys.readouterr()
    assert main(["synthesize", str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"domino: {reference} has changed since stage prepare finished.")
    assert "Traceback" not in error


def test_forcing_a_stage_that_the_run_lacks_is_told(write_experiment: Write, capsys: Capture) -> None:
    message = refused(capsys, "run", write_experiment(), "finetune.source=none", "--force", "tune")
    assert message == "--force tune: this run has no such stage; it has prepare, finetune, evaluate."


@pytest.mark.parametrize("trial", ["[/]", "[bold]x", ":warning:", "a/b", "é" * 200, "{x}%s"])
def test_any_trial_name_is_printed_as_it_is(write_experiment: Write, trial: str, capsys: Capture) -> None:
    path = write_experiment(REPLAYED)
    assert main(["prepare", str(path), "--trial", trial]) == 0
    assert f"small · {trial}" in capsys.readouterr().out
    assert main(["ls", str(path.parent / "outputs")]) == 0
    assert trial[:20] in capsys.readouterr().out


def test_interrupt_exits_with_130(write_experiment: Write, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("domino_lightning.stages.prepare.Prepare.run", interrupted)
    assert main(["prepare", str(write_experiment())]) == 130
    assert "the same command continues" in capsys.readouterr().err


def test_a_full_disk_is_one_line_wherever_it_fills_up(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    """Libraries in other languages raise errors of their own, with the system's words in them."""

    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("domino_lightning.runner.smoke.save_tiny_backbone", full)
    assert main(["run", "experiments/quickstart.yaml", f"root={tmp_path}", "--smoke"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("domino: disk: the disk is full. Free space, and give")
