"""Run with pytest in this directory: the loss by hand, then by the package's own check."""

import pytest
import torch
from my_losses import Ordered

from domino_lightning.losses import PromptNLL
from domino_lightning.testing import check_loss


def table(domain: float, own: float, other: float) -> PromptNLL:
    """Two texts with the same NLLs: under D, under D and their own tokens, under D and the other's."""
    both = torch.tensor([True, True])
    is_own = torch.tensor([[True, False], [True, False]])
    paired = torch.tensor([[own, other], [own, other]])
    return PromptNLL(torch.full((2,), domain), torch.tensor([5, 9]), both, paired, is_own, is_own | ~is_own)


def test_hinges_by_hand() -> None:
    loss = Ordered(weight=2.0, margin=0.5)
    # Own tokens help by 0.2 of the 0.5 asked for; the other's harm by 0.4 of 0.5.
    terms = loss(table(domain=2.0, own=1.8, other=2.4))
    assert terms["contrast"].item() == pytest.approx(0.3 + 0.1)
    assert terms["loss"].item() == pytest.approx(2.0 + 2.0 * 0.4)


def test_nothing_is_left_to_do_once_the_order_holds() -> None:
    assert Ordered(margin=0.1)(table(domain=2.0, own=1.5, other=2.5))["contrast"].item() == 0.0


def test_the_loss_is_usable() -> None:
    report = check_loss(Ordered())
    assert report.ok, report
    assert not report.of("warning"), report
