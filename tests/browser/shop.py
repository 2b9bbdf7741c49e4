"""A shop on an ordinary evening, as rows: what the pictures of the dashboard show."""

import math
from datetime import timedelta
from typing import Any

from dj_queue.ids import new_token
from dj_queue.models import (
    ClaimedExecution,
    FailedExecution,
    Job,
    Leadership,
    Pause,
    Process,
    RecurringExecution,
    Semaphore,
    SemaphoreHolder,
    Statistic,
)
from tests.admin.world import World

TRACEBACK = """\
Traceback (most recent call last):
  File "/srv/shop/orders/tasks.py", line 41, in send_receipt
    gateway.deliver(order.email, receipt)
  File "/srv/shop/mail/gateway.py", line 18, in deliver
    with self._connection(timeout=10) as connection:
  File "/usr/lib/python3.13/contextlib.py", line 141, in __enter__
    return next(self.gen)
TimeoutError: smtp.example.com:587 did not answer within 10 s
"""


class Shop(World):
    """Receipts, pictures and reports; a mail server that was away for a while."""

    def open(self) -> Job:
        """Everything; the failed job that one of the pictures is about."""
        workers = [self._web_server(number) for number in (1, 2)]
        for number in range(38):
            self.ready(**self._receipt(number, seconds=number * 2 + 3))
        for number in range(12):
            self.scheduled(
                queue_name="mail",
                task_path="shop.orders.tasks.remind_of_basket",
                created_at=self.now - timedelta(hours=1),
                scheduled_at=self.now + timedelta(minutes=7 * number + 4),
            )
        for number in range(5):
            self._running(workers[number % 2], number)
        for number in range(4):
            self.ready(queue_name="reports", task_path="shop.reports.tasks.monthly_statement",
                       created_at=self.now - timedelta(minutes=3 + number))  # fmt: skip
        Pause.objects.create(queue_name="reports", created_at=self.now - timedelta(minutes=12))
        self._limited(workers[0])
        self._history()
        self._recurring_tasks()
        return self._failures()

    def _receipt(self, number: int, seconds: float = 0) -> dict[str, Any]:
        return {
            "queue_name": "mail",
            "task_path": "shop.orders.tasks.send_receipt",
            "payload": {"args": [20260 + number], "kwargs": {"language": "en"}},
            "created_at": self.now - timedelta(seconds=seconds),
        }

    def _running(self, worker: Process, number: int) -> None:
        began = self.now - timedelta(seconds=4 + 9 * number)
        job = self.job(
            queue_name="pictures",
            task_path="shop.catalogue.tasks.make_thumbnails",
            created_at=began - timedelta(milliseconds=40),
        )
        ClaimedExecution.objects.create(
            job_id=job.pk, process=worker, token=new_token(), started_at=began
        )

    def _web_server(self, number: int) -> Process:
        common = {
            "pid": 4100 + number,
            "hostname": f"web-{number}",
            "last_heartbeat_at": self.now,
            "created_at": self.now - timedelta(days=2, hours=number),
        }
        where = f"web-{number}:{common['pid']}"
        head = Process.objects.create(kind="Supervisor", name=f"supervisor@{where}", **common)
        for role in ("Dispatcher", "Scheduler"):
            part = Process.objects.create(
                kind=role, name=f"{role.lower()}-1@{where}", supervisor=head, **common
            )
            if number == 1:
                Leadership.objects.create(
                    backend_alias="default",
                    role=role.lower(),
                    process_name=part.name,
                    pid=part.pid,
                    hostname=part.hostname,
                    progress_at=self.now,
                )
        return Process.objects.create(
            kind="Worker",
            name=f"worker-1@{where}",
            supervisor=head,
            metadata={"queues": "*", "threads": 3, "async_concurrency": 100, "executor": "thread"},
            **common,
        )

    def _limited(self, worker: Process) -> None:
        given = {
            "queue_name": "exports",
            "task_path": "shop.exports.tasks.push_to_ledger",
            "created_at": self.now - timedelta(minutes=2),
        }
        holder = self.claimed(worker, concurrency_key="ledger/acme", concurrency_limit=1, **given)
        Semaphore.objects.create(
            key="ledger/acme", value=0, limit=1, expires_at=self.now + timedelta(minutes=3)
        )
        SemaphoreHolder.objects.create(job=holder, key="ledger/acme")
        for _ in range(3):
            self.blocked(key="ledger/acme", **given)

    def _history(self) -> None:
        minute = int(self.now.timestamp()) // 60
        rows = []
        for ago in range(60):
            for queue, task, number, bucket in (
                ("mail", "shop.orders.tasks.send_receipt", 46, 3),
                ("pictures", "shop.catalogue.tasks.make_thumbnails", 14, 5),
                ("exports", "shop.exports.tasks.push_to_ledger", 6, 4),
            ):
                ended = round(number * (1 + 0.35 * math.sin(ago / 7)) + ago * 37 % 5)
                failed = 9 - abs(ago - 24) if queue == "mail" and abs(ago - 24) < 9 else 0
                rows.append(
                    Statistic(
                        backend_alias="default",
                        minute=minute - ago,
                        queue_name=queue,
                        task_path=task,
                        finished=ended,
                        failed=failed,
                        duration_sum=ended * 0.3,
                        wait_sum=ended * 0.05,
                        **{
                            f"duration_{bucket}": ended - ended // 8,
                            f"duration_{bucket + 1}": ended // 8 + failed,
                            "wait_1": ended - ended // 5,
                            f"wait_{4 if failed else 2}": ended // 5 + failed,
                        },
                    )
                )
        Statistic.objects.bulk_create(rows)

    def _failures(self) -> Job:
        found = None
        for number, (task, error, message) in enumerate(
            [("shop.orders.tasks.send_receipt", "builtins.TimeoutError",
              "smtp.example.com:587 did not answer within 10 s")] * 11
            + [("shop.catalogue.tasks.make_thumbnails", "PIL.UnidentifiedImageError",
                "cannot identify image file 'uploads/9f3c.heic'")] * 3
            + [("shop.exports.tasks.push_to_ledger", "requests.exceptions.HTTPError",
                "502 Server Error: Bad Gateway")]
        ):  # fmt: skip
            at = self.now - timedelta(minutes=20, seconds=number * 11)
            found = found or self._failed(number, task, error, message, at)
            if number:
                self._failed(number, task, error, message, at)
        assert found is not None
        return found

    def _failed(self, number: int, task: str, error: str, message: str, at: Any) -> Job:
        attempt = {
            "exception_class": error,
            "message": message,
            "traceback": TRACEBACK,
            "failed_at": at.isoformat(),
        }
        first = {**attempt, "failed_at": (at - timedelta(minutes=4)).isoformat()}
        trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        worker = "worker-1@web-1:4101"
        job = self.job(
            **{
                **self._receipt(number),
                "task_path": task,
                "created_at": at - timedelta(minutes=4, seconds=11),
                "started_at": at - timedelta(minutes=4, seconds=10),
                "last_attempted_at": at - timedelta(seconds=10),
                "errors": [first, attempt],
                "worker_ids": [worker, worker.replace("1:4101", "2:4102")],
                "payload": {
                    "args": [20260 + number],
                    "kwargs": {"language": "en", "access_token": "x"},
                },
                "trace_context": trace,
            }
        )
        FailedExecution.objects.create(
            job=job, exception_class=error, message=message, traceback=TRACEBACK, created_at=at
        )
        return job

    def _recurring_tasks(self) -> None:
        for key, task, schedule, hours, period, given in (
            ("clear-baskets", "shop.orders.tasks.clear_baskets", "*/15 * * * *", 0.1, 0.25, {}),
            ("nightly-report", "shop.reports.tasks.nightly", "30 2 * * *", 6, 24, {}),
            ("price-feed", "shop.catalogue.tasks.price_feed", "0 8-18 * * mon-fri", 1.2, 1, {}),
            ("statements", "shop.reports.tasks.statements", "0 6 1 * *", 190, 720, {}),
            ("stock-check", "shop.catalogue.tasks.check_stock", "0 9,17 * * *", 4, 12,
             {"enabled": False}),
        ):  # fmt: skip
            self.recurring(
                key,
                task_path=task,
                schedule=schedule,
                next_run_at=(self.now + timedelta(hours=hours)).replace(second=0, microsecond=0),
                queue_name="default",
                **given,
            )
            for number in range(20 if period < 24 else 9):
                run_at = self.now - timedelta(hours=period * number + min(period / 2, hours))
                job = self._fired(task, run_at, fails=key == "price-feed" and number in (3, 4))
                RecurringExecution.objects.create(task_key=key, run_at=run_at, job=job)

    def _fired(self, task: str, at: Any, *, fails: bool) -> Job:
        about = {"queue_name": "default", "task_path": task, "created_at": at}
        if fails:
            job = self.failed("requests.exceptions.ConnectionError", **about)
            FailedExecution.objects.filter(job=job).update(created_at=at)
            return job
        return self.finished(**about)
