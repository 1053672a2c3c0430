"""Modules and data files beside the experiment's YAML are found from any working directory."""

from __future__ import annotations

import importlib
import os
import sys
import sysconfig
from pathlib import Path

import pytest

from domino_lightning.cli.main import main
from domino_lightning.config.document import load_config
from domino_lightning.store.contents import data_file
from domino_lightning.utils import project

MODULE = """
from domino_lightning.domains import CodeExec

class {name}(CodeExec):
    corpus = "{corpus}"
"""


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A project and a working directory elsewhere."""
    for name in ("project", "here"):
        (tmp_path / name).mkdir()
    (tmp_path / "project" / "x.yaml").write_text("name: x\n")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv(project.FOLDERS, "")
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path / "project", tmp_path / "here"


def test_a_data_file_beside_the_yaml_comes_first(folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    beside, here = folders
    load_config(beside / "x.yaml")
    (here / "d.jsonl").write_text("1")
    assert data_file("d.jsonl", "key") == Path("d.jsonl")
    assert caplog.text == ""
    (beside / "d.jsonl").write_text("2")
    assert data_file("d.jsonl", "key") == beside / "d.jsonl"
    data_file("d.jsonl", "key")
    assert caplog.text.count(f"key: 'd.jsonl' lies in {beside} and in the working directory; the first is read.") == 1


def test_the_project_is_that_of_the_last_document(folders: tuple[Path, Path], tmp_path: Path) -> None:
    beside, here = folders
    (here / "y.yaml").write_text("name: y\n")
    load_config(beside / "x.yaml")
    first = sys.path.index(str(beside))
    assert sys.path[first : first + 2] == [str(beside), str(here)]
    assert not any("site-packages" in path for path in sys.path[:first])
    load_config(here / "y.yaml")
    assert sys.path[first] == str(here) and str(beside) not in sys.path


def test_a_module_named_like_a_standard_one_stands_in_for_it_nowhere(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    beside, here = folders
    for name, folder in (("colorsys", beside), ("chunk", here), ("this_is_mine", beside)):
        (folder / f"{name}.py").write_text("raise ImportError('mine')")
    load_config(beside / "x.yaml")
    for name in ("colorsys", "chunk"):
        sys.modules.pop(name, None)
        assert importlib.import_module(name).__file__ == str(Path(sysconfig.get_path("stdlib")) / f"{name}.py")
    with pytest.raises(ImportError, match="mine"):
        importlib.import_module("this_is_mine")
    (beside / "sched.py").write_text(MODULE.format(name="Mine", corpus="functions.jsonl"))
    (beside / "code").mkdir()
    (beside / "code" / "own.py").write_text(MODULE.format(name="Mine", corpus="functions.jsonl"))
    told = "is a module of Python itself, which stands before yours: rename yours."
    for path in ("sched.Mine", "sched.scheduller", "code.own.Mine"):
        assert main(["check", str(beside / "x.yaml"), f"domain={path}"]) == 2
        assert f"'{path.partition('.')[0]}' {told}" in capsys.readouterr().err
    assert main(["check", str(beside / "x.yaml"), "domain=statistics.Median"]) == 2
    assert "Did you mean 'statistics.median'?" in capsys.readouterr().err


def test_a_started_process_looks_there_too(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    beside, here = folders
    load_config(beside / "x.yaml")
    monkeypatch.setattr(sys, "path", ["", "elsewhere"])
    project.enter_again()
    assert sys.path == [str(beside), str(here), "elsewhere"]
    assert os.environ[project.FOLDERS] == str(beside)


def test_a_module_makes_way_for_its_namesake_in_the_project_entered_next(folders: tuple[Path, Path]) -> None:
    """Else a notebook that runs two experiments would take the first one's classes for the second, without a word."""
    for folder, value in zip(folders, ("first", "second"), strict=True):
        (folder / "namesakes").mkdir()
        (folder / "namesakes" / "__init__.py").write_text("from .inner import VALUE\n")
        (folder / "namesakes" / "inner.py").write_text(f"VALUE = {value!r}\n")
    (folders[0] / "of_the_first_alone.py").write_text("")
    for folder, value in zip((*folders, folders[0]), ("first", "second", "first"), strict=True):
        project.enter([folder])
        assert value == importlib.import_module("namesakes").VALUE
        assert value == importlib.import_module("namesakes.inner").VALUE
        if folder == folders[0]:
            importlib.import_module("of_the_first_alone")
    before = importlib.import_module("namesakes")
    project.enter([folders[0]])
    assert importlib.import_module("namesakes") is before
    project.enter([folders[0].parent])
    assert "of_the_first_alone" in sys.modules  # a sweep's own folder is left and entered again


def test_a_sweep_looks_beside_its_experiment_and_beside_itself(folders: tuple[Path, Path]) -> None:
    from domino_lightning.sweep.spec import load_sweep

    beside, here = folders
    (here / "s.yaml").write_text("experiment: ../project/x.yaml\naxes: {tune.model.num_sample_tokens: [1, 2]}\n")
    load_sweep(here / "s.yaml")
    assert sys.path.index(str(beside)) + 1 == sys.path.index(str(here))


@pytest.mark.slow
def test_the_command_finds_a_class_beside_the_yaml(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    beside, _ = folders
    monkeypatch.delitem(sys.modules, "beside_the_yaml", raising=False)
    (beside / "beside_the_yaml.py").write_text(MODULE.format(name="Mine", corpus=""))
    arguments = ["check", str(beside / "x.yaml"), "domain.class_path=beside_the_yaml.Mine"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "valid" in out
    assert "domino_lightning.testing.check_domain(Mine(), rows) exercises the domain" in " ".join(out.split())


def test_a_text_leads_to_what_is_there_and_is_never_an_error(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, here = folders
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv(project.FOLDERS, str(own))
    for folder in folders:
        (folder / "table.json").write_text("{}")
    assert project.places("table.json") == [own / "table.json", Path("table.json")]
    assert project.places("~/table.json") == [here / "table.json"]
    assert set(project.places(str(here))) == {here}
    assert project.is_around(own) and project.is_around(here) and project.is_around(own.parent)
    assert not project.is_around(own / "lists")
    for text in ("nothing.json", "a" * 5000, "nul\0", "two\nlines", "~nobody-at-all/x"):
        assert project.places(text) == []
