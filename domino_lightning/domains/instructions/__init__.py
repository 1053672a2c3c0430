"""Instructions whose constraints a few lines of Python can check."""
