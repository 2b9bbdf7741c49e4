"""Tests of single parts of the runtime, without its threads."""
