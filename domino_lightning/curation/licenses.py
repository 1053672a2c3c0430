"""The license names that the Hugging Face hub reads in a card (hf.co/docs/hub/repositories-licenses)."""

from __future__ import annotations

from difflib import get_close_matches

from domino_lightning.errors import UserError

UNKNOWN_LICENSE, OTHER_LICENSE = "unknown", "other"
HUB_LICENSES = frozenset(
    """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
    afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
    cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0
    lgpl lgpl-2.1 lgpl-3.0 lgpl-lr isc h-research intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by
    odbl openmdw-1.0 openmdw-1.1 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl deepfloyd-if-license
    fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 grok2-community gemma
    unknown other
    """.split()  # noqa: SIM905 - a list of eighty quoted names is harder to read
)


def check_license(where: str, name: str) -> None:
    """Refuse a name that the hub would refuse in a card.

    Args:
        where: key or flag that holds it.
        name: the license.

    Raises:
        UserError: it is no name the hub knows.
    """
    if name in HUB_LICENSES:
        return
    close = get_close_matches(name.lower().replace(" ", "-"), sorted(HUB_LICENSES), n=1)
    near = f"Did you mean '{close[0]}'? " if close else ""
    raise UserError(
        f"{where}: the hub knows no license '{name}'. {near}"
        f"'{OTHER_LICENSE}' stands for one that it has no name for, '{UNKNOWN_LICENSE}' for not known yet."
    )
