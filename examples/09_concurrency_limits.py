"""Never more than so many jobs with the same key at once; the others wait, or are dropped."""

import threading
import time

from project import running_jobs, setup, wait_for

setup(workers=[{"threads": 8}])

from django.tasks import task

from dj_queue.api import concurrency, limits_concurrency
from dj_queue.models import Job

lock = threading.Lock()
running, most = {}, {}


@concurrency(key="account-{account}", limit=2)
@task
def synchronise(account):
    with lock:
        running[account] = running.get(account, 0) + 1
        most[account] = max(most.get(account, 0), running[account])
    time.sleep(0.05)
    with lock:
        running[account] -= 1


@limits_concurrency(to=1, key=lambda: "all", on_conflict="discard")
@task
def refresh_cache():
    return "refreshed"


results = [synchronise.enqueue(account) for account in ("a", "b") * 6]
print("ready:", Job.objects.ready().count(), "blocked:", Job.objects.blocked().count())

first, second = refresh_cache.enqueue(), refresh_cache.enqueue()

with running_jobs():
    wait_for(*results, first, second)

print("at most 2 at once:", sorted(most.items()) == [("a", 2), ("b", 2)])
print("first:", first.status, first.return_value)
print("second:", second.status, second.return_value)

# Output:
# ready: 4 blocked: 8
# at most 2 at once: True
# first: SUCCESSFUL refreshed
# second: SUCCESSFUL None
