"""Scoring: programs run in subprocesses, answers read as literals, pass@k with an interval over groups."""
