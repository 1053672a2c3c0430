"""Isolation for programs that nobody vouches for: tiers, boxes, and one process tree per program."""
