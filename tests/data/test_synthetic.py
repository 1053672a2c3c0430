"""Chat pairs as token batches: the answer is what the assistant says, and its one EOS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.data.chat import encode_pair, encode_prompt
from domino_lightning.data.padded import collate_pairs
from domino_lightning.data.synthetic import SyntheticDataModule
from domino_lightning.errors import UserError
from domino_lightning.testing import byte_tokenizer

EOS = 0


def pair(question: str, answer: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "source_id": question}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_pair_is_the_prompt_as_generation_sees_it_then_the_answer_then_one_eos() -> None:
    tokenizer = byte_tokenizer()
    messages = pair("f(1)?", "42")["messages"]
    ids, start = encode_pair(messages, tokenizer)
    assert ids[:start] == encode_prompt(messages[:-1], tokenizer)
    assert tokenizer.decode(ids[:start]) == "<|start|>user\nf(1)?<|end|>\n<|start|>assistant\n"
    assert tokenizer.decode(ids[start:-1]) == "42"
    assert ids[-1] == EOS


@pytest.mark.parametrize("bos", [False, True])
def test_the_template_alone_decides_about_special_tokens(bos: bool) -> None:
    messages = pair("q", "a")["messages"]
    assert encode_pair(messages, byte_tokenizer(bos)) == encode_pair(messages, byte_tokenizer())


def test_a_tokenizer_without_chat_template_is_an_error_that_names_the_backbone() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(UserError, match="no chat template"):
        encode_prompt(pair("q", "a")["messages"][:-1], tokenizer)


def test_only_answers_of_valid_rows_are_in_the_mask_eos_included() -> None:
    batch = collate_pairs([([5, 6, 7, EOS], 2), None, ([5, EOS], 1)])
    assert batch.valid.tolist() == [True, False, True]
    assert batch.answer_mask().tolist() == [
        [False, False, True, True],
        [False, False, False, False],
        [False, True, False, False],
    ]
    assert batch.token_mask().sum(dim=1).tolist() == [4, 1, 2]


def test_pairs_of_several_files_are_trained_on_together(tmp_path: Path, tiny_backbone: Path) -> None:
    files = [write(tmp_path / f"{name}.jsonl", [pair(name * i, "1") for i in (1, 2)]) for name in "ab"]
    data = SyntheticDataModule(files, write(tmp_path / "h.jsonl", [pair("h", "2")]), str(tiny_backbone), batch_size=3)
    data.setup()
    batches = list(data.train_dataloader())
    assert [len(batch.ids) for batch in batches] == [3, 1]
    assert len(data.encoded["train"]) == 4
    assert [len(batch.ids) for batch in data.val_dataloader()] == [1]


def test_no_pairs_at_all_is_an_error_that_says_where_to_look(tmp_path: Path, tiny_backbone: Path) -> None:
    empty = write(tmp_path / "pairs.jsonl", [])
    data = SyntheticDataModule([empty], write(tmp_path / "h.jsonl", [pair("h", "2")]), str(tiny_backbone))
    with pytest.raises(UserError, match=r"pairs\.jsonl: no chat pairs to train on"):
        data.setup()


def test_a_pair_that_is_too_long_is_left_out_with_a_warning(
    tmp_path: Path, tiny_backbone: Path, caplog: pytest.LogCaptureFixture
) -> None:
    long = write(tmp_path / "pairs.jsonl", [pair("ok", "1"), pair("x" * 80, "1"), pair("y" * 90, "1")])
    heldout = write(tmp_path / "h.jsonl", [pair("h", "2")])
    data = SyntheticDataModule([long], heldout, str(tiny_backbone), max_length=60)
    data.setup()
    assert len(data.encoded["train"]) == 1
    assert "pair 'x" in caplog.text and "1 more are left out" in caplog.text


def test_a_pair_that_is_too_long_is_named(tmp_path: Path, tiny_backbone: Path) -> None:
    long = write(tmp_path / "pairs.jsonl", [pair("ok", "1"), pair("x" * 80, "1")])
    heldout = write(tmp_path / "h.jsonl", [pair("h", "2")])
    data = SyntheticDataModule([long], heldout, str(tiny_backbone), max_length=60, too_long="error")
    with pytest.raises(UserError, match=r"pairs\.jsonl: pair 'x{80}' has \d+ tokens.*max_length 60"):
        data.setup()


def test_a_batch_size_below_one_is_refused(tmp_path: Path, tiny_backbone: Path) -> None:
    with pytest.raises(UserError, match=r"finetune\.data: batch_size 0"):
        SyntheticDataModule([], tmp_path / "h.jsonl", str(tiny_backbone), batch_size=0)


def train_on(folder: Path, backbone: Path, rows: int, size: int | None, seed: int = 0) -> list[Any]:
    pairs = write(folder / "pairs.jsonl", [pair(f"q{number}", f"a{number}") for number in range(rows)])
    heldout = write(folder / "heldout.jsonl", [pair("q", "a")])
    data = SyntheticDataModule([pairs], heldout, str(backbone), size=size, seed=seed)
    data.setup()
    assert len(data.encoded["heldout"]) == 1
    return data.encoded["train"]


def test_a_size_draws_so_many_pairs_by_the_seed_smaller_ones_among_larger(tmp_path: Path, tiny_backbone: Path) -> None:
    every = train_on(tmp_path, tiny_backbone, 12, None)
    parts = [train_on(tmp_path, tiny_backbone, 12, size) for size in (3, 7, 12)]
    assert [len(part) for part in parts] == [3, 7, 12]
    places = [[every.index(each) for each in part] for part in parts]
    assert all(place == sorted(place) for place in places)  # in the order of the file
    assert set(places[0]) < set(places[1]) and parts[2] == every
    assert places[1] != list(range(7))
    assert train_on(tmp_path, tiny_backbone, 12, 7, seed=1) != parts[1]
    assert train_on(tmp_path, tiny_backbone, 12, 7) == parts[1]


def test_fewer_pairs_than_the_size_are_refused(tmp_path: Path, tiny_backbone: Path) -> None:
    with pytest.raises(UserError, match=r"finetune\.data\.size: exactly 5 pairs are asked for.*there are 4\. Lower it"):
        train_on(tmp_path, tiny_backbone, 4, 5)
    with pytest.raises(UserError, match=r"size 0 must be 1 or more"):
        train_on(tmp_path, tiny_backbone, 4, 0)
