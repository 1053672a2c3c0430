"""DataModules of the reference and the synthetic corpus; loaded on first use, since they import Lightning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from domino_lightning.data.reference import ReferenceDataModule
    from domino_lightning.data.synthetic import SyntheticDataModule

__all__ = ["ReferenceDataModule", "SyntheticDataModule"]


def __getattr__(name: str) -> Any:
    """Import a DataModule when it is named."""
    if name == "ReferenceDataModule":
        from domino_lightning.data.reference import ReferenceDataModule

        return ReferenceDataModule
    if name == "SyntheticDataModule":
        from domino_lightning.data.synthetic import SyntheticDataModule

        return SyntheticDataModule
    raise AttributeError(f"module 'domino_lightning.data' has no attribute '{name}'")
