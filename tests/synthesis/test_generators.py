"""Generators: the soft prompt sampled row by row, and held-out texts replayed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
import torch

from domino_lightning.errors import UserError
from domino_lightning.models.backbone import load_tokenizer
from domino_lightning.models.soft_prompt import save_sample_tokens, save_soft_prompt
from domino_lightning.synthesis import HeldoutReplay, Sampled, SoftPromptGenerator
from domino_lightning.testing import save_tiny_backbone


@pytest.fixture(scope="module")
def tuned(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    domain = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    save_soft_prompt(folder, domain, str(tiny_backbone), load_tokenizer(str(tiny_backbone)))
    return folder


@pytest.fixture(scope="module")
def generator(tiny_backbone: Path, tuned: Path) -> SoftPromptGenerator:
    made = SoftPromptGenerator(str(tiny_backbone), temperature=1.0, max_new_tokens=12)
    made.open({"tune": tuned})
    return made


def test_a_row_depends_on_its_number_and_the_seed_alone(generator: SoftPromptGenerator) -> None:
    texts = generator.generate(range(8), seed=0)
    assert generator.generate([5, 2], seed=0) == [texts[5], texts[2]]
    assert generator.generate(range(8), seed=1) != texts
    assert len({sampled.text for sampled in texts}) > 1


def test_a_row_says_how_long_it_is_and_whether_it_ended(generator: SoftPromptGenerator) -> None:
    for sampled in generator.generate(range(40), seed=2):
        assert sampled.num_tokens <= 12
        assert sampled.finished or sampled.num_tokens == 12


def test_the_first_token_follows_bos_and_the_domain_tokens(tmp_path: Path) -> None:
    spec = str(save_tiny_backbone(tmp_path / "bos", bos=True))
    tokenizer = load_tokenizer(spec)
    domain = torch.randn(3, 32, generator=torch.Generator().manual_seed(4))
    save_soft_prompt(tmp_path, domain, spec, tokenizer)
    made = SoftPromptGenerator(spec, temperature=0.0, max_new_tokens=1)
    made.open({"tune": tmp_path})
    model = made.language_model.model  # type: ignore[attr-defined]
    bos = model.get_input_embeddings()(torch.tensor([tokenizer.bos_token_id]))
    logits = model(inputs_embeds=torch.cat([bos, domain])[None]).logits[0, -1]
    expected = tokenizer.decode([int(logits.argmax())], skip_special_tokens=True)
    assert made.generate([0], seed=0)[0].text == expected


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"max_new_tokens": 0},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(UserError, match="sampling: "):
        SoftPromptGenerator("any", **settings)  # type: ignore[arg-type]


def test_another_backbone_than_the_tuned_one_is_refused(tuned: Path, tmp_path: Path) -> None:
    other = str(save_tiny_backbone(tmp_path / "other", seed=1))
    with pytest.raises(UserError, match="learned on backbone"):
        SoftPromptGenerator(other).open({"tune": tuned})


def test_the_soft_prompt_is_read_from_tune_and_hashed_by_backbone_content(tiny_backbone: Path, tmp_path: Path) -> None:
    copy = save_tiny_backbone(tmp_path / "copy")
    assert SoftPromptGenerator.inputs({}) == ("tune",)
    hashes = [SoftPromptGenerator.contents({"backbone": str(path)}) for path in (tiny_backbone, copy)]
    assert hashes[0] == hashes[1]
    assert list(hashes[0]) == ["backbone"]


@pytest.mark.parametrize("kind", ["random", "dummy"])
def test_sample_tokens_stand_between_the_domain_tokens_and_the_text(
    tiny_backbone: Path, tmp_path: Path, kind: Literal["random", "dummy"]
) -> None:
    table = 2 * torch.randn(5, 2, 32, generator=torch.Generator().manual_seed(1))
    domain = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    spec, rows, seed = str(tiny_backbone), range(40), 4
    save_soft_prompt(tmp_path, domain, spec, load_tokenizer(spec))
    save_sample_tokens(tmp_path, table)
    made = SoftPromptGenerator(spec, 0.0, max_new_tokens=6, sample_tokens=kind)
    made.open({"tune": tmp_path})
    texts = [each.text for each in made.generate(rows, seed)]
    assert [each.text for each in made.generate([7, 2], seed)] == [texts[7], texts[2]]

    with_own = []  # domain tokens with each reference's tokens, or their mean, appended
    for own in table if kind == "random" else [table.mean(dim=0)]:
        save_soft_prompt(tmp_path, torch.cat([domain, own]), spec, load_tokenizer(spec))
        plain = SoftPromptGenerator(spec, 0.0, max_new_tokens=6)
        plain.open({"tune": tmp_path})
        with_own.append(plain.generate([0], 0)[0].text)
    assert len(set(with_own)) > len(with_own) // 2
    assert set(texts) == set(with_own)  # forty rows have met all five references


def test_sample_tokens_that_were_not_kept_are_asked_for_by_key(tuned: Path, tiny_backbone: Path) -> None:
    with pytest.raises(UserError, match="tune.keep_sample_tokens=true"):
        SoftPromptGenerator(str(tiny_backbone), sample_tokens="random").open({"tune": tuned})


def test_replay_gives_the_heldout_texts_in_turn(tmp_path: Path) -> None:
    rows = [{"text": "a b"}, {"text": "c"}]
    (tmp_path / "heldout.jsonl").write_text("\n".join(map(json.dumps, rows)))
    replay = HeldoutReplay()
    replay.open({"prepare": tmp_path})
    sampled = replay.generate([0, 3, 4], seed=9)
    assert [each.text for each in sampled] == ["a b", "c", "a b"]
    assert all(each.finished for each in sampled)
    assert HeldoutReplay.inputs({}) == ("prepare",)


def test_rows_are_told_one_by_one_and_are_what_generate_gives(generator: SoftPromptGenerator) -> None:
    counts: list[int] = []
    generator.on_tokens = counts.append
    told = generator.stream(range(200), 5)
    first = next(told)
    early = sum(counts)
    rows = [first, *told]
    assert 0 < early < sum(counts) and generator.queue == 4 * 96
    generator.on_tokens = None
    assert generator.generate(range(200), 5) == rows


class Shouting(SoftPromptGenerator):
    """As a fork may write it: it changes what is generated, and knows nothing of streams."""

    def generate(self, rows: Sequence[int], seed: int) -> list[Sampled]:
        return [each._replace(text=each.text.upper()) for each in super().generate(rows, seed)]


def test_a_class_that_only_says_how_to_generate_is_streamed_as_it_says(tiny_backbone: Path, tuned: Path) -> None:
    shouting = Shouting(str(tiny_backbone), temperature=1.0, max_new_tokens=12)
    shouting.open({"tune": tuned})
    assert list(shouting.stream(range(4), 5)) == shouting.generate(range(4), 5)
    assert all(each.text == each.text.upper() for each in shouting.stream(range(4), 5)) and shouting.queue == 0
