"""Visitors bring pictures; each becomes a job that makes small ones of it."""
