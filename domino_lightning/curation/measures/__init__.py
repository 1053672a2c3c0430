"""Measures of a corpus: how varied it is, and how it lies to the references and to held-out data."""

from domino_lightning.curation.measures.embedding import Embedding, HashedNgrams, HiddenStates

__all__ = ["Embedding", "HashedNgrams", "HiddenStates"]
