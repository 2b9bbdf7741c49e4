"""Behind a transaction pooler killed processes lose as little as without one."""

import os

import pytest
from django.db import connection

from tests.contrib.pooler import PROGRAM, pgbouncer
from tests.faults.elsewhere import working_at
from tests.faults.ledger import FULL

pytestmark = pytest.mark.skipif(
    PROGRAM is None and "CI" not in os.environ, reason="the program pgbouncer is not installed"
)

JOBS, KILLS = (2000, 10) if FULL else (150, 2)


@pytest.fixture
def pooler():
    """The test, too, works through it."""
    settings = connection.settings_dict
    with pgbouncer(servers=4) as port:
        user = settings["USER"] or "postgres"
        with working_at(f"postgres://{user}@127.0.0.1:{port}/{settings['NAME']}"):
            yield


def test_killed_processes_behind_a_pooler(ledger, killer, pooler):
    ledger.enqueue(JOBS)

    killer.kill_and_start_anew(lambda: killer.kills < KILLS)

    killer.assert_only_what_was_interrupted_failed()
