"""Curation: from raw candidates to accepted records, with a funnel that accounts for every row."""

from domino_lightning.curation.filters.base import Candidate, Context, Filter, Finished, Length, Parses
from domino_lightning.curation.filters.contamination import Contaminated
from domino_lightning.curation.filters.copies import CopiedFromReference, Memorised
from domino_lightning.curation.filters.duplicates import ExactDuplicate, NearDuplicate
from domino_lightning.curation.filters.execution import Executes
from domino_lightning.curation.filters.lm_judge import Criterion, LMJudge
from domino_lightning.curation.filters.triviality import Trivial
from domino_lightning.curation.funnel import Curated, curate
from domino_lightning.curation.measures import (
    CorpusMeasure,
    Embedding,
    GVendi,
    HashedNgrams,
    HiddenStates,
    Mauve,
    Model2Vec,
    SentenceTransformers,
)

__all__ = [
    "Candidate",
    "Contaminated",
    "Context",
    "CopiedFromReference",
    "CorpusMeasure",
    "Criterion",
    "Curated",
    "Embedding",
    "ExactDuplicate",
    "Executes",
    "Filter",
    "Finished",
    "GVendi",
    "HashedNgrams",
    "HiddenStates",
    "LMJudge",
    "Length",
    "Mauve",
    "Memorised",
    "Model2Vec",
    "NearDuplicate",
    "Parses",
    "SentenceTransformers",
    "Trivial",
    "curate",
]
