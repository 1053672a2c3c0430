"""A fork's class that raises is told with its own exception and its own lines of the traceback, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.cli.main import main
from domino_lightning.config.document import Config, load_config
from domino_lightning.config.tracking import Tracking
from domino_lightning.errors import UserError
from domino_lightning.runner.planned import execute
from domino_lightning.runner.process import explain
from domino_lightning.stages import stage_class
from domino_lightning.store.sources import user_sources
from domino_lightning.store.work import Work
from domino_lightning.utils.own_frames import own_frames

Write = Callable[..., Path]


@pytest.fixture
def fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`fork(name, source)` writes a module of the user's and gives its name."""
    monkeypatch.syspath_prepend(str(tmp_path / "fork"))
    (tmp_path / "fork").mkdir()

    def write(name: str, source: str) -> str:
        (tmp_path / "fork" / f"{name}.py").write_text(source, encoding="utf-8")
        return name

    return write


def files_of(message: str) -> set[str]:
    """Names of the files in the lines of a traceback."""
    lines = [line.strip() for line in message.splitlines()]
    return {Path(line.split('"')[1]).name for line in lines if line.startswith("File ")}


def built(path: Path, *overrides: str) -> Any:
    return stage_class("tune").from_config(load_config(path, overrides))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import torch\nprint(undefined)\n", "cannot be imported (NameError: name 'undefined' is not defined)"),
        ("def broken(:\n", "cannot be imported (SyntaxError: "),
        ("import sys\nsys.exit(0)\n", "cannot be imported (SystemExit: 0)"),
        ("import surely_not_there\n", "cannot be imported (ModuleNotFoundError: No module named 'surely_not_there')"),
    ],
)
def test_a_module_that_cannot_be_imported(write_experiment: Write, fork: Any, source: str, words: str) -> None:
    name = fork(f"fork_import_{len(source)}", source)
    with pytest.raises(UserError) as caught:
        built(write_experiment(), f"tune.model.loss={name}.Mine")
    message = str(caught.value)
    assert words in message and f"key 'tune.model.loss': class_path '{name}.Mine'" in message
    assert files_of(message) == {f"{name}.py"}


def test_a_script_as_a_module_and_a_constructor_that_exits_never_end_well(
    write_experiment: Write, fork: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    script = (
        "import sys\nfrom domino_lightning.losses import LikelihoodOnly\n\n\n"
        "class Mine(LikelihoodOnly):\n    {}\n\n\n{}\n"
    )
    as_script = fork("fork_script", script.format("pass", "sys.exit(0)"))
    assert main(["check", str(write_experiment()), f"tune.model.loss={as_script}.Mine"]) == 2
    told = capsys.readouterr().err
    assert f"class_path '{as_script}.Mine' cannot be imported (SystemExit: 0)" in told and "__main__" in told
    ending = fork("fork_ending", script.format("def __init__(self): sys.exit()", ""))
    assert main(["check", str(write_experiment()), f"tune.model.loss={ending}.Mine"]) == 2
    assert "section 'tune': a constructor raised SystemExit" in capsys.readouterr().err


def test_a_constructor_that_raises(write_experiment: Write, fork: Any) -> None:
    source = (
        "from domino_lightning.losses import LikelihoodOnly\n\n\nclass Mine(LikelihoodOnly):\n"
        "    def __init__(self):\n        super().__init__()\n        self.rate = {}['rate']\n"
    )
    with pytest.raises(UserError) as caught:
        built(write_experiment(), f"tune.model.loss={fork('fork_constructor', source)}.Mine")
    message = str(caught.value)
    assert "section 'tune': a constructor raised KeyError: 'rate'" in message
    assert files_of(message) == {"fork_constructor.py"}


def test_a_loss_that_breaks_its_contract_is_told_by_the_section(write_experiment: Write, fork: Any) -> None:
    source = (
        "from domino_lightning.losses import LikelihoodOnly\n\n\nclass Mine(LikelihoodOnly):\n"
        "    def forward(self, nll, progress=0.0):\n        return super().forward(nll)['loss']\n"
    )
    with pytest.raises(UserError, match=r"fork_contract\.Mine breaks .* returned a tensor of shape \(\)"):
        built(write_experiment(), f"tune.model.loss={fork('fork_contract', source)}.Mine")


def test_a_stage_that_fails_in_the_users_code(tmp_path: Path, scripted: Any) -> None:
    section = {
        "domain": {"class_path": "domino_lightning.domains.CodeExec"},
        "generator": scripted("raise"),
        "stop": {"candidates": 4},
        "block_size": 4,
        "seed": 0,
    }
    prepare = tmp_path / "prepare"
    prepare.mkdir()
    (prepare / "heldout.jsonl").write_text('{"text": "x"}\n')
    sources = {module: source.sha256 for module, source in user_sources(section).items()}
    work = Work(tmp_path, {"prepare": prepare}, "fp", section, Tracking(), sources=sources)
    with pytest.raises(RuntimeError, match="the generator is out of ideas") as caught:
        execute("synthesize", Config({"synthesize": section}, ()), work)
    assert caught.value.__notes__ == ["stage synthesize"]
    how, message = explain(caught.value.with_traceback(within(caught.value.__traceback__)), tmp_path)
    assert how == "error" and message.startswith("RuntimeError: the generator is out of ideas\n")
    assert files_of(message) == {"scripted_generator.py"}


def within(traceback: Any) -> Any:
    """The part of a traceback below this test, as whoever runs a stage sees it."""
    return traceback.tb_next


def test_an_error_of_the_package_alone_has_no_own_lines() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        eval("1 / 0", {})
    caught.value.__traceback__ = None
    assert own_frames(caught.value) == ""
