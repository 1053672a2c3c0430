"""One rank of the exactness tests: `python global_negatives.py RANK WORLD_SIZE PORT OUTPUT`.

Every loss takes a few steps of plain SGD on D and S, from the same global batches whatever the number of ranks.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from domino_lightning import losses
from domino_lightning import nn as domino
from domino_lightning.data.batches import PADDING, SeededBatches
from domino_lightning.data.padded import collate_texts
from domino_lightning.data.slots import assign_slots, rank_slots
from domino_lightning.modules import PromptTuningModule
from domino_lightning.testing import byte_tokenizer, tiny_model

GLOBAL_BATCH, STEPS, SEED = 6, 10, 4
TEXTS = [f"def f(x):\n    return x * {i}" + " + x" * (i % 4) for i in range(8)]
OWNERS = [0, 1, 2, 3, 4, 5, 5, 6]  # text 6 is a copy of sample 5's; seven samples in six slots: a ragged batch
CASES: dict[str, Any] = {
    "likelihood": lambda: losses.LikelihoodOnly(),
    "released": lambda: losses.ReleasedObjective(weight=0.5),
    "paired": lambda: losses.PairedLikelihood(),
    "margin": lambda: losses.Margin(),
    "symmetric": lambda: losses.SymmetricInfoNCE(),
    "info_nce_all": lambda: losses.InfoNCE(0.5, 0.5, own_weight=0.0, pairs="all"),
    "info_nce_2": lambda: losses.InfoNCE(0.5, own_weight=0.0, pairs=2),
    "paper": lambda: losses.PaperObjective(weight=0.1, likelihood="token"),
    "paper_sequence_2": lambda: losses.PaperObjective(weight=0.01, bounded=True, pairs=2),
}


class Objective(nn.Module):
    """What DDP wraps: parameters in, loss out."""

    def __init__(self, module: PromptTuningModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: domino.TextBatch, step: int) -> Tensor:
        return self.module.objective(batch, step, 0.5)["loss"]


def train(case: str, rank: int, world_size: int, low_rank: int | None) -> dict[str, Any]:
    """Loss and gradients of every step, and what D and S end as."""
    tokenizer = byte_tokenizer()
    encoded = [[*tokenizer(text).input_ids, tokenizer.eos_token_id] for text in TEXTS]
    tuned = PromptTuningModule(
        "none", domino.DomainPrompt(3), CASES[case](), 2, low_rank, sample_init="vocabulary", seed=SEED
    )
    slot_of, mine = assign_slots(OWNERS, GLOBAL_BATCH, SEED), rank_slots(GLOBAL_BATCH, rank, world_size)
    owned = [sample for sample, slot in enumerate(slot_of) if slot in mine]
    tuned.attach(tiny_model(), max(OWNERS) + 1, owned=owned)
    objective: Any = Objective(tuned)
    if world_size > 1:
        ignored = {f"module.{name}" for name in tuned._ddp_params_and_buffers_to_ignore}
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(objective, ignored)
        objective = DistributedDataParallel(objective)
    shared = [p for name, p in tuned.named_parameters() if name.startswith(("domain_prompt.", "sample_tokens.basis"))]
    rows = [] if tuned.sample_tokens is None else [tuned.sample_tokens.table.weight]
    optimizer = torch.optim.SGD(shared + rows, lr=0.1)
    record: dict[str, Any] = {"loss": [], "D": [], "S": [], "basis": []}
    step = 0
    while step < STEPS:
        done = step
        for batch in SeededBatches(OWNERS, GLOBAL_BATCH, SEED, lambda done=done: done, rank, world_size):  # type: ignore[misc]
            items = [None if row == PADDING else (encoded[row], OWNERS[row]) for row in batch]
            loss = objective(collate_texts(items), step)
            loss.backward()
            record["loss"].append(loss.item())
            record["D"].append(shared[0].grad.clone())
            record["basis"] += [p.grad.clone() for p in shared[1:]]
            record["S"] += [whole(p.grad.to_dense(), owned) for p in rows]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            if step == STEPS:
                break
    end = {"D": shared[0].detach().clone()}
    if rows:
        end["S"] = whole(rows[0].detach(), owned)
    return {**record, "end": end}


class Bytes:
    """Counts what this rank hands to collectives."""

    def __init__(self) -> None:
        self.total = 0
        self.patched = {name: getattr(torch.distributed, name) for name in ("all_gather", "all_reduce")}

    def __enter__(self) -> Bytes:
        def counted(function: Any, position: int) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                self.total += args[position].nbytes
                return function(*args, **kwargs)

            return call

        torch.distributed.all_gather = counted(self.patched["all_gather"], 1)
        torch.distributed.all_reduce = counted(self.patched["all_reduce"], 0)
        return self

    def __exit__(self, *_: Any) -> None:
        for name, function in self.patched.items():
            setattr(torch.distributed, name, function)


def bytes_per_step(references: int, rank: int, world_size: int) -> list[int]:
    """What a rank hands to collectives in each of two steps, with so many references in all."""
    tuned = PromptTuningModule("none", domino.DomainPrompt(3), losses.InfoNCE(pairs=1), 2, sample_init="vocabulary")
    owners = list(range(references))
    slot_of, mine = assign_slots(owners, GLOBAL_BATCH, SEED), rank_slots(GLOBAL_BATCH, rank, world_size)
    tuned.attach(tiny_model(), references, owned=[each for each in owners if slot_of[each] in mine])
    objective: Any = Objective(tuned)
    ignored = {f"module.{name}" for name in tuned._ddp_params_and_buffers_to_ignore}
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(objective, ignored)
    objective = DistributedDataParallel(objective)
    sent = []
    with Bytes() as counter:
        objective.register_comm_hook(None, default_hooks.allreduce_hook)  # DDP's own reduction, made visible
        batches = iter(SeededBatches(owners, GLOBAL_BATCH, SEED, rank=rank, world_size=world_size))
        for step in range(2):
            counter.total = 0
            objective(collate_texts([([5, 6, 7], row) for row in next(batches)]), step).backward()
            sent.append(counter.total)
    return sent


def whole(local: Tensor, owned: list[int]) -> Tensor:
    """The rows of all ranks, in order of sample."""
    full = local.new_zeros(max(OWNERS) + 1, local.shape[1])
    full[owned] = local[: len(owned)]
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(full)
    return full


def main(rank: int, world_size: int, port: int, output: Path) -> None:
    """Run every case and keep what rank 0 saw; ranks that disagree on the loss are an error."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    if world_size > 1:
        torch.distributed.init_process_group("gloo", rank=rank, world_size=world_size)
    cases = {case: train(case, rank, world_size, None) for case in CASES}
    cases["low_rank"] = train("info_nce_all", rank, world_size, 2)
    if world_size == 2:
        cases["bytes"] = {references: bytes_per_step(references, rank, world_size) for references in (12, 600)}
    torch.save(cases, output / f"{world_size}-{rank}.pt")
    if world_size > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
