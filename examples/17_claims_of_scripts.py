"""A script takes jobs itself, one by one, instead of a worker."""

from project import setup

setup()

from django.tasks import task

from dj_queue.api import claim_ready_jobs, execute_claimed_job
from dj_queue.models import Job


@task
def double(number):
    return number * 2


for number in range(5):
    double.using(priority=number).enqueue(number)

for claimed in claim_ready_jobs(limit=2, queues=["default"]):
    job = execute_claimed_job(claimed)
    print(claimed.payload["args"], "gave", job.return_value)

print("left:", Job.objects.ready().count())

# Output:
# [4] gave 8
# [3] gave 6
# left: 3
