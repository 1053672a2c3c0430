"""The reference corpus as token batches: EOS, truncation, samples, padding by length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from domino_lightning.data.reference import ReferenceDataModule, collate_texts, encode_texts
from domino_lightning.errors import UserError
from domino_lightning.testing import byte_tokenizer

EOS = 0


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("bos", [False, True])
def test_a_text_ends_in_one_eos_and_has_no_bos_of_its_own(bos: bool) -> None:
    tokenizer = byte_tokenizer(bos)
    (ids,) = encode_texts([{"id": "a", "text": "f(1)"}], tokenizer, 10, "error", "x.jsonl")
    assert ids[-1] == EOS
    assert EOS not in ids[:-1]
    assert tokenizer.decode(ids[:-1]) == "f(1)"
    assert len(ids) == 5  # four bytes and the EOS


def test_a_truncated_text_has_no_eos_and_one_that_just_fits_keeps_it() -> None:
    rows = [{"id": "fits", "text": "abc"}, {"id": "cut", "text": "abcd"}]
    fits, cut = encode_texts(rows, byte_tokenizer(), 4, "truncate", "x.jsonl")
    assert len(fits) == len(cut) == 4
    assert fits[-1] == EOS
    assert EOS not in cut
    assert fits[:3] == cut[:3]


def test_texts_that_are_cut_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    encode_texts([{"id": f"{n}", "text": "a" * n} for n in (2, 3, 4, 9)], byte_tokenizer(), 4, "truncate", "x.jsonl")
    assert "x.jsonl: 2 of 4 texts are longer than tune.data.max_length (4) and are cut there" in caplog.text
    caplog.clear()
    encode_texts([{"id": "fits", "text": "aaa"}], byte_tokenizer(), 4, "truncate", "x.jsonl")
    assert not caplog.text


def test_a_text_that_is_too_long_is_an_error_that_names_file_row_and_remedy() -> None:
    rows = [{"id": "short", "text": "a"}, {"id": "row-7", "text": "abcdef"}]
    with pytest.raises(UserError, match=r"x\.jsonl: row 'row-7' has 7 tokens.*max_length 4.*too_long=truncate"):
        encode_texts(rows, byte_tokenizer(), 4, "error", "x.jsonl")


def test_a_batch_is_right_padded_and_padding_rows_are_not_valid() -> None:
    batch = collate_texts([([5, 6, EOS], 3), None, ([7], 1)])
    assert batch.ids.shape == (3, 3)
    assert batch.ids[0].tolist() == [5, 6, EOS]
    assert batch.lengths.tolist() == [3, 1, 1]
    assert batch.samples.tolist() == [3, 0, 1]
    assert batch.valid.tolist() == [True, False, True]
    assert batch.token_mask().tolist() == [[True] * 3, [True, False, False], [True, False, False]]


def test_the_mask_follows_length_although_eos_and_pad_share_an_id() -> None:
    batch = collate_texts([([EOS, EOS], 0), ([5], 1)])
    assert batch.token_mask().tolist() == [[True, True], [True, False]]


def module(tmp_path: Path, backbone: Path, **kwargs: Any) -> ReferenceDataModule:
    rows = [{"id": str(i), "text": "x" * (i + 1), "group": "g" if i in (1, 3) else f"s{i}"} for i in range(5)]
    reference, heldout = write(tmp_path / "reference.jsonl", rows), write(tmp_path / "heldout.jsonl", rows[:3])
    return ReferenceDataModule(reference, heldout, str(backbone), **{"batch_size": 2, **kwargs})


def test_both_splits_are_batched_and_every_text_is_there_once(tmp_path: Path, tiny_backbone: Path) -> None:
    data = module(tmp_path, tiny_backbone)
    data.setup()
    assert data.num_samples == 4
    train, heldout = list(data.train_dataloader()), list(data.val_dataloader())
    assert sorted(length for batch in train for length in batch.lengths.tolist()) == [2, 3, 4, 5, 6]
    assert [batch.lengths.tolist() for batch in heldout] == [[2, 3], [4]]
    assert all(batch.valid.all() for batch in train + heldout)
    by_length = {
        length: sample
        for batch in train
        for length, sample in zip(batch.lengths.tolist(), batch.samples.tolist(), strict=True)
    }
    assert by_length[3] == by_length[5]
    assert len(set(by_length.values())) == 4


def test_the_same_seed_gives_the_same_batches_and_another_seed_others(tmp_path: Path, tiny_backbone: Path) -> None:
    orders = []
    for seed in (0, 0, 1):
        data = module(tmp_path, tiny_backbone, seed=seed)
        data.setup()
        orders.append(torch.cat([batch.lengths for batch in data.train_dataloader()]).tolist())
    assert orders[0] == orders[1] != orders[2]


def test_an_empty_split_is_an_error_that_names_it(tmp_path: Path, tiny_backbone: Path) -> None:
    data = module(tmp_path, tiny_backbone)
    write(tmp_path / "heldout.jsonl", [])
    with pytest.raises(UserError, match=r"heldout\.jsonl: the heldout set is empty"):
        data.setup()


def test_a_row_without_text_is_an_error_that_names_line_and_field(tmp_path: Path, tiny_backbone: Path) -> None:
    data = module(tmp_path, tiny_backbone)
    write(tmp_path / "reference.jsonl", [{"id": "a", "text": "x"}, {"id": "b"}])
    with pytest.raises(UserError, match=r"reference\.jsonl.*2.*text"):
        data.setup()


@pytest.mark.parametrize("bad", [{"batch_size": 0}, {"max_length": 1}])
def test_sizes_that_cannot_be_are_refused(tmp_path: Path, tiny_backbone: Path, bad: dict[str, int]) -> None:
    with pytest.raises(UserError, match=next(iter(bad))):
        module(tmp_path, tiny_backbone, **bad)
