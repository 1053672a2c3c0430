"""Filters: each rejects candidates for one reason."""
