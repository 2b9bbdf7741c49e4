"""What the two Django contenders share: commands, and the documented tables of dj_queue."""

from benchmarks.contenders.base import Command
from benchmarks.postgres import finished_trigger

__all__ = ["FINISHED_TRIGGER", "MIGRATE", "PRODUCER", "REMAINING", "SUCCEEDED"]

MIGRATE: tuple[Command, ...] = (("python", "-m", "django_site.manage", "migrate", "-v", "0"),)
PRODUCER: Command = ("python", "-m", "django_site.producer")

REMAINING = """
    SELECT (SELECT count(*) FROM dj_queue_ready_executions)
         + (SELECT count(*) FROM dj_queue_claimed_executions)
"""
# Failed jobs have no such moment.
SUCCEEDED = "SELECT count(*) FROM dj_queue_jobs WHERE finished_at IS NOT NULL"
FINISHED_TRIGGER = finished_trigger(
    table="dj_queue_jobs", event="UPDATE", job_id="id", condition="finished_at IS NOT NULL"
)
