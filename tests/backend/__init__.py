"""Tests of the door: what projects call, and what they get back."""
