"""Measures of a corpus: how varied it is, and how it lies to the references and to held-out data."""

from domino_lightning.curation.measures.embedding import Embedding, HashedNgrams, HiddenStates
from domino_lightning.curation.measures.encoders import Model2Vec, SentenceTransformers
from domino_lightning.curation.measures.extra import CorpusMeasure, GVendi, Mauve

__all__ = [
    "CorpusMeasure",
    "Embedding",
    "GVendi",
    "HashedNgrams",
    "HiddenStates",
    "Mauve",
    "Model2Vec",
    "SentenceTransformers",
]
