"""The splits and trainers of the modules' tests."""

from tests.modules.conftest import quiet_trainer, splits

__all__ = ["quiet_trainer", "splits"]
