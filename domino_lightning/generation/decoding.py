"""Batched sampling of a queue of rows: a fixed number of slots, refilled from the rows that wait."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from domino_lightning.generation.drawing import draw, penalize
from domino_lightning.generation.graphs import Layout, StepGraphs, sent
from domino_lightning.generation.kv_slots import Prefix, Slots
from domino_lightning.generation.sampling import Sampling
from domino_lightning.models.attention import replaced_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

COMPACT_BELOW = 0.75  # share of slots still running at which idle ones are dropped, where slots are not halved


class Decoded(NamedTuple):
    """Token ids of one row without its EOS, and whether the EOS was reached."""

    ids: list[int]
    finished: bool


class Row(NamedTuple):
    """What is to be continued.

    Args:
        prompt: (L, H) embeddings of the row's own tokens, L ≥ 1; rows that share one, as the same tensor and one after
            the other, have it encoded once.
        noise: (T,) uniforms with T ≥ `limit`; None for greedy.
        limit: tokens at most.
    """

    prompt: Tensor
    noise: Tensor | None
    limit: int


def decode(
    model: PreTrainedModel,
    prefix: Prefix,
    prompts: Sequence[Tensor],
    noise: Tensor | None,
    sampling: Sampling,
    eos_ids: frozenset[int],
    batch_size: int = 96,
    on_tokens: Callable[[int], None] | None = None,
    limits: Sequence[int] | None = None,
    graphs: bool | None = None,
    layout: Layout | None = None,
    tally: Counter[str] | None = None,
) -> list[Decoded]:
    """Continue prompts that share a prefix.

    Args:
        model: a causal LM in eval mode.
        prefix: what stands before every prompt.
        prompts: (L, H) embeddings of each prompt's own tokens, ragged, L ≥ 1.
        noise: (rows, T) uniforms with T ≥ `sampling.max_new_tokens`; None for greedy.
        sampling: how tokens are drawn.
        eos_ids: ids that end a row.
        batch_size: slots. A row that ends gives its slot to the next row that waits.
        on_tokens: called after every step with the number of tokens it added to texts.
        limits: tokens of each row at most, in place of `sampling.max_new_tokens`.
        graphs: whether steps are captured as CUDA graphs; None: where the device has them.
        layout: of the steps; None: what suits the device.
        tally: is given the number of `steps`, and with graphs of those `captured`, `replayed` and `eager`.

    Returns:
        One `Decoded` a prompt, in order.

    Raises:
        ValueError: graphs on a device that has none.
    """
    layout = layout or Layout.of(model.device, graphs)
    limits = limits or [sampling.max_new_tokens] * len(prompts)
    given = [None] * len(prompts) if noise is None else noise
    rows = [Row(*each) for each in zip(prompts, given, limits, strict=True)]
    columns = max((len(row.prompt) - 1 + row.limit for row in rows), default=0)
    slots = min(batch_size, len(rows))
    return list(stream(model, prefix, rows, columns, sampling, eos_ids, slots, layout, on_tokens, tally))


@torch.inference_mode()
def stream(
    model: PreTrainedModel,
    prefix: Prefix,
    rows: Iterable[Row],
    columns: int,
    sampling: Sampling,
    eos_ids: frozenset[int],
    slots: int,
    layout: Layout,
    on_tokens: Callable[[int], None] | None = None,
    tally: Counter[str] | None = None,
) -> Iterator[Decoded]:
    """Continue rows one queue through, each told in its turn as soon as it and all before it have ended.

    Args:
        model: a causal LM in eval mode.
        prefix: what stands before every row.
        rows: taken as slots fall free.
        columns: tokens of a row at most, prompt and new ones, the last not counted.
        sampling: how tokens are drawn.
        eos_ids: ids that end a row.
        slots: rows decoded at a time.
        layout: of the steps.
        on_tokens: called after every step with the number of tokens it added to texts.
        tally: as in `decode`.
    """
    queue = _Queue(model, prefix, rows, columns, sampling, eos_ids, slots, layout, tally)
    running = True
    while running:
        with replaced_attention(model):
            while running and queue.told not in queue.ended:
                running = queue.step(on_tokens or _ignore)
        yield from queue.take()


class _Drawn(NamedTuple):
    """Tokens on their way from the device, the row of each when it was drawn, and what says that they are there."""

    rows: list[int | None]
    tokens: Tensor
    arrived: torch.cuda.Event | None

    @classmethod
    def of(cls, rows: list[int | None], tokens: Tensor) -> _Drawn:
        """Send tokens on their way, and wait for nothing."""
        if tokens.device.type != "cuda":
            return cls(rows, tokens, None)
        here = torch.empty(tokens.shape, dtype=tokens.dtype, pin_memory=True)
        here.copy_(tokens, non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record(torch.cuda.current_stream(tokens.device))
        return cls(rows, here, arrived)

    def ids(self) -> list[int]:
        """Wait for them."""
        if self.arrived is not None:
            self.arrived.synchronize()
        found: list[int] = self.tokens.tolist()
        return found


class _Queue:
    """The rows that run, which of them is in which slot, and what is drawn with for each slot."""

    def __init__(
        self,
        model: PreTrainedModel,
        prefix: Prefix,
        rows: Iterable[Row],
        columns: int,
        sampling: Sampling,
        eos_ids: frozenset[int],
        slots: int,
        layout: Layout,
        tally: Counter[str] | None,
    ) -> None:
        self.sampling, self.eos_ids, self.layout = sampling, eos_ids, layout
        self.tally = Counter() if tally is None else tally
        self.embed, self.device = model.get_input_embeddings(), model.device
        self.waiting = enumerate(rows)
        self.line: deque[tuple[int, Row]] = deque()  # the next of them
        graphs = StepGraphs(model, self.tally) if layout.graphs else None
        self.slots = Slots(model, prefix, slots, columns, layout.bucket, graphs)
        self.rows: list[int | None] = [None] * slots  # the row in each slot
        self.left = [0] * slots  # tokens that it may still draw
        self.resting: set[int] = set()  # slots that no row will have
        self.paused: set[int] = set()  # slots that none has for now
        self.late: deque[_Drawn] = deque()
        self.outputs: dict[int, list[int]] = {}  # of rows that have not ended
        self.limits: dict[int, int] = {}  # of the same
        self.ended: dict[int, Decoded] = {}  # that were not told yet
        self.told = 0
        self.noise: Tensor | None = None  # (N, T) of each slot's row
        self.taken = torch.zeros(slots, dtype=torch.long, device=self.device)  # tokens that it has drawn
        self.seen: Tensor | None = None  # (N, V) ids among them
        if sampling.repetition_penalty != 1:
            vocabulary = model.config.get_text_config().vocab_size
            self.seen = torch.zeros(slots, vocabulary, dtype=torch.bool, device=self.device)

    def take(self) -> Iterator[Decoded]:
        """The rows that are next to be told and have ended."""
        while self.told in self.ended:
            yield self.ended.pop(self.told)
            self.told += 1

    def step(self, on_tokens: Callable[[int], None]) -> bool:
        """Draw one token of every running row, and read those of some steps ago; False when all rows have ended."""
        running = self._admit()
        if running:
            self._draw()
        while len(self.late) > (self.layout.lag if running else 0):
            on_tokens(self._settle(self.late.popleft()))
        return running

    def _admit(self) -> bool:
        """Give free slots to waiting rows, or drop them where none waits; False when no row runs."""
        free = [slot for slot, row in enumerate(self.rows) if row is None and slot not in self.resting]
        self.line.extend(islice(self.waiting, len(free) - len(self.line)))
        waits = len(self.line) == len(free)  # if not, these are the last
        new = self._next(free)
        if new:
            self._enter([slot for slot, _ in new], [row for _, (_, row) in new])
            for slot, (number, row) in new:
                self.rows[slot], self.left[slot] = number, row.limit
                self.outputs[number], self.limits[number] = [], row.limit
        over = free[len(new) :]
        running = [slot for slot, row in enumerate(self.rows) if row is not None]
        if over and running:
            self._leave(over, waits)
        count = self.slots.count if self.line else self._wanted(len(running))
        if running and count < self.slots.count:
            self._shrink(running, count)
        return bool(running)

    def _next(self, free: Sequence[int]) -> list[tuple[int, tuple[int, Row]]]:
        """Slots and the rows that take them now: while prompts are gathered, those that need no encoding."""
        count = len(self.line)
        if count == len(free) < self.layout.gather * self.slots.count:
            fresh = (number for number, (_, row) in enumerate(self.line) if self.slots.fresh(row.prompt))
            count = next(fresh, count)
        return [(slot, self.line.popleft()) for slot in free[:count]]

    def _leave(self, slots: Sequence[int], waits: bool) -> None:
        """Slots stay empty: for a while, if rows wait, else for good."""
        if waits:
            new = [slot for slot in slots if slot not in self.paused]
            self.paused.update(new)
            self.slots.pause(new)
        else:
            new = list(slots)
            self.resting.update(new)
            self.slots.rest(new)
        self.taken[sent(new, self.device)] = 0

    def _enter(self, slots: Sequence[int], rows: Sequence[Row]) -> None:
        """Rows take slots."""
        index = sent(slots, self.device)
        self.paused.difference_update(slots)
        self.slots.admit(slots, [row.prompt for row in rows])
        self.taken[index] = 0
        if self.seen is not None:
            self.seen[index] = False
        noise = [row.noise for row in rows if row.noise is not None]
        if noise:
            given = sent(torch.stack(noise), self.device)
            if self.noise is None:
                self.noise = given.new_zeros(len(self.rows), given.shape[1])
            self.noise[index] = given

    def _wanted(self, running: int) -> int:
        """How many slots are kept for so many rows where none waits."""
        count = self.slots.count
        if self.layout.fewest is None:
            return running if running < COMPACT_BELOW * count else count
        while running <= count // 2 >= self.layout.fewest:
            count //= 2
        return count

    def _shrink(self, running: Sequence[int], count: int) -> None:
        """Keep the first slots; what runs in others moves to free ones."""
        places = (slot for slot in range(count) if self.rows[slot] is None)
        moves = list(zip([slot for slot in running if slot >= count], places, strict=False))
        self.slots.shrink(moves, count)
        for one, other in moves:
            self.rows[other], self.left[other] = self.rows[one], self.left[one]
            self.resting.discard(other)
        if moves:
            away, to = (sent(slots, self.device) for slots in zip(*moves, strict=True))
            for state in (self.taken, self.noise, self.seen):
                if state is not None:
                    state[to] = state[away]
        self.rows, self.left = self.rows[:count], self.left[:count]
        self.resting = {slot for slot in self.resting if slot < count}

    def _draw(self) -> None:
        """One step of all slots; a row that has its last token leaves its slot."""
        logits = self.slots.step()
        every = self.slots.every[: len(logits)]
        if self.seen is not None:
            logits = penalize(logits, self.seen[: len(logits)], self.sampling.repetition_penalty)
        uniforms = None if self.noise is None else self.noise[every, self.taken[: len(logits)]]
        tokens = draw(logits, uniforms, self.sampling)
        self.slots.fed[: len(tokens)] = self.embed(tokens)
        if self.seen is not None:
            self.seen[every, tokens] = True
        self.taken.add_(1)
        if self.noise is not None:
            self.taken.clamp_(max=self.noise.shape[1] - 1)
        self.late.append(_Drawn.of(self.rows, tokens))
        self.left = [left - 1 for left in self.left]
        self.rows = [row if left > 0 else None for row, left in zip(self.rows, self.left, strict=True)]
        self.tally["steps"] += 1

    def _settle(self, drawn: _Drawn) -> int:
        """Add tokens to their rows; the number that became part of texts."""
        added = 0
        for row, token in zip(drawn.rows, drawn.ids(), strict=True):
            if row is None or row not in self.outputs:  # the row ended while this step ran
                continue
            ids = self.outputs[row]
            finished = token in self.eos_ids
            if not finished:
                ids.append(token)
                added += 1
            if finished or len(ids) >= self.limits[row]:
                self.ended[row] = Decoded(ids, finished)
                del self.outputs[row], self.limits[row]
                if row in self.rows:  # it may have moved since
                    self.rows[self.rows.index(row)] = None
        return added


def _ignore(_: int) -> None:
    return
