"""The shipped objectives on numbers worked out by hand, and by brute force over the published formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from domino_lightning.losses import DisentanglementLoss, InfoNCE, LikelihoodOnly, PromptNLL, ReleasedObjective

NAN = math.nan
PAIRED_LOSSES: list[Callable[[], DisentanglementLoss]] = [
    lambda: ReleasedObjective(),
    lambda: ReleasedObjective(weight=0.25),
    lambda: InfoNCE(),
    lambda: InfoNCE(weight=0.3, temperature=0.5),
]


def square(domain: list[float], paired: list[list[float]], samples: list[int], valid: list[bool]) -> PromptNLL:
    """`pairs: all` written out: prompt k is row k's, copies of a sample and padding do not count."""
    size = len(domain)
    cells = list(product(range(size), repeat=2))
    own = [[i == k and valid[i] for k in range(size)] for i in range(size)]
    counted = [[False] * size for _ in range(size)]
    for i, k in cells:
        counted[i][k] = valid[i] and valid[k] and (i == k or samples[i] != samples[k])
    tensor = torch.tensor(domain, dtype=torch.float64), torch.tensor(paired, dtype=torch.float64)
    return PromptNLL(
        tensor[0], torch.ones(size), torch.tensor(valid), tensor[1], torch.tensor(own), torch.tensor(counted)
    )


def released_by_hand(nll: PromptNLL, weight: float) -> float:
    """The formula of the released code, entry by entry in Python."""
    domain, paired = nll.domain.tolist(), nll.paired.tolist()  # type: ignore[union-attr]
    own, counted = nll.is_own.tolist(), nll.pair_valid.tolist()  # type: ignore[union-attr]
    rows = [i for i, real in enumerate(nll.valid.tolist()) if real]
    negatives = [paired[i][k] for i in rows for k in range(len(paired[i])) if counted[i][k] and not own[i][k]]
    first = sum(domain[i] for i in rows) / len(rows)
    positive = sum(paired[i][k] for i in rows for k in range(len(paired[i])) if own[i][k]) / len(rows)
    contrast = math.log(sum(math.exp(-x) for x in negatives) / len(negatives)) if negatives else 0.0
    return first + weight * (positive + contrast)


def infonce_by_hand(nll: PromptNLL, weight: float, temperature: float) -> float:
    """−log softmax of the own prompt's score, row by row in Python."""
    domain, paired = nll.domain.tolist(), nll.paired.tolist()  # type: ignore[union-attr]
    own, counted = nll.is_own.tolist(), nll.pair_valid.tolist()  # type: ignore[union-attr]
    rows = [i for i, real in enumerate(nll.valid.tolist()) if real]
    total = 0.0
    for i in rows:
        scores = {k: math.exp(-x / temperature) for k, x in enumerate(paired[i]) if counted[i][k] or own[i][k]}
        total += -math.log(scores[own[i].index(True)] / sum(scores.values()))
    return sum(domain[i] for i in rows) / len(rows) + weight * total / len(rows)


def test_likelihood_only_is_the_mean_over_texts_and_wants_no_pairs() -> None:
    loss = LikelihoodOnly()
    nll = PromptNLL(torch.tensor([1.0, 2.0, 6.0]), torch.tensor([9, 1, 5]), torch.tensor([True, True, True]))
    terms = loss(nll)
    assert loss.pairs == "none"
    assert terms["loss"].item() == terms["sufficiency"].item() == (1 + 2 + 6) / 3


def test_released_objective_on_two_texts_by_hand() -> None:
    # Own NLLs 1 and 2; the negatives are 3 and 4, so the contrast is log((e^-3 + e^-4) / 2).
    nll = square([5.0, 7.0], [[1.0, 3.0], [4.0, 2.0]], samples=[0, 1], valid=[True, True])
    terms = ReleasedObjective(weight=1.0)(nll)
    contrast = math.log((math.exp(-3) + math.exp(-4)) / 2)
    assert terms["sufficiency"].item() == 6.0
    assert terms["own"].item() == 1.5
    assert terms["contrast"].item() == pytest.approx(contrast, abs=1e-12)
    assert terms["loss"].item() == pytest.approx(6.0 + 1.5 + contrast, abs=1e-12)


def test_infonce_on_two_texts_by_hand() -> None:
    # Row 0: -log(e^-1 / (e^-1 + e^-3)) = log(1 + e^-2). Row 1: -log(e^-2 / (e^-4 + e^-2)) = the same.
    nll = square([5.0, 7.0], [[1.0, 3.0], [4.0, 2.0]], samples=[0, 1], valid=[True, True])
    terms = InfoNCE(weight=0.5)(nll)
    assert terms["contrast"].item() == pytest.approx(math.log1p(math.exp(-2)), abs=1e-12)
    assert terms["loss"].item() == pytest.approx(6.0 + 0.5 * math.log1p(math.exp(-2)), abs=1e-12)
    # A temperature of 2 halves the gap of 2 nats.
    cooled = InfoNCE(temperature=2.0)(nll)
    assert cooled["contrast"].item() == pytest.approx(math.log1p(math.exp(-1)), abs=1e-12)


@given(st.integers(1, 5), st.integers(0, 2**31), st.floats(0.0, 3.0), st.floats(0.1, 4.0))
def test_both_objectives_equal_their_formulas_entry_by_entry(
    size: int, seed: int, weight: float, temperature: float
) -> None:
    random = torch.Generator().manual_seed(seed)
    paired = (8 * torch.rand(size, size, generator=random, dtype=torch.float64)).tolist()
    samples = torch.randint(0, 3, (size,), generator=random).tolist()
    valid = (torch.rand(size, generator=random) < 0.8).tolist()
    valid[0] = True
    nll = square([float(i) for i in range(size)], paired, samples, valid)
    released = ReleasedObjective(weight=weight)(nll)["loss"].item()
    infonce = InfoNCE(weight=weight, temperature=temperature)(nll)["loss"].item()
    assert released == pytest.approx(released_by_hand(nll, weight), rel=1e-9, abs=1e-9)
    assert infonce == pytest.approx(infonce_by_hand(nll, weight, temperature), rel=1e-9, abs=1e-9)


def test_a_batch_of_one_has_no_contrast_and_no_nan() -> None:
    nll = square([3.0], [[2.0]], samples=[0], valid=[True])
    released, infonce = ReleasedObjective()(nll), InfoNCE()(nll)
    assert released["contrast"].item() == infonce["contrast"].item() == 0.0
    assert released["loss"].item() == 3.0 + 2.0  # sufficiency and the own term are left
    assert infonce["loss"].item() == 3.0


def test_copies_of_one_sample_are_no_negatives_of_each_other() -> None:
    # Rows 0 and 1 are the same sample, so row 2 is the only negative of each, and they are its negatives.
    paired = [[1.0, -50.0, 3.0], [-50.0, 2.0, 5.0], [4.0, 6.0, 1.5]]
    nll = square([0.0, 0.0, 0.0], paired, samples=[7, 7, 8], valid=[True, True, True])
    negatives = [3.0, 5.0, 4.0, 6.0]
    expected = math.log(sum(math.exp(-x) for x in negatives) / 4)
    assert ReleasedObjective()(nll)["contrast"].item() == pytest.approx(expected, abs=1e-12)
    rows = [math.log1p(math.exp(1 - 3)), math.log1p(math.exp(2 - 5)), math.log1p(2.0**0 * 0)]
    rows[2] = math.log(1 + math.exp(1.5 - 4) + math.exp(1.5 - 6))
    assert InfoNCE()(nll)["contrast"].item() == pytest.approx(sum(rows) / 3, abs=1e-12)


def test_a_batch_of_copies_alone_has_no_contrast() -> None:
    nll = square([1.0, 1.0], [[2.0, 9.0], [9.0, 2.0]], samples=[4, 4], valid=[True, True])
    assert ReleasedObjective()(nll)["contrast"].item() == 0.0
    assert InfoNCE()(nll)["contrast"].item() == 0.0


@pytest.mark.parametrize("make", PAIRED_LOSSES)
def test_padding_rows_may_hold_nan_and_change_neither_terms_nor_gradients(
    make: Callable[[], DisentanglementLoss],
) -> None:
    small = square([1.0, 2.0], [[0.5, 1.5], [2.5, 1.0]], samples=[0, 1], valid=[True, True])
    padded = square(
        [1.0, NAN, 2.0],
        [[0.5, NAN, 1.5], [NAN, NAN, NAN], [2.5, NAN, 1.0]],
        samples=[0, 0, 1],
        valid=[True, False, True],
    )
    without, with_padding = _terms_and_gradients(make(), small), _terms_and_gradients(make(), padded)
    assert with_padding[0] == pytest.approx(without[0], abs=1e-12)
    keep = torch.tensor([0, 2])
    assert torch.allclose(with_padding[1][keep], without[1])
    assert torch.allclose(with_padding[2][keep][:, keep], without[2])
    assert with_padding[1][1].item() == 0.0
    assert with_padding[2][1].abs().sum().item() == with_padding[2][:, 1].abs().sum().item() == 0.0


@pytest.mark.parametrize("make", [*PAIRED_LOSSES, lambda: LikelihoodOnly()])
def test_a_rank_that_has_only_padding_adds_nothing(make: Callable[[], DisentanglementLoss]) -> None:
    nll = square([NAN, NAN], [[NAN, NAN], [NAN, NAN]], samples=[0, 0], valid=[False, False])
    terms, domain, paired = _terms_and_gradients(make(), nll)
    assert set(terms.values()) == {0.0}
    assert domain.abs().sum().item() == paired.abs().sum().item() == 0.0


@pytest.mark.parametrize("make", PAIRED_LOSSES)
def test_gradients_agree_with_finite_differences(make: Callable[[], DisentanglementLoss]) -> None:
    torch.manual_seed(0)
    nll = square([0.0] * 4, [[0.0] * 4] * 4, samples=[0, 1, 1, 2], valid=[True, True, True, False])
    domain = torch.rand(4, dtype=torch.float64, requires_grad=True)
    paired = torch.rand(4, 4, dtype=torch.float64, requires_grad=True)

    def loss(first: Tensor, second: Tensor) -> Tensor:
        return make()(nll._replace(domain=first, paired=second))["loss"]

    assert torch.autograd.gradcheck(loss, (domain, paired))


@given(st.integers(2, 6), st.floats(0.05, 20.0), st.integers(0, 2**31))
def test_infonce_is_never_negative_even_with_extreme_values(size: int, temperature: float, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    paired = (200 * torch.randn(size, size, generator=random)).tolist()
    nll = square([0.0] * size, paired, list(range(size)), [True] * size)
    contrast = InfoNCE(temperature=temperature)(nll)["contrast"].item()
    assert 0.0 <= contrast < math.inf


@pytest.mark.parametrize("size", [2, 3, 8])
def test_infonce_of_indistinguishable_prompts_is_log_k(size: int) -> None:
    nll = square([0.0] * size, [[2.5] * size] * size, list(range(size)), [True] * size)
    assert InfoNCE()(nll)["contrast"].item() == pytest.approx(math.log(size), abs=1e-12)


def test_released_objective_falls_without_bound_as_negatives_become_unlikely_and_infonce_does_not() -> None:
    def contrast(loss: DisentanglementLoss, gap: float) -> float:
        nll = square([0.0] * 2, [[1.0, 1.0 + gap], [1.0 + gap, 1.0]], [0, 1], [True, True])
        return loss(nll)["contrast"].item()

    assert contrast(ReleasedObjective(), 500.0) == pytest.approx(-501.0)
    assert contrast(InfoNCE(), 500.0) == pytest.approx(0.0, abs=1e-12)


def test_a_table_of_own_first_and_one_negative_is_enough() -> None:
    # K = 2 columns: the own prompt, then one negative; the second row's negative does not count.
    nll = PromptNLL(
        domain=torch.tensor([1.0, 1.0]),
        num_tokens=torch.tensor([3, 3]),
        valid=torch.tensor([True, True]),
        paired=torch.tensor([[1.0, 2.0], [1.0, NAN]]),
        is_own=torch.tensor([[True, False], [True, False]]),
        pair_valid=torch.tensor([[True, True], [True, False]]),
    )
    assert InfoNCE(pairs=1)(nll)["contrast"].item() == pytest.approx(math.log1p(math.exp(-1)) / 2, abs=1e-6)
    assert ReleasedObjective(pairs=1)(nll)["contrast"].item() == pytest.approx(-2.0, abs=1e-6)


def test_terms_are_float32_scalars_when_the_likelihoods_are() -> None:
    nll = square([1.0, 2.0], [[1.0, 3.0], [4.0, 2.0]], [0, 1], [True, True])
    nll = nll._replace(domain=nll.domain.float(), paired=nll.paired.float())  # type: ignore[union-attr]
    for make in PAIRED_LOSSES:
        for value in make()(nll).values():
            assert value.shape == ()
            assert value.dtype == torch.float32


@pytest.mark.parametrize("weight", [-1.0, NAN])
def test_a_negative_weight_is_refused(weight: float) -> None:
    for loss in (InfoNCE, ReleasedObjective):
        with pytest.raises(ValueError, match="weight must be 0 or more"):
            loss(weight=weight)


@pytest.mark.parametrize("temperature", [0.0, -1.0, NAN])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be greater than 0"):
        InfoNCE(temperature=temperature)


def _terms_and_gradients(loss: DisentanglementLoss, nll: PromptNLL) -> tuple[dict[str, float], Tensor, Tensor]:
    assert nll.paired is not None
    domain, paired = nll.domain.clone().requires_grad_(), nll.paired.clone().requires_grad_()
    terms = loss(nll._replace(domain=domain, paired=paired))
    gradients = torch.autograd.grad(terms["loss"], [domain, paired], allow_unused=True)
    first, second = (
        torch.zeros_like(part) if grad is None else grad for part, grad in zip((domain, paired), gradients, strict=True)
    )
    return {name: value.item() for name, value in terms.items()}, first, second
