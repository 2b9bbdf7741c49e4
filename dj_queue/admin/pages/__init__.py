"""The pages: each takes a `Page` and what its address names, and answers."""
