"""Helpers that know nothing of the project: JSON Lines, block logs, progress, seeds, memory."""
