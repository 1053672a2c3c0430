"""A backbone has the weights that its configuration describes, or it is refused, as a rule before it is loaded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from domino_lightning.errors import UserError
from domino_lightning.models import lookups
from domino_lightning.models.backbone import load_backbone, load_config, load_tokenizer
from domino_lightning.models.lookups import check_weights
from domino_lightning.models.tiny import tiny_model
from domino_lightning.models.weights import read_model

WEIGHTS = "model.safetensors"
Change = Callable[[Path], object]


@pytest.fixture
def backbone(tmp_path: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny backbone, and a cache in which nothing is remembered."""
    monkeypatch.setenv("DOMINO_CACHE", str(tmp_path / "cache"))
    shutil.copytree(tiny_backbone, tmp_path / "model")
    return tmp_path / "model"


def configured(**values: Any) -> Change:
    """Writes values into config.json."""

    def change(folder: Path) -> None:
        config = folder / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | values))

    return change


def renamed(name: Callable[[str], str | None]) -> Change:
    """Stores every tensor under another name, or under none."""

    def change(folder: Path) -> None:
        named = {name(key): value for key, value in load_file(folder / WEIGHTS).items()}
        save_file({key: value for key, value in named.items() if key}, folder / WEIGHTS, {"format": "pt"})

    return change


def without_biases(folder: Path) -> None:
    tiny_model(attention_bias=True).save_pretrained(folder)
    configured(attention_bias=False)(folder)


def cut(size: int) -> Change:
    return lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:size])


REFUSED: dict[str, tuple[Change, str]] = {
    "renamed": (
        renamed(lambda key: f"backbone.{key}"),
        r"lack 21 of the 21 parameters that its config.json describes \(lm_head.weight, …\), and hold 21 .*\(backbone",
    ),
    "no head": (renamed(lambda key: None if "head" in key else key), r"lack 1 of the 21 .*\(lm_head.weight\)"),
    "more layers": (configured(num_hidden_layers=7), r"lack 45 of the 66 .*\(model.layers.2.input_layernorm"),
    "fewer layers": (configured(num_hidden_layers=1), r"leaves out 9 parameters of layers .*\(model.layers.1.input"),
    "no biases": (
        without_biases,
        r"leaves out 8 parameters of layers that its weights hold \(model.layers.0.self_attn.k_proj.bias",
    ),
    "sizes": (configured(vocab_size=100), r"weight is 259 × 32 in its weights and 100 × 32 by its config.json"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "no file named model.safetensors"),
    "empty": (cut(0), "model.safetensors is damaged"),
    "cut in the header": (cut(1000), "model.safetensors is damaged"),
    "cut in the data": (cut(90_000), "model.safetensors is damaged"),
    "quantized": (configured(quantization_config={"quant_method": "gptq", "bits": 4}), "pip install optimum"),
    "no causal LM": (lambda folder: (folder / "config.json").write_text('{"model_type": "t5"}'), "t5|T5"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_weights_that_are_not_what_the_configuration_describes_are_refused(case: str, backbone: Path) -> None:
    change, words = REFUSED[case]
    change(backbone)
    for _ in range(2):  # a refusal is never kept
        with pytest.raises(UserError, match=words) as told:
            check_weights(str(backbone), "finetune.model.backbone")
        assert str(backbone) in str(told.value) and "\n" not in str(told.value)
    with pytest.raises(UserError, match=words):
        load_backbone(str(backbone))


def tied(folder: Path) -> None:
    """One matrix for tokens and head, which is stored once."""
    tiny_model(tie_word_embeddings=True).save_pretrained(folder)


def with_more(folder: Path) -> None:
    """Parts that a causal LM has no place for: another head, an image encoder, the buffer of an old version."""
    extra = ("score.weight", "vision.layers.0.weight", "model.layers.0.self_attn.rotary_emb.inv_freq")
    stored = load_file(folder / WEIGHTS) | {name: torch.ones(3) for name in extra}
    save_file(stored, folder / WEIGHTS, {"format": "pt"})


def in_shards(folder: Path) -> None:
    model = tiny_model()
    (folder / WEIGHTS).unlink()
    model.save_pretrained(folder, max_shard_size="60KB")


@pytest.mark.parametrize("change", [lambda folder: None, tied, with_more, in_shards])
def test_what_may_be_missing_or_left_over_is_taken(change: Change, backbone: Path) -> None:
    change(backbone)
    check_weights(str(backbone), "backbone")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = load_backbone(str(backbone)).state_dict()
    assert all(torch.equal(value, first[name]) for name, value in load_backbone(str(backbone)).state_dict().items())


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "opt", "mixtral", "gemma2", "falcon", "mamba"])
def test_families_are_complete_as_they_are_saved(family: str, tmp_path: Path) -> None:
    """Buffers, tied heads, fused experts: whatever a family stores otherwise than it holds."""
    tiny_model(family).save_pretrained(tmp_path)
    read_model("it", str(tmp_path), device_map="meta")


def test_a_check_looks_once_at_the_same_files_and_reads_no_weights(
    backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def reading(where: str, source: str, **options: Any) -> object:
        seen.append(read_model(where, source, **options))
        return seen[-1]

    monkeypatch.setattr(lookups, "read_model", reading)
    check_weights(str(backbone), "tune.model.backbone")
    check_weights(str(backbone), "finetune.model.backbone")
    assert len(seen) == 1
    assert {value.device.type for value in seen[0].parameters()} == {"meta"}
    tied(backbone)
    check_weights(str(backbone), "backbone")
    assert len(seen) == 2


@pytest.mark.parametrize("there", [True, False])
def test_a_model_of_the_hub_is_looked_at_where_its_weights_are_at_hand(
    there: bool, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured(vocab_size=100)(backbone)
    if not there:
        (backbone / WEIGHTS).unlink()

    def cached(spec: str, name: str) -> str | None:
        return str(backbone / name) if (backbone / name).is_file() else None

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", cached)
    monkeypatch.setattr(lookups, "causal_config", lambda spec: load_config(str(backbone)))
    if there:
        with pytest.raises(UserError, match="259 × 32"):
            check_weights("someone/model", "backbone")
    else:
        check_weights("someone/model", "backbone")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_a_device_or_a_machine_that_is_full_is_no_fault_of_the_model(
    error: Exception, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", full)
    with pytest.raises(type(error)):
        load_backbone(str(backbone))


@pytest.mark.parametrize("text", ['{"a": 1}', "[1]", '{"model": {"type": "Nothing"}, "added_tokens": []}', "{"])
def test_a_tokenizer_file_that_holds_anything_else_is_refused(text: str, backbone: Path) -> None:
    (backbone / "tokenizer.json").write_text(text)
    with pytest.raises(UserError, match="cannot be loaded: .* Look at its tokenizer.json") as told:
        load_tokenizer(str(backbone))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("values", [{"num_hidden_layers": "two"}, {"hidden_act": 3}, {"rope_parameters": [1]}])
def test_a_configuration_of_wrong_types_is_refused(values: dict[str, Any], backbone: Path) -> None:
    configured(**values)(backbone)
    with pytest.raises(UserError, match="cannot be loaded"):
        check_weights(str(backbone), "backbone")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_backbone(str(backbone))
