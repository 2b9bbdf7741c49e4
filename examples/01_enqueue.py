"""A task, a job, a result: the whole way once."""

from project import running_jobs, setup, wait_for

setup()

from django.tasks import task


@task
def add(a, b):
    return a + b


# Nothing runs jobs yet, so the job waits in the database.
result = add.enqueue(2, 3)
print("enqueued:", result.status)

with running_jobs():
    wait_for(result)

print("done:", result.status)
print("result:", result.return_value)

# Output:
# enqueued: READY
# done: SUCCESSFUL
# result: 5
