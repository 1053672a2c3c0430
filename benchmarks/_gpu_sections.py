"""What `benchmarks/gpu.py` measures, a section each. Models are made from configs on the device: no weights."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from prompt_step import Case
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from domino_lightning.generation.decoding import decode
from domino_lightning.generation.drawing import row_noise
from domino_lightning.generation.kv_slots import Prefix
from domino_lightning.generation.sampling import Sampling
from domino_lightning.models.attention import windows
from domino_lightning.nn.likelihoods import Likelihoods
from domino_lightning.nn.prompted import naive_nll
from domino_lightning.nn.shared_prefix import shared_prefix_nll
from domino_lightning.testing import tiny_model

Row = dict[str, Any]
# Qwen2.5-Coder by its published configurations.
QWEN: dict[str, dict[str, Any]] = {
    "1.5B": {"hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12, "num_key_value_heads": 2},
    "7B": {"hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_key_value_heads": 4},
}
REST = {"num_hidden_layers": 28, "vocab_size": 152064, "max_position_embeddings": 32768}
FAMILIES = ("llama", "qwen2", "qwen3", "gemma3_text", "mistral", "phi3", "olmo2", "granite")


@dataclass(frozen=True)
class Scale:
    """How large the sections are.

    Attributes:
        device: where they run.
        shapes: settings of the models by name.
        dtype: of the large models.
        texts, soft: B of a step, and D = S.
        lengths: L of the steps of each model.
        slots: rows decoded at a time.
        new_tokens: of every decoded row.
        domain_tokens: before every decoded row.
    """

    device: str
    shapes: dict[str, dict[str, Any]]
    dtype: torch.dtype
    texts: int
    soft: int
    lengths: dict[str, tuple[int, ...]]
    slots: tuple[int, ...]
    new_tokens: int
    domain_tokens: int


def full() -> Scale:
    """The published setting on a GPU."""
    return Scale(
        "cuda", {name: {**sizes, **REST} for name, sizes in QWEN.items()}, torch.bfloat16, 3, 256,
        {"1.5B": (144, 530, 1024), "7B": (530, 1024)}, (96, 256), 128, 256,
    )  # fmt: skip


def tiny(device: str) -> Scale:
    """The same sections within seconds, for the tests."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
    rest = {"num_hidden_layers": 2, "vocab_size": 259, "max_position_embeddings": 512}
    shapes = dict.fromkeys(QWEN, {**sizes, **rest})
    return Scale(device, shapes, torch.float32, 2, 4, {"1.5B": (8,), "7B": (8,)}, (3,), 6, 4)


def config_of(scale: Scale, name: str) -> Any:
    """The configuration of a shape."""
    return AutoConfig.for_model("qwen2", **scale.shapes[name], tie_word_embeddings=name == "1.5B")


def made(scale: Scale, name: str) -> Any:
    """A model of the shape with random weights, made where it is used."""
    torch.manual_seed(0)
    with torch.device(scale.device):
        return AutoModelForCausalLM.from_config(config_of(scale, name), dtype=scale.dtype).requires_grad_(False).eval()


def synchronize(scale: Scale) -> None:
    """Wait for the device."""
    if scale.device == "cuda":
        torch.cuda.synchronize()


def seconds(scale: Scale, work: Callable[[], Any], repeats: int = 3, warm_up: int = 1) -> float:
    """The median of the wall time of a call, after a warm-up."""
    times = []
    for turn in range(warm_up + repeats):
        synchronize(scale)
        begin = time.perf_counter()
        work()
        synchronize(scale)
        if turn >= warm_up:
            times.append(time.perf_counter() - begin)
    return sorted(times)[len(times) // 2]


def free(scale: Scale) -> None:
    """Give back what nothing refers to."""
    gc.collect()
    if scale.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_bytes(scale: Scale) -> int:
    """The most that was allocated since `free`; 0 on the CPU, where torch does not count."""
    return torch.cuda.max_memory_allocated() if scale.device == "cuda" else 0


def kernels(scale: Scale, work: Callable[[], Any]) -> tuple[Counter[str], int]:
    """Names of the kernels that a call runs with how often, and how many launches the host makes for them."""
    from torch.profiler import ProfilerActivity, profile

    if scale.device != "cuda":
        return Counter(), 0
    work()
    synchronize(scale)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        work()
        synchronize(scale)
    events = profiled.events() or []
    found = Counter(event.name for event in events if event.device_type == torch.autograd.DeviceType.CUDA)
    launches = sum("Launch" in event.name and event.name.startswith(("cuda", "cu")) for event in events)
    return found, launches


def ceilings(scale: Scale) -> Iterator[Row]:
    """Square matrix products by precision, and a copy from device memory to device memory."""
    size = 8192 if scale.device == "cuda" else 256
    for name, dtype, tf32 in (
        ("bfloat16", torch.bfloat16, False), ("float32", torch.float32, False), ("tf32", torch.float32, True),
    ):  # fmt: skip
        torch.backends.cuda.matmul.fp32_precision = "tf32" if tf32 else "ieee"
        a, b = (torch.randn(size, size, device=scale.device, dtype=dtype) for _ in range(2))
        spent = seconds(scale, lambda: a @ b, repeats=5)  # noqa: B023
        yield {"what": f"matmul {name}", "tflops": 2 * size**3 / spent / 1e12}
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    source = torch.randn(size * size * (8 if scale.device == "cuda" else 1), device=scale.device)
    target = torch.empty_like(source)
    spent = seconds(scale, lambda: target.copy_(source), repeats=5)
    yield {"what": "copy, read and written", "gb_per_s": 2 * source.nbytes / spent / 1e9}


def families(scale: Scale) -> Iterator[Row]:
    """Shared against naive on the device by precision, and the device against the CPU, on small random models."""
    for family in FAMILIES:
        sizes = {"hidden_size": 64, "num_attention_heads": 4, "head_dim": 16}
        if family in {"mistral", "gemma3_text"}:
            sizes["sliding_window"] = 16
        reference = None
        for precision in ("float32", "tf32", "bfloat16"):
            torch.backends.cuda.matmul.fp32_precision = "tf32" if precision == "tf32" else "ieee"
            dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
            model = tiny_model(family, **sizes).requires_grad_(False).to(scale.device, dtype)
            case = _family_case(model, scale.device)
            values = [forward(model, *case) for forward in (naive_nll, shared_prefix_nll)]
            shared = _joined(values[1])
            row = {"family": family, "precision": precision, "windows": sorted(windows(model))}
            row["shared_minus_naive"] = (shared - _joined(values[0])).abs().max().item()
            row["self_check"] = Likelihoods(model, []).disagreement(case[0]) or "passes"
            if precision == "float32":
                cpu = tiny_model(family, **sizes).requires_grad_(False)
                reference = _joined(shared_prefix_nll(cpu, *_family_case(cpu, "cpu")))
            if reference is not None:
                row["device_minus_cpu"] = (shared.cpu() - reference).abs().max().item()
            yield row
    torch.backends.cuda.matmul.fp32_precision = "ieee"


def _family_case(model: Any, device: str) -> tuple[Tensor, Any, list[int], Tensor, Any]:
    case = Case(model, (3, 8, 8, 40), "all")
    return case.domain.to(device), case.batch, [], case.samples.to(device), case.pairs


def _joined(values: tuple[Tensor, Tensor | None]) -> Tensor:
    domain, paired = values
    return domain.detach() if paired is None else torch.cat([domain.detach(), paired.detach().flatten()])


def steps(scale: Scale) -> Iterator[Row]:
    """Forward and backward of D and S under every pair: time, share of the matmul ceiling, peak memory, kernels."""
    peak = next(row["tflops"] for row in ceilings(scale) if row["what"] == "matmul bfloat16")
    for name, lengths in scale.lengths.items():
        free(scale)
        model = made(scale, name)
        weights = sum(p.nbytes for p in {id(p): p for p in model.parameters()}.values())
        for length in lengths:
            free(scale)
            case = Case(model, (scale.texts, scale.soft, scale.soft, length), "all")
            shared = seconds(scale, case.shared)
            row: Row = {"model": name, "length": length, "shared_s": shared, "weights_gb": weights / 1e9}
            row |= {"peak_gb": peak_bytes(scale) / 1e9}
            row["of_matmul_peak"] = case.flops["shared"] / shared / (peak * 1e12)
            case.domain.grad = case.samples.grad = None
            if name == "1.5B":
                naive = seconds(scale, case.naive, repeats=1)
                ratio = case.flops["naive"] / case.flops["shared"]
                row |= {"naive_s": naive, "speed_up": naive / shared, "analytic": ratio}
            found, launches = kernels(scale, case.shared)
            yield row | {"launches": launches, "attention_kernels": _attention_kernels(found)}
            del case
        free(scale)
        case = Case(model, (scale.texts, scale.soft, scale.soft, lengths[-1]), "all")
        spent = seconds(scale, partial(case.shared, scale.texts), repeats=2)
        row = {"model": name, "length": lengths[-1], "micro_batch": scale.texts, "shared_s": spent}
        yield row | {"weights_gb": weights / 1e9, "peak_gb": peak_bytes(scale) / 1e9}
        del case
        del model
    free(scale)


def _attention_kernels(found: Counter[str]) -> dict[str, int]:
    """How many kernels of attention, or of a softmax apart, come from which library."""
    marks = {"pytorch_flash": "torch's flash", "cudnn": "cuDNN's flash", "fmha": "memory-efficient"}
    marks["softmax"] = "softmax"
    counts: Counter[str] = Counter()
    for name, count in found.items():
        kinds = [kind for mark, kind in marks.items() if mark in name.lower()]
        if kinds:
            counts[kinds[0]] += count
    return dict(counts)


def decoding(scale: Scale) -> Iterator[Row]:
    """Tokens a second and launches a step of the engine, with and without CUDA graphs, and of `generate`."""
    free(scale)
    model = made(scale, "1.5B")
    vocabulary = model.get_input_embeddings().weight
    prefix = vocabulary[torch.arange(scale.domain_tokens, device=scale.device) % len(vocabulary)].clone()
    for slots in scale.slots:
        texts = {}
        for graphs in (True, False) if scale.device == "cuda" else (False,):
            run = partial(_decoded, model, prefix, slots, graphs=graphs)
            free(scale)
            run(4)
            begin = time.perf_counter()
            texts[graphs] = run(scale.new_tokens)
            speed = slots * scale.new_tokens / (time.perf_counter() - begin)
            peak = peak_bytes(scale) / 1e9
            few, many = (kernels(scale, partial(run, tokens))[1] for tokens in (4, 12))
            way = "graphs" if graphs else "no graphs"
            row = {"slots": slots, "way": way, "tokens_per_s": speed, "launches_a_step": (many - few) / 8}
            yield {**row, "peak_gb": peak}
        if len(texts) == 2:
            same = sum(a == b for a, b in zip(*texts.values(), strict=True))
            yield {"slots": slots, "way": "rows equal with and without graphs", "share": same / slots}
        free(scale)
        spent = seconds(scale, partial(_generated, model, prefix, slots, scale.new_tokens), repeats=1)
        yield {"slots": slots, "way": "generate", "tokens_per_s": slots * scale.new_tokens / spent}
    del model
    free(scale)


def _decoded(model: Any, prefix: Tensor, slots: int, tokens: int, *, graphs: bool) -> list[list[int]]:
    noise = row_noise(range(slots), tokens, 0)
    prompts = [prefix[-1:]] * slots
    sampling = Sampling(0.8, max_new_tokens=tokens)
    rows = decode(model, Prefix(model, prefix[:-1]), prompts, noise, sampling, frozenset(), slots, graphs=graphs)
    return [row.ids for row in rows]


def _generated(model: Any, prefix: Tensor, slots: int, tokens: int, sample: bool = True) -> Any:
    embeds = prefix.expand(slots, -1, -1)
    mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device)
    how = {"do_sample": True, "temperature": 0.8, "top_k": 0, "top_p": 1.0} if sample else {"do_sample": False}
    return model.generate(
        inputs_embeds=embeds, attention_mask=mask, max_new_tokens=tokens, min_new_tokens=tokens, eos_token_id=None,
        pad_token_id=0, **how,
    )  # fmt: skip


def greedy(scale: Scale) -> Iterator[Row]:
    """Greedy texts of the engine, captured where there is a GPU, beside those of `generate`, in float32."""
    for family in FAMILIES:
        sizes = {"hidden_size": 64, "num_attention_heads": 4, "head_dim": 16, "initializer_range": 0.3}
        model = tiny_model(family, **sizes).to(scale.device)
        prefix = model.get_input_embeddings().weight[3:15].detach().clone()
        prompts = [prefix[-1 - row % 3 :] + 0.05 * row for row in range(8)]
        rows = decode(
            model, Prefix(model, prefix[:-3]), prompts, None, Sampling(0.0, max_new_tokens=40), frozenset(), 3,
            graphs=scale.device == "cuda",
        )  # fmt: skip
        wanted = [
            _generated(model, torch.cat([prefix[:-3], prompt]), 1, 40, sample=False)[0].tolist() for prompt in prompts
        ]
        same = [_common(row.ids, other) for row, other in zip(rows, wanted, strict=True)]
        yield {"family": family, "equal_rows": sum(n == 40 for n in same), "rows": 8, "first_difference": min(same)}


def _common(a: list[int], b: list[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))


def fits(scale: Scale) -> Iterator[Row]:
    """`Trainer.fit` of the tune stage by precision, and killed by SIGKILL and continued: bit for bit, or how far."""
    ddp = {"strategy": "ddp", "devices": 1}  # NCCL on a GPU, with a world of one
    settings: dict[str, dict[str, Any]] = {
        "32-true, deterministic, ddp": {"precision": "32-true", "deterministic": True, **ddp},
        "32-true": {"precision": "32-true"},
        "bf16-mixed": {"precision": "bf16-mixed"},
        "16-mixed": {"precision": "16-mixed"},
    }
    if scale.device != "cuda":
        del settings["16-mixed"]
    with ThreadPoolExecutor() as pool:  # each is a process of its own that waits for imports most of the time
        yield from pool.map(partial(_fitted, scale), settings, settings.values())


def _fitted(scale: Scale, name: str, trainer: dict[str, Any]) -> Row:
    with tempfile.TemporaryDirectory() as place:
        whole = _fit(scale, Path(place) / "whole", trainer)
        row: Row = {"trainer": name, "nll_first": whole["nll"][0], "nll_last": whole["nll"][-1]}
        if trainer["precision"] == "32-true":
            killed = _fit(scale, Path(place) / "killed", trainer, die=True)
            again = _fit(scale, Path(place) / "killed", trainer)
            distance = (torch.tensor(again["domain"]) - torch.tensor(whole["domain"])).abs().max().item()
            row |= {"killed_by": -killed["code"], "continued_bit_for_bit": distance == 0, "distance": distance}
        return row


def _fit(scale: Scale, place: Path, trainer: dict[str, Any], die: bool = False) -> Row:
    place.mkdir(exist_ok=True)
    settings = json.dumps({"accelerator": "gpu" if scale.device == "cuda" else "cpu", "devices": 1, **trainer})
    command = [sys.executable, str(Path(__file__).with_name("_gpu_fit.py")), str(place), settings, str(die)]
    environment = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if die:
        return {"code": done.returncode}
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: Row = json.loads(done.stdout.splitlines()[-1])
    return found


def unloading(scale: Scale) -> Iterator[Row]:
    """Bytes that stay on the device after a model, a step and a decoded block were dropped."""
    free(scale)
    before = torch.cuda.memory_reserved() if scale.device == "cuda" else 0
    model = made(scale, "1.5B")
    Case(model, (scale.texts, scale.soft, scale.soft, 16), "all").shared()
    _decoded(model, model.get_input_embeddings().weight[:4].clone(), 3, 4, graphs=scale.device == "cuda")
    held = torch.cuda.memory_reserved() if scale.device == "cuda" else 0
    del model
    free(scale)
    left = torch.cuda.memory_reserved() if scale.device == "cuda" else 0
    yield {"held_mb": (held - before) / 2**20, "left_mb": (left - before) / 2**20}


SECTIONS: dict[str, Callable[[Scale], Iterator[Row]]] = {
    "ceilings": ceilings,
    "families": families,
    "steps": steps,
    "decoding": decoding,
    "greedy": greedy,
    "fits": fits,
    "unloading": unloading,
}
