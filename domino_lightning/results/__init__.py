"""Finished results: open them, read their numbers, compare them, find what nobody needs."""
