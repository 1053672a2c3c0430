"""A finished run as repositories for a model and data hub: cards, Croissant, provenance, and the push itself."""
