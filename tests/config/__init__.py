"""Tests of how settings are read and checked."""
