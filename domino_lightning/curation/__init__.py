"""Curation: from raw candidates to accepted records, with a funnel that accounts for every row."""

from domino_lightning.curation.filters import (
    Candidate,
    Context,
    CopiedFromReference,
    ExactDuplicate,
    Filter,
    Finished,
    Parses,
)
from domino_lightning.curation.funnel import Curated, curate

__all__ = [
    "Candidate",
    "Context",
    "CopiedFromReference",
    "Curated",
    "ExactDuplicate",
    "Filter",
    "Finished",
    "Parses",
    "curate",
]
