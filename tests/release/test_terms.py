"""Licenses of a release: unknown ones are refused here and not before."""

from __future__ import annotations

import re

import pytest

from domino_lightning.curation.card import Card
from domino_lightning.errors import UserError
from domino_lightning.release.terms import release_terms

UNKNOWN = {"license": "unknown", "reference_license": "unknown", "backbone_license": "unknown"}


def test_a_run_whose_configuration_names_all_licenses_needs_no_flag() -> None:
    named = {"license": "mit", "reference_license": "cc0-1.0", "backbone_license": "llama3.2"}
    terms = release_terms(named, {"license": "", "reference_license": "", "backbone_license": ""})
    assert terms.card == Card(**named)
    assert terms.head == {"license": "mit"}


def test_a_flag_replaces_what_the_configuration_says() -> None:
    named = {"license": "mit", "reference_license": "mit", "backbone_license": "mit"}
    assert release_terms(named, {"license": "apache-2.0"}).card.license == "apache-2.0"


def test_unknown_licenses_are_refused_all_at_once_with_their_flags() -> None:
    with pytest.raises(UserError, match="reference_license, backbone_license of this run are 'unknown'") as caught:
        release_terms(UNKNOWN, {"license": "mit"})
    assert "Give --reference-license and --backbone-license" in str(caught.value)


@pytest.mark.parametrize("flag", [{"license": "apache2"}, {"reference_license": "MIT"}])
def test_a_name_that_the_hub_does_not_know_is_refused_with_its_flag_and_the_near_one(flag: dict[str, str]) -> None:
    ((key, _),) = flag.items()
    near = {"license": "apache-2.0", "reference_license": "mit"}[key]
    with pytest.raises(UserError, match=re.escape(f"--{key.replace('_', '-')}: the hub knows no license")) as caught:
        release_terms(UNKNOWN, flag)
    assert f"'{near}'" in str(caught.value)


def test_a_license_without_a_name_on_the_hub_comes_with_its_own_name_and_link() -> None:
    flags = {"license": "other", "reference_license": "mit", "backbone_license": "mit"}
    terms = release_terms(UNKNOWN, flags, "house-1.0", "https://example.org/license")
    link = {"license_name": "house-1.0", "license_link": "https://example.org/license"}
    assert terms.head == {"license": "other", **link}
    assert "| these pairs | [house-1.0](https://example.org/license) |" in terms.table("these pairs")


@pytest.mark.parametrize(
    ("license", "name", "link"), [("other", "", "https://a.b"), ("other", "n", ""), ("mit", "n", "")]
)
def test_name_and_link_go_with_other_and_only_with_it(license: str, name: str, link: str) -> None:
    flags = {"license": license, "reference_license": "mit", "backbone_license": "mit"}
    with pytest.raises(UserError, match="--license-link"):
        release_terms(UNKNOWN, flags, name, link)
