"""What a loss promises, said once: for `domino check`, for the training step and for `check_loss`."""

from __future__ import annotations

from torch import Tensor

from domino_lightning.errors import UserError
from domino_lightning.losses.base import DisentanglementLoss
from domino_lightning.utils import contract


def broken(loss: DisentanglementLoss, problem: str) -> UserError:
    """The error about a loss that does not keep the contract."""
    return UserError(f"tune.model.loss: {contract.broken(loss, problem)}")


RESERVED = {"nll": "the NLL under D", "learning_rate": "the learning rate"}  # also logged as `tune/train/<name>`


def problem_of(terms: object) -> str | None:
    """What is wrong with what `forward` returned, apart from its numbers; None: nothing."""
    if not isinstance(terms, dict) or "loss" not in terms:
        got = f"a dict of {', '.join(map(repr, terms)) or 'nothing'}" if isinstance(terms, dict) else _told(terms)
        return f"forward must return a dict of named terms with 'loss' among them, and returned {got}"
    for name, value in terms.items():
        if not isinstance(name, str):
            return f"the names of terms must be text, and one is {name!r}"
        if name in RESERVED:
            return f"a term is called '{name}', by which {RESERVED[name]} is logged: rename it"
        if not isinstance(value, Tensor) or value.shape != ():
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            return f"term '{name}' must be a scalar tensor, and is {shape}"
        if not value.dtype.is_floating_point:
            return f"term '{name}' has dtype {value.dtype}"
    return None


def checked_terms(loss: DisentanglementLoss, terms: object, with_gradient: bool) -> dict[str, Tensor]:
    """The terms that `forward` returned.

    Args:
        loss: what returned them.
        terms: what it returned.
        with_gradient: whether the NLLs it was given have a gradient, so that its `loss` must have one.

    Raises:
        UserError: they are not what the contract says.
    """
    problem = problem_of(terms)
    if problem is None and isinstance(terms, dict):
        if not with_gradient or terms["loss"].requires_grad:
            return terms
        problem = "term 'loss' is detached: no gradient can reach the soft tokens"
    raise broken(loss, str(problem))


def _told(value: object) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
