"""The coder of a run: as one model on disk, and to talk to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from domino_lightning.domains.rows import Message
from domino_lightning.errors import UserError
from domino_lightning.generation.engines import TransformersEngine
from domino_lightning.generation.language_model import LanguageModel, ModelSource
from domino_lightning.generation.sampling import Sampling
from domino_lightning.results.runs import Run
from domino_lightning.utils.atomic import follow_umask, temporary_beside
from domino_lightning.utils.jsonl import read_object, write_json

NEW = "/new"  # a line of a chat that begins another conversation


def coder_source(run: Run) -> ModelSource:
    """The coder of a run.

    Raises:
        UserError: it has none yet, or the backbone under it is another one now.
    """
    return ModelSource.of_coder(run.stage("finetune"))


def merge_coder(run: Run, output: Path, dtype: str | None = None) -> str:
    """Write the coder with its adapter merged, as a model with its tokenizer that transformers and vLLM load.

    The directory appears when it is complete. The sum is taken in float32.

    Args:
        run: its `finetune` must have finished.
        output: a directory that is not there yet.
        dtype: name of a torch dtype for the weights; None: that of the backbone's files, or float32.

    Returns:
        The dtype.

    Raises:
        UserError: no coder, or something lies at `output`.
    """
    import torch

    from domino_lightning.models.backbone import load_backbone, load_config, load_tokenizer

    if output.exists():
        raise UserError(f"--output {output}: is there already. Name a directory that is not.")
    source = coder_source(run)
    base = source.tokenizer or source.backbone
    chosen = getattr(torch, dtype) if dtype else load_config(base).dtype or torch.float32
    model: Any = load_backbone(source.backbone)
    if source.adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(source.adapter)).merge_and_unload()
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(output)
    try:
        model.to(chosen).save_pretrained(str(temporary))
        load_tokenizer(base).save_pretrained(str(temporary))
        made_of = {"run": str(run.path), "stage": run.trial["stages"]["finetune"]}
        write_json(temporary / "domino.json", {**made_of, **read_object(run.stage("finetune") / "coder.json")})
        for path in temporary.iterdir():
            follow_umask(path)
        os.replace(temporary, output)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return str(chosen).removeprefix("torch.")


class Chat:
    """A conversation with a coder, which remembers what was said.

    Args:
        model: the coder.
        sampling: how its answers are drawn.
        system: what it is told first; empty: nothing.
        seed: of the noise.
    """

    def __init__(self, model: LanguageModel, sampling: Sampling, system: str = "", seed: int = 0) -> None:
        self.model, self.sampling, self.seed = model, sampling, seed
        self.start: list[Message] = [{"role": "system", "content": system}] if system else []
        self.said = list(self.start)
        self.turn = 0

    @classmethod
    def with_coder(cls, run: Run, sampling: Sampling, system: str = "", seed: int = 0) -> Chat:
        """Load the coder of a run.

        Raises:
            UserError: it has none.
        """
        return cls(TransformersEngine(batch_size=1).load(coder_source(run)), sampling, system, seed)

    def answers(self, lines: Iterable[str]) -> Iterator[str]:
        """What the coder says to each line; nothing to empty ones, and a line `/new` begins another conversation.

        A line for which the conversation has become too long is answered by that, and is not remembered.
        """
        for line in map(str.strip, lines):
            if line == NEW:
                self.said = list(self.start)
            elif line:
                yield self.answer(line)

    def answer(self, text: str) -> str:
        """The coder's answer to what the user says."""
        asked = [*self.said, {"role": "user", "content": text}]
        try:
            (sampled,) = self.model.complete([asked], [self.turn], self.seed, self.sampling)
        except UserError as error:
            return f"({error} A line {NEW} begins another conversation.)"
        self.turn += 1
        self.said = [*asked, {"role": "assistant", "content": sampled.text}]
        return sampled.text + ("" if sampled.finished else " …")
