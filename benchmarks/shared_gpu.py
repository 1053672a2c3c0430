"""What small stages lose when they share a card: steps a second of several processes, to be run with and without MPS.

Every process takes forward and backward passes through a random Llama of SmolLM2's shape (135M, bfloat16, frozen) to
the embeddings of 8 texts of 128 tokens, on one thread. Without NVIDIA's MPS the driver gives the card to one process
after the other, and small kernels leave most of it idle:

    python benchmarks/shared_gpu.py --processes 12
    nvidia-cuda-mps-control -d && python benchmarks/shared_gpu.py --processes 12; echo quit | nvidia-cuda-mps-control
"""

from __future__ import annotations

import argparse
import multiprocessing
import queue
import sys
import time
from typing import Any

PATIENCE_S = 120.0


def steps(news: Any, go: Any, seconds: float, device: str, layers: int) -> None:
    """Tell when the model stands, wait for the others, count steps."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    shape: dict[str, Any] = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": layers}
    heads: dict[str, Any] = {
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "tie_word_embeddings": True,
    }
    model: Any = LlamaForCausalLM(LlamaConfig(**shape, **heads))
    model = model.to(device, torch.bfloat16).requires_grad_(False)
    ids = torch.randint(0, 49152, (8, 128), device=device)
    texts = torch.randn(8, 128, 576, device=device, dtype=torch.bfloat16, requires_grad=True)

    def step() -> None:
        model(inputs_embeds=texts, labels=ids).loss.backward()
        if device == "cuda":
            torch.cuda.synchronize()

    step()
    step()
    news.put(None)
    go.wait()
    count, started = 0, time.monotonic()
    while time.monotonic() - started < seconds:
        step()
        count += 1
    news.put(count)


def main() -> None:
    """Start the processes together and add up their steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=12, help="default: 12")
    parser.add_argument("--seconds", type=float, default=4.0, help="default: 4")
    parser.add_argument("--quick", action="store_true", help="two small models for a second, on the CPU if need be")
    given = parser.parse_args()
    import torch

    there = torch.cuda.is_available()
    if not there and not given.quick:
        sys.exit("benchmarks/shared_gpu.py needs a GPU; --quick runs anywhere and says nothing of one.")
    count, seconds, layers = (2, 1.0, 2) if given.quick else (given.processes, given.seconds, 30)
    context = multiprocessing.get_context("spawn")
    news, go = context.Queue(), context.Event()
    arguments = (news, go, seconds, "cuda" if there else "cpu", layers)
    for _ in range(count):
        context.Process(target=steps, args=arguments, daemon=True).start()
    try:
        for _ in range(count):
            news.get(timeout=PATIENCE_S)
        go.set()
        total = sum(news.get(timeout=PATIENCE_S) for _ in range(count))
    except queue.Empty:
        sys.exit(f"a process said nothing for {PATIENCE_S:g} s; its error is above. Try fewer --processes.")
    sys.stdout.write(f"{count} processes: {total / seconds:.1f} steps/s in all\n")


if __name__ == "__main__":
    main()
