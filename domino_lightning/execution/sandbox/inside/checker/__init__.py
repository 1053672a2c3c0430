"""The trusted side of a check: what test code sees of a program that runs in another process."""
