"""Configuration: one literal document, its typed sections, and where a run is tracked."""
