"""What a check asks of a backbone is asked of transformers once, and again when the files are others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from domino_lightning.errors import Unreachable, UserError
from domino_lightning.models import lookups
from domino_lightning.models.backbone import load_config, positions
from domino_lightning.models.lookups import kept_counts, positions_of, read_tokenizer


@pytest.fixture
def backbone(tmp_path: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny backbone, and a cache in which nothing is remembered."""
    monkeypatch.setenv("DOMINO_CACHE", str(tmp_path / "cache"))
    shutil.copytree(tiny_backbone, tmp_path / "model")
    return tmp_path / "model"


def test_positions_are_asked_for_once_a_configuration(backbone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def asking(spec: str) -> object:
        asked.append(spec)
        return load_config(spec)

    monkeypatch.setattr(lookups, "load_config", asking)
    first = positions(load_config(str(backbone)))
    assert positions_of(str(backbone)) == positions_of(str(backbone)) == first
    assert len(asked) == 1
    config = backbone / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": 77}))
    assert positions_of(str(backbone)) == 77
    assert len(asked) == 2
    monkeypatch.setattr(lookups, "version", lambda name: "another")
    assert positions_of(str(backbone)) == 77
    assert len(asked) == 3


def test_a_damaged_memory_is_asked_again(backbone: Path, tmp_path: Path) -> None:
    found = positions_of(str(backbone))
    (memo,) = (tmp_path / "cache" / "positions").iterdir()
    memo.write_text('"many"')
    assert positions_of(str(backbone)) == found
    assert json.loads(memo.read_text()) == found


def test_what_transformers_refuses_is_told_every_time(backbone: Path) -> None:
    config = backbone / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "nothing_known"}))
    for _ in range(2):
        with pytest.raises(UserError, match="nothing_known"):
            positions_of(str(backbone))
    for spec in ("no-such/model", "no such model at all"):
        with pytest.raises(Unreachable):
            positions_of(spec)


def test_a_tokenizer_is_read_again_when_its_files_are_others(backbone: Path) -> None:
    first = read_tokenizer(str(backbone))
    assert read_tokenizer(str(backbone)) is first
    settings = backbone / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"eos_token": None}))
    with pytest.raises(UserError, match="no EOS"):
        read_tokenizer(str(backbone))


def test_counts_are_kept_for_a_tokenizer_and_what_was_asked(backbone: Path) -> None:
    asked = []

    def count() -> list[int]:
        asked.append(1)
        return [3, 1]

    spec = str(backbone)
    assert kept_counts(spec, ["text", "ab", ""], count) == kept_counts(spec, ["text", "ab", ""], count) == [3, 1]
    assert len(asked) == 1
    kept_counts(spec, ["pair", "ab", ""], count)
    kept_counts(spec, ["text", "abc", ""], count)
    assert len(asked) == 3
    (backbone / "chat_template.jinja").write_text("{{ messages }}")  # another tokenizer
    kept_counts(spec, ["text", "ab", ""], count)
    assert len(asked) == 4
    kept_counts(spec, ["text", object()], count)  # no JSON, so counted every time
    kept_counts(spec, ["text", object()], count)
    assert len(asked) == 6


def test_a_refusal_is_never_kept(backbone: Path) -> None:
    def refuse() -> list[int]:
        raise UserError("the template refuses it")

    for _ in range(2):
        with pytest.raises(UserError, match="refuses"):
            kept_counts(str(backbone), ["pair"], refuse)
    assert kept_counts(str(backbone), ["pair"], lambda: [7]) == [7]
