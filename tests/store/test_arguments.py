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


@pytest.mark.parametrize(
    "spelling",
    ["words/a.txt", "words/*.txt", "*/a.txt", "**/a.txt", "$HERE/a.txt", "${HERE}/a.txt", "file://{work}/words/a.txt"],
)
def test_a_file_is_content_however_it_is_spelled(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "a.txt").write_text("a")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HERE", str(tmp_path / "words"))
    named = spelling.replace("{work}", str(tmp_path))
    section = {"loss": {"class_path": "mine.Own", "init_args": {"by": {named: 1.0}, "of": [named]}}}
    found = argument_contents(section, {})
    assert sorted(key.partition(".by")[0].partition(".of")[0] for key in found) == ["loss.init_args"] * 2
    (tmp_path / "words" / "a.txt").write_text("b")
    assert all(value != found[key] for key, value in argument_contents(section, {}).items())


@pytest.mark.parametrize("text", [".*", r".*\.txt", "a?", "[ab].txt", "w*", "100%", "*", "a/b?"])
def test_a_pattern_of_other_things_names_no_file(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / ".hidden").write_text("a")
    (tmp_path / "w").write_text("a")
    monkeypatch.chdir(tmp_path)
    assert argument_contents({"loss": {"class_path": "mine.Own", "init_args": {"pattern": text}}}, {}) == {}


def test_a_folder_behind_a_link_is_content_and_a_circle_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "storage" / "deep").mkdir(parents=True)
    (tmp_path / "storage" / "deep" / "w.txt").write_text("a")
    (tmp_path / "lists" / "big").symlink_to(tmp_path / "storage")
    (tmp_path / "lists" / "again").symlink_to(tmp_path / "lists")
    monkeypatch.chdir(tmp_path)
    section = {"loss": {"class_path": "mine.Own", "init_args": {"words": "lists"}}}
    found = argument_contents(section, {})
    (tmp_path / "storage" / "deep" / "w.txt").write_text("b")
    assert list(found) == ["loss.init_args.words"] and argument_contents(section, {}) != found
