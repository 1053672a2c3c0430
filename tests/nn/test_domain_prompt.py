"""Domain tokens: where they are drawn from and what a subclass may change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from domino_lightning.errors import UserError
from domino_lightning.nn import DomainPrompt, DomainTokens
from domino_lightning.nn.initialization import draw_tokens
from domino_lightning.testing import byte_tokenizer


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def vocabulary(rows: int = 50, size: int = 6) -> Tensor:
    return torch.randn(rows, size, generator=seeded(9))


def rows_of(tokens: Tensor, table: Tensor) -> list[int]:
    """Which row of the table every token equals, bit for bit."""
    equal = (tokens[:, None] == table[None]).all(dim=-1)
    assert equal.sum(dim=1).tolist() == [1] * len(tokens)
    return equal.long().argmax(dim=1).tolist()


@pytest.mark.parametrize("count", [1, 8, 50])
def test_vocabulary_rows_are_distinct_rows_of_the_embedding_matrix(count: int) -> None:
    rows = rows_of(DomainPrompt(count).tokens(vocabulary(), seeded())(), vocabulary())
    assert len(set(rows)) == count


def test_initialization_is_seeded() -> None:
    for init in ("vocabulary", "normal"):
        first, again, other = (draw_tokens(vocabulary(), 8, init, seeded(seed)) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_normal_initialization_matches_mean_and_deviation_per_dimension_and_the_norm() -> None:
    # In 256 dimensions the norms of the rows hardly vary, so scaling to their mean hardly changes the moments.
    scale = torch.linspace(0.5, 2.0, 256)
    table = vocabulary(400, 256) * scale + torch.linspace(-1.0, 1.0, 256)
    tokens = draw_tokens(table, 20_000, "normal", seeded())
    assert torch.allclose(tokens.norm(dim=1), table.norm(dim=1).mean().expand(20_000), rtol=1e-5)
    # Errors of the estimates are σ/√n = 0.7 % and σ/√2n = 0.5 % of σ.
    assert ((tokens.mean(dim=0) - table.mean(dim=0)).abs() / table.std(dim=0)).max() < 0.04
    assert (tokens.std(dim=0) / table.std(dim=0) - 1).abs().max() < 0.03


def test_a_text_gives_its_token_embeddings_cut_to_the_count(caplog: pytest.LogCaptureFixture) -> None:
    table, tokenizer = vocabulary(259), byte_tokenizer()
    tokens = DomainPrompt(3, init="text", init_from="hello").tokens(table, seeded(), tokenizer)
    assert torch.equal(tokens(), table[torch.tensor(tokenizer("hello").input_ids[:3])])
    assert "3 domain tokens from the text of init_from, which has 5: cut" in caplog.text


def test_a_short_text_is_repeated_with_a_notice_and_one_that_fits_has_none(caplog: pytest.LogCaptureFixture) -> None:
    table, tokenizer = vocabulary(259), byte_tokenizer()
    exact = DomainPrompt(2, init="text", init_from="ab").tokens(table, seeded(), tokenizer)
    assert caplog.text == ""
    long = DomainPrompt(5, init="text", init_from="ab").tokens(table, seeded(), tokenizer)
    a, b = exact()
    assert torch.equal(long(), torch.stack([a, b, a, b, a]))
    assert "which has 2: repeated" in caplog.text


@pytest.mark.parametrize("as_directory", [True, False])
@pytest.mark.parametrize(
    ("name", "key"), [("soft_prompt.safetensors", "domain"), ("adapter_model.safetensors", "prompt_embeddings")]
)
def test_another_soft_prompt_is_taken_as_it_is(tmp_path: Path, name: str, key: str, as_directory: bool) -> None:
    tokens = torch.randn(4, 6, generator=seeded(3))
    save_file({key: tokens}, str(tmp_path / name))
    prompt = DomainPrompt(4, init="soft_prompt", init_from=str(tmp_path if as_directory else tmp_path / name))
    assert torch.equal(prompt.tokens(vocabulary(), seeded())(), tokens)


def test_a_soft_prompt_of_another_width_or_none_at_all_is_refused_by_name(tmp_path: Path) -> None:
    def start() -> None:
        DomainPrompt(4, init="soft_prompt", init_from=str(tmp_path)).tokens(vocabulary(), seeded())

    with pytest.raises(UserError, match="no soft prompt there"):
        start()
    save_file({"domain": torch.zeros(4, 7)}, str(tmp_path / "soft_prompt.safetensors"))
    with pytest.raises(UserError, match=r"soft_prompt\.safetensors: its tokens have 7 dimensions.*have 6"):
        start()
    save_file({"other": torch.zeros(4, 6)}, str(tmp_path / "soft_prompt.safetensors"))
    with pytest.raises(UserError, match=r"holds other, where a matrix 'domain'"):
        start()
    (tmp_path / "soft_prompt.safetensors").write_text("no tensors")
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        start()


def test_init_from_goes_with_the_inits_that_need_it() -> None:
    for arguments in ({"init": "text"}, {"init": "soft_prompt"}, {"init": "vocabulary", "init_from": "x"}):
        with pytest.raises(ValueError, match="init_from goes with"):
            DomainPrompt(2, **arguments)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="needs a text in init_from"):
        DomainPrompt(2, init="text", init_from="").tokens(vocabulary(259), seeded(), byte_tokenizer())


def test_the_backbones_rows_are_copied_and_not_shared() -> None:
    table = vocabulary()
    tokens = DomainPrompt(50).tokens(table, seeded())
    with torch.no_grad():
        tokens.weight.zero_()
    assert torch.equal(table, vocabulary())


def test_a_half_precision_embedding_gives_float32_tokens() -> None:
    tokens = DomainPrompt(3).tokens(vocabulary().bfloat16(), seeded())
    assert tokens().dtype == torch.float32


def test_more_tokens_than_vocabulary_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="num_tokens 51 is more than the vocabulary's 50 rows"):
        draw_tokens(vocabulary(), 51, "vocabulary", seeded())


def test_bad_arguments_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="num_tokens must be 1 or more, not 0"):
        DomainPrompt(0)
    with pytest.raises(ValueError, match="'vocabulary' or 'normal', not 'zeros'"):
        draw_tokens(vocabulary(), 2, "zeros", seeded())  # type: ignore[arg-type]


def test_a_subclass_may_sample_its_tokens_and_still_export_them_without_noise() -> None:
    class NoisyTokens(DomainTokens):
        def forward(self) -> Tensor:
            return self.weight + torch.randn_like(self.weight)

        def regularizers(self) -> dict[str, Tensor]:
            return {"kl": self.weight.square().mean()}

    class Noisy(DomainPrompt):
        def tokens(self, *given: Any) -> DomainTokens:
            return NoisyTokens(self.start(*given))

    tokens = Noisy(4).tokens(vocabulary(), seeded())
    assert not torch.equal(tokens(), tokens())
    assert torch.equal(tokens.exported(), tokens.exported())
    assert not tokens.exported().requires_grad
    assert set(tokens.regularizers()) == {"kl"}
    assert DomainPrompt(4).tokens(vocabulary(), seeded()).regularizers() == {}


def test_a_fork_that_overrides_what_nobody_asks_is_told() -> None:
    with pytest.raises(TypeError, match="Noisy overrides forward.*DomainTokens"):
        type("Noisy", (DomainPrompt,), {"forward": lambda self: None})
