"""The stage store, content hashes of what lies outside it, and what a running stage is given."""
