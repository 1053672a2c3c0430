"""Steps of fixed shapes: whatever their layout, replayed or not, read late or not, rows are the same."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from domino_lightning.generation import decoding, graphs
from domino_lightning.generation.decoding import Decoded, decode
from domino_lightning.generation.drawing import row_noise
from domino_lightning.generation.graphs import Layout, StepGraphs, rope_types
from domino_lightning.generation.kv_slots import Prefix, Slots
from domino_lightning.generation.sampling import Sampling
from domino_lightning.models.attention import replaced_attention
from domino_lightning.testing import tiny_model

VOCABULARY, NEW, ROWS = 61, 20, 13
WINDOWS = {"sliding_window": 6, "head_dim": 8, "layer_types": ["sliding_attention", "full_attention"]}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "gpt2": ("gpt2", {}),
    "gemma3": ("gemma3_text", WINDOWS),
    "mistral": ("mistral", {"sliding_window": 6}),
}
EOS = frozenset({4, 5, 6})
CPU = torch.device("cpu")


class Tape(TorchDispatchMode):
    """What a CUDA graph does, on the CPU: the same kernels on the same addresses, without the Python around them."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.kernels.append((func, args, kwargs or {}, out))
        return out

    def replay(self) -> None:
        for func, args, kwargs, out in self.kernels:
            again = func(*args, **kwargs)
            for old, new in zip(_tensors(out), _tensors(again), strict=True):
                if old.data_ptr() != new.data_ptr():  # neither a view nor an operation in place
                    old.copy_(new)


def _tensors(found: Any) -> list[Tensor]:
    parts = found if isinstance(found, list | tuple) else [found]
    return [part for part in parts if isinstance(part, Tensor)]


class TapedSteps(StepGraphs):
    """Steps kept on tapes in place of CUDA graphs."""

    def _capture(self, shape: tuple[int, int], step: Callable[[], Tensor]) -> None:
        warm = step()
        if self.output is None:
            self.output = torch.empty_like(warm)
        with Tape() as tape:
            self.output[: shape[0]].copy_(step())
        self.graphs[shape] = tape  # type: ignore[assignment]


def prefix_of(model: Any, length: int = 5) -> Prefix:
    return Prefix(model, 0.5 * torch.randn(length, 32, generator=torch.Generator().manual_seed(1)))


def prompts_of(model: Any) -> list[Tensor]:
    ids = [[1 + row, *range(row % 4)] for row in range(ROWS)]
    return [model.get_input_embeddings()(torch.tensor(each)).detach() for each in ids]


def sampled(model: Any, length: int = 5, penalty: float = 1.0, **settings: Any) -> list[Decoded]:
    sampling, noise = Sampling(1.2, 0.9, repetition_penalty=penalty, max_new_tokens=NEW), row_noise(range(ROWS), NEW, 3)
    return decode(model, prefix_of(model, length), prompts_of(model), noise, sampling, EOS, **settings)


@cache
def one_by_one(model: Any, length: int = 5) -> list[Decoded]:
    """The same rows, each alone in a queue of its own."""
    sampling, noise, prompts = Sampling(1.2, 0.9, max_new_tokens=NEW), row_noise(range(ROWS), NEW, 3), prompts_of(model)
    prefix = prefix_of(model, length)
    return [
        row
        for n in range(ROWS)
        for row in decode(model, prefix, prompts[n : n + 1], noise[n : n + 1], sampling, EOS, batch_size=1)
    ]


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    family, overrides = FAMILIES[request.param]
    return tiny_model(family, vocabulary=VOCABULARY, **overrides)


@pytest.mark.parametrize(
    ("layout", "batch_size"),
    [
        (Layout(4, 2, 1, gather=0.6), 1),
        (Layout(4, 2, 1, gather=0.6), 4),
        (Layout(4, 2, 1, gather=0.6), 48),
        (Layout(64), 4),
        (Layout(lag=3), 4),
        (Layout(fewest=1), 4),
        (Layout(gather=1.0), 4),
    ],
    ids=str,
)
def test_rows_are_the_same_in_every_layout(model: Any, layout: Layout, batch_size: int) -> None:
    assert sampled(model, batch_size=batch_size, layout=layout) == one_by_one(model)


@pytest.mark.parametrize("length", [0, 5])
def test_a_step_can_be_replayed_without_the_python_around_it(
    model: Any, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "StepGraphs", TapedSteps)
    tally: Counter[str] = Counter()
    rows = sampled(model, length, batch_size=4, layout=Layout(4, 1, 1, graphs=True), tally=tally)
    assert rows == one_by_one(model, length)
    assert tally["captured"] > 3 and tally["replayed"] > 4 * tally["captured"]
    assert tally["steps"] - tally["replayed"] in {0, 1}  # the first one may make the buffers


def test_a_penalty_and_greedy_rows_do_not_depend_on_the_layout(model: Any) -> None:
    assert sampled(model, penalty=1.6, batch_size=4, layout=Layout(4, 1, 1)) == sampled(model, penalty=1.6)
    greedy = [
        decode(model, prefix_of(model), prompts_of(model), None, Sampling(0.0, max_new_tokens=NEW), EOS, **settings)
        for settings in ({}, {"batch_size": 4, "layout": Layout(4, 1, 1)})
    ]
    assert greedy[0] == greedy[1]


def test_tokens_read_late_are_not_counted_after_a_row_has_ended(model: Any) -> None:
    for lag in (0, 1, 2):
        counts: list[int] = []
        rows = sampled(model, batch_size=3, layout=Layout(lag=lag), on_tokens=counts.append)
        assert sum(counts) == sum(len(row.ids) for row in rows) and max(counts) <= 3


def test_a_limit_gives_a_slot_away_before_its_tokens_are_read() -> None:
    model = tiny_model(vocabulary=VOCABULARY)
    steps = []
    for lag in (0, 1):
        tally: Counter[str] = Counter()
        decode(
            model, prefix_of(model), prompts_of(model), None, Sampling(0.0, max_new_tokens=NEW), frozenset(),
            batch_size=2, limits=[3] * ROWS, layout=Layout(lag=lag), tally=tally,
        )  # fmt: skip
        steps.append(tally["steps"])
    assert steps == [21, 21]  # 13 rows of 3 tokens in 2 slots


def test_slots_and_columns_are_few(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, int]] = []
    step = Slots._step

    def spy(slots: Slots, width: int) -> Tensor:
        shapes.append((slots.count, width))
        return step(slots, width)

    monkeypatch.setattr(Slots, "_step", spy)
    sampling, limits = Sampling(0.0, max_new_tokens=NEW), [20, 20, 12, 12, *[3] * (ROWS - 4)]
    decode(
        model, prefix_of(model), prompts_of(model), None, sampling, frozenset(), 8, limits=limits, layout=Layout(8, 2)
    )
    assert {slots for slots, _ in shapes} == {8, 4, 2} and {width for _, width in shapes} == {8, 16, 24}
    assert [slots for slots, _ in shapes] == sorted((slots for slots, _ in shapes), reverse=True)


def test_a_step_asks_the_device_for_nothing_and_sends_it_nothing(model: Any) -> None:
    """On the meta device there is nothing to ask for: what would stop a capture raises."""
    there = tiny_model(model.config.model_type, vocabulary=VOCABULARY, **_overrides(model)).to("meta")  # type: ignore[arg-type]
    with torch.inference_mode(), replaced_attention(there):
        slots = Slots(there, Prefix(there, torch.zeros(5, 32, device="meta")), 4, 40, 8)
        slots.step()
        with _Sent() as sent:
            slots._step(16)
    assert sent.found == []


def _overrides(model: Any) -> dict[str, Any]:
    return dict(FAMILIES.values())[model.config.model_type]


class _Sent(TorchDispatchMode):
    """Tensors of the machine that a kernel on another device is given; single numbers are handed over as arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        local = [each for each in args if isinstance(each, Tensor) and each.device == CPU]
        if isinstance(out, Tensor) and out.device != CPU and (any(each.dim() for each in local) or "copy" in str(func)):
            self.found += [str(func)] * bool(local)
        return out


class _Refused(StepGraphs):
    def _capture(self, shape: tuple[int, int], step: Callable[[], Tensor]) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")


def test_a_step_that_cannot_be_captured_is_run_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(decoding, "StepGraphs", _Refused)
    graphs._say.cache_clear()
    model, tally = tiny_model(vocabulary=VOCABULARY), Counter[str]()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            rows = sampled(model, batch_size=4, layout=Layout(4, 1, 1, graphs=True), tally=tally)
    assert rows == one_by_one(model)
    assert tally["eager"] > 0 and tally["captured"] == tally["replayed"] == 0
    (record,) = caplog.records
    assert "'llama' run kernel by kernel" in record.message and "not permitted" in record.message


def test_rotary_embeddings_that_read_positions_back_are_not_captured() -> None:
    scaled = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    dynamic = tiny_model(vocabulary=VOCABULARY, rope_parameters=scaled)
    assert rope_types(dynamic) == {"dynamic"} and rope_types(tiny_model()) == {"default"}
    assert rope_types(tiny_model("gemma3_text", **WINDOWS)) == {"default"} and rope_types(tiny_model("gpt2")) == set()
    assert not StepGraphs(dynamic, Counter()).able and StepGraphs(tiny_model(), Counter()).able


def test_graphs_are_refused_where_there_are_none() -> None:
    assert Layout.of(CPU) == Layout.of(CPU, False) == Layout()
    with pytest.raises(ValueError, match="device 'cpu'"):
        Layout.of(CPU, True)
    cuda = torch.device("cuda:0")
    assert Layout.of(cuda) == Layout.of(cuda, True) == Layout(256, 8, 1, True, 0.125)
    assert Layout.of(cuda, False) == Layout(256, 8, 1, False, 0.125)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 12])
def test_a_prompt_of_several_rows_is_encoded_once(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, encoded = tiny_model(vocabulary=VOCABULARY), []
    encode = Slots._encode

    def spy(slots: Slots, places: Sequence[int], prompts: Sequence[Tensor]) -> None:
        encoded.extend(map(id, prompts))
        encode(slots, places, prompts)

    monkeypatch.setattr(Slots, "_encode", spy)
    embed = model.get_input_embeddings()
    distinct = [embed(torch.tensor(ids)).detach() for ids in ([3, 1, 4, 1], [5, 9], [2, 6, 5], [7], [9, 9, 8])]
    prompts = [each for each in distinct for _ in range(4)]
    noise, sampling = row_noise(range(20), NEW, 3), Sampling(1.2, max_new_tokens=NEW)
    rows = decode(model, prefix_of(model), prompts, noise, sampling, EOS, batch_size, layout=Layout(lag=1))
    assert encoded == [id(each) for each in distinct if len(each) > 1]
    alone = [
        decode(model, prefix_of(model), [prompt.clone()], noise[n : n + 1], sampling, EOS)[0]
        for n, prompt in enumerate(prompts)
    ]
    assert rows == alone


@pytest.mark.parametrize("layout", [Layout(gather=0.5), Layout(4, 2, 1, gather=0.5)], ids=str)
def test_prompts_are_gathered_before_they_are_encoded(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two slots of four are free before a pass over prompts, but a row that needs none enters at once."""
    model, encoded = tiny_model(vocabulary=VOCABULARY), []
    encode = Slots._encode

    def spy(slots: Slots, places: Sequence[int], prompts: Sequence[Tensor]) -> None:
        encoded.append(len(places))
        encode(slots, places, prompts)

    monkeypatch.setattr(Slots, "_encode", spy)
    embed = model.get_input_embeddings()
    own = [embed(torch.tensor([row + 1, 5, row])).detach() for row in range(12)]
    bare = [embed(torch.tensor([row + 1])).detach() for row in range(12)]
    limits = [3, 5, 9, 14, 4, 4, 4, 4, 6, 2, 3, 20]
    sampling = Sampling(0.0, max_new_tokens=NEW)
    # Rows 0 and 1 end after 3 and 5 steps; then 2, 4 and 5 after 9; 6 and 7 after 13; the last one need not wait.
    for prompts, passes in ((own, [4, 2, 3, 2, 1]), (bare, [])):
        encoded.clear()
        tally: Counter[str] = Counter()
        rows = decode(
            model, prefix_of(model), prompts, None, sampling, frozenset(), 4, limits=limits, layout=layout, tally=tally
        )
        assert encoded == passes
        expected = [
            decode(model, prefix_of(model), [prompt], None, sampling, frozenset(), limits=[limit])[0]
            for prompt, limit in zip(prompts, limits, strict=True)
        ]
        assert rows == expected
