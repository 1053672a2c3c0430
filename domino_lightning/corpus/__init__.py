"""The embedded reference corpus: short Python functions with inputs and their executed outputs."""
