"""django-tasks-db from PyPI, with its worker command."""

from benchmarks.contenders.base import Contender
from benchmarks.postgres import finished_trigger

__all__ = ["DJANGO_TASKS_DB"]

_SETTINGS = ("--settings", "tasks_db_site.settings")

DJANGO_TASKS_DB = Contender(
    name="django-tasks-db",
    distribution="django-tasks-db",
    requirements=("django-tasks-db", "psycopg[binary]"),
    settings="one worker, `--interval 0.1` (its default is 1)",
    migrate=(("python", "-m", "django", "migrate", "-v", "0", *_SETTINGS),),
    worker=(
        *("python", "-m", "django", "db_worker", "-v", "0", "--no-startup-delay"),
        *("--interval", "0.1", *_SETTINGS),
    ),
    producer=("python", "-m", "tasks_db_site.producer"),
    remaining="""
        SELECT count(*) FROM django_tasks_database_dbtaskresult WHERE status IN ('READY', 'RUNNING')
    """,
    succeeded="SELECT count(*) FROM django_tasks_database_dbtaskresult WHERE status = 'SUCCESSFUL'",
    finished_trigger=finished_trigger(
        table="django_tasks_database_dbtaskresult",
        event="UPDATE",
        job_id="id",
        condition="status = 'SUCCESSFUL'",
    ),
    drain_jobs=2_000,
    # It has no call for many jobs (S2), and runs one job at a time: the thousand of S8 take 100 seconds.
    scenarios=frozenset({"S1", "S3", "S4", "S5", "S6"}),
)
