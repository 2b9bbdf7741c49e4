"""Another database than that of the test run, which a test may take away from everybody who uses it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.core.management import call_command
from django.db import connection

from tests.databases import database_settings


@contextmanager
def working_at(url: str) -> Iterator[None]:
    """This process and those that it starts work on the database at *url*, which gets its tables here."""
    settings = connection.settings_dict
    with pytest.MonkeyPatch.context() as patch:
        connection.close()
        for key, value in database_settings(url).items():
            patch.setitem(settings, key, value)
        patch.setenv("DJ_QUEUE_TEST_DATABASE_URL", url)
        try:
            call_command("migrate", verbosity=0, interactive=False)
            yield
        finally:
            connection.close()


def is_root() -> bool:
    """Whether this process may do everything."""
    return hasattr(os, "geteuid") and os.geteuid() == 0
