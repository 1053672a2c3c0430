"""A preview: rows through the whole funnel, in a store of its own, with and without a finished tune."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.cli.main import main
from domino_lightning.config.document import load_config
from domino_lightning.runner.pipeline import make_plan
from domino_lightning.runner.preview import preview
from domino_lightning.store.store import Store
from tests.conftest import merged, refused

Write = Callable[..., Path]
TUNED = {
    "class_path": "domino_lightning.synthesis.SoftPromptGenerator",
    "init_args": {"backbone": "${backbone}", "max_new_tokens": 3},
}
REPLAYED = {"class_path": "domino_lightning.synthesis.HeldoutReplay"}


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def with_generator(generator: dict[str, Any], **more: Any) -> dict[str, Any]:
    return merged({"synthesize": {"generator": generator}}, more)


def test_without_a_finished_tune_the_bare_backbone_is_sampled_and_only_the_previews_folder_written(
    write_experiment: Write, tmp_path: Path
) -> None:
    config = load_config(write_experiment(with_generator(TUNED)))
    found = preview(config, rows=3)
    assert found.bare
    assert found.tune == next(p.key.fingerprint for p in make_plan(config) if p.stage == "tune")
    sampled, heldout = found.rows[:3], found.rows[3:]
    assert [row.tokens for row in sampled] == [3, 3, 3]  # max_new_tokens of the experiment's own generator
    assert {(row.screen, row.lost_in, row.reason) for row in sampled} == {("unfinished", "curate", "unfinished")}
    assert [(row.heldout, row.screen, row.lost_in) for row in heldout] == [(True, "ok", "")] * 2
    assert all(row.answer for row in heldout)
    assert found.ran == ["prepare", "synthesize", "curate", "answer"]
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == {"preview"}


def test_a_finished_tune_is_linked_and_its_domain_tokens_sampled(
    write_experiment: Write, tiny_backbone: Path, tmp_path: Path
) -> None:
    import torch

    from domino_lightning.models.backbone import load_tokenizer
    from domino_lightning.models.soft_prompt import save_soft_prompt

    config = load_config(write_experiment(with_generator(TUNED)))
    store = Store(config.document["root"])
    tune = next(planned for planned in make_plan(config) if planned.stage == "tune")
    folder = store.path(*tune.id)
    folder.mkdir(parents=True)
    save_soft_prompt(folder, torch.zeros(2, 32), str(tiny_backbone), load_tokenizer(str(tiny_backbone)))
    store.finish(tune.key, 1, tune.section, 0.0)
    before = files(store.root / "stages")
    found = preview(config, rows=2)
    assert not found.bare
    assert found.tune == tune.key.fingerprint
    assert "tune" not in found.ran
    assert "tune" not in found.seconds
    linked = Store(store.root / "preview")
    assert linked.path(*tune.id).is_symlink()
    linked.discard(*tune.id)  # as gc of the preview's store would
    assert store.finished(*tune.id)
    assert files(store.root / "stages") == before
    shutil.rmtree(folder)  # as gc of the experiment's store would
    assert preview(config, rows=2).bare


def test_rows_are_told_with_their_end_and_a_second_preview_runs_nothing(
    write_experiment: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    lenient = {"class_path": "domino_lightning.curation.Length", "init_args": {"min_tokens": 1}}
    path = write_experiment(with_generator(REPLAYED, curate={"filters": [lenient]}))
    assert main(["preview", str(path), "--rows", "3"]) == 0
    first = capsys.readouterr().out
    assert "3 rows of domino_lightning.synthesis.HeldoutReplay, which reads nothing that `tune` learns" in first
    assert first.count("tokens · answered") == 3
    assert "assert f(" in first
    assert "3 answered" in first
    assert main(["preview", str(path), "--rows", "3"]) == 0
    second = capsys.readouterr().out
    assert "Nothing ran" in second
    assert second.count("finished before") == 4
    assert main(["preview", str(path), "--rows", "3", "--again"]) == 0
    assert "synthesize  " in capsys.readouterr().out.replace("finished before", "")


def test_rows_out_of_range_are_refused(write_experiment: Write, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--rows 0" in refused(capsys, "preview", write_experiment(), "--rows", "0")


def test_a_generator_that_cannot_do_without_tune_says_so(
    write_experiment: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    """The small experiment's SmokeGenerator hides the settings of the one inside."""
    told = refused(capsys, "preview", write_experiment())
    assert "SmokeGenerator reads `tune`, which has not finished" in told
    assert "domino tune" in told
