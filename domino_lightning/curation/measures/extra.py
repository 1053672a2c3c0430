"""Measures of a corpus that cost a model or another package: G-Vendi, MAUVE, and those of a fork.

Light to import: NumPy, torch and the packages are loaded when something is measured.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from domino_lightning.errors import UserError
from domino_lightning.store.contents import backbone_hash
from domino_lightning.utils.contract import Contract
from domino_lightning.utils.packages import needed
from domino_lightning.utils.ranges import ONE_OR_MORE, TWO_OR_MORE, Range, check_ranges

if TYPE_CHECKING:
    from torch import Tensor

    from domino_lightning.curation.measures.base import Floats, Indices, Measured


_SIDE = Range("from 1 to 4096", 1, 4096)  # of a square of numbers for every text


class Group(NamedTuple):
    """Texts, and their (n, d) vectors of length 1 in the corpus's embedding."""

    texts: Sequence[str]
    vectors: Floats


class CorpusMeasure(Contract, ABC, more="docs/curation.md says what a measure gives."):
    """Named by `class_path` under `answer.measures`; measured of the corpus and of held-out texts, equally many."""

    @classmethod
    def contents(cls, init_args: Mapping[str, Any]) -> dict[str, str]:
        """Keys of `init_args` that name outside content, with its hash."""
        return {}

    @classmethod
    def small(cls, init_args: Mapping[str, Any], backbone: str) -> dict[str, Any]:
        """Arguments that make it small for a smoke run on a tiny backbone."""
        return {}

    @abstractmethod
    def measure(self, group: Group, references: Group, seed: int) -> dict[str, Measured]:
        """One or more values by name, the same names for every group; NaN where there is too little.

        Args:
            group: of the corpus, or of held-out texts.
            references: what the corpus was learned from.
            seed: of whatever is drawn.
        """


class GVendi(CorpusMeasure):
    """`g_vendi`: the Vendi score of gradients, after Jung et al. 2025, "Prismatic Synthesis" (arXiv 2505.20161).

    Two texts are alike where they would change a model alike. A text's feature is the gradient of its mean NLL by
    the weights of the backbone's last layers, randomly projected and scaled to length 1; the score is that of the
    cosines between features, 1 to n. Other than in the paper the loss is of the whole text, not of an answer under
    its question, and a weight matrix's gradient G is projected from both sides, to AᵀGB with Gaussian A and B, which
    keeps inner products in expectation and needs no matrix as large as the weights are many.

    Args:
        backbone: backbone spec; a small one will do.
        layers: last layers whose weights count.
        side: projected gradients have side² entries.
        max_length: tokens of a text that are read.
    """

    def __init__(self, backbone: str, layers: int = 1, side: int = 32, max_length: int = 512) -> None:
        self.backbone, self.layers, self.side, self.max_length = backbone, layers, side, max_length
        check_ranges("GVendi", self, layers=ONE_OR_MORE, side=_SIDE, max_length=TWO_OR_MORE)

    @classmethod
    def contents(cls, init_args: Mapping[str, Any]) -> dict[str, str]:
        """The backbone."""
        spec = init_args.get("backbone")
        return {"backbone": backbone_hash(spec, "answer.measures: GVendi.backbone")} if isinstance(spec, str) else {}

    @classmethod
    def small(cls, init_args: Mapping[str, Any], backbone: str) -> dict[str, Any]:
        """The tiny backbone, whose layers are few."""
        return {"backbone": backbone, "layers": 1}

    def measure(self, group: Group, references: Group, seed: int) -> dict[str, Measured]:
        """The score with its bootstrap interval."""
        import numpy as np

        from domino_lightning.curation.measures.base import among, of_all
        from domino_lightning.curation.measures.variety import vendi_score

        similar = 1.0 - among(self.features(group.texts))

        def score(rows: Indices) -> float:
            return vendi_score(similar[np.ix_(rows, rows)])

        return {"g_vendi": of_all(score, len(group.texts), seed)}

    def features(self, texts: Sequence[str]) -> Floats:
        """(n, side²) projected gradients of length 1; zeros for a text of fewer than two tokens.

        Raises:
            UserError: a model with fewer layers.
        """
        import torch

        from domino_lightning.curation.measures.base import normalized
        from domino_lightning.models.backbone import decoder_layers, load_backbone, load_tokenizer

        device = torch.accelerator.current_accelerator() or torch.device("cpu")
        tokenizer, model = load_tokenizer(self.backbone), load_backbone(self.backbone, device=device)
        layers = decoder_layers(model)
        if len(layers) < self.layers:
            raise UserError(
                f"answer.measures: GVendi: layers {self.layers}, but backbone '{self.backbone}' has {len(layers)}."
            )
        model.requires_grad_(False)
        weights = {
            f"{number}.{name}": weight.requires_grad_()
            for number, layer in enumerate(layers[-self.layers :])
            for name, weight in layer.named_parameters()
            if weight.is_floating_point()
        }
        projections = {name: projection(name, weight, self.side) for name, weight in weights.items()}
        rows = [torch.zeros(0, self.side**2)]
        for text in texts:
            ids = torch.tensor([tokenizer(text).input_ids[: self.max_length]], device=device)
            if ids.shape[1] < 2:
                rows.append(torch.zeros(1, self.side**2))
                continue
            with torch.enable_grad():
                logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
                loss = torch.nn.functional.cross_entropy(logits, ids[0, 1:])
                gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
            projected = torch.zeros(self.side, self.side, device=device)
            for (left, right), gradient in zip(projections.values(), gradients, strict=True):
                if gradient is not None:
                    projected += left.T @ gradient.float().reshape(len(left), len(right)) @ right
            rows.append(projected.reshape(1, -1).cpu())
        return normalized(torch.cat(rows).double().numpy())


def projection(name: str, weight: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Gaussian A (o, side) and B (i, side) for a weight's gradient, seen as (o, i); the same in every run.

    Scaled so that inner products of AᵀGB are those of G in expectation.
    """
    import torch

    from domino_lightning.utils.seeding import generator

    columns = weight.shape[-1]
    left, right = (
        torch.randn(size, side, generator=generator("g-vendi", name, part)) / side**0.5
        for part, size in enumerate((weight.numel() // columns, columns))
    )
    return left.to(weight.device), right.to(weight.device)


class Mauve(CorpusMeasure):
    """`mauve`: MAUVE of a group and the references (Pillutla et al. 2021, arXiv 2102.01454), in (0, 1].

    1 where the two are spread alike over clusters of the corpus's embedding. It is made for thousands of texts: over
    a hundred, look at it beside the held-out floor alone. It has no interval.

    Args:
        buckets: clusters; null: a tenth of the texts.
    """

    def __init__(self, buckets: int | None = None) -> None:
        self.buckets = buckets
        check_ranges("Mauve", self, buckets=Range("null, or 2 or more", 2))
        needed("mauve", "Mauve", "mauve")

    def measure(self, group: Group, references: Group, seed: int) -> dict[str, Measured]:
        """The score; NaN where a group has fewer than two texts."""
        import math

        import mauve

        from domino_lightning.curation.measures.base import NOTHING, Measured

        if min(len(group.texts), len(references.texts)) < 2:
            return {"mauve": NOTHING}
        found = mauve.compute_mauve(
            p_features=references.vectors,
            q_features=group.vectors,
            num_buckets=self.buckets or "auto",
            seed=seed % 2**31,
            verbose=False,
        )
        return {"mauve": Measured(float(found.mauve), math.nan, math.nan)}
