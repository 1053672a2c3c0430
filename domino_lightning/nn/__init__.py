"""Soft prompts and the likelihood of texts under them."""

from domino_lightning.data.text import TextBatch
from domino_lightning.losses.pairs import PairIndex, choose_pairs
from domino_lightning.nn.distributed import gather_rows
from domino_lightning.nn.domain_prompt import DomainPrompt, VariationalDomainPrompt
from domino_lightning.nn.likelihoods import Likelihoods
from domino_lightning.nn.prompted_nll import chunked_nll, naive_nll, prompted_nll
from domino_lightning.nn.sample_tokens import SampleTokens
from domino_lightning.nn.shared_prefix import shared_prefix_nll

__all__ = [
    "DomainPrompt",
    "Likelihoods",
    "PairIndex",
    "SampleTokens",
    "TextBatch",
    "VariationalDomainPrompt",
    "choose_pairs",
    "chunked_nll",
    "gather_rows",
    "naive_nll",
    "prompted_nll",
    "shared_prefix_nll",
]
