"""The report over any set of runs."""
