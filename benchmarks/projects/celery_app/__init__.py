"""Celery, set up as its documentation says for short tasks without results."""
