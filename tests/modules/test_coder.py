"""The coder's fine-tune in process: assistant tokens alone, through LoRA or in full."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from domino_lightning.data import SyntheticDataModule
from domino_lightning.data.chat import encode_pair
from domino_lightning.data.padded import ChatBatch, collate_pairs
from domino_lightning.errors import StageFailed
from domino_lightning.models.backbone import load_backbone
from domino_lightning.modules import CoderModule, Lora
from domino_lightning.testing import byte_tokenizer, tiny_model

MakeTrainer = Callable[..., Any]
PAIRS = [("f(1)?", "2"), ("what is g(10) to a long question?", "[1, 2, 3]"), ("h", "")]


def messages(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def batch() -> ChatBatch:
    return collate_pairs([encode_pair(messages(*pair), byte_tokenizer()) for pair in PAIRS])


def coder(lora: Lora | None = None, family: str = "llama", **settings: Any) -> CoderModule:
    module = CoderModule("none", lora=lora, **{"learning_rate": 5e-4, "warmup_steps": 0, **settings})
    module.attach(tiny_model(family))
    return module


def by_hand(module: CoderModule) -> list[float]:
    """Minus log-probability of every answer token and EOS, one conversation at a time, one token at a time."""
    tokenizer = byte_tokenizer()
    values = []
    for question, answer in PAIRS:
        prompt = f"<|start|>user\n{question}<|end|>\n<|start|>assistant\n"
        ids = tokenizer(prompt, add_special_tokens=False).input_ids
        for token in [*tokenizer(answer, add_special_tokens=False).input_ids, tokenizer.eos_token_id]:
            logits = module.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
            values.append(-torch.log_softmax(logits.float(), dim=-1)[token].item())
            ids = [*ids, token]
    return values


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_loss_counts_the_assistants_tokens_and_its_eos_alone(family: str) -> None:
    module = coder(family=family)
    with torch.no_grad():
        expected, nll = by_hand(module), module.answer_nll(batch())
    assert len(expected) == (1 + 1) + (9 + 1) + (0 + 1)
    assert nll.tolist() == pytest.approx(expected, abs=1e-5)


def test_the_adapter_takes_part_in_the_likelihood() -> None:
    module = coder(Lora(rank=4))
    with torch.no_grad():
        untouched = module.answer_nll(batch())
        for name, parameter in module.named_parameters():
            if "lora_B" in name:  # zero at the start, so that the adapter begins as no change
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(0))
        assert not torch.allclose(module.answer_nll(batch()), untouched, atol=1e-3)
        assert module.answer_nll(batch()).tolist() == pytest.approx(by_hand(module), abs=1e-4)


def test_padding_rows_and_extra_padding_change_nothing() -> None:
    module, texts = coder(), batch()
    wider = torch.nn.functional.pad(texts.ids, (0, 5), value=9)
    padded = collate_pairs([None])
    with torch.no_grad():
        nll = module.answer_nll(texts)
        assert torch.allclose(module.answer_nll(texts._replace(ids=wider)), nll, atol=1e-6)
        assert module.answer_nll(padded).shape == (0,)


@pytest.mark.parametrize("lora", [None, Lora(rank=2, dropout=0.3)], ids=["in full", "adapter with dropout"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3_text"])
def test_gradient_checkpointing_gives_the_same_gradients_and_encodes_every_layer_twice(
    family: str, lora: Lora | None
) -> None:
    results, passes = [], []
    for again in (False, True):
        module = coder(lora, family, gradient_checkpointing=again)
        calls: list[Any] = []
        linear = next(part for name, part in module.model.named_modules() if name.endswith(("up_proj", "c_fc")))
        linear.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        torch.manual_seed(5)
        module.answer_nll(batch()).mean().backward()
        results.append({name: p.grad for name, p in module.named_parameters() if p.requires_grad})
        passes.append(len(calls))
    assert passes == [1, 2]
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_gradient_checkpointing_keeps_a_fraction_of_what_the_backward_pass_needs() -> None:
    kept = []
    for again in (False, True):
        module = CoderModule("none", lora=Lora(rank=2), gradient_checkpointing=again)
        module.attach(tiny_model("llama", num_hidden_layers=8))
        weights = {p.untyped_storage().data_ptr() for p in module.parameters()}
        found: dict[int, int] = {}

        def pack(tensor: Tensor, found: dict[int, int] = found, weights: set[int] = weights) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                found[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            nll = module.answer_nll(batch())
        # What a layer keeps is held by its checkpoint's arguments, which the hooks do not see: one (B, L, H) each.
        kept.append(sum(found.values()) + again * 8 * batch().ids.numel() * 32 * 4)
        del nll
    assert kept[1] < 0.25 * kept[0]


def test_a_padding_batch_has_loss_zero_and_zero_gradients_for_every_trained_weight(quiet_trainer: MakeTrainer) -> None:
    module = coder(Lora(rank=2))
    nll = module.answer_nll(collate_pairs([None]))
    (nll.sum() / max(1, len(nll))).backward()
    trained = [p for p in module.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.abs().sum() == 0 for p in trained)


def test_the_adapters_start_is_a_function_of_the_seed_and_leaves_global_state_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = coder(Lora(rank=2), seed=1).state_dict()
    assert torch.equal(torch.rand(1), expected)
    again, other = coder(Lora(rank=2), seed=1).state_dict(), coder(Lora(rank=2), seed=2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.fixture
def data(tmp_path: Path, tiny_backbone: Path) -> SyntheticDataModule:
    rows = [{"messages": messages(f"f({i})?" + "?" * i, str(i) * (i + 1)), "source_id": str(i)} for i in range(5)]
    for name, part in (("train", rows), ("heldout", rows[:3])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    module = SyntheticDataModule(
        [tmp_path / "train.jsonl"], tmp_path / "heldout.jsonl", str(tiny_backbone), batch_size=2
    )
    module.setup()
    return module


def trained(backbone: Path, data: SyntheticDataModule, make: MakeTrainer, lora: Lora | None, **settings: Any) -> Any:
    module = CoderModule(str(backbone), learning_rate=0.01, warmup_steps=0, lora=lora)
    trainer = make(max_steps=3, **settings)
    trainer.fit(module, datamodule=data)
    return trainer, module


def weights(module: Any) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def test_lora_changes_the_adapter_alone(
    tiny_backbone: Path, data: SyntheticDataModule, quiet_trainer: MakeTrainer, tmp_path: Path
) -> None:
    start = CoderModule(str(tiny_backbone), lora=Lora(rank=2))
    start.attach(load_backbone(str(tiny_backbone)))
    before = weights(start)
    trainer, module = trained(tiny_backbone, data, quiet_trainer, Lora(rank=2))
    changed = {name for name, value in weights(module).items() if not torch.equal(value, before[name])}
    assert changed
    assert all("lora_" in name for name in changed)
    assert {name for name in before if "lora_B" in name} <= changed
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    saved = torch.load(tmp_path / "x.ckpt", weights_only=True)["state_dict"]
    assert saved
    assert all("lora_" in name for name in saved)


def test_a_full_fine_tune_changes_all_weights_and_is_saved_in_the_usual_format(
    tiny_backbone: Path, data: SyntheticDataModule, quiet_trainer: MakeTrainer, tmp_path: Path
) -> None:
    before = weights(load_backbone(str(tiny_backbone)))
    _, module = trained(tiny_backbone, data, quiet_trainer, None)
    after = weights(module.model)
    assert all(not torch.equal(after[name], before[name]) for name in before if "proj" in name)
    module.save_pretrained(tmp_path / "model")
    reloaded = weights(load_backbone(str(tmp_path / "model")))
    assert all(torch.equal(after[name], reloaded[name]) for name in after)


def test_a_saved_adapter_gives_the_trained_model_back(
    tiny_backbone: Path, data: SyntheticDataModule, quiet_trainer: MakeTrainer, tmp_path: Path
) -> None:
    from peft import PeftModel

    _, module = trained(tiny_backbone, data, quiet_trainer, Lora(rank=2))
    module.save_pretrained(tmp_path / "adapter")
    again = PeftModel.from_pretrained(load_backbone(str(tiny_backbone)), str(tmp_path / "adapter"))
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        assert torch.allclose(again(input_ids=ids).logits, module.model.eval()(input_ids=ids).logits, atol=1e-6)


def test_validation_is_the_mean_over_all_heldout_answer_tokens(
    tiny_backbone: Path, data: SyntheticDataModule, quiet_trainer: MakeTrainer
) -> None:
    trainer, module = trained(
        tiny_backbone, data, quiet_trainer, Lora(rank=2),
        limit_val_batches=1.0, val_check_interval=3, check_val_every_n_epoch=None,
    )  # fmt: skip
    with torch.no_grad():
        tokens = [module.answer_nll(collate_pairs([pair])) for pair in data.encoded["heldout"]]
    assert len(torch.cat(tokens)) == (1 + 1) + (2 + 1) + (3 + 1)
    expected = torch.cat(tokens).mean().item()
    assert trainer.callback_metrics["finetune/heldout/nll"].item() == pytest.approx(expected, abs=1e-5)


def test_no_heldout_pairs_means_no_heldout_metric_and_no_failure(
    tiny_backbone: Path, data: SyntheticDataModule, quiet_trainer: MakeTrainer
) -> None:
    data.encoded["heldout"] = []
    trainer, _ = trained(
        tiny_backbone, data, quiet_trainer, Lora(rank=2),
        limit_val_batches=1.0, val_check_interval=1, check_val_every_n_epoch=None,
    )  # fmt: skip
    assert trainer.global_step == 3
    assert "finetune/heldout/nll" not in trainer.callback_metrics


def test_a_loss_that_is_no_number_stops_the_run(
    tiny_backbone: Path, data: SyntheticDataModule, quiet_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = CoderModule.answer_nll
    monkeypatch.setattr(CoderModule, "answer_nll", lambda self, batch: whole(self, batch) * math.nan)
    with pytest.raises(StageFailed, match=r"finetune: term 'loss' is nan at step 1.*finetune\.model\.learning_rate"):
        trained(tiny_backbone, data, quiet_trainer, Lora(rank=2))
