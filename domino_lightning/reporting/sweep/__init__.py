"""The report of a sweep: arms, intervals, tables, curves."""
