"""The benchmark's FLOP counts against ratios worked out by hand, and that it measures what it says."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from domino_lightning.testing import tiny_model

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("prompt_step")


@pytest.fixture(scope="module")
def smollm2() -> Any:
    """SmolLM2-135M by its sizes alone."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        "llama", vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(
    ("shape", "ratio", "plain_steps"),
    [
        ((3, 32, 32, 64), 2.08, 3.14),
        ((4, 64, 64, 64), 2.79, 3.38),
        ((8, 16, 8, 96), 1.36, 3.04),
        ((2, 256, 256, 300), 2.37, 3.19),
    ],
)
def test_analytic_ratios_on_smollm2(
    benchmark: Any, smollm2: Any, shape: tuple[int, ...], ratio: float, plain_steps: float
) -> None:
    B = shape[0]
    naive, shared, one, plain = (
        benchmark.step_flops(smollm2, sequences)
        for sequences in (
            benchmark.naive_sequences(*shape, B + 1),
            benchmark.shared_sequences(*shape, B),
            benchmark.shared_sequences(*shape, 2),
            benchmark.shared_sequences(*shape, 0),
        )
    )
    assert naive / shared == pytest.approx(ratio, abs=0.005)
    assert one / plain == pytest.approx(plain_steps, abs=0.005)


def test_flops_of_one_sequence_by_hand(benchmark: Any) -> None:
    backbone = tiny_model("llama")
    # Two layers: q and o 32×32, k and v 32×16, three of the MLP 32×64; the head 32×259; four heads of 8.
    weights = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)
    attended = 3 * 5 + (1 + 2 + 3)  # three tokens behind five
    expected = 4 * weights * 3 + 4 * 32 * 259 * 2 + 3 * 2 * 4 * 32 * attended
    assert benchmark.step_flops(backbone, [benchmark.Sequences(1, 3, 5, 2)]) == expected
    assert benchmark.step_flops(backbone, [benchmark.Sequences(7, 3, 5, 2)]) == 7 * expected


@pytest.mark.parametrize(("mode", "sequences"), [("all", 3 + 3 * 4), (1, 3 + 3 * 2)])
def test_naive_encodes_every_sequence_whole_and_the_own_ones_twice_with_every_pair(
    benchmark: Any, mode: Any, sequences: int
) -> None:
    backbone = tiny_model("llama").requires_grad_(False)
    seen: list[tuple[int, ...]] = []
    hook = backbone.model.layers[0].register_forward_hook(lambda _, args, __: seen.append(tuple(args[0].shape)))
    case = benchmark.Case(backbone, (3, 4, 2, 6), mode)
    try:
        case.naive()
    finally:
        hook.remove()
    assert seen[0] == (3, 4 + 6, 32)
    assert set(seen[1:]) == {(3, 4 + 2 + 6, 32)}
    assert sum(shape[0] for shape in seen) == sequences
    assert case.domain.grad is not None
    assert (case.samples.grad.abs().sum(dim=(1, 2)) > 0).all()


@pytest.mark.slow
def test_a_case_has_the_keys_that_readers_of_the_json_expect(benchmark: Any) -> None:
    case = benchmark.measure(tiny_model("llama").requires_grad_(False), (2, 4, 2, 6), "all", repeats=1)
    expected = {
        "shape",
        "pairs",
        "naive_s",
        "shared_s",
        "speedup",
        "analytic_ratio",
        "peak_mb",
        "gflops",
        "gflops_peak",
    }
    assert expected <= set(case)
    assert case["speedup"] == case["naive_s"] / case["shared_s"]
    assert case["gflops_peak"] > 0


@pytest.mark.parametrize("units", [False, True])
def test_the_command_prints_a_row_a_case_and_writes_the_numbers(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], units: bool
) -> None:
    units = units and not torch.cuda.is_available()
    monkeypatch.setattr(benchmark, "computes_bfloat16", lambda: units)
    peaks = iter((1e9, 3e9, 2e9, 1e9))
    monkeypatch.setattr(benchmark, "matmul_peak", lambda: next(peaks))
    monkeypatch.setattr(benchmark, "load_backbone", lambda _: tiny_model("llama"))
    monkeypatch.setattr(benchmark, "QUICK_SHAPES", ((2, 4, 2, 6), (3, 4, 2, 6)))
    monkeypatch.setattr("sys.argv", ["prompt_step.py", "--quick", "--json", str(tmp_path / "x.json")])
    benchmark.main()
    written = json.loads((tmp_path / "x.json").read_text())
    cases, halves = written["cases"], written["bfloat16"]
    assert [(case["shape"], case["pairs"]) for case in cases] == [
        ([2, 4, 2, 6], "all"), ([2, 4, 2, 6], 1), ([3, 4, 2, 6], "all"), ([3, 4, 2, 6], 1),
    ]  # fmt: skip
    assert {case["gflops_peak"] for case in cases} == {3.0}
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(cases) + (2 + len(halves)) * units
    assert [half["shape"] for half in halves] == [[2, 4, 2, 6], [3, 4, 2, 6]] * units
    assert all(0 < half["nats"] < 0.1 for half in halves)
