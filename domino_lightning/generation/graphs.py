"""How decoding steps are laid out on a device, and steps of fixed shapes captured there as CUDA graphs."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

READ_BACK = {"dynamic", "longrope"}  # rotary embeddings that ask the device for the longest position in every pass

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """How the steps of a queue are laid out. Texts do not depend on it but for the rounding of another shape.

    A GPU wants few shapes, each captured once, and never to be waited for; a CPU wants no wasted arithmetic.

    Args:
        bucket: columns of keys that a step attends to are a multiple of it.
        fewest: slots are halved, when as many idle, down to so many; None: idle ones are dropped as they come.
        lag: steps by which tokens are read back late; a row that ended meanwhile makes tokens that are thrown away.
        graphs: steps are captured as CUDA graphs, one for each number of slots and columns.
        gather: share of the slots that are free before prompts are encoded, while rows wait; a pass over few prompts
            takes a GPU as long as one over many.
    """

    bucket: int = 1
    fewest: int | None = None
    lag: int = 0
    graphs: bool = False
    gather: float = 0.0

    @classmethod
    def of(cls, device: torch.device, graphs: bool | None = None) -> Layout:
        """What suits a device.

        Args:
            device: of the model.
            graphs: whether steps are captured; None: where it is possible.

        Raises:
            ValueError: graphs on a device that has none.
        """
        if device.type != "cuda":
            if graphs:
                raise ValueError(f"graphs=True: steps on device '{device}' cannot be captured as CUDA graphs")
            return cls()
        return cls(bucket=256, fewest=8, lag=1, graphs=graphs is not False, gather=0.125)


class StepGraphs:
    """CUDA graphs of a decoding step, captured where a shape comes by for the first time. All share one memory pool.

    A step reads its inputs from tensors that stay where they are, and is such that running it twice is running it
    once. A step that cannot be captured runs kernel by kernel, with a word said once.

    Args:
        model: whose steps they are.
        tally: counts `captured`, `replayed` and `eager` steps.
    """

    def __init__(self, model: PreTrainedModel, tally: Counter[str]) -> None:
        self.device, self.family, self.tally = model.device, str(model.config.model_type), tally
        self.graphs: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}
        self.output: Tensor | None = None
        self.pool: Any = None
        ropes = rope_types(model) & READ_BACK
        self.able = not ropes
        if ropes:
            _say(self.family, f"its rotary embedding ({', '.join(sorted(ropes))}) reads positions back")

    def run(self, slots: int, columns: int, step: Callable[[], Tensor]) -> Tensor:
        """(N, V), the output of a step of so many slots and columns; it is overwritten by the next step.

        Raises:
            torch.OutOfMemoryError: the device is full.
        """
        shape = (slots, columns)
        if self.able and shape not in self.graphs:
            try:
                self._capture(shape, step)
                self.tally["captured"] += 1
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                self.able = False
                _say(self.family, (str(error).strip().splitlines() or [type(error).__name__])[0])
        if not self.able or self.output is None:
            self.tally["eager"] += 1
            return step()
        self.graphs[shape].replay()
        self.tally["replayed"] += 1
        return self.output[:slots]

    def _capture(self, shape: tuple[int, int], step: Callable[[], Tensor]) -> None:
        """Run the step once on the stream of captures, where libraries set themselves up, then capture it."""
        with torch.cuda.device(self.device):
            side, here = capture_stream(self.device), torch.cuda.current_stream(self.device)
            side.wait_stream(here)
            with torch.cuda.stream(side):
                warm = step()
            here.wait_stream(side)
            if self.output is None:  # the first shape has the most slots
                self.output, self.pool = torch.empty_like(warm), torch.cuda.graph_pool_handle()
            output = self.output[: shape[0]]
            del warm
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self.pool, stream=side, capture_error_mode="thread_local"):
                output.copy_(step())  # a graph's own output would lie in memory that other graphs write to
            self.graphs[shape] = graph


@cache
def capture_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream on which everything is captured: workspaces of libraries are kept per stream."""
    return torch.cuda.Stream(device)


@cache
def _say(family: str, why: str) -> None:
    log.warning("decoding steps of '%s' run kernel by kernel, not as a CUDA graph: %s.", family, why.rstrip("."))


def rope_types(model: torch.nn.Module) -> set[str]:
    """The kinds of rotary embeddings in a model, as transformers names them."""
    found: set[str] = set()
    for part in model.modules():
        named = getattr(part, "rope_type", None)
        found.update(named.values() if isinstance(named, dict) else [named] if isinstance(named, str) else [])
    return found


def sent(values: Tensor | Sequence[int], device: torch.device) -> Tensor:
    """A tensor of the machine, or whole numbers, on a device, which is not waited for."""
    here = values if isinstance(values, Tensor) else torch.tensor(values, dtype=torch.long)
    return here.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else here.to(device)
