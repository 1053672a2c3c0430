"""The names of where soft tokens start."""

from __future__ import annotations

from typing import Literal

Init = Literal["vocabulary", "normal"]
SampleInit = Literal["keywords", "vocabulary", "normal"]
DomainInit = Literal["vocabulary", "normal", "text", "soft_prompt"]
