"""Lightning callbacks: checkpoints, progress, stop on divergence, health of the tokens, throughput."""
