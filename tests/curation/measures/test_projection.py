"""Principal components: against the eigenvectors of the covariance, and what a map needs."""

from __future__ import annotations

import numpy as np
import pytest

from domino_lightning.curation.measures.projection import components

DICE = np.random.default_rng(3)
REFERENCES, SYNTHETIC = (DICE.normal(size=(count, 5)) for count in (9, 4))


def test_axes_are_the_eigenvectors_of_the_covariance_of_the_references() -> None:
    places, shares = components(REFERENCES, SYNTHETIC, count=2)
    values, vectors = np.linalg.eigh(np.cov(REFERENCES.T))
    expected = (SYNTHETIC - REFERENCES.mean(axis=0)) @ vectors[:, ::-1][:, :2]
    assert np.abs(places[1]) == pytest.approx(np.abs(expected))
    assert shares == pytest.approx(values[::-1][:2] / values.sum())


def test_an_axis_points_to_its_largest_entry() -> None:
    line = np.array([[0.0, 0.0], [1.0, 3.0], [2.0, 6.0]])
    for points in (line, line[::-1]):
        places, shares = components(points)
        assert places[0].shape == (3, 1)  # they differ in one direction
        assert (np.diff(places[0][:, 0]) * np.diff(points[:, 1]) > 0).all()
        assert shares == pytest.approx([1.0])


@pytest.mark.parametrize("references", [np.ones((4, 3)), np.ones((0, 3))], ids=["equal", "none"])
def test_references_that_do_not_differ_have_no_axis(references: np.ndarray) -> None:
    places, shares = components(references, SYNTHETIC[:, :3])
    assert places[1].shape == (4, 0) and len(shares) == 0
