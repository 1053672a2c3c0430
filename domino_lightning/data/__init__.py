"""DataModules of the reference and the synthetic corpus."""

from domino_lightning.data.reference import ReferenceDataModule
from domino_lightning.data.synthetic import SyntheticDataModule

__all__ = ["ReferenceDataModule", "SyntheticDataModule"]
