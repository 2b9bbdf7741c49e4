"""A statement that takes too long ends, on each database, and leaves the connection as it was."""

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction
from django.db.models import BigIntegerField
from django.db.models.expressions import RawSQL

from dj_queue.models import Job
from dj_queue.store.time_limits import is_over_time, limited_time

_SIXTY = f"({' UNION ALL '.join(['SELECT 1 AS one'] + ['SELECT 1'] * 59)})"
# Each would take minutes. An interrupted SLEEP() is no error on MySQL, and SQLite has none, so both count.
ENDLESS = {
    "postgresql": "SELECT COUNT(*) FROM pg_sleep(60)",
    "mysql": f"SELECT COUNT(*) FROM {', '.join(f'{_SIXTY} AS n{place}' for place in range(7))}",
    "sqlite": """
        WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1000000000)
        SELECT COUNT(*) FROM numbers
    """,
}


def endless_rows(model):
    """Rows of *model*, if somebody waits for a statement that takes minutes."""
    endless = RawSQL(ENDLESS[connection.vendor], (), output_field=BigIntegerField())
    return model.objects.annotate(endless=endless).filter(endless__gt=-1)


def run(statement: str):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def test_a_statement_is_ended_when_its_time_is_over():
    with pytest.raises(OperationalError) as raised, limited_time("default", 0.2):
        run(ENDLESS[connection.vendor])

    assert is_over_time(raised.value)
    assert run("SELECT 1")[0][0] == 1


def test_a_statement_that_begins_with_names_for_others_is_ended_too():
    name = connection.ops.quote_name("select (")
    begins = f"""
        WITH /* no SELECT: ( */ few (one) AS (SELECT 1),
            word AS (SELECT ') SELECT ''"(' AS one, 2 AS {name})
    """
    endless = ENDLESS[connection.vendor].strip()
    # SQLite's has a name of its own.
    text = endless if endless.startswith("WITH") else f"{begins} {endless}, few, word"

    with pytest.raises(OperationalError) as raised, limited_time("default", 0.2):
        run(text)

    assert is_over_time(raised.value)


def test_a_short_one_is_answered():
    with limited_time("default", 20):
        assert run("WITH few AS (SELECT 1 AS one) SELECT one FROM few")[0][0] == 1


def test_each_statement_has_the_whole_time():
    with limited_time("default", 20):
        assert Job.objects.count() == 0
        assert list(Job.objects.values_list("pk")) == []
        assert run("SELECT 1 UNION ALL SELECT 2 ORDER BY 1")[1][0] == 2


def test_other_errors_are_not_taken_for_it():
    with pytest.raises(DatabaseError) as raised, limited_time("default", 20):
        run("SELECT nothing FROM nowhere")

    assert not is_over_time(raised.value)
    assert not is_over_time(ValueError("57014"))


def test_what_writes_is_left_as_it_is():
    with limited_time("default", 20):
        assert Job.objects.update(priority=1) == 0


# Only there it is a setting of the transaction.
@pytest.mark.only_on("postgresql")
def test_inside_a_transaction_it_ends_where_it_should():
    with transaction.atomic():
        with limited_time("default", 0.2):
            assert run("SHOW statement_timeout") == [("200ms",)]
        assert run("SHOW statement_timeout") == [("0",)]
        with pytest.raises(OperationalError), limited_time("default", 0.2):
            run("SELECT pg_sleep(60)")
        assert run("SHOW statement_timeout") == [("0",)]


# The others take whichever limit is over first.
@pytest.mark.only_on("postgresql")
def test_a_shorter_limit_of_the_project_stays():
    with transaction.atomic():
        run("SELECT set_config('statement_timeout', '100', true)")
        with limited_time("default", 0.2):
            assert run("SHOW statement_timeout") == [("100ms",)]
        assert run("SHOW statement_timeout") == [("100ms",)]


def test_statements_afterwards_are_not_limited():
    with limited_time("default", 0.05):
        run("SELECT 1")

    if connection.vendor == "sqlite":
        # More instructions than there are between two looks at the clock.
        counted = run(ENDLESS["sqlite"].replace("1000000000", "3000000"))
        assert counted == [(3_000_000,)]
    elif connection.vendor == "postgresql":
        assert run("SHOW statement_timeout") == [("0",)]
        run("SELECT pg_sleep(0.1)")
    else:
        assert run("SELECT SLEEP(0.1)")[0][0] == 0
