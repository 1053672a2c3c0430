"""What PEFT's files say about the backbone under them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from domino_lightning.models.backbone import load_backbone
from domino_lightning.models.loading import base_name, importing, loading, write_adapter_readme
from domino_lightning.models.soft_prompt import save_peft_adapter
from domino_lightning.modules.lora import save_pretrained, with_adapter
from domino_lightning.modules.settings import Lora


def test_the_base_is_the_spec_and_a_directory_an_absolute_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    assert base_name("models") == str(tmp_path / "models")
    assert base_name("some/model") == "some/model"
    assert base_name("pip:package/file.gguf") == "pip:package/file.gguf"


def test_a_packaged_backbone_is_loaded_by_this_package(tmp_path: Path) -> None:
    write_adapter_readme(tmp_path, "pip:package/file.gguf", "An adapter")
    text = (tmp_path / "README.md").read_text()
    assert importing("pip:package/file.gguf") in text
    assert f"base = {loading('pip:package/file.gguf')}" in text
    assert "PeftModel.from_pretrained(base, directory)" in text


def test_peft_finds_the_base_of_every_adapter_by_itself(
    tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the README says, from any working directory."""
    monkeypatch.chdir(tiny_backbone.parent)
    spec = tiny_backbone.name
    model = with_adapter(load_backbone(spec), Lora(rank=2), 0)
    save_pretrained(model, tmp_path / "coder", spec)
    save_peft_adapter(tmp_path / "prompt", torch.zeros(2, 32), spec)
    monkeypatch.chdir(tmp_path)
    for name in ("coder", "prompt"):
        code = (tmp_path / name / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
        found: dict[str, object] = {"directory": str(tmp_path / name)}
        exec(code, found)
        assert type(found["model"]).__name__ == "PeftModelForCausalLM"
