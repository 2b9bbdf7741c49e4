"""The ledger of a test; and which files are for which vendors."""

import pytest
from django.db import connection

from tests.faults.killing import Killer
from tests.faults.ledger import Ledger

# A folder has what only its vendor can show. SQLite has no clock but that of each process.
collect_ignore = [
    name
    for name, vendors in (
        ("postgres", ("postgresql",)),
        ("sqlite", ("sqlite",)),
        ("test_clock_skew.py", ("postgresql", "mysql")),
    )
    if connection.vendor not in vendors
]


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@pytest.fixture
def killer(ledger, tmp_path) -> Killer:
    return Killer(ledger, tmp_path)
