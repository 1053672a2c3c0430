"""Small values of the standard library as text, and what is known by its name alone."""

from __future__ import annotations

import builtins
import datetime
import ipaddress
import uuid
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

_SINGLE = {"Ellipsis": Ellipsis, "NotImplemented": NotImplemented}


def _span_text(span: datetime.timedelta) -> str:
    return f"{span.days} {span.seconds} {span.microseconds}"


def _span(text: str) -> datetime.timedelta:
    return datetime.timedelta(*map(int, text.split()))


def _zone_text(zone: datetime.timezone) -> str:
    offset, name = zone.utcoffset(None), zone.tzname(None)
    return f"{_span_text(offset)}|{'' if name == datetime.timezone(offset).tzname(None) else name}"


def _zone(text: str) -> datetime.timezone:
    offset, _, name = text.partition("|")
    return datetime.timezone(_span(offset), name) if name else datetime.timezone(_span(offset))


# Each type's name, its text, and the value of a text.
TEXTUAL: dict[type, tuple[str, Callable[[Any], str], Callable[[str], object]]] = {
    Decimal: ("Decimal", str, Decimal),
    Fraction: ("Fraction", str, Fraction),
    datetime.date: ("date", datetime.date.isoformat, datetime.date.fromisoformat),
    datetime.time: ("time", datetime.time.isoformat, datetime.time.fromisoformat),
    datetime.datetime: ("datetime", datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    datetime.timedelta: ("timedelta", _span_text, _span),
    datetime.timezone: ("timezone", _zone_text, _zone),
    uuid.UUID: ("UUID", str, uuid.UUID),
    **{
        kind: (kind.__name__, str, kind)
        for kind in (
            ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network,
            ipaddress.IPv4Interface, ipaddress.IPv6Interface,
        )
    },
}  # fmt: skip
PARSERS = {name: parse for name, _, parse in TEXTUAL.values()}


def known_name(value: Any) -> str | None:
    """The name of a built-in class, or of `Ellipsis` and `NotImplemented`; None of anything else."""
    for name, single in _SINGLE.items():
        if value is single:
            return name
    name = value.__name__ if type(value) is type else ""
    return name if type(name) is str and vars(builtins).get(name) is value else None


def named(name: Any) -> object:
    """What `known_name` gives a name to.

    Raises:
        ValueError: it is another name.
    """
    value = _SINGLE.get(name, vars(builtins).get(name)) if isinstance(name, str) else None
    if name not in _SINGLE and not (isinstance(value, type) and value.__module__ == "builtins"):
        raise ValueError("no name of a built-in class")
    return value
