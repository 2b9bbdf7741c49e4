"""A thousand jobs in one call: all or none, in a few statements."""

from project import running_jobs, setup, wait_until

setup()

from django.db import connection
from django.tasks import default_task_backend, task
from django.test.utils import CaptureQueriesContext

from dj_queue.exceptions import EnqueueError
from dj_queue.models import Job


@task
def square(number):
    return number * number


with CaptureQueriesContext(connection) as captured:
    default_task_backend.enqueue_all([(square, (n,), {}) for n in range(1000)])

print("jobs:", Job.objects.count())
print("fewer than ten statements:", len(captured) < 10)

with running_jobs():
    wait_until(lambda: Job.objects.finished().count() == 1000, "the end of all")

print("sum:", sum(Job.objects.values_list("return_value", flat=True)))

# One that cannot be stored: then none is written.
try:
    default_task_backend.enqueue_all([(square, (1,), {}), (square, (float("nan"),), {})])
except EnqueueError as error:
    print("refused:", error)
print("jobs:", Job.objects.count())

# Output:
# jobs: 1000
# fewer than ten statements: True
# sum: 332833500
# refused: args[0] is nan, which JSON has not. Pass None, or text
# jobs: 1000
