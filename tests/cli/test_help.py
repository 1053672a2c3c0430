"""domino help CLASS and domino check --print_config."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from domino_lightning.cli.main import main
from tests.conftest import refused

Capture = pytest.CaptureFixture[str]
OWN = '''
from domino_lightning.curation import Filter

class Short(Filter):
    """Rejects long records.

    Args:
        words: at most.
    """

    reason = "long"

    def __init__(self, words: int = 20) -> None:
        self.words = words
'''


@pytest.mark.parametrize("name", ["Length", "domino_lightning.curation.Length"])
def test_a_class_of_the_package_by_path_or_name(name: str, capsys: Capture) -> None:
    assert main(["help", name]) == 0
    out = capsys.readouterr().out
    assert out.startswith("class_path: domino_lightning.curation.Length\n")
    assert "  min_tokens: int, default 8\n" in out


def test_a_class_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    (tmp_path / "own_filters_of_help.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["help", "own_filters_of_help.Short"]) == 0
    out = capsys.readouterr().out
    assert "Rejects long records." in out
    assert "  words: int, default 20\n      at most.\n" in out


def test_an_abstract_class_names_those_that_can_stand_there(capsys: Capture) -> None:
    assert main(["help", "Filter"]) == 0
    assert "  domino_lightning.curation.Length\n" in capsys.readouterr().out


def test_a_stage_has_its_sections_keys(capsys: Capture) -> None:
    assert main(["help", "curate"]) == 0
    out = capsys.readouterr().out
    assert "filters: Sequence[Filter], required" in out
    assert "runtime.workers: int, default 2" in out


def test_what_is_no_class_is_refused_with_the_near_match(capsys: Capture) -> None:
    assert "Did you mean 'Length'?" in refused(capsys, "help", "Lenght")
    assert "cannot be imported" in refused(capsys, "help", "nowhere.Thing")
    assert "is no class" in refused(capsys, "help", "domino_lightning.stages.STAGES")


def test_the_document_is_printed_and_nothing_checked(write_experiment: Callable[..., Path], capsys: Capture) -> None:
    path = write_experiment({"prepare": {"source": {"path": "nowhere.jsonl"}}})
    assert main(["check", str(path), "seed=3", "--print_config"]) == 0
    out = capsys.readouterr().out
    assert f"name: small  # {path}, line 1\n" in out
    assert "seed: 3  # override 'seed=3'\n" in out
