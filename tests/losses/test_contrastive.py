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

from domino_lightning.losses import (
    ContrastiveLoss,
    DisentanglementLoss,
    InfoNCE,
    LikelihoodOnly,
    LinearSchedule,
    Margin,
    PairedLikelihood,
    PromptNLL,
    ReleasedObjective,
    SymmetricInfoNCE,
)

NAN = math.nan
PAIRED_LOSSES: list[Callable[[], DisentanglementLoss]] = [
    lambda: ReleasedObjective(),
    lambda: ReleasedObjective(weight=0.25),
    lambda: InfoNCE(),
    lambda: InfoNCE(weight=0.3, temperature=0.5, own_weight=0.7),
    lambda: SymmetricInfoNCE(weight=0.5, temperature=2.0, own_weight=0.2),
    lambda: Margin(weight=0.5, margin=0.8, own_weight=0.3),
    lambda: PairedLikelihood(weight=0.4),
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
    terms = InfoNCE(weight=0.5, own_weight=0.0)(nll)
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
    infonce = InfoNCE(weight, temperature, own_weight=0.0)(nll)["loss"].item()
    assert released == pytest.approx(released_by_hand(nll, weight), rel=1e-9, abs=1e-9)
    assert infonce == pytest.approx(infonce_by_hand(nll, weight, temperature), rel=1e-9, abs=1e-9)


def test_symmetric_infonce_on_two_texts_by_hand() -> None:
    # Scores NLL(x_i|D) - NLL(x_i|D,S_k): rows (4, 2) and (3, 5).
    nll = square([5.0, 7.0], [[1.0, 3.0], [4.0, 2.0]], samples=[0, 1], valid=[True, True])
    by_text = (math.log1p(math.exp(2 - 4)) + math.log1p(math.exp(3 - 5))) / 2
    by_prompt = (math.log1p(math.exp(3 - 4)) + math.log1p(math.exp(2 - 5))) / 2
    terms = SymmetricInfoNCE(weight=2.0, own_weight=0.5)(nll)
    assert terms["contrast"].item() == pytest.approx((by_text + by_prompt) / 2, abs=1e-12)
    assert terms["loss"].item() == pytest.approx(6.0 + by_text + by_prompt + 2.0 * 0.5 * 1.5, abs=1e-12)
    cooled = SymmetricInfoNCE(temperature=2.0)(nll)["contrast"].item()
    expected = [
        math.log1p(math.exp(-1)),
        math.log1p(math.exp(-1)),
        math.log1p(math.exp(-0.5)),
        math.log1p(math.exp(-1.5)),
    ]
    assert cooled == pytest.approx(sum(expected) / 4, abs=1e-12)


def test_symmetric_infonce_does_not_ask_which_text_is_easy() -> None:
    # Prompts that add the same to every text are indistinguishable, however much the texts differ.
    nll = square([1.0, 9.0, 4.0], [[2.0] * 3, [10.0] * 3, [5.0] * 3], samples=[0, 1, 2], valid=[True] * 3)
    assert SymmetricInfoNCE()(nll)["contrast"].item() == pytest.approx(math.log(3), abs=1e-12)


def test_symmetric_infonce_is_given_all_pairs_or_says_so() -> None:
    nll = square([0.0, 0.0], [[1.0, 3.0], [4.0, 2.0]], samples=[0, 1], valid=[True, True])
    narrow = nll._replace(paired=nll.paired[:, :1], is_own=nll.is_own[:, :1], pair_valid=nll.pair_valid[:, :1])  # type: ignore[index]
    with pytest.raises(ValueError, match=r"needs pairs 'all'.*\(2, 1\)"):
        SymmetricInfoNCE()(narrow)


def test_margin_on_two_texts_by_hand() -> None:
    # Own NLLs 1 and 2, negatives 1.25 and 4: with a margin of 0.5 the first lacks 0.25, the second nothing.
    nll = square([5.0, 7.0], [[1.0, 1.25], [4.0, 2.0]], samples=[0, 1], valid=[True, True])
    terms = Margin(weight=2.0, margin=0.5, own_weight=0.1)(nll)
    assert terms["contrast"].item() == (0.25 + 0.0) / 2
    assert terms["loss"].item() == pytest.approx(6.0 + 2.0 * (0.125 + 0.1 * 1.5), abs=1e-12)


def test_margin_leaves_alone_a_negative_that_is_far_enough() -> None:
    nll = square([0.0, 0.0], [[1.0, 1.6], [1.4, 1.0]], samples=[0, 1], valid=[True, True])
    _, _, gradient = _terms_and_gradients(Margin(margin=0.5), nll)
    assert gradient[0].tolist() == [0.0, 0.0]
    assert gradient[1].tolist() == [-0.5, 0.5]


def test_paired_likelihood_is_two_likelihoods_and_needs_one_pair_a_text() -> None:
    loss = PairedLikelihood(weight=0.5)
    assert loss.pairs == "own"
    own = torch.tensor([[True], [True]])
    nll = PromptNLL(torch.tensor([5.0, 7.0]), torch.ones(2), own[:, 0], torch.tensor([[1.0], [2.0]]), own, own)
    terms = loss(nll)
    assert (terms["loss"].item(), terms["own"].item(), terms["contrast"].item()) == (6.0 + 0.5 * 1.5, 1.5, 0.0)


def test_the_own_weight_of_infonce_stands_inside_lambda_as_in_the_released_objective() -> None:
    nll = square([5.0, 7.0], [[1.0, 3.0], [4.0, 2.0]], samples=[0, 1], valid=[True, True])
    without, with_own = InfoNCE(weight=0.5, own_weight=0.0)(nll), InfoNCE(weight=0.5, own_weight=3.0)(nll)
    assert with_own["contrast"].item() == without["contrast"].item()
    assert (with_own["loss"] - without["loss"]).item() == pytest.approx(0.5 * 3.0 * 1.5, abs=1e-12)


def test_a_scheduled_weight_is_read_at_the_progress_of_training_and_logged() -> None:
    nll = square([5.0, 7.0], [[1.0, 3.0], [4.0, 2.0]], samples=[0, 1], valid=[True, True])
    for make in (ReleasedObjective, InfoNCE, SymmetricInfoNCE, Margin, PairedLikelihood):
        scheduled, fixed = make(weight=LinearSchedule(0.0, 0.8, end=0.5)), make(weight=0.4)
        assert scheduled(nll, progress=0.0)["loss"].item() == 6.0
        at_quarter = scheduled(nll, progress=0.25)
        assert at_quarter["loss"].item() == pytest.approx(fixed(nll)["loss"].item(), abs=1e-12)
        assert at_quarter["weight"].item() == pytest.approx(0.4)
        assert "weight" not in fixed(nll)


def test_a_contrastive_loss_of_a_fork_needs_only_its_contrast() -> None:
    class Gap(ContrastiveLoss):
        def contrast(self, nll: PromptNLL) -> Tensor:
            return nll.domain.sum() * 0 + 3.0

    nll = square([5.0, 7.0], [[1.0, 3.0], [4.0, 2.0]], samples=[0, 1], valid=[True, True])
    assert Gap(weight=2.0, own_weight=0.5)(nll)["loss"].item() == 6.0 + 2.0 * (3.0 + 0.5 * 1.5)


@pytest.mark.parametrize("make", PAIRED_LOSSES)
def test_a_batch_of_one_has_no_contrast_and_no_nan(make: Callable[[], DisentanglementLoss]) -> None:
    loss = make()
    terms = loss(square([3.0], [[2.0]], samples=[0], valid=[True]))
    assert terms["contrast"].item() == 0.0
    # sufficiency and the own term are left
    assert terms["loss"].item() == pytest.approx(3.0 + 2.0 * loss.weight * loss.own_weight, abs=1e-12)  # type: ignore[operator]


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
    for make in PAIRED_LOSSES:
        assert make()(nll)["contrast"].item() == 0.0


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
    constant = domain.detach()  # SymmetricInfoNCE takes NLL(x|D) as a constant in its scores

    def loss(first: Tensor, second: Tensor) -> Tensor:
        return make()(nll._replace(domain=first, paired=second))["loss"]

    assert torch.autograd.gradcheck(lambda second: loss(constant, second), (paired,))
    if not isinstance(make(), SymmetricInfoNCE):
        assert torch.autograd.gradcheck(loss, (domain, paired))


@pytest.mark.parametrize("make", PAIRED_LOSSES)
def test_nll_under_the_domain_tokens_alone_has_the_gradient_of_a_mean(
    make: Callable[[], DisentanglementLoss],
) -> None:
    nll = square([1.0, 2.0, 3.0], [[0.5, 1.5, 1.0], [2.5, 1.0, 1.0], [0.1, 0.2, 0.3]], [0, 1, 2], [True, True, False])
    _, domain, _ = _terms_and_gradients(make(), nll)
    assert domain.tolist() == [0.5, 0.5, 0.0]


@given(st.integers(2, 6), st.floats(0.05, 20.0), st.integers(0, 2**31))
def test_bounded_contrasts_are_never_negative_even_with_extreme_values(
    size: int, temperature: float, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    paired = (200 * torch.randn(size, size, generator=random)).tolist()
    nll = square([0.0] * size, paired, list(range(size)), [True] * size)
    for loss in (
        InfoNCE(temperature=temperature),
        SymmetricInfoNCE(temperature=temperature),
        Margin(margin=temperature),
    ):
        assert 0.0 <= loss(nll)["contrast"].item() < math.inf


@pytest.mark.parametrize("size", [2, 3, 8])
def test_indistinguishable_prompts_give_log_k_or_the_margin(size: int) -> None:
    nll = square([0.0] * size, [[2.5] * size] * size, list(range(size)), [True] * size)
    assert InfoNCE()(nll)["contrast"].item() == pytest.approx(math.log(size), abs=1e-12)
    assert SymmetricInfoNCE()(nll)["contrast"].item() == pytest.approx(math.log(size), abs=1e-12)
    assert Margin(margin=0.7)(nll)["contrast"].item() == pytest.approx(0.7, abs=1e-12)


def test_released_objective_falls_without_bound_as_negatives_become_unlikely_and_infonce_does_not() -> None:
    def contrast(loss: DisentanglementLoss, gap: float) -> float:
        nll = square([0.0] * 2, [[1.0, 1.0 + gap], [1.0 + gap, 1.0]], [0, 1], [True, True])
        return loss(nll)["contrast"].item()

    assert contrast(ReleasedObjective(), 500.0) == pytest.approx(-501.0)
    for bounded in (InfoNCE(), SymmetricInfoNCE(), Margin()):
        assert contrast(bounded, 500.0) == pytest.approx(0.0, abs=1e-12)


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
    for loss in (InfoNCE, ReleasedObjective, SymmetricInfoNCE, Margin, PairedLikelihood):
        with pytest.raises(ValueError, match="weight must be .*0 or more"):
            loss(weight=weight)
    with pytest.raises(ValueError, match="own_weight must be .*0 or more"):
        InfoNCE(own_weight=weight)


@pytest.mark.parametrize("value", [0.0, -1.0, NAN])
def test_a_temperature_or_margin_that_is_not_positive_is_refused(value: float) -> None:
    for loss in (InfoNCE, SymmetricInfoNCE):
        with pytest.raises(ValueError, match="temperature must be greater than 0"):
            loss(temperature=value)
    with pytest.raises(ValueError, match="margin must be greater than 0"):
        Margin(margin=value)


def _terms_and_gradients(loss: DisentanglementLoss, nll: PromptNLL) -> tuple[dict[str, float], Tensor, Tensor]:
    assert nll.paired is not None
    domain, paired = nll.domain.clone().requires_grad_(), nll.paired.clone().requires_grad_()
    terms = loss(nll._replace(domain=domain, paired=paired))
    gradients = torch.autograd.grad(terms["loss"], [domain, paired], allow_unused=True)
    first, second = (
        torch.zeros_like(part) if grad is None else grad for part, grad in zip((domain, paired), gradients, strict=True)
    )
    return {name: value.item() for name, value in terms.items()}, first, second
