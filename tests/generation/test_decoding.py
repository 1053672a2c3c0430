"""Decoding in slots gives what transformers gives, row by row, whatever shares the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from domino_lightning.errors import UserError
from domino_lightning.generation import decoding as engine
from domino_lightning.generation.decoding import Decoded, decode
from domino_lightning.generation.drawing import row_noise
from domino_lightning.generation.kv_slots import Prefix
from domino_lightning.generation.sampling import Sampling
from domino_lightning.testing import tiny_model

VOCABULARY = 61
LAYERS = ["sliding_attention", "full_attention"]
SHORT = {"sliding_window": 6, "head_dim": 8, "layer_types": LAYERS}  # shorter than the prefix
LONG = {"sliding_window": 10, "head_dim": 8, "layer_types": LAYERS}  # longer, but shorter than the texts
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"head_dim": 8}),
    "mistral": ("mistral", {"sliding_window": 6}),
    "qwen2, windows": ("qwen2", {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}),
    "qwen2-moe, windows told by the mask alone": (
        "qwen2_moe",
        {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 2, "num_experts": 4, "head_dim": 8}
        | {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    ),
    "phi3": ("phi3", {"sliding_window": 8}),
    "starcoder2": ("starcoder2", {"sliding_window": 7}),
    "cohere2": ("cohere2", {"sliding_window": 5, "head_dim": 8}),
    "gpt2": ("gpt2", {}),
    "gemma3, short window": ("gemma3_text", SHORT),
    "gemma3, long window": ("gemma3_text", LONG),
}
PROMPTS = [[5, 9, 3], [7], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [20, 21, 22, 23, 24], [30, 31], [8, 8, 8, 8]]
NEW = 20


def soft_prefix(length: int = 7, hidden: int = 32) -> Tensor:
    return 0.5 * torch.randn(length, hidden, generator=torch.Generator().manual_seed(1))


def embedded(model: Any, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
    return [model.get_input_embeddings()(torch.tensor(prompt)).detach() for prompt in prompts]


def generate(model: Any, prefix: Tensor, prompt: Sequence[int], **settings: Any) -> list[int]:
    """New tokens of transformers' own loop, on one prompt without padding."""
    embeds = torch.cat([prefix, *embedded(model, [prompt])])[None]
    mask = torch.ones(embeds.shape[:2], dtype=torch.long)
    settings = {"do_sample": False, "max_new_tokens": NEW, "eos_token_id": None, "pad_token_id": 0} | settings
    ids: list[int] = model.generate(inputs_embeds=embeds, attention_mask=mask, **settings)[0].tolist()
    return ids


# The quick round has a plain one, one of another layout and one with windows; the others are much like these.
QUICK = {"llama", "gpt2", "gemma3, short window"}
PARAMS = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in FAMILIES]


@pytest.fixture(scope="module", params=PARAMS)
def model(request: pytest.FixtureRequest) -> Any:
    family, overrides = FAMILIES[request.param]
    return tiny_model(family, vocabulary=VOCABULARY, **overrides)


def greedy(
    model: Any, prompts: Sequence[Sequence[int]], eos: frozenset[int] = frozenset(), length: int = 7, **settings: Any
) -> list[Decoded]:
    prefix = Prefix(model, soft_prefix(length))
    return decode(model, prefix, embedded(model, prompts), None, Sampling(0.0, max_new_tokens=NEW), eos, **settings)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 48])
def test_greedy_equals_generate_for_ragged_prompts(model: Any, batch_size: int) -> None:
    rows = greedy(model, PROMPTS, batch_size=batch_size)
    assert [row.ids for row in rows] == [generate(model, soft_prefix(), p) for p in PROMPTS]


@pytest.mark.parametrize("length", [0, 1, 12])
def test_greedy_equals_generate_for_prefixes_of_any_length(model: Any, length: int) -> None:
    rows = greedy(model, PROMPTS[:3], length=length, batch_size=2)
    assert [row.ids for row in rows] == [generate(model, soft_prefix(length), p) for p in PROMPTS[:3]]


@pytest.mark.filterwarnings("ignore:Passing .repetition_penalty. with .inputs_embeds.")
def test_a_repetition_penalty_equals_that_of_generate(model: Any) -> None:
    sampling = Sampling(0.0, repetition_penalty=1.7, max_new_tokens=NEW)
    prefix = Prefix(model, soft_prefix())
    rows = decode(model, prefix, embedded(model, PROMPTS), None, sampling, frozenset(), batch_size=2)
    expected = [generate(model, soft_prefix(), p, repetition_penalty=1.7) for p in PROMPTS]
    assert [row.ids for row in rows] == expected
    assert expected != [generate(model, soft_prefix(), p) for p in PROMPTS]


@pytest.mark.parametrize("batch_size", [1, 3, 48])
def test_a_sampled_row_is_the_same_whatever_else_is_in_its_batch(model: Any, batch_size: int) -> None:
    noise, sampling = row_noise(range(6), NEW, seed=3), Sampling(1.0, 0.9, 0.01, 1.1, NEW)
    prefix, prompts, eos = Prefix(model, soft_prefix()), embedded(model, PROMPTS), frozenset({4, 5, 6})
    together = decode(model, prefix, prompts, noise, sampling, eos, batch_size)
    for row, prompt in enumerate(prompts):
        assert decode(model, prefix, [prompt], noise[row : row + 1], sampling, eos) == [together[row]]


def test_eos_ends_a_row_and_is_no_part_of_it(model: Any) -> None:
    full = [row.ids for row in greedy(model, PROMPTS)]
    eos = full[0][5]
    for row, ids in zip(greedy(model, PROMPTS, frozenset({eos}), batch_size=2), full, strict=True):
        stop = ids.index(eos) if eos in ids else NEW
        assert row == Decoded(ids[:stop], eos in ids)


def test_dropping_idle_slots_changes_nothing(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = row_noise(range(12), NEW, seed=0)
    prompts = embedded(model, [PROMPTS[row % 4] for row in range(12)])
    eos = frozenset(range(12))  # about one token in five ends a row
    results = []
    for share in (0.0, 0.75, 2.0):  # never, as usual, at every step
        monkeypatch.setattr(engine, "COMPACT_BELOW", share)
        sampling = Sampling(1.5, max_new_tokens=NEW)
        results.append(decode(model, Prefix(model, soft_prefix()), prompts, noise, sampling, eos, batch_size=5))
    assert results[0] == results[1] == results[2]
    assert len({len(row.ids) for row in results[0]}) > 3


def test_sampled_texts_have_the_probabilities_of_the_model() -> None:
    model = tiny_model(vocabulary=4, hidden_size=32, seed=3)
    prefix, prompt, count = soft_prefix(), [[1]], 3000
    noise = row_noise(range(count), 3, seed=11)
    sampling, eos = Sampling(0.7, max_new_tokens=3), frozenset({0})
    rows = decode(model, Prefix(model, prefix), embedded(model, prompt * count), noise, sampling, eos, batch_size=512)
    exact: dict[tuple[int, ...], float] = {}  # every text of at most three tokens, by the chain rule

    def grow(ids: tuple[int, ...], probability: float) -> None:
        if len(ids) == 3 or (ids and ids[-1] == 0):
            exact[ids] = probability
            return
        embeds = torch.cat([prefix, *embedded(model, [[1, *ids]])])[None]
        with torch.no_grad():
            following = (model(inputs_embeds=embeds).logits[0, -1].double() / 0.7).softmax(-1)
        for token, share in enumerate(following.tolist()):
            grow((*ids, token), probability * share)

    grow((), 1.0)
    assert len(exact) == 1 + 3 * 1 + 9 * 4 and abs(sum(exact.values()) - 1) < 1e-9
    counts = dict.fromkeys(exact, 0)
    for row in rows:
        counts[(*row.ids, *([0] if row.finished else []))] += 1
    chi_square = sum((counts[ids] - count * p) ** 2 / (count * p) for ids, p in exact.items())
    assert chi_square < 72.1  # the 0.999 quantile for 39 degrees of freedom
    assert min(count * p for p in exact.values()) > 2


def test_a_row_that_reaches_its_limit_is_not_finished() -> None:
    model = tiny_model(vocabulary=VOCABULARY)
    (row,) = greedy(model, [[1]])
    assert (len(row.ids), row.finished) == (NEW, False)
    limited = greedy(model, PROMPTS[:3], batch_size=2, limits=[3, 20, 1])
    assert [len(each.ids) for each in limited] == [3, 20, 1]
    assert [each.ids for each in limited] == [
        full.ids[: len(each.ids)] for full, each in zip(greedy(model, PROMPTS[:3]), limited, strict=True)
    ]


def test_tokens_are_counted_as_they_come() -> None:
    model, counts = tiny_model(vocabulary=VOCABULARY), []
    rows = greedy(model, PROMPTS, frozenset({3}), batch_size=2, on_tokens=counts.append)
    assert sum(counts) == sum(len(row.ids) for row in rows)
    assert max(counts) == 2


def test_the_batch_stays_full_and_the_prefix_is_encoded_once() -> None:
    model = tiny_model(vocabulary=VOCABULARY)
    shapes: list[tuple[int, ...]] = []
    forward = model.model.forward

    def spy(*args: Any, **kwargs: Any) -> Any:
        shapes.append(tuple(kwargs["inputs_embeds"].shape[:2]))
        return forward(*args, **kwargs)

    model.model.forward = spy
    prompts = [[1, 2, 3], [4, 5], [6], [7, 8, 9, 10]]
    greedy(model, prompts, batch_size=2, limits=[2, 4, 3, 1])
    # Rows 0 and 1 start together; row 2 has nothing to encode when it takes over from row 0; row 3 takes over row 1.
    steps = [(2, 1)] * 2 + [(2, 1)] * 2 + [(1, 3)] + [(2, 1)]
    assert shapes == [(1, 7), (2, 2), *steps]


def test_the_model_is_left_as_it_was() -> None:
    model = tiny_model(vocabulary=VOCABULARY)
    before = model.config._attn_implementation
    greedy(model, PROMPTS)
    assert model.config._attn_implementation == before
    with pytest.raises(KeyboardInterrupt):
        greedy(model, PROMPTS, on_tokens=_interrupt)
    assert model.config._attn_implementation == before


def _interrupt(_: int) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("length", [0, 5])
@pytest.mark.parametrize(
    ("family", "settings", "told"),
    [
        ("mamba", {}, "more than keys and values"),
        ("gemma2", {"head_dim": 8}, "softcap"),
        ("bloom", {}, "2 of 2 layers"),
        ("gpt_oss", {"head_dim": 8, "num_local_experts": 2}, "s_aux"),
        ("bert", {}, "see later ones"),
    ],
)
def test_a_family_that_does_more_than_attend_is_refused_by_name(
    family: str, settings: dict[str, Any], told: str, length: int
) -> None:
    model = tiny_model(family, vocabulary=VOCABULARY, **settings)
    with pytest.raises(UserError, match=f"'{family}'.*{told}"):
        greedy(model, PROMPTS, length=length)
