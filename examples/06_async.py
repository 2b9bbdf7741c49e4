"""`async def` tasks share one event loop: a hundred that wait take little longer than one."""

import asyncio

from project import running_jobs, setup, wait_for

setup()

from django.tasks import default_task_backend, task

waiting = most = 0


@task
async def fetch(page):
    global waiting, most
    waiting += 1  # on one event loop, so nobody comes in between
    most = max(most, waiting)
    await asyncio.sleep(0.5)
    waiting -= 1
    return f"page {page}"


async def enqueue():
    """As in an async view."""
    first = await fetch.aenqueue(0)
    calls = [(fetch, (page,), {}) for page in range(1, 100)]
    return [first, *await default_task_backend.aenqueue_all(calls)]


results = asyncio.run(enqueue())
with running_jobs():
    wait_for(*results)

print(results[0].return_value, "to", results[-1].return_value)
print("many at once:", most > 10)

# Output:
# page 0 to page 99
# many at once: True
