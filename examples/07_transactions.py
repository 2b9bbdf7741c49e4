"""A job is written with your rows, or not at all."""

from project import running_jobs, setup, wait_for

setup()

from django.contrib.auth.models import Group
from django.db import transaction
from django.tasks import task

from dj_queue.api import enqueue_on_commit
from dj_queue.models import Job


@task
def welcome(group_id):
    return f"welcome to {Group.objects.get(pk=group_id).name}"


with transaction.atomic():
    group = Group.objects.create(name="never")
    welcome.enqueue(group.pk)
    transaction.set_rollback(True)  # as an exception does
print("rolled back:", Group.objects.count(), "groups,", Job.objects.count(), "jobs")

with running_jobs():
    with transaction.atomic():
        # The job is there before its group is, and still sees it: nobody takes it before the commit.
        result = welcome.enqueue(1)
        Group.objects.create(pk=1, name="the club")
    wait_for(result)
print("committed:", result.return_value)

# For a queue on another database than the data: after the commit.
with transaction.atomic():
    enqueue_on_commit(welcome, 1)
    print("before the commit:", Job.objects.ready().count())
print("after it:", Job.objects.ready().count())

# Output:
# rolled back: 0 groups, 0 jobs
# committed: welcome to the club
# before the commit: 0
# after it: 1
