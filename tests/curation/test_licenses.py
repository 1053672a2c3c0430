"""License names are the hub's, and a wrong one is told where it is written."""

from __future__ import annotations

import pytest

from domino_lightning.curation.card import Card
from domino_lightning.curation.licenses import HUB_LICENSES, check_license
from domino_lightning.errors import UserError


def test_every_default_is_a_name_of_the_hub() -> None:
    assert Card().license in HUB_LICENSES
    check_license("here", "cc-by-sa-4.0")


@pytest.mark.parametrize(
    ("name", "near"), [("Apache 2.0", "apache-2.0"), ("CC-BY-4", "cc-by-4.0"), ("Llama3", "llama3")]
)
def test_a_name_written_otherwise_is_refused_with_the_near_one(name: str, near: str) -> None:
    with pytest.raises(UserError, match=rf"here: the hub knows no license '{name}'. Did you mean '{near}'\?"):
        check_license("here", name)


def test_the_key_of_a_configuration_is_named() -> None:
    with pytest.raises(UserError, match=r"answer\.card\.reference_license: the hub knows no license 'house'"):
        Card(reference_license="house")
