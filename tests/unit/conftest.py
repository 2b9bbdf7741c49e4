"""No database here: none is made, none is emptied, and a test that connects fails."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def database() -> None:
    """In place of the one that makes the database of the run."""


@pytest.fixture(autouse=True)
def empty_tables(django_db_blocker) -> Iterator[None]:
    """In place of the one that empties the tables."""
    with django_db_blocker.block():
        yield
