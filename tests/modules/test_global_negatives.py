"""Negatives over all ranks: W ranks of B texts are one rank of W·B, in loss, gradients and trajectory."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = [pytest.mark.ddp, pytest.mark.slow]
SCRIPT = Path(__file__).with_name("global_negatives.py")


def run(world_size: int, folder: Path) -> list[dict[str, Any]]:
    """What every rank recorded."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = [
        subprocess.Popen([sys.executable, str(SCRIPT), str(rank), str(world_size), port, str(folder)])
        for rank in range(world_size)
    ]
    try:
        assert [process.wait(timeout=300) for process in processes] == [0] * world_size
    finally:
        for process in processes:
            process.kill()
    return [torch.load(folder / f"{world_size}-{rank}.pt", weights_only=True) for rank in range(world_size)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(1, tmp_path_factory.mktemp("alone"))[0]


@pytest.mark.parametrize("world_size", [2, 3])
def test_loss_gradients_and_trajectory_do_not_depend_on_the_number_of_ranks(
    world_size: int, alone: dict[str, Any], tmp_path: Path
) -> None:
    ranks = run(world_size, tmp_path)
    for case, expected in alone.items():
        # A whole text's NLL, some hundred nats, is rounded to some 1e-5, and the contrast is of its exponential.
        rounding = 1e-4 if "sequence" in case else 1e-5
        for got in (rank[case] for rank in ranks):
            assert got["loss"] == pytest.approx(expected["loss"], rel=1e-5), case
            for name in ("D", "S", "basis"):
                assert len(got[name]) == len(expected[name]), (case, name)
                # The first epoch, of a whole and a ragged batch; later ones start from a D and S that are rounded.
                for mine, theirs in zip(got[name][:2], expected[name][:2], strict=True):
                    assert (mine - theirs).norm() <= rounding * theirs.norm() + 1e-9, (case, name)
            for name, value in expected["end"].items():
                assert (got["end"][name] - value).norm() <= 1e-5 * value.norm(), (case, name)
    if world_size == 2:
        # D 3 × 32; b = 3 texts of a rank, of 6; S 2 × 32; K = 2. Forward: three int64 a text, S, NLLs; backward: D,
        # and the gradients of what was gathered, for all six texts.
        gathered = 2 * 32 + 1 + 2
        expected_bytes = 4 * 3 * 32 + 3 * (3 * 8 + 4 * gathered) + 6 * 4 * gathered
        assert [rank["bytes"] for rank in ranks] == [{12: [expected_bytes] * 2, 600: [expected_bytes] * 2}] * 2
    # It would hold for a run in which nothing happens, too.
    assert len(alone["released"]["loss"]) == 10
    assert min(gradient.norm() for gradient in alone["released"]["D"]) > 1e-3
    assert max(gradient.norm() for gradient in alone["released"]["S"]) > 1e-3
    assert len(alone["low_rank"]["basis"]) == 10
    assert alone["likelihood"]["S"] == []
