"""A site that answers requests while jobs compute."""
