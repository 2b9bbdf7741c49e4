"""A failed job stays until somebody retries or discards it. Its history grows with each attempt."""

from project import running_jobs, setup, wait_for, wait_until

setup()

from datetime import timedelta

from django.tasks import task
from django.utils import timezone

from dj_queue.api import discard_failed_job, retry_failed_job, schedule_failed_job_retry
from dj_queue.models import FailedExecution, Job

network = {"is_up": False}


@task
def download(url):
    if not network["is_up"]:
        raise ConnectionError("no route to host")
    return f"the content of {url}"


results = [download.enqueue("https://example.org"), download.enqueue("https://example.com")]
hopeless = download.enqueue("https://example.invalid")

with running_jobs():
    wait_for(*results, hopeless)
    for failed in FailedExecution.objects.order_by("job_id"):
        print(failed.job.payload["args"][0], "failed:", failed.message)

    network["is_up"] = True
    retry_failed_job(results[0].id)
    schedule_failed_job_retry(results[1].id, retry_at=timezone.now() + timedelta(seconds=0.2))
    print("discarded:", discard_failed_job(hopeless.id))
    wait_until(lambda: Job.objects.finished().count() == 2, "the retries")

for result in results:
    result.refresh()
    print(result.status, "after", result.attempts, "attempts and", len(result.errors), "error")
print("jobs left:", Job.objects.count())

# Output:
# https://example.org failed: no route to host
# https://example.com failed: no route to host
# https://example.invalid failed: no route to host
# discarded: 1
# SUCCESSFUL after 2 attempts and 1 error
# SUCCESSFUL after 2 attempts and 1 error
# jobs left: 2
