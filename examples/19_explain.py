"""Why does this job not run? Ask, and be told what would open the first closed gate."""

from datetime import timedelta

from project import setup

setup(workers=[{"queues": ["default"]}])

from django.core.management import call_command
from django.tasks import task

from dj_queue.api import QueueInfo, concurrency, explain


@task
def work(): ...


@concurrency(key="one at a time", limit=1)
@task
def alone(): ...


QueueInfo("mail").pause()
alone.enqueue()

for result in (
    work.using(run_after=timedelta(hours=1)).enqueue(),
    work.using(queue_name="mail").enqueue(),
    alone.enqueue(),
    work.enqueue(),
):
    print(explain(result.id).code)

# The same in words, for people.
call_command("dj_queue_explain", result.id)

# Output:
# scheduled
# paused
# blocked
# no_worker
# No worker of backend 'default' lives.
# Start a process that has one: `manage.py dj_queue`, or a web server with dj_queue embedded.
