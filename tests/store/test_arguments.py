"""Files and folders that arguments name, as a fingerprint has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from domino_lightning.store.arguments import argument_contents


def test_a_folder_is_content_but_for_one_that_holds_a_store_or_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    for folder in ("words", "outputs/stages/tune"):
        (work / folder).mkdir(parents=True)
        (work / folder / "a.txt").write_text("a")
    monkeypatch.chdir(work)
    named = {"words": "words", "store": "outputs", "here": ".", "above": "..", "file": "words/a.txt", "none": "no such"}
    section = {"loss": {"class_path": "mine.Own", "init_args": named}}
    found = argument_contents(section, {})
    assert sorted(found) == ["loss.init_args.file", "loss.init_args.words"]
    (work / "words" / "a.txt").write_text("b")
    changed = argument_contents(section, {})
    assert all(changed[key] != found[key] for key in found)
