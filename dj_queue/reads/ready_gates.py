"""What keeps a job that is ready from being claimed: a pause, workers, its task, or others before it."""

from collections.abc import Sequence

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from dj_queue.exceptions import TaskNotImportable
from dj_queue.models import ClaimedExecution, Pause, ReadyExecution
from dj_queue.reads.explanation import Explanation, Walk, start_one, told
from dj_queue.reads.stats import ProcessStats
from dj_queue.reads.tasks import import_task
from dj_queue.selectors import parse_selectors
from dj_queue.states import LANES, Executor

AHEAD = 10_000
"""Up to so many jobs that are before this one are counted."""

_NAMED = 5


class ReadyGates(Walk):
    """The gates in the order in which a claim meets them."""

    def ready(self, row: ReadyExecution) -> Explanation:
        return (
            self._paused()
            or self._without_worker(row)
            or self._not_importable()
            or self._in_turn(row)
        )

    def _paused(self) -> Explanation | None:
        pause = (
            Pause.objects.using(self.database)
            .filter(backend_alias=self.config.alias, queue_name=self.job.queue_name)
            .first()
        )
        if pause is None:
            return None
        return self.closed(
            "paused",
            _("Its queue %(queue_name)s is paused since %(created_at)s.")
            % {"queue_name": repr(self.job.queue_name), "created_at": told(pause.created_at)},
            _("Resume it: `manage.py dj_queue_queues resume %(queue_name)s`, or in the admin.")
            % {"queue_name": self.job.queue_name},
            state="ready",
        )

    def _without_worker(self, row: ReadyExecution) -> Explanation | None:
        name, live = self.job.queue_name, [each for each in self.known() if each.is_live]
        workers = [each for each in live if each.kind == "Worker"]
        if not workers:
            parts = len(live)
            return self.closed(
                "no_worker",
                ngettext(
                    "No worker of backend %(alias)s lives, though %(parts)d other part of a process does.",
                    "No worker of backend %(alias)s lives, though %(parts)d other parts of processes do.",
                    parts,
                )
                % {"alias": repr(self.config.alias), "parts": parts}
                if live
                else _("No worker of backend %(alias)s lives.")
                % {"alias": repr(self.config.alias)},
                start_one(),
                state="ready",
            )
        serving, count = self.serving(), len(workers)
        if not serving:
            return self.closed(
                "queue_not_served",
                ngettext(
                    "No living worker serves the queue %(name)s: %(count)d lives, for other queues.",
                    "No living worker serves the queue %(name)s: %(count)d live, for other queues.",
                    count,
                )
                % {"count": count, "name": repr(name)},
                _("Add %(name)s to the 'queues' of a worker in TASKS[%(alias)s]['OPTIONS'].")
                % {"name": repr(name), "alias": repr(self.config.alias)},
                state="ready",
                served=sorted({str(each.metadata.get("queues")) for each in workers}),
            )
        if not any(_can_run(each, row.executor) for each in serving):
            kind = "process" if row.executor == Executor.PROCESS else "thread"
            return self.closed(
                "executor_not_served",
                _(
                    "The workers of the queue %(name)s have no executor %(kind)s, which its "
                    "task needs."
                )
                % {"name": repr(name), "kind": repr(kind)},
                _("Add a worker for %(name)s with 'executor': %(kind)s.")
                % {"name": repr(name), "kind": repr(kind)},
                state="ready",
            )
        return None

    def _not_importable(self) -> Explanation | None:
        try:
            import_task(self.job.task_path)
        except TaskNotImportable as error:
            return self.closed(
                "not_importable",
                _(
                    "Seen from this process, its task cannot be imported, so it would fail: "
                    "%(error)s"
                )
                % {"error": error},
                _(
                    "Deploy the code that has the task, or put a task of that path back. "
                    "Workers may run other code than this process."
                ),
                state="ready",
            )
        return None

    def _in_turn(self, row: ReadyExecution) -> Explanation:
        ahead = self._ahead(row)
        serving = [each for each in self.serving() if _can_run(each, row.executor)]
        room = sum(_room(each, row.executor) for each in serving)
        claims = ClaimedExecution.objects.using(self.database).filter(
            process_id__in=[each.id for each in serving]
        )
        taken = claims.count()
        place = (
            ngettext(
                "%(count)s job of its queue is before it.",
                "%(count)s jobs of its queue are before it.",
                ahead,
            )
            % {"count": ahead}
            if ahead <= AHEAD
            else _("More than %(count)s jobs are before it.") % {"count": AHEAD}
        )
        details = {"ahead": min(ahead, AHEAD), "room": room, "taken": taken}
        if taken >= room:
            oldest = claims.order_by("id").values_list("job_id", flat=True)[:_NAMED]
            return self.closed(
                "workers_busy",
                _(
                    "Its workers are busy: they run %(taken)s jobs and have room for "
                    "%(room)s. %(place)s"
                )
                % {"taken": taken, "room": room, "place": place},
                _(
                    "It starts when others end. More threads or processes, or a queue of its "
                    "own for jobs that take long, give it room sooner."
                ),
                state="ready",
                **details,
                oldest=[str(job_id) for job_id in oldest],
            )
        return self.closed(
            "in_turn",
            _("It is about to run, and there is room. %(place)s") % {"place": place},
            _("If it stays so, `manage.py dj_queue_health` tells whether the workers get on."),
            state="ready",
            **details,
        )

    def _ahead(self, row: ReadyExecution) -> int:
        """Jobs of the queue that are claimed before, of those for the same executor; at most one too many."""
        mine = ReadyExecution.objects.using(self.database).filter(
            backend_alias=self.config.alias,
            queue_name=self.job.queue_name,
            executor=row.executor,
        )
        above = mine.filter(priority__gt=row.priority)[: AHEAD + 1].count()
        if above > AHEAD:
            return above
        return above + mine.filter(priority=row.priority, id__lt=row.id)[: AHEAD + 1].count()

    def serving(self) -> Sequence[ProcessStats]:
        return [
            each
            for each in self.known()
            if each.is_live
            and each.kind == "Worker"
            and parse_selectors(str(each.metadata.get("queues") or "*").split(",")).matches(
                self.job.queue_name
            )
        ]


def _can_run(worker: ProcessStats, executor: int) -> bool:
    lanes = LANES.get(str(worker.metadata.get("executor")), LANES["thread"])
    return any(executor in lane for lane in lanes)


def _room(worker: ProcessStats, executor: int) -> int:
    lanes = LANES.get(str(worker.metadata.get("executor")), LANES["thread"])
    name = "async_concurrency" if executor in lanes.loop else "threads"
    return int(worker.metadata.get(name) or 1)
