"""The variational bottleneck: its KL by hand and by sampling, its noise, and an export without any."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from domino_lightning.nn import VariationalDomainPrompt, VariationalDomainTokens


def prompt(**settings: float) -> VariationalDomainTokens:
    random = torch.Generator().manual_seed(0)
    vocabulary = torch.randn(50, 6, generator=random) * torch.arange(1.0, 7.0)
    made = VariationalDomainPrompt(3, **settings).tokens(vocabulary, random)  # type: ignore[arg-type]
    assert isinstance(made, VariationalDomainTokens)
    return made


def with_moments(mean: Tensor, std: Tensor, prior_mean: Tensor, prior_std: Tensor) -> VariationalDomainTokens:
    made = prompt(beta=0.5)
    with torch.no_grad():
        made.weight.data, made.log_std.data = mean, std.log()
    made.prior_mean, made.prior_std = prior_mean, prior_std
    return made


def test_kl_of_one_dimension_by_hand() -> None:
    # q = N(1, 2^2), p = N(3, 4^2): log(4/2) + (4 + 4) / 32 - 1/2.
    made = with_moments(*(torch.tensor([[value]]) for value in (1.0, 2.0)), torch.tensor([3.0]), torch.tensor([4.0]))
    assert made.kl().item() == pytest.approx(math.log(2) + 0.25 - 0.5, abs=1e-6)
    assert made.regularizers()["weighted_kl"].item() == pytest.approx(0.5 * made.kl().item())


def test_kl_is_zero_exactly_where_the_tokens_carry_nothing() -> None:
    mean, std = torch.tensor([0.3, -1.0]), torch.tensor([0.5, 2.0])
    assert with_moments(mean.expand(3, 2).clone(), std.expand(3, 2).clone(), mean, std).kl().item() == pytest.approx(
        0, abs=1e-6
    )


def test_kl_agrees_with_torch_distributions_and_with_sampling() -> None:
    made = prompt(noise=0.5)
    q, p = Normal(made.weight, made.log_std.exp()), Normal(made.prior_mean, made.prior_std)
    assert made.kl().item() == pytest.approx(kl_divergence(q, p).sum().item(), rel=1e-5)
    torch.manual_seed(0)
    draws = torch.stack([made() for _ in range(2000)])
    values = (q.log_prob(draws) - p.log_prob(draws)).sum(dim=(1, 2))
    error = values.std().item() / math.sqrt(len(values))
    assert abs(values.mean().item() - made.kl().item()) < 4 * error


def test_noise_is_drawn_in_training_alone_with_the_stated_share_of_the_rows_deviation() -> None:
    made = prompt(noise=0.25)
    torch.manual_seed(0)
    draws = torch.stack([made() for _ in range(4000)])
    assert torch.allclose(draws.std(dim=0), (0.25 * made.prior_std).expand(3, 6), rtol=0.06)
    assert not torch.equal(made(), made())
    made.eval()
    assert torch.equal(made(), made.weight)


def test_the_export_is_the_mean_without_noise_or_gradient() -> None:
    made = prompt()
    assert torch.equal(made.exported(), made.weight)
    assert not made.exported().requires_grad


def test_mean_and_deviation_both_get_gradients_from_the_draw_and_from_the_kl() -> None:
    for scalar in (lambda made: made().square().sum(), lambda made: made.kl()):
        made = prompt()
        torch.manual_seed(0)
        scalar(made).backward()
        for parameter in (made.weight, made.log_std):
            assert parameter.grad is not None
            assert parameter.grad.abs().min().item() > 0


def test_minimizing_the_kl_alone_takes_all_information_out_of_the_tokens() -> None:
    made = prompt()
    optimizer = torch.optim.Adam(made.parameters(), lr=0.05)
    start = made.kl().item()
    for _ in range(1500):
        optimizer.zero_grad()
        made.kl().backward()
        optimizer.step()
    assert start > 10
    assert made.kl().item() < 0.01
    assert torch.allclose(made.log_std.exp(), made.prior_std.expand(3, 6), rtol=0.1)


def test_a_state_dict_brings_prior_mean_and_deviation_back() -> None:
    saved, other = prompt(noise=0.3), prompt(noise=0.1)
    other.load_state_dict(saved.state_dict())
    assert other.kl().item() == saved.kl().item()


@pytest.mark.parametrize("settings", [{"beta": -1.0}, {"beta": math.nan}, {"noise": 0.0}, {"noise": 1.5}])
def test_bad_arguments_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="beta .* must be 0 or more, noise"):
        VariationalDomainPrompt(3, **settings)  # type: ignore[arg-type]
