"""The sweep files of the sweep's tests."""

from tests.sweep.conftest import load, write_sweep

__all__ = ["load", "write_sweep"]
