"""Transactions that end with an error."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import transaction


class _Undo(Exception):
    """What the block ends with."""


@contextmanager
def rolled_back(using: str = "default") -> Iterator[None]:
    """A transaction on the database *using* that is rolled back because its block raises at its end."""
    with suppress(_Undo), transaction.atomic(using=using):
        yield
        raise _Undo
