"""Soft prompts and the likelihood of texts under them; loaded on first use, since a check describes D without torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from domino_lightning.data.padded import TextBatch
    from domino_lightning.losses.pairs import PairIndex, choose_pairs
    from domino_lightning.nn.distributed import gather_rows
    from domino_lightning.nn.domain_prompt import DomainPrompt, VariationalDomainPrompt
    from domino_lightning.nn.domain_tokens import DomainTokens, VariationalDomainTokens
    from domino_lightning.nn.likelihoods import Likelihoods
    from domino_lightning.nn.prompted import chunked_nll, naive_nll, prompted_nll
    from domino_lightning.nn.sample_tokens import SampleTokens
    from domino_lightning.nn.shared_prefix import shared_prefix_nll

__all__ = [
    "DomainPrompt",
    "DomainTokens",
    "Likelihoods",
    "PairIndex",
    "SampleTokens",
    "TextBatch",
    "VariationalDomainPrompt",
    "VariationalDomainTokens",
    "choose_pairs",
    "chunked_nll",
    "gather_rows",
    "naive_nll",
    "prompted_nll",
    "shared_prefix_nll",
]

_FILES = {
    "DomainPrompt": "nn.domain_prompt",
    "DomainTokens": "nn.domain_tokens",
    "Likelihoods": "nn.likelihoods",
    "PairIndex": "losses.pairs",
    "SampleTokens": "nn.sample_tokens",
    "TextBatch": "data.padded",
    "VariationalDomainPrompt": "nn.domain_prompt",
    "VariationalDomainTokens": "nn.domain_tokens",
    "choose_pairs": "losses.pairs",
    "chunked_nll": "nn.prompted",
    "gather_rows": "nn.distributed",
    "naive_nll": "nn.prompted",
    "prompted_nll": "nn.prompted",
    "shared_prefix_nll": "nn.shared_prefix",
}


def __getattr__(name: str) -> Any:
    """Import what is named."""
    if name not in _FILES:
        raise AttributeError(f"module 'domino_lightning.nn' has no attribute '{name}'")
    return getattr(import_module(f"domino_lightning.{_FILES[name]}"), name)
