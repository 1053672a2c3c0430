"""Sweeps over many machines: pilots that a cluster starts, and a mailbox on the file system that they share."""
