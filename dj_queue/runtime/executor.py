"""Runs one attempt of a job. Nothing else calls a task, and whatever a task does ends as an `Outcome`.

A task may raise anything, `SystemExit` and `CancelledError` included, may return what cannot be stored,
or fail to be imported at all: each of these fails its own job. Nothing of it leaves this module.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from inspect import iscoroutinefunction
from itertools import groupby

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async

from dj_queue import events
from dj_queue.config import BackendConfig
from dj_queue.exceptions import TaskNotImportable, TransactionLeaked
from dj_queue.reads.tasks import import_task, is_imported, module_of
from dj_queue.runtime import connections
from dj_queue.runtime.attempt import Attempt, NotBegun
from dj_queue.runtime.clock import DatabaseClock
from dj_queue.runtime.watch import Watch
from dj_queue.store.records import ClaimedJob, Outcome


def _nothing() -> None:
    return


def _unnoted(_: ClaimedJob) -> Callable[[], object]:
    """Nobody wants to know."""
    return _nothing


def _not_noting(_: ClaimedJob) -> AbstractContextManager[object]:
    return nullcontext()


def _never() -> bool:
    return False


def _no_leaks() -> list[str]:
    return []


class TaskRunner:
    """Runs attempts on behalf of one worker, in any number of threads and tasks at once."""

    def __init__(
        self,
        config: BackendConfig,
        worker_name: str,
        clock: DatabaseClock,
        *,
        noting: Callable[[ClaimedJob], Callable[[], object]] = _unnoted,
        importing: Callable[[ClaimedJob], AbstractContextManager[object]] = _not_noting,
        is_stopping: Callable[[], bool] = _never,
        owns_connections: bool = True,
    ) -> None:
        """What *noting* makes of a job is called right before anything of the project's runs for it.

        Its module is imported, if it has not been, in the block that *importing* makes.
        *is_stopping* is what a job asks that wants to know whether its worker is about to stop.
        Where the thread's connections are somebody else's, a test's for instance, they are left alone.
        """
        self.noting = noting
        self.importing = importing
        self.is_stopping = is_stopping
        self._prepare = connections.prepare_for_job if owns_connections else _nothing
        self._clean = connections.clean_after_job if owns_connections else _no_leaks
        self.config = config
        self.worker_name = worker_name
        self.clock = clock

    def run(self, job: ClaimedJob) -> Outcome:
        """Run *job* in this thread, with the thread's database connections clean before and after."""
        watch = Watch(self.config, self.worker_name, job, self.is_stopping)
        try:
            return watch.end(self._run(job))
        except BaseException as error:  # noqa: BLE001 - while cleaning up; the thread must live on
            return watch.end(Attempt(self, job).fail(error))

    async def arun(self, job: ClaimedJob) -> Outcome:
        """Run *job* on the running event loop.

        Its synchronous parts, the ORM's above all, get a thread and connections of their own: with the
        one thread that asgiref shares by default, every query of every job would wait in one line.
        """
        watch = Watch(self.config, self.worker_name, job, self.is_stopping)
        attempt = Attempt(self, job)
        try:
            async with ThreadSensitiveContext() as context:
                try:
                    if attempt.needs_loading:
                        await sync_to_async(attempt.load, thread_sensitive=True)()
                    task, args, kwargs = attempt.prepare()
                    await attempt.atell_started()
                    value = await attempt.acall(task, args, kwargs)
                    self._refuse_leaks(job, await _clean_after_async_job(context))
                    outcome = attempt.succeed(value)
                    if attempt.is_step:
                        await sync_to_async(attempt.hand_over, thread_sensitive=True)()
                except NotBegun:
                    outcome = attempt.not_begun()
                except BaseException as error:  # noqa: BLE001 - a task may raise anything
                    self._report_leaks(job, await _clean_after_async_job(context))
                    outcome = attempt.fail(error)
                    await attempt.atell_finished(outcome, error)
                else:
                    await attempt.atell_finished(outcome)
                await _clean_after_async_job(context)
        except BaseException as error:  # noqa: BLE001 - cancelled while cleaning up, for instance
            return watch.end(attempt.fail(error))
        return watch.end(outcome)

    def _run(self, job: ClaimedJob) -> Outcome:
        attempt = Attempt(self, job)
        try:
            self._prepare()
            if attempt.needs_loading:
                attempt.load()
            task, args, kwargs = attempt.prepare()
            attempt.tell_started()
            value = attempt.call(task, args, kwargs)
            self._refuse_leaks(job, self._clean())
            outcome = attempt.succeed(value)
            if attempt.is_step:
                attempt.hand_over()
        except NotBegun:
            return attempt.not_begun()
        except BaseException as error:  # noqa: BLE001 - a task may raise anything
            self._report_leaks(job, self._clean())
            outcome = attempt.fail(error)
            # Here, and not below: receivers look at the exception that is being handled.
            attempt.tell_finished(outcome, error)
        else:
            attempt.tell_finished(outcome)
        if attempt.has_told:
            # Receivers and hooks have had the connections too, and may have left one with a lock on it.
            self._clean()
        return outcome

    def _refuse_leaks(self, job: ClaimedJob, databases: list[str]) -> None:
        self._report_leaks(job, databases)
        if databases:
            raise TransactionLeaked(
                f"{job.task_path} returned with an open transaction on the database "
                f"{', '.join(map(repr, databases))}; it was rolled back, so what the task wrote there "
                "is lost. Commit it, or use transaction.atomic() as a block"
            )

    def _report_leaks(self, job: ClaimedJob, databases: list[str]) -> None:
        for database in databases:
            events.emit(
                events.TransactionLeakFound(self.config.alias, job.id, job.task_path, database)
            )


@cache
def is_async(task_path: str) -> bool:
    """Whether the task at *task_path* is an `async def` now, whatever it was when it was enqueued."""
    return iscoroutinefunction(import_task(task_path).func)


@cache
def runs_on_loop(task_path: str) -> bool:
    """`is_async`, and False for a task that cannot be imported: it fails in a thread, with the error.

    Remembered for failures too: a module that fails slowly must not hold up the worker each time.
    """
    try:
        return is_async(task_path)
    except TaskNotImportable:
        return False


def import_for(
    jobs: Sequence[ClaimedJob], importing: Callable[..., AbstractContextManager[object]]
) -> None:
    """Import the tasks of *jobs* whose modules nobody has imported here, to know where they run.

    A module may end the process, and would end each that imports it. So all of its jobs are handed to
    *importing*, for a block in which that happens.
    """
    new = [job for job in jobs if not is_imported(job.task_path)]
    new.sort(key=lambda job: module_of(job.task_path))
    for _, group in groupby(new, key=lambda job: module_of(job.task_path)):
        of_one_module = list(group)
        with importing(*of_one_module):
            for job in of_one_module:
                runs_on_loop(job.task_path)


async def _clean_after_async_job(context: ThreadSensitiveContext) -> list[str]:
    """Close the connections of the job's own thread, if it used one; databases with leaked transactions."""
    if context not in SyncToAsync.context_to_thread_executor:
        return []
    return await sync_to_async(_clean_and_close, thread_sensitive=True)()


def _clean_and_close() -> list[str]:
    leaked = connections.clean_after_job()
    connections.close_all()
    return leaked
