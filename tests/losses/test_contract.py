"""A loss that breaks its contract is told before training, with its class, what it gave and where to look further."""

from __future__ import annotations

from inspect import isabstract, signature
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from domino_lightning import losses
from domino_lightning.errors import UserError
from domino_lightning.losses import (
    ContrastiveLoss,
    DisentanglementLoss,
    InfoNCE,
    LikelihoodOnly,
    LinearSchedule,
    PromptNLL,
)
from domino_lightning.losses.check import example_nll, try_loss
from domino_lightning.losses.contract import checked_terms


class Gives(DisentanglementLoss):
    """A loss that returns what it is told to, made of its input."""

    def __init__(self, make: Any, pairs: Any = "none") -> None:
        super().__init__()
        self.make, self.pairs = make, pairs

    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        made: dict[str, Tensor] = self.make(nll.domain)
        return made


class Counts(LikelihoodOnly):
    """A loss with a state that changes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, nll: PromptNLL, progress: float = 0.0) -> dict[str, Tensor]:
        self.calls += 1
        torch.rand(1)
        return super().forward(nll, progress)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x: x.mean(), "and returned a tensor of shape ()"),
        (lambda x: None, "and returned a NoneType"),
        (lambda x: {"total": x.mean()}, "with 'loss' among them, and returned a dict of 'total'"),
        (lambda x: {}, "and returned a dict of nothing"),
        (lambda x: {"loss": x}, "term 'loss' must be a scalar tensor, and is (4,)"),
        (lambda x: {"loss": x.mean().item()}, "term 'loss' must be a scalar tensor, and is float"),
        (lambda x: {"loss": x.mean(), 3: x.mean()}, "names of terms must be text, and one is 3"),
        (lambda x: {"loss": x.mean().detach()}, "term 'loss' is detached"),
        (lambda x: {"loss": x.sum().long()}, "term 'loss' has dtype torch.int64"),
        (
            lambda x: {"loss": x.mean(), "nll": x.sum()},
            "a term is called 'nll', by which the NLL under D is logged: ren",
        ),
        (lambda x: {"loss": x.mean(), "learning_rate": x.sum()}, "called 'learning_rate', by which the learning rate"),
        (lambda x: {"loss": x.mean(), "count": torch.tensor(3)}, "term 'count' has dtype torch.int64"),
    ],
)
def test_what_a_loss_returned_is_told(make: Any, words: str) -> None:
    with pytest.raises(UserError) as caught:
        try_loss(Gives(make))
    message = str(caught.value)
    assert words in message and "\n" not in message
    assert message.startswith("tune.model.loss: tests.losses.test_contract.Gives breaks domino_lightning.losses.")
    assert "check_loss" in message


@pytest.mark.parametrize("pairs", ["some", 0, -1, 1.5, None, True])
def test_pairs_that_there_are_not_are_told(pairs: Any) -> None:
    with pytest.raises(UserError, match="'none', 'own', 'all' or a number of negatives from 1, not"):
        try_loss(Gives(lambda x: {"loss": x.mean()}, pairs))
    if pairs is not None:
        with pytest.raises(ValueError, match="pairs must be"):
            InfoNCE(pairs=pairs)


def test_an_exception_comes_with_the_lines_of_the_loss_alone() -> None:
    with pytest.raises(UserError) as caught:
        try_loss(Gives(lambda x: {"loss": x / {}["nothing"]}))
    first, *rest = str(caught.value).splitlines()
    assert "forward raised KeyError: 'nothing'" in first and "check_loss" in first
    files = [line for line in rest if line.lstrip().startswith("File ")]
    assert files and all("test_contract.py" in line for line in files)


def test_trying_a_loss_changes_neither_it_nor_the_random_state() -> None:
    loss, state = Counts(), torch.random.get_rng_state()
    try_loss(loss)
    assert loss.calls == 0
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_loss_without_gradient_is_fine_where_its_input_has_none() -> None:
    terms = {"loss": torch.tensor(1.0)}
    assert checked_terms(LikelihoodOnly(), terms, with_gradient=False) is terms


NAMED = [getattr(losses, name) for name in losses.__all__]
SHIPPED = [
    each for each in NAMED if isinstance(each, type) and issubclass(each, DisentanglementLoss) and not isabstract(each)
]
EXTREMES: dict[str, tuple[Any, ...]] = {
    "weight": (0, 1e12, LinearSchedule(0.0, 1e12)),
    "own_weight": (0, 1e12),
    "temperature": (1e-300, 1e12),
    "margin": (1e-300, 1e12),
    "likelihood": ("sequence", "token"),
    "bounded": (False, True),
    "pairs": ("own", "all", 1, 10**9),
}


@pytest.mark.parametrize("shipped", SHIPPED)
def test_a_shipped_loss_keeps_its_contract_whatever_it_is_given(shipped: type[DisentanglementLoss]) -> None:
    """So a check, which would import torch for it, need not try it."""
    names = list(signature(shipped).parameters)
    for values in product(*(EXTREMES[name] for name in names)):
        try_loss(shipped(**dict(zip(names, values, strict=True))))


def test_a_contrastive_loss_without_pairs_is_refused_where_it_is_made() -> None:
    with_pairs = [
        each for each in SHIPPED if issubclass(each, ContrastiveLoss) and "pairs" in signature(each).parameters
    ]
    assert len(with_pairs) == 4
    for each in with_pairs:
        with pytest.raises(ValueError, match="this loss needs .* pairs; set `pairs` to 'own', 'all' or a number"):
            each(pairs="none")  # type: ignore[call-arg]


def test_parameters_that_would_not_train_are_told() -> None:
    class Learned(LikelihoodOnly):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

    class Trains(LikelihoodOnly, nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

    with pytest.raises(UserError, match=r"'scale' would not train, since the loss is no torch\.nn\.Module"):
        try_loss(Learned())
    try_loss(Trains())


class Hooked(LikelihoodOnly, nn.Module):
    """A loss that is a module too."""


def test_a_loss_that_is_a_module_runs_its_hooks() -> None:
    loss, seen = Hooked(), []
    loss.register_forward_hook(lambda *_: seen.append(1))
    loss(example_nll(loss, [1, 2, 3]))
    assert seen == [1]


@pytest.mark.parametrize("held", [torch.ones((), requires_grad=True), [nn.Parameter(torch.ones(()))], nn.Linear(1, 1)])
def test_what_would_not_train_is_told(held: object) -> None:
    loss = LikelihoodOnly()
    loss.held = held  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="'held' would not train.*after the loss"):
        try_loss(loss)
