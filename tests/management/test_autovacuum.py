"""`manage.py dj_queue_postgres_autovacuum`."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection


def printed(*arguments):
    output = StringIO()
    call_command("dj_queue_postgres_autovacuum", *arguments, stdout=output)
    return output.getvalue()


@pytest.fixture
def queue_settings():
    """What PostgreSQL has noted for the queue's tables; as before when the test ends."""

    def read():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT relname, reloptions FROM pg_class "
                "WHERE relkind = 'r' AND relname LIKE 'dj_queue_%' AND reloptions IS NOT NULL"
            )
            return dict(cursor.fetchall())

    yield read
    with connection.cursor() as cursor:
        for table, found in read().items():
            names = ", ".join(each.split("=")[0] for each in found)
            cursor.execute(f"ALTER TABLE {table} RESET ({names})")


@pytest.mark.only_on("postgresql")
def test_the_statements_are_valid_and_cover_the_tables_that_jobs_pass_through(queue_settings):
    assert queue_settings() == {}

    with connection.cursor() as cursor:
        cursor.execute(printed())

    found = queue_settings()
    for state in ("ready", "scheduled", "claimed", "blocked"):
        assert "autovacuum_vacuum_scale_factor=0" in found[f"dj_queue_{state}_executions"]
    assert "fillfactor=90" in found["dj_queue_jobs"]


@pytest.mark.only_on("mysql", "sqlite")
def test_elsewhere_it_says_that_there_is_nothing_to_set(vendor):
    with pytest.raises(
        CommandError, match=rf"'default'\] is {vendor}, and only PostgreSQL has autovacuum"
    ):
        printed()


def test_a_backend_that_is_not_there_is_an_error_that_names_it():
    with pytest.raises(CommandError, match=r"TASKS\['nowhere'\] does not exist"):
        printed("--backend", "nowhere")
