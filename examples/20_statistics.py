"""What runs and what waits, as plain data: what `stats.json` and the metrics say, without a web server."""

from datetime import timedelta

from project import running_jobs, setup, wait_for

setup()

from django.tasks import task

from dj_queue.observability import stats_payload


@task
def divide(a, b):
    return a / b


results = [
    divide.enqueue(6, 3),
    divide.enqueue(6, 0),
    divide.using(queue_name="mail").enqueue(1, 1),
]

with running_jobs():
    wait_for(*results)
    (backend,) = stats_payload()["backends"]
    print("leaders:", sorted(leader["role"] for leader in backend["leaders"]))
    print("workers:", backend["runner_metrics"]["by_kind"]["Worker"]["live"])

divide.using(run_after=timedelta(days=1)).enqueue(6, 2)
(backend,) = stats_payload()["backends"]
for queue in backend["queues"]:
    counts = {name: queue[f"{name}_count"] for name in ("scheduled", "finished", "failed")}
    print(queue["name"], counts)

# Output:
# leaders: ['dispatcher', 'scheduler']
# workers: 1
# default {'scheduled': 1, 'finished': 1, 'failed': 1}
# mail {'scheduled': 0, 'finished': 1, 'failed': 0}
