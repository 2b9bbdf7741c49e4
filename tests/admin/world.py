"""Rows as the queue writes them, made by hand: a page does not care how they came about."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from dj_queue.ids import new_token
from dj_queue.models import (
    BlockedExecution,
    ClaimedExecution,
    FailedExecution,
    Job,
    Leadership,
    Process,
    ReadyExecution,
    RecurringExecution,
    RecurringTask,
    ScheduledExecution,
    Semaphore,
    SemaphoreHolder,
    Statistic,
)
from dj_queue.models.statistics import TOTALS, hour_of

ADD = "tests.site.tasks.add"


class World:
    """Makes jobs, processes and what else pages show."""

    def __init__(self) -> None:
        self.now = timezone.now()

    def job(self, **given: Any) -> Job:
        values = {
            "task_path": ADD,
            "payload": {"args": [1, 2], "kwargs": {}},
            "queue_name": "mail",
            "created_at": self.now - timedelta(minutes=5),
        }
        return Job.objects.create(**(values | given))

    def ready(self, **given: Any) -> Job:
        job = self.job(**given)
        ReadyExecution.objects.create(job_id=job.pk, **self._copied(job))
        return job

    def scheduled(self, **given: Any) -> Job:
        job = self.job(**{"scheduled_at": self.now + timedelta(hours=1)} | given)
        ScheduledExecution.objects.create(
            job_id=job.pk, scheduled_at=job.scheduled_at, **self._copied(job)
        )
        return job

    def blocked(self, key: str = "account/1", **given: Any) -> Job:
        job = self.job(
            concurrency_key=key, concurrency_limit=1, concurrency_on_conflict="block", **given
        )
        BlockedExecution.objects.create(
            job=job,
            concurrency_key=key,
            expires_at=self.now + timedelta(minutes=3),
            **self._copied(job),
        )
        return job

    def claimed(self, process: Process | None = None, **given: Any) -> Job:
        job = self.job(**given)
        ClaimedExecution.objects.create(
            job_id=job.pk, process=process, token=new_token(), started_at=self.now
        )
        return job

    def failed(self, error: str = "builtins.ValueError", **given: Any) -> Job:
        at = self.now - timedelta(minutes=1)
        one = {
            "exception_class": error,
            "message": "it broke",
            "traceback": f"Traceback (most recent call last):\n{error}: it broke\n",
            "failed_at": at.isoformat(),
        }
        job = self.job(**{"errors": [one], "worker_ids": ["worker-1@host:1:abc"]} | given)
        FailedExecution.objects.create(
            job=job,
            exception_class=error,
            message="it broke",
            traceback=one["traceback"],
            created_at=at,
        )
        return job

    def finished(self, **given: Any) -> Job:
        values = {
            "finished_at": self.now,
            "started_at": self.now - timedelta(seconds=2),
            "last_attempted_at": self.now - timedelta(seconds=2),
            "worker_ids": ["worker-1@host:1:abc"],
            "return_value": {"token": "hush", "sum": 3},
        }
        return self.job(**(values | given))

    def process(self, queues: str = "*", *, live: bool = True) -> Process:
        """A supervisor with a worker and a dispatcher that leads; the worker."""
        at = self.now if live else self.now - timedelta(hours=1)
        number = Process.objects.count()
        common = {"pid": 7, "hostname": "host", "last_heartbeat_at": at}
        head = Process.objects.create(
            kind="Supervisor", name=f"supervisor@host:7:{number}", **common
        )
        dispatcher = Process.objects.create(
            kind="Dispatcher", name=f"dispatcher-1@host:7:{number}", supervisor=head, **common
        )
        leader = Leadership(
            backend_alias="default",
            role="dispatcher",
            process_name=dispatcher.name,
            pid=7,
            hostname="host",
            progress_at=at,
        )
        # Unless there is a real one.
        Leadership.objects.bulk_create([leader], ignore_conflicts=True)
        return Process.objects.create(
            kind="Worker",
            name=f"worker-1@host:7:{number}",
            supervisor=head,
            metadata={"queues": queues, "threads": 3},
            **common,
        )

    def recurring(self, key: str = "nightly", **given: Any) -> RecurringTask:
        values = {
            "task_path": ADD,
            "payload": {"args": [1, 2], "kwargs": {}},
            "schedule": "0 3 * * *",
            "next_run_at": self.now + timedelta(hours=1),
        }
        return RecurringTask.objects.create(key=key, **(values | given))

    def everything(self) -> dict[str, Job]:
        """One job of each state, and a row of everything else."""
        worker = self.process()
        jobs = {
            "ready": self.ready(),
            "scheduled": self.scheduled(),
            "blocked": self.blocked(),
            "claimed": self.claimed(worker),
            "failed": self.failed(),
            "finished": self.finished(),
        }
        holder = self.claimed(worker, concurrency_key="account/1", concurrency_limit=1)
        Semaphore.objects.create(key="account/1", value=0, limit=1, expires_at=self.now)
        SemaphoreHolder.objects.create(job=holder, key="account/1")
        self.recurring()
        RecurringExecution.objects.create(
            task_key="nightly", run_at=self.now - timedelta(days=1), job=jobs["finished"]
        )
        self.ended()
        return jobs

    def ended(self) -> None:
        """Ten attempts that ended just now, in the statistics."""
        minute = int(self.now.timestamp()) // 60
        for row in (minute, hour_of(minute), TOTALS):
            Statistic.objects.create(
                backend_alias="default",
                minute=row,
                queue_name="mail",
                task_path=ADD,
                finished=9,
                failed=1,
                duration_sum=5.0,
                duration_3=10,
                wait_2=10,
                wait_sum=1.0,
            )

    @staticmethod
    def _copied(job: Job) -> dict[str, Any]:
        return {
            "queue_name": job.queue_name,
            "priority": job.priority,
            "backend_alias": job.backend_alias,
            "created_at": job.created_at,
        }
