"""domino_lightning: learn a domain from examples, synthesise data for it, score a coder on it."""
