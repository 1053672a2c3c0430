"""What an experiment will cost, estimated before anything runs: tokens, FLOPs, memory, time of each stage."""
