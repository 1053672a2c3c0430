"""The command `domino`: parsers, each with its handler, and how results look in a terminal."""
