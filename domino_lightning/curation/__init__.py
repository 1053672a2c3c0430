"""Curation: from raw candidates to accepted records, with a funnel that accounts for every row."""

from domino_lightning.curation.contamination import Contaminated
from domino_lightning.curation.duplicates import ExactDuplicate, NearDuplicate
from domino_lightning.curation.execution import Executes
from domino_lightning.curation.filters import Candidate, Context, Filter, Finished, Length, Parses
from domino_lightning.curation.funnel import Curated, curate
from domino_lightning.curation.judge import Criterion, LMJudge
from domino_lightning.curation.memorisation import CopiedFromReference, Memorised
from domino_lightning.curation.triviality import Trivial

__all__ = [
    "Candidate",
    "Contaminated",
    "Context",
    "CopiedFromReference",
    "Criterion",
    "Curated",
    "ExactDuplicate",
    "Executes",
    "Filter",
    "Finished",
    "LMJudge",
    "Length",
    "Memorised",
    "NearDuplicate",
    "Parses",
    "Trivial",
    "curate",
]
