"""Weights in four bits: one value of `backbone_dtype`, refused with the remedy where it cannot be had."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from domino_lightning.cli.main import main
from domino_lightning.config.document import load_config
from domino_lightning.errors import UserError
from domino_lightning.models.backbone import check_nf4, load_backbone, weights_dtype
from domino_lightning.modules import CoderModule
from domino_lightning.runner.pipeline import validate
from domino_lightning.runner.smoke import smoke_layer
from domino_lightning.synthesis import TransformersEngine

Write = Callable[..., Path]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Says whether bitsandbytes can be found."""
    find = importlib.util.find_spec

    def say(there: bool) -> None:
        found = types.SimpleNamespace() if there else None
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *rest: found if name == "bitsandbytes" else find(name, *rest)
        )

    return say


def test_without_bitsandbytes_or_a_gpu_it_is_refused_with_the_remedy(installed: Callable[[bool], None]) -> None:
    installed(False)
    with pytest.raises(UserError, match=r"tune\.model\.x: nf4 needs bitsandbytes.*domino_lightning\[quant"):
        check_nf4("tune.model.x")
    installed(True)
    check_nf4("engine", None)
    check_nf4("engine", "cuda")
    with pytest.raises(UserError, match="engine: nf4 needs an NVIDIA GPU, and the weights would go to 'cpu'"):
        check_nf4("engine", "cpu")


def test_check_tells_it_before_anything_runs(
    write_experiment: Write, installed: Callable[[bool], None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_experiment())
    installed(False)
    assert main(["check", path, "backbone_dtype=nf4", "tune.trainer.accelerator=auto"]) == 2
    assert "nf4 needs bitsandbytes, which is not installed" in capsys.readouterr().err
    installed(True)
    assert main(["check", path, "tune.model.backbone_dtype=nf4", "tune.trainer.accelerator=cpu"]) == 2
    assert "tune.model.backbone_dtype: nf4 needs an NVIDIA GPU" in capsys.readouterr().err
    assert main(["check", path, "tune.model.backbone_dtype=nf4", "tune.trainer.accelerator=auto"]) == 0
    if not torch.cuda.is_available():
        assert "dtype: nf4 needs an NVIDIA GPU, and this machine has none" in capsys.readouterr().out


def test_a_smoke_run_of_it_takes_no_gpu(write_experiment: Write, tmp_path: Path) -> None:
    keys = ("backbone_dtype=nf4", "tune.model.backbone_dtype=nf4", "evaluate.backbone_dtype=nf4")
    path = write_experiment()
    config = load_config(path, keys)
    small = load_config(path, keys, [smoke_layer(config, tmp_path / "smoke")])
    validate(small)
    assert "nf4" not in str(small.document)


def test_the_weights_are_asked_for_by_bitsandbytes_straight_on_the_gpu(
    installed: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    asked: dict[str, Any] = {}

    class Loader:
        @staticmethod
        def from_pretrained(source: str, **options: Any) -> tuple[torch.nn.Module, dict[str, set[Any]]]:
            asked.update(options)
            return torch.nn.Linear(1, 1), {f"{kind}_keys": set() for kind in ("missing", "unexpected", "mismatched")}

    installed(True)
    monkeypatch.setattr(transformers, "AutoModelForCausalLM", Loader)
    monkeypatch.setitem(sys.modules, "bitsandbytes", types.ModuleType("bitsandbytes"))
    monkeypatch.setattr(transformers.BitsAndBytesConfig, "post_init", lambda self: None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    load_backbone("some/model", "nf4", torch.device("cuda"))
    quantized = asked["quantization_config"]
    assert quantized.load_in_4bit
    assert (quantized.bnb_4bit_quant_type, quantized.bnb_4bit_use_double_quant) == ("nf4", True)
    assert quantized.bnb_4bit_compute_dtype == asked["dtype"] == torch.bfloat16
    assert weights_dtype("nf4", torch.device("cuda")) == torch.bfloat16
    assert asked["device_map"] == torch.device("cuda")
    with pytest.raises(UserError, match="backbone 'some/model': nf4 needs an NVIDIA GPU"):
        load_backbone("some/model", "nf4")


def test_all_weights_do_not_train_in_four_bits_and_an_engine_on_the_cpu_has_none(
    installed: Callable[[bool], None],
) -> None:
    with pytest.raises(UserError, match=r"finetune\.model\.backbone_dtype: nf4, but without model\.lora"):
        CoderModule("none", lora=None, backbone_dtype="nf4")
    installed(True)
    with pytest.raises(UserError, match="engine: dtype: nf4 needs an NVIDIA GPU"):
        TransformersEngine(dtype="nf4", device="cpu")
