"""check_loss: every shipped loss is usable, and every planted defect is named."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from domino_lightning.losses import (
    DisentanglementLoss,
    InfoNCE,
    LikelihoodOnly,
    LinearSchedule,
    Margin,
    PairedLikelihood,
    PaperObjective,
    PromptNLL,
    ReleasedObjective,
    SymmetricInfoNCE,
    by_prompt,
    masked_mean,
    negatives,
    own_nll,
    require_pairs,
)
from domino_lightning.testing import check_loss

SHIPPED: list[DisentanglementLoss] = [
    LikelihoodOnly(),
    PairedLikelihood(),
    InfoNCE(pairs=1),
    InfoNCE(weight=LinearSchedule(0.1, 1.0), own_weight=1.0),
    InfoNCE(pairs=9),
    SymmetricInfoNCE(),
    Margin(margin=3.0),
    ReleasedObjective(),
    ReleasedObjective(pairs=2),
    PaperObjective(),
    PaperObjective(pairs=1),
    PaperObjective(likelihood="token", pairs=2),
    PaperObjective(bounded=True),
    PaperObjective(likelihood="token", bounded=True, pairs=1),
]


@pytest.mark.parametrize("loss", SHIPPED, ids=lambda loss: f"{type(loss).__name__}-{loss.pairs}")
def test_every_shipped_loss_is_usable(loss: DisentanglementLoss) -> None:
    report = check_loss(loss)
    assert report.ok, report
    assert len(report.of("passed")) >= 10


def test_only_the_released_and_the_papers_objective_are_unbounded_below_and_the_report_says_by_what() -> None:
    for loss in SHIPPED:
        warnings = check_loss(loss).of("warning")
        if isinstance(loss, ReleasedObjective) or (isinstance(loss, PaperObjective) and not loss.bounded):
            (warning,) = warnings
            assert "unbounded below: raising NLL(x|D,S_other)" in warning
            # By 9,000 nats/token: the shortest other text's tokens of it where p is of the whole text.
            assert ("lowers it by 9,000.0" in warning) == (getattr(loss, "likelihood", "token") == "token")
        else:
            assert warnings == []


class Plain(DisentanglementLoss):
    """Base of the defects: the mean of two likelihoods."""

    pairs = "own"

    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        return {"loss": masked_mean(nll.domain, nll.valid) + masked_mean(own_nll(nll), nll.valid)}


class NotADict(Plain):
    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        return tuple(super().forward(nll).values())  # type: ignore[return-value]


class OneValueARow(Plain):
    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        return {**super().forward(nll), "rows": nll.domain}


class AFloat(Plain):
    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        return {**super().forward(nll), "mean": super().forward(nll)["loss"].item()}  # type: ignore[dict-item]


class Variance(Plain):
    """NaN for a batch of one."""

    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        mean = nll.domain.mean()
        return {"loss": super().forward(nll)["loss"] + (nll.domain - mean).square().sum() / (len(nll.domain) - 1)}


class CountsPadding(Plain):
    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        return {"loss": nll.domain.nan_to_num().mean() + masked_mean(own_nll(nll), nll.valid)}


class SelectsAfterTheLogarithm(Plain):
    """The value is right, and the gradient of log(NaN), times 0, is not."""

    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        logs = torch.where(nll.valid, nll.domain.log(), torch.zeros(()))
        return {"loss": super().forward(nll)["loss"] + logs.sum()}


class IgnoresItsPairs(Plain):
    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        return {"loss": masked_mean(nll.domain, nll.valid) + masked_mean(own_nll(nll), nll.valid).detach()}


class ForgetsTheDomain(Plain):
    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        return {"loss": masked_mean(own_nll(nll), nll.valid)}


class Backwards(Plain):
    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        return {"loss": masked_mean(own_nll(nll), nll.valid) - masked_mean(nll.domain, nll.valid)}


class Explodes(Plain):
    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        return {"loss": masked_mean(nll.domain.exp(), nll.valid) + masked_mean(own_nll(nll), nll.valid)}


class FirstRowAlone(Plain):
    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        return {"loss": super().forward(nll)["loss"] + torch.where(nll.valid[0], nll.domain[0], 0.0)}


class WritesIntoItsInput(Plain):
    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        with torch.no_grad():
            nll.num_tokens.add_(1)
        return super().forward(nll)


class OtherTexts(Plain):
    """Varies the text under one prompt, and is sound; the base of defects of its kind."""

    pairs = 2
    varies = "text"

    def others(self, nll: PromptNLL) -> Tensor:
        return by_prompt(nll, nll.paired, negatives(nll))

    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        contrast = (-self.others(nll)).exp().sum(dim=1)
        return {"loss": super().forward(nll)["loss"] + masked_mean(contrast, nll.valid)}


class CountsOtherCopies(OtherTexts):
    def others(self, nll: PromptNLL) -> Tensor:
        assert nll.is_own is not None
        return by_prompt(nll, nll.paired, ~nll.is_own)


class TakesColumnsForShifts(OtherTexts):
    """That text i + k meets prompt i in column k holds of no batch that was drawn."""

    def others(self, nll: PromptNLL) -> Tensor:
        paired, mask = require_pairs(nll)[0], negatives(nll)
        columns = [
            paired[:, k].masked_fill(~mask[:, k], torch.inf).roll(-k, dims=0) * (1 + torch.arange(len(paired)))
            for k in range(1, paired.shape[1])
        ]
        return torch.stack(columns, dim=1) if columns else paired.new_full((len(paired), 1), torch.inf)


class EndsInNaN(Plain):
    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        return {"loss": super().forward(nll)["loss"] / (1 - progress)}


class Raises(Plain):
    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        raise RuntimeError("not written yet")


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (NotADict(), "must return a dict"),
        (OneValueARow(), "term 'rows' must be a scalar tensor, and is (1,)"),
        (AFloat(), "term 'mean' must be a scalar tensor, and is float"),
        (Variance(), "a batch of one: term 'loss' is nan"),
        (CountsPadding(), "padding changes loss"),
        (SelectsAfterTheLogarithm(), "padding gets a gradient"),
        (IgnoresItsPairs(), "asks for pairs ('own') and no gradient reaches NLL(x|D,S)"),
        (Explodes(), "NLL(x|D) at 10,000 nats/token gives an infinite term"),
        (CountsOtherCopies(), "padding changes loss"),
        (WritesIntoItsInput(), "changes its input in place"),
        (EndsInNaN(), "with progress from 0 to 1: term 'loss' is inf"),
        (Raises(), "it raised RuntimeError: not written yet"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, DisentanglementLoss) else "",
)
def test_a_defect_is_named(loss: DisentanglementLoss, words: str) -> None:
    report = check_loss(loss)
    assert not report.ok
    assert any(words in text for text in report.of("failed")), report
    assert str(report).startswith(f"{type(loss).__name__}: not usable\n")


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (ForgetsTheDomain(), "no gradient reaches NLL(x|D)"),
        (Backwards(), "minimizing it raises NLL(x|D): the domain tokens unlearn the domain"),
        (FirstRowAlone(), "depends on the order of the rows"),
        (TakesColumnsForShifts(), "depends on the order of the rows"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, DisentanglementLoss) else "",
)
def test_what_may_be_meant_is_a_warning(loss: DisentanglementLoss, words: str) -> None:
    report = check_loss(loss)
    assert any(words in text for text in report.of("warning")), report


def test_a_sound_loss_of_a_fork_has_nothing_to_be_said_against_it() -> None:
    for loss in (Plain(), OtherTexts()):
        report = check_loss(loss)
        assert report.ok, report
        assert report.of("warning") == []
    report = check_loss(Plain())
    assert str(report).startswith("Plain: usable\npassed  a batch of one: finite scalar terms")
