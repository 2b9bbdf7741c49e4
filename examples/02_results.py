"""From a job's id to what became of it, also when it went wrong."""

from project import running_jobs, setup, wait_for

setup()

from django.tasks import task
from django.tasks.exceptions import TaskResultDoesNotExist


@task
def divide(a, b):
    return {"quotient": a / b}


good = divide.enqueue(6, 3)
bad = divide.enqueue(6, b=0)

with running_jobs():
    wait_for(good, bad)

# Another process, another day: the id is enough.
later = divide.get_result(good.id)
print(later.status, later.return_value)
print("took", "no time" if later.finished_at < later.started_at else "some time")
print("attempts:", later.attempts, "by", len(later.worker_ids), "worker")

later = divide.get_result(bad.id)
print(later.status, later.args, later.kwargs)
print(later.errors[0].exception_class_path)
print(later.errors[0].traceback.splitlines()[-1])
try:
    later.return_value  # noqa: B018
except ValueError as error:
    print("no return value:", error)

try:
    divide.get_result("no such id")
except TaskResultDoesNotExist:
    print("no such job")

# Output:
# SUCCESSFUL {'quotient': 2.0}
# took some time
# attempts: 1 by 1 worker
# FAILED [6] {'b': 0}
# builtins.ZeroDivisionError
# ZeroDivisionError: division by zero
# no return value: Task failed
# no such job
