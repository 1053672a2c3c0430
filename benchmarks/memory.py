"""What the large setting takes of a GPU's memory, predicted from the shapes alone: no GPU, no weights, no network.

Three settings of Qwen2.5-Coder (its published shapes) under D = S = 256, every pair and N = 500 references: the peak
of a step of `tune` by the length of its texts, with and without micro-batches, and the most texts a step that fit; and
the peak of a step of `finetune` on pairs of 1,024 tokens, with and without gradient checkpointing. A step is taken on
the meta device and what is alive is counted (`domino_lightning/planning/step_memory.py`); sample table, domain tokens
and their moments are added. `benchmarks/gpu.py` measures the same steps where there is a GPU.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from _report import DOCS, parser, publish, table

from domino_lightning.modules import Lora
from domino_lightning.planning.cost import LEFT_FREE, Growth
from domino_lightning.planning.step_memory import predicted_coder_peak, predicted_peak

SHAPES: dict[str, dict[str, Any]] = {
    "1.5B": {"hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12, "num_key_value_heads": 2},
    "7B": {"hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_key_value_heads": 4},
}
REST = {"num_hidden_layers": 28, "vocab_size": 152064, "max_position_embeddings": 32768}
SETTINGS = (("7B", "bfloat16", 80), ("1.5B", "bfloat16", 24), ("7B", "nf4", 24))
LENGTHS, MICRO_BATCHES = (530, 1024), (None, 3)
B, D, S, N = 3, 256, 256, 500


@cache
def config(name: str) -> Any:
    """The published shape."""
    from transformers import AutoConfig

    return AutoConfig.for_model("qwen2", **SHAPES[name], **REST, tie_word_embeddings=name == "1.5B")


def tune_bytes(name: str, dtype: str, texts: int, length: int, micro: int | None) -> float:
    """The peak of a step, with the sample table, D and their moments."""
    hidden = SHAPES[name]["hidden_size"]
    kept = 12 * N * S * hidden + 16 * D * hidden
    return kept + predicted_peak(config(name), texts, D, S, length, texts, dtype, micro)


def most_texts(name: str, dtype: str, gigabytes: int, length: int, micro: int | None) -> int:
    """The most texts of a step that fit, a part of the memory left free as `domino plan` does.

    With every pair there are texts² of them, so three steps tell all others.
    """
    at = (4, 6, 8)
    known = np.polyfit(at, [tune_bytes(name, dtype, texts, length, micro) for texts in at], 2)
    growth = Growth("texts", B, 1, lambda texts: float(np.polyval(known, texts)))
    return growth.largest((1 - LEFT_FREE) * gigabytes * 1e9)


def main() -> None:
    flags = parser(__doc__).parse_args()
    lengths, micro_batches = ((144,), (None, 1)) if flags.quick else (LENGTHS, MICRO_BATCHES)
    cases, rows, coders = [], [], []
    for name, dtype, gigabytes in SETTINGS:
        for micro in micro_batches:
            cells: list[object] = []
            for length in lengths:
                peak = tune_bytes(name, dtype, B, length, micro)
                most = most_texts(name, dtype, gigabytes, length, micro)
                case = {"model": name, "dtype": dtype, "gpu_gb": gigabytes, "micro_batch": micro, "length": length}
                cases.append({**case, "peak_gb": peak / 1e9, "most_texts": most})
                cells += [f"{peak / 1e9:.1f}", most]
            rows.append([f"{name}, {dtype}", gigabytes, micro or "none", *cells])
        peaks = [predicted_coder_peak(config(name), 8, 1024, 512, Lora(), dtype, again) for again in (False, True)]
        coders.append([f"{name}, {dtype}", gigabytes, *(f"{peak / 1e9:.1f}" for peak in peaks)])
    header = ["weights", "GPU, GB", "micro-batch"]
    for length in lengths:
        header += [f"L = {length}: GB", "most texts"]
    text = f"""\
Peak of a step of `tune` on {B} texts of L tokens under D = S = 256 and every pair, with the sample table of N = {N},
and the most texts a step that fit when {LEFT_FREE:.0%} of the GPU are left free:

{table(header, rows)}

Peak of a step of `finetune` on 8 pairs of 1,024 tokens through LoRA of rank {Lora().rank}, and with
`runtime.gradient_checkpointing`:

{table(["weights", "GPU, GB", "GB", "checkpointed: GB"], coders)}
"""
    results = {"cases": cases, "coders": coders}
    publish("memory", "What fits which GPU", text, results, flags, DOCS / "distributed.md")


if __name__ == "__main__":
    main()
