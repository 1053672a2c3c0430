"""What `tune` trains: something of a frozen backbone that makes it write texts of the domain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from domino_lightning.data.padded import TextBatch
from domino_lightning.modules.heldout import HeldoutModule

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class DomainLearner(HeldoutModule, ABC):
    """A module of the `tune` stage, named by `class_path` under `tune.model` unless it is `PromptTuningModule`.

    It logs `tune/train/loss` and others of its terms, and `tune/heldout/nll` in nats/token, averaged over texts. Only
    what trains is in its `state_dict`, and its constructor takes `backbone` and `seed`.

    Class attributes:
        learned: what it exports, as generators name what they sample (`Generator.learned`).

    Attributes:
        backbone: the causal LM that it scores texts with; there from `setup` on.
        start: the text, perhaps empty, that sampling continues; there from `setup` on.
    """

    heldout_key = "tune/heldout/nll"
    learned: ClassVar[str]
    backbone: PreTrainedModel
    start: str

    @abstractmethod
    def check_context(self, longest: int, limit: int | None, bos: int) -> None:
        """Refuse texts that do not fit the backbone behind what stands before them.

        Args:
            longest: tokens of the longest text.
            limit: positions of the backbone; None: it does not say.
            bos: tokens that the tokenizer puts before a text.

        Raises:
            UserError: they do not fit.
        """

    @abstractmethod
    def text_nll(self, batch: TextBatch) -> Tensor:
        """(B,) NLL of texts as they are sampled, without noise, in nats per scored token."""

    @abstractmethod
    def export(self, directory: Path, checkpoint: Mapping[str, Any], keep_samples: bool, **described: Any) -> None:
        """Write what was learned, as loaded from a checkpoint, for generators and for other programs.

        Args:
            directory: of the stage.
            checkpoint: as `torch.load` gave it; its `state_dict` is loaded.
            keep_samples: write what is private to samples too, if there is any.
            described: what else the export says about itself.
        """

    def soft_tokens(self) -> Tensor | None:
        """(D, H) soft tokens that stand before every text that is sampled; None: the backbone itself was changed."""
        return None

    def parts(self) -> dict[str, nn.Module]:
        """What trains, by the name under which norms of its gradients are logged."""
        return {}

    def norms(self, samples: Sequence[int]) -> dict[str, list[float]]:
        """2-norms of what trains, for `tune/health/`; `samples` may stand for all of them."""
        return {}

    def fed_tokens(self, texts: int, tokens: int) -> tuple[int, int]:
        """Tokens of prefixes and scored tokens of a step over so many texts of so many tokens together."""
        return 0, tokens

    def validation_step(self, batch: TextBatch, batch_idx: int) -> None:
        """NLL of held-out texts."""
        self.heldout_nll.update(self.text_nll(batch)[batch.valid])
