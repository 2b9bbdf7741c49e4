"""Adapters that start the runtime inside a server; importable before Django is set up."""
