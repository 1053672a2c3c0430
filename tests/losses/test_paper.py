"""PaperObjective: by hand, by loops over the paper's equation, bounds, copies, padding, and few negatives."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from domino_lightning.losses import InfoNCE, LinearSchedule, PaperObjective, PromptNLL, by_prompt, negatives
from domino_lightning.losses.pairs import choose_pairs

NAN = math.nan


def table(
    domain: list[float],
    under: list[list[float]],
    lengths: list[int],
    samples: list[int] | None = None,
    valid: list[bool] | None = None,
    pairs: Any = "all",
    step: int = 0,
) -> PromptNLL:
    """What the module would hand over, from `under[i][k]`, NLL of text i under the prompt of row k; NaN elsewhere."""
    rows = torch.arange(len(domain))
    mask = torch.tensor(valid or [True] * len(domain))
    index = choose_pairs(torch.tensor(samples) if samples else rows, mask, pairs, 0, step, "text")
    assert index is not None
    paired = torch.tensor(under, dtype=torch.float64).gather(1, index.prompt_row).masked_fill(~index.valid, NAN)
    return PromptNLL(
        torch.tensor(domain, dtype=torch.float64).masked_fill(~mask, NAN),
        torch.tensor(lengths),
        mask,
        paired,
        index.is_own,
        index.valid,
        index.prompt_row,
    )


def by_hand(nll: PromptNLL, weight: float, sequence: bool, bounded: bool) -> float:
    """L1 + λ·L2, one anchor at a time, over the (text, prompt) pairs that count."""
    lengths = nll.num_tokens.tolist() if sequence else [1] * len(nll.valid)
    rows = [i for i, real in enumerate(nll.valid.tolist()) if real]
    p: dict[tuple[int, int], float] = {}  # (text, row of the prompt)
    for i in rows:
        for k, row in enumerate(nll.prompt_row[i].tolist()):  # type: ignore[index]
            if nll.pair_valid[i, k]:  # type: ignore[index]
                p[i, row] = math.exp(-lengths[i] * nll.paired[i, k].item())  # type: ignore[index]
    first = sum(lengths[i] * nll.domain[i].item() for i in rows) / len(rows)
    second = 0.0
    for anchor in rows:
        others = [value for (text, prompt), value in p.items() if prompt == anchor and text != anchor]
        if others:
            second -= math.log(p[anchor, anchor] / (sum(others) + (p[anchor, anchor] if bounded else 0.0)))
    return first + weight * second / len(rows)


def test_two_texts_by_hand() -> None:
    # Own NLLs 1 and 2. Under the first prompt the other text has 4 (the entry below the diagonal, not beside it).
    nll = table([5.0, 7.0], [[1.0, 3.0], [4.0, 2.0]], lengths=[1, 1])
    terms = PaperObjective(weight=0.5)(nll)
    assert terms["contrast"].item() == pytest.approx(((1 - 4) + (2 - 3)) / 2, abs=1e-12)
    assert terms["loss"].item() == pytest.approx(6.0 + 0.5 * -2.0, abs=1e-12)
    bounded = PaperObjective(bounded=True)(nll)["contrast"].item()
    assert bounded == pytest.approx((math.log1p(math.exp(1 - 4)) + math.log1p(math.exp(2 - 3))) / 2, abs=1e-12)
    # InfoNCE compares 1 with 3 and 2 with 4: it varies the prompt.
    assert InfoNCE()(nll)["contrast"].item() == pytest.approx(math.log1p(math.exp(-2)), abs=1e-12)


def test_three_texts_by_hand() -> None:
    under = [[1.0, 2.0, 3.0], [4.0, 0.5, 2.5], [3.5, 6.0, 1.5]]
    parts = [
        1.0 + math.log(math.exp(-4.0) + math.exp(-3.5)),
        0.5 + math.log(math.exp(-2.0) + math.exp(-6.0)),
        1.5 + math.log(math.exp(-3.0) + math.exp(-2.5)),
    ]
    nll = table([0.0] * 3, under, lengths=[7, 8, 9])
    terms = PaperObjective(likelihood="token")(nll)
    assert terms["contrast"].item() == pytest.approx(sum(parts) / 3, abs=1e-12)
    assert "tokens" not in terms


def test_the_likelihood_of_a_sequence_is_that_of_all_its_tokens() -> None:
    # Texts of 10 and 2 tokens: -10·1 + 2·4 nats for the first anchor, -2·2 + 10·3 for the second.
    nll = table([0.5, 1.0], [[1.0, 3.0], [4.0, 2.0]], lengths=[10, 2])
    terms = PaperObjective()(nll)
    assert terms["sufficiency"].item() == pytest.approx((10 * 0.5 + 2 * 1.0) / 2)
    assert terms["own"].item() == pytest.approx((10 * 1.0 + 2 * 2.0) / 2)
    assert terms["contrast"].item() == pytest.approx(((10 * 1 - 2 * 4) + (2 * 2 - 10 * 3)) / 2, abs=1e-12)
    assert terms["tokens"].item() == 6.0


@given(
    st.integers(1, 6),
    st.integers(0, 2**31),
    st.sampled_from(["all", 1, 2, 3, 9]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_it_equals_the_equation_anchor_by_anchor(
    size: int, seed: int, pairs: Any, sequence: bool, bounded: bool, scheduled: bool
) -> None:
    random = torch.Generator().manual_seed(seed)
    under = (4 * torch.rand(size, size, generator=random, dtype=torch.float64)).tolist()
    samples = torch.randint(0, 4, (size,), generator=random).tolist()
    valid = (torch.rand(size, generator=random) < 0.8).tolist()
    valid[0] = True
    lengths = torch.randint(1, 9, (size,), generator=random).tolist()
    nll = table([float(i) for i in range(size)], under, lengths, samples, valid, pairs, step=seed % 7)
    weight: Any = LinearSchedule(0.0, 0.8) if scheduled else 0.4
    loss = PaperObjective(weight, "sequence" if sequence else "token", bounded, pairs)
    assert loss(nll, progress=0.5)["loss"].item() == pytest.approx(by_hand(nll, 0.4, sequence, bounded), rel=1e-9)


def test_copies_of_a_sample_and_padding_are_no_negatives_and_get_no_gradient() -> None:
    # Rows 0 and 1 are copies: row 2 is the only negative of either, and padding of none.
    under = [[1.0, NAN, 2.0, NAN], [NAN, 1.5, 3.0, NAN], [4.0, 5.0, 0.5, NAN], [NAN] * 4]
    nll = table([1.0, 2.0, 3.0, NAN], under, [1, 1, 1, 1], samples=[8, 8, 9, 0], valid=[True, True, True, False])
    paired = nll.paired.clone().requires_grad_()  # type: ignore[union-attr]
    contrast = PaperObjective()(nll._replace(paired=paired))["contrast"]
    assert contrast.item() == pytest.approx(
        ((1.0 - 4.0) + (1.5 - 5.0) + (0.5 + math.log(math.exp(-2.0) + math.exp(-3.0)))) / 3
    )
    (gradient,) = torch.autograd.grad(contrast, paired)
    assert gradient[~nll.pair_valid].eq(0).all()  # type: ignore[operator]
    assert gradient[nll.pair_valid].ne(0).all()  # type: ignore[index]


@pytest.mark.parametrize("bounded", [False, True])
def test_without_a_negative_the_contrast_is_zero_with_zero_gradient(bounded: bool) -> None:
    for samples in ([3], [3, 3]):
        size = len(samples)
        nll = table([1.0] * size, [[2.0] * size] * size, [4] * size, samples)
        paired = nll.paired.clone().requires_grad_()  # type: ignore[union-attr]
        terms = PaperObjective(bounded=bounded)(nll._replace(paired=paired))
        assert (terms["contrast"].item(), terms["loss"].item()) == (0.0, 4.0)
        assert torch.autograd.grad(terms["contrast"], paired)[0].nan_to_num(nan=9.0).eq(0).all()


@given(st.integers(2, 6), st.integers(0, 2**31), st.sampled_from(["sequence", "token"]))
def test_bounded_is_never_negative_and_what_is_unbounded_is_never_more(size: int, seed: int, likelihood: Any) -> None:
    under = (50 * torch.randn(size, size, generator=torch.Generator().manual_seed(seed))).tolist()
    nll = table([0.0] * size, under, list(range(1, size + 1)))
    bounded = PaperObjective(likelihood=likelihood, bounded=True)(nll)["contrast"].item()
    assert 0.0 <= bounded < math.inf
    assert PaperObjective(likelihood=likelihood)(nll)["contrast"].item() <= bounded


def test_texts_that_are_equally_likely_give_the_logarithm_of_their_number() -> None:
    nll = table([0.0] * 5, [[2.0] * 5] * 5, [3] * 5)
    assert PaperObjective(bounded=True)(nll)["contrast"].item() == pytest.approx(math.log(5))
    assert PaperObjective()(nll)["contrast"].item() == pytest.approx(math.log(4))
    few = table([0.0] * 5, [[2.0] * 5] * 5, [3] * 5, pairs=2)
    assert PaperObjective(bounded=True, pairs=2)(few)["contrast"].item() == pytest.approx(math.log(3))


def test_unbounded_falls_for_ever_as_other_texts_become_unlikely() -> None:
    def contrast(loss: PaperObjective, gap: float) -> float:
        return loss(table([0.0] * 2, [[1.0, 1.0 + gap], [1.0 + gap, 1.0]], [1, 1]))["contrast"].item()

    assert contrast(PaperObjective(), 500.0) == pytest.approx(-500.0)
    assert contrast(PaperObjective(bounded=True), 500.0) == pytest.approx(0.0, abs=1e-12)


def test_gradients_are_those_of_finite_differences() -> None:
    nll = table([1.0, 2.0, 3.0], [[0.5, 1.5, 1.0], [2.5, 1.0, 1.2], [0.1, 0.2, 0.3]], [2, 3, 1], pairs=1)
    paired, domain = nll.paired.clone().requires_grad_(), nll.domain.clone().requires_grad_()  # type: ignore[union-attr]
    for loss in (PaperObjective(), PaperObjective(likelihood="token", bounded=True)):
        assert torch.autograd.gradcheck(
            lambda domain, paired, loss=loss: loss(nll._replace(domain=domain, paired=paired))["loss"], (domain, paired)
        )


def test_by_prompt_turns_the_table_whatever_stands_in_its_columns() -> None:
    nll = PromptNLL(
        torch.zeros(3),
        torch.ones(3),
        torch.ones(3).bool(),
        torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, NAN]]),
        torch.tensor([[True, False]] * 3),
        torch.tensor([[True, True], [True, True], [True, False]]),
        torch.tensor([[0, 2], [1, 2], [2, 0]]),
    )
    inf = math.inf
    assert by_prompt(nll, nll.paired, negatives(nll)).tolist() == [[inf] * 3, [inf] * 3, [2.0, 4.0, inf]]
    with pytest.raises(ValueError, match="`prompt_row`"):
        by_prompt(nll._replace(prompt_row=None), nll.paired, negatives(nll))


def test_a_negative_that_is_no_number_is_not_passed_over() -> None:
    nll = table([0.0] * 2, [[1.0, NAN], [NAN, 1.0]], [1, 1])
    assert math.isnan(PaperObjective()(nll)["contrast"].item())


def test_another_likelihood_is_refused() -> None:
    with pytest.raises(ValueError, match="likelihood must be 'sequence' or 'token', not 'text'"):
        PaperObjective(likelihood="text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="weight must be 0 or more"):
        PaperObjective(weight=-1.0)
