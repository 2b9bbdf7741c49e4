"""Jobs that come again and again: from settings, a decorator, or scheduled while the project runs."""

from project import running_jobs, setup, wait_until

setup(
    scheduler={"dynamic_tasks_enabled": True},
    recurring={
        "every-second": {
            "task_path": "__main__.tick",
            "schedule": "* * * * * *",
            "args": ["settings"],
        }
    },
)

from django.tasks import task

from dj_queue.api import (
    nominal_time,
    recurring,
    run_recurring_task_now,
    schedule_recurring_task,
    unschedule_recurring_task,
)
from dj_queue.models import RecurringExecution, RecurringTask

ticks = []


@task
def tick(source):
    ticks.append((source, nominal_time()))


@recurring("0 3 * * *", key="nightly", timezone="Europe/Madrid")
@task
def clean_up():
    ticks.append(("nightly", nominal_time()))


def came(source):
    return [moment for found, moment in ticks if found == source]


with running_jobs():
    wait_until(lambda: len(came("settings")) >= 2, "two ticks")
    first, second = came("settings")[:2]
    print("a second apart:", (second - first).total_seconds() == 1.0)
    print("entries:", *RecurringTask.objects.order_by("key").values_list("key", flat=True))

    # Not at three in the morning, but now.
    run_recurring_task_now("nightly")
    wait_until(lambda: came("nightly"), "the nightly job")

    schedule_recurring_task(
        key="by-hand", task_path="__main__.tick", schedule="* * * * * *", args=["by hand"]
    )
    wait_until(lambda: came("by hand"), "the one by hand")
    print("forgotten:", unschedule_recurring_task("by-hand"))

times = list(
    RecurringExecution.objects.filter(task_key="every-second").values_list("run_at", flat=True)
)
print("each time once:", len(times) == len(set(times)))

# Output:
# a second apart: True
# entries: every-second nightly
# forgotten: 1
# each time once: True
