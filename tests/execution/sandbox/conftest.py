"""Tiers as fixtures: missing ones skip on a developer's machine and fail where CI says they must be there."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from domino_lightning.errors import UserError
from domino_lightning.execution.sandbox import tiers
from domino_lightning.execution.sandbox.limits import Limits
from domino_lightning.execution.sandbox.pool import open_box

pytest.register_assert_rewrite("tests.execution.sandbox.hostile")  # its assertions judge every hostile program


def require(tier: str) -> str:
    try:
        open_box(tier)
    except UserError as error:
        if os.environ.get("DOMINO_REQUIRE_SANDBOX"):
            pytest.fail(f"DOMINO_REQUIRE_SANDBOX is set, and there is no tier {tier}: {error}")
        pytest.skip(f"no tier {tier} on this host: {error}")
    return tier


@pytest.fixture(params=tiers.TIERS[:-1])
def tier(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each tier that isolates."""
    yield require(request.param)


@pytest.fixture
def limits() -> Limits:
    """Small enough that a bomb is over soon, large enough that a busy machine is no reason."""
    return Limits(timeout_s=1, memory_mb=200, output_bytes=1 << 20)


@pytest.fixture
def patient() -> Limits:
    return Limits(timeout_s=20, memory_mb=400, output_bytes=8 << 20)
