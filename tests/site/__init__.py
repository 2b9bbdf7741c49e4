"""A small Django app with tasks for the tests."""
