"""Several tasks in sequence, each a job of its own, with a workspace that they share."""

from project import running_jobs, setup, wait_until

setup()

from django.tasks import task

from dj_queue.api import current_workspace, enqueue_steps, step


@task
def fetch(url):
    current_workspace()["text"] = f"three words from {url}"


@task
def count():
    workspace = current_workspace()
    workspace["words"] = len(workspace["text"].split())


@task
def report():
    workspace = current_workspace()
    print(workspace["title"], workspace["words"])


workflow = enqueue_steps([step(fetch, "example.org"), count, report], workspace={"title": "words:"})


def has_ended():
    workflow.refresh_from_db()
    return workflow.finished_at


with running_jobs():
    wait_until(has_ended)

print("steps:", workflow.position, "of", len(workflow.steps))

# Output:
# words: 4
# steps: 3 of 3
