"""Python as text: reading programs out of replies, and looking at source."""
