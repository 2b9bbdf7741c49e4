"""Jobs for later: at a time, or after a while."""

from datetime import timedelta

from project import running_jobs, setup, wait_for

setup()

from django.tasks import task
from django.utils import timezone

from dj_queue.models import Job


@task
def remind(of):
    return of


tomorrow = remind.using(run_after=timezone.now() + timedelta(days=1)).enqueue("tomorrow")
soon = remind.using(run_after=timedelta(seconds=0.5)).enqueue("soon")

print("scheduled:", Job.objects.scheduled().count())

with running_jobs():
    wait_for(soon)

print(soon.return_value, "has come:", soon.finished_at > soon.task.run_after)
tomorrow.refresh()
print(tomorrow.args[0], "waits:", tomorrow.status)

# Output:
# scheduled: 2
# soon has come: True
# tomorrow waits: READY
