"""What smoke runs put around an engine."""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from domino_lightning.generation.engines import TransformersEngine
from domino_lightning.generation.language_model import Engine, LanguageModel, ModelSource, Prompt, Sampled
from domino_lightning.generation.sampling import Sampling

if TYPE_CHECKING:
    from torch import Tensor

_CALLED = re.compile(r"\b([^\W\d]\w*)\(")


class SmokeEngine(Engine):
    """Runs another engine, then puts programs that agree with each other in place of what a random model wrote.

    Such a program returns the text of its arguments from every function that a problem's tests name, so that it
    passes for a solution where the tests' own outputs do not count.

    Args:
        engine: the one to exercise; null: `TransformersEngine` with its defaults.
    """

    def __init__(self, engine: Engine | None = None) -> None:
        self.engine = engine or TransformersEngine()

    def load(self, source: ModelSource) -> LanguageModel:
        """Load the inner engine's model."""
        return _SmokeModel(self.engine.load(source))


class _SmokeModel(LanguageModel):
    def __init__(self, model: LanguageModel) -> None:
        self.model = model

    def complete(
        self,
        prompts: Sequence[Prompt],
        rows: Sequence[int],
        seed: int,
        sampling: Sampling,
        on_tokens: Callable[[int], None] | None = None,
        sample_tokens: Sequence[Tensor] | None = None,
    ) -> list[Sampled]:
        """One program a prompt."""
        sampled = self.model.complete(prompts, rows, seed, sampling, on_tokens, sample_tokens)
        return [each._replace(text=_any_program(prompt)) for each, prompt in zip(sampled, prompts, strict=True)]


def _any_program(prompt: Prompt) -> str:
    text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
    names = sorted({name for name in _CALLED.findall(text) if not hasattr(builtins, name) and name != "Solution"})
    functions = [f"def {name}(*values, **named):\n    return repr((values, named))" for name in names]
    methods = "\n".join(f"    {name} = staticmethod({name})" for name in names)
    solution = [f"class Solution:\n{methods}"] if names and "class Solution" in text else []
    return "```python\n" + "\n\n".join([*functions, *solution, "print(1)"]) + "\n```"
