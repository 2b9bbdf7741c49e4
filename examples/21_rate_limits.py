"""So many jobs in a period, of a task, a key or a queue; the others wait for their turn."""

import time

from project import running_jobs, setup, wait_for

setup(rate_limits={"mail": {"to": 1, "per": 60}})

from django.tasks import task

from dj_queue.api import explain, limits_rate
from dj_queue.models import Job

began = []


@limits_rate(to=3, per=1)
@task
def call_api():
    began.append(time.monotonic())


@limits_rate(key="{customer}", to=1, per=60)
@task
def remind(customer):
    return f"reminded {customer}"


@task
def send():
    return "sent"


start = time.monotonic()
calls = [call_api.enqueue() for _ in range(7)]
reminders = [remind.enqueue(customer) for customer in ("ann", "bob", "ann")]
letters = [send.using(queue_name="mail").enqueue() for _ in range(2)]
print("ready:", Job.objects.ready().count(), "blocked:", Job.objects.blocked().count())

with running_jobs():
    wait_for(*calls, *reminders[:2], letters[0])
    print("why the other letter waits:", explain(letters[1].id).code)

print("the last call began in the third second:", max(began) - start > 1.9)
print("still waiting:", Job.objects.blocked().count())

# Output:
# ready: 6 blocked: 6
# why the other letter waits: rate_limited
# the last call began in the third second: True
# still waiting: 2
