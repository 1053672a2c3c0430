"""Numbers of tokens are those of what is encoded, the first time and from the cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from domino_lightning.data.chat import encode_pair
from domino_lightning.data.lengths import bos_count, pair_lengths, text_lengths
from domino_lightning.data.text import encode_texts
from domino_lightning.errors import UserError
from domino_lightning.models.backbone import bos_ids, load_tokenizer

ROWS = [{"id": "1", "text": "short"}, {"id": "2", "text": "a longer text, wörter"}, {"id": "3", "text": ""}]
PAIRS = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in (("1 + 1", "2"), ("ö", "o"))]


def test_lengths_are_those_of_what_is_encoded(
    tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOMINO_CACHE", str(tmp_path))
    spec, tokenizer = str(tiny_backbone), load_tokenizer(str(tiny_backbone))
    texts = [len(ids) for ids in encode_texts(ROWS, tokenizer, 9, "truncate", "here")]
    pairs = [(len(ids), start) for ids, start in (encode_pair(pair, tokenizer) for pair in PAIRS)]
    for _ in range(2):
        assert text_lengths(ROWS, spec, 9, "truncate", "here") == texts
        assert pair_lengths(PAIRS, spec) == pairs
        assert bos_count(spec) == len(bos_ids(tokenizer))
        with pytest.raises(UserError) as told:
            text_lengths(ROWS, spec, 9, "error", "here")
        with pytest.raises(UserError) as raised:
            encode_texts(ROWS, tokenizer, 9, "error", "here")
        assert str(told.value) == str(raised.value)
    assert len(list((tmp_path / "lengths").iterdir())) == 3
