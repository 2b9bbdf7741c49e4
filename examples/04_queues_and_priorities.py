"""Which job comes first: the worker's order of queues, then priority, then age."""

from project import running_jobs, setup, wait_for

# One thread, so that one job runs at a time. It serves "mail" first, then whatever begins with "report".
setup(workers=[{"queues": ["mail", "report*"], "threads": 1}])

from django.tasks import task


@task(queue_name="reports")
def run(name):
    print(name)


results = [
    run.enqueue("4. report"),
    run.using(priority=10).enqueue("3. important report"),
    run.using(queue_name="mail").enqueue("2. mail"),
    run.using(queue_name="mail", priority=100).enqueue("1. urgent mail"),
    run.using(queue_name="report_archive").enqueue("5. report of another queue"),
]
unserved = run.using(queue_name="videos").enqueue("nobody serves this queue")

with running_jobs():
    wait_for(*results)

unserved.refresh()
print("videos:", unserved.status)

# Output:
# 1. urgent mail
# 2. mail
# 3. important report
# 4. report
# 5. report of another queue
# videos: READY
