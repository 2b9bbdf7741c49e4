"""Functions of yours around every job, around those of one task, and around processes."""

from project import running_jobs, setup, wait_for

setup(workers=[{"threads": 1}])

from django.tasks import task

from dj_queue.hooks import job_hooks, on_job_enqueued, on_job_failed, on_worker_start


@on_worker_start
def warm_up(process):
    print("a", process.kind.lower(), "starts")


@on_job_enqueued
def note(result):
    print("enqueued:", result.args)


@on_job_failed
def tell_the_team(result, error):
    print("failed:", result.args, repr(error))


def check_the_weather(result):
    if result.args == ["storm"]:
        raise RuntimeError("not in this weather")


def tidy_up(result):
    print("tidied up after:", result.args)


@job_hooks(before=check_the_weather, after=tidy_up)
@task
def fly(weather):
    print("flying in", weather)


results = [fly.enqueue("sun"), fly.enqueue("storm")]
with running_jobs():
    wait_for(*results)

# Output:
# enqueued: ['sun']
# enqueued: ['storm']
# a worker starts
# flying in sun
# tidied up after: ['sun']
# failed: ['storm'] RuntimeError('not in this weather')
# tidied up after: ['storm']
