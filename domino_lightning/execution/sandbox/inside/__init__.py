"""What runs inside a box: sent there as source, so that no file of the package is visible to programs."""
