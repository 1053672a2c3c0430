"""Under which licenses something is released; here, and only here, an unknown one is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domino_lightning.curation.card import Card, license_table
from domino_lightning.curation.licenses import OTHER_LICENSE, UNKNOWN_LICENSE, check_license
from domino_lightning.errors import UserError


@dataclass(frozen=True)
class Terms:
    """Licenses of a release, all of them known.

    Args:
        card: of what is released, of the reference data and of the models.
        name: of a license that the hub has no name for; `card.license` is then `other`.
        link: to its text.
    """

    card: Card
    name: str = ""
    link: str = ""

    @property
    def head(self) -> dict[str, Any]:
        """The fields of a card's head."""
        named = {"license_name": self.name, "license_link": self.link}
        return {"license": self.card.license} | (named if self.card.license == OTHER_LICENSE else {})

    def table(self, what: str) -> str:
        """The licenses for readers, in Markdown."""
        linked = f"[{self.name}]({self.link})" if self.card.license == OTHER_LICENSE else ""
        return license_table(what, self.card, linked)


def release_terms(configured: Mapping[str, Any], flags: Mapping[str, str], name: str = "", link: str = "") -> Terms:
    """The licenses of a run's `answer.card`, replaced where a flag names one.

    Args:
        configured: the run's `answer.card`.
        flags: by the same names; an empty value replaces nothing.
        name: of a license `other`.
        link: to its text: a URL.

    Raises:
        UserError: one is unknown, the hub does not know its name, or `other` comes without name and link.
    """
    chosen = {key: flags.get(key) or str(value) for key, value in configured.items()}
    for key, value in chosen.items():
        check_license(_flag(key) if flags.get(key) else f"answer.card.{key}", value)
    unknown = [key for key, value in chosen.items() if value == UNKNOWN_LICENSE]
    if unknown:
        raise UserError(
            f"push: {', '.join(unknown)} of this run {'is' if len(unknown) == 1 else 'are'} '{UNKNOWN_LICENSE}', and "
            "whoever loads a release must know what may be done with it. "
            f"Give {' and '.join(_flag(key) for key in unknown)} (hf.co/docs/hub/repositories-licenses)."
        )
    if chosen["license"] == OTHER_LICENSE and not (name and link):
        raise UserError("push: --license other needs --license-name and --license-link, a URL of its text.")
    if chosen["license"] != OTHER_LICENSE and (name or link):
        raise UserError(f"push: --license-name and --license-link go with --license other, not '{chosen['license']}'.")
    return Terms(Card(**chosen), name, link)


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"
