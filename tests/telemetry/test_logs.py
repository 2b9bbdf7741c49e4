"""Records are sentences with fields, at the level that they deserve, and know their job and trace."""

import logging
import logging.config
import subprocess
import sys
import threading

import pytest
from django.db import connection, transaction
from django.tasks import task_backends

from dj_queue import current, events
from dj_queue.log import JobContextFilter, log_to_standard_error
from tests.contrib.servers import ROOT, environment
from tests.site import tasks, telemetry_tasks
from tests.waiting import PATIENCE, wait_until


@pytest.fixture
def records(caplog):
    """Records of the library, by their event."""
    caplog.set_level(logging.DEBUG, logger="dj_queue")

    def of(event):
        return [each for each in caplog.records if getattr(each, "event", None) == event]

    return of


def test_a_record_has_a_sentence_and_fields_flat_and_together(records):
    result = telemetry_tasks.where.using(queue_name="mail", priority=2).enqueue()

    [record] = records("job.enqueued")
    assert record.name == "dj_queue.job"
    assert record.levelno == logging.DEBUG
    path = "tests.site.telemetry_tasks.where"
    assert record.getMessage() == f"Enqueued job {result.id} ({path}) in queue mail."
    assert record.dj_queue == {
        "backend_alias": "default",
        "job_id": result.id,
        "task_path": path,
        "queue_name": "mail",
        "priority": 2,
    }
    assert (record.djq_job_id, record.djq_task, record.djq_queue) == (result.id, path, "mail")
    assert getattr(record, "otel.event.name") == "dj_queue.job.enqueued"


def test_a_bulk_enqueue_is_one_record(records):
    task_backends["default"].enqueue_all([(telemetry_tasks.where, (), {})] * 4)

    [record] = records("jobs.enqueued")
    assert record.dj_queue == {"backend_alias": "default", "count": 4, "queues": ["default"]}
    assert records("job.enqueued") == []


def test_an_enqueue_is_told_after_its_commit_and_not_without(records):
    with transaction.atomic():
        telemetry_tasks.where.enqueue()
        assert records("job.enqueued") == []
    assert len(records("job.enqueued")) == 1

    with transaction.atomic():
        telemetry_tasks.where.enqueue()
        transaction.set_rollback(True)
    assert len(records("job.enqueued")) == 1


def test_nothing_is_registered_for_the_commit_where_nobody_reads_that(caplog):
    caplog.set_level(logging.INFO, logger="dj_queue")
    with transaction.atomic():
        before = len(connection.run_on_commit)
        telemetry_tasks.where.enqueue()
        registered = connection.run_on_commit[before:]

    assert not any("JobsEnqueued" in str(function) for _, function, *_ in registered)


def test_claims_and_success_are_told(records, make_runtime, finished):
    make_runtime()
    result = tasks.add.enqueue(987654321, 2)
    finished(result)
    wait_until(lambda: records("job.executed"))

    # One that is given back because no thread was free in time is claimed twice.
    claimed, [executed] = records("job.claimed")[0], records("job.executed")
    assert (claimed.levelno, executed.levelno) == (logging.DEBUG, logging.INFO)
    assert claimed.dj_queue["job_id"] == executed.dj_queue["job_id"] == result.id
    assert executed.dj_queue["status"] == "success"
    assert executed.dj_queue["attempt"] == 1
    assert executed.djq_duration_s >= 0
    assert "987654321" not in str([vars(record) for record in (claimed, executed)])


def test_a_failure_is_an_error_without_a_traceback_of_ours(records, make_runtime, finished):
    make_runtime()
    result = telemetry_tasks.fail.enqueue("gone")
    finished(result)
    wait_until(lambda: records("job.failed"))

    [record] = records("job.failed")
    assert record.levelno == logging.ERROR
    assert record.exc_info is None
    assert record.dj_queue == {
        "backend_alias": "default",
        "job_id": result.id,
        "task_path": "tests.site.telemetry_tasks.fail",
        "queue_name": "default",
        "exception_class": "builtins.LookupError",
        "message": "gone",
        "failure_kind": "task_execution",
        "attempt": 1,
    }


@pytest.mark.parametrize(
    ("error_class", "kind"),
    [
        ("dj_queue.exceptions.TaskNotImportable", "task_import"),
        ("dj_queue.exceptions.ReturnValueError", "result_serialization"),
        ("dj_queue.exceptions.ProcessPrunedError", "runtime"),
        ("dj_queue.exceptions.DispatchPolicyError", "dispatch_policy"),
        ("shop.exceptions.ReturnValueError", "task_execution"),
    ],
)
def test_a_failure_says_of_what_kind_it_is(records, error_class, kind):
    result = telemetry_tasks.where.enqueue()
    events.emit(events.JobFailed("default", result.id, "a.b", "default", error_class))

    [record] = records("job.failed")
    assert record.djq_failure_kind == kind


def test_errors_of_the_runtime_have_the_fields_of_the_contract(records):
    events.emit(events.HookFailed("default", "worker.start", ValueError("x")))

    [record] = records("dj_queue.thread_error")
    assert record.thread_error_context == "hook:worker.start"
    assert record.thread_error_type == "ValueError"
    assert getattr(record, "otel.event.name") == "dj_queue.thread_error"


class Collected(logging.Handler):
    """A handler as a project has one, with the filter on it."""

    def __init__(self):
        super().__init__()
        self.addFilter(JobContextFilter())
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture
def collected():
    handler = Collected()
    logger = logging.getLogger("site.work")
    logger.addHandler(handler)
    yield handler.records
    logger.removeHandler(handler)


def test_records_of_a_task_know_their_job(collected, make_runtime, finished):
    make_runtime()
    result = telemetry_tasks.say.using(queue_name="mail").enqueue("hello")
    finished(result)

    [record] = collected
    assert record.djq_job_id == result.id
    assert record.djq_task == "tests.site.telemetry_tasks.say"
    assert (record.djq_queue, record.djq_backend, record.djq_attempt) == ("mail", "default", 1)
    assert record.djq_worker.startswith("worker-1@")
    assert record.djq_trace_id is None


def test_async_tasks_and_their_threads_know_their_jobs_apart(collected, make_runtime, finished):
    make_runtime()
    results = [telemetry_tasks.say_async.enqueue(f"job {number}") for number in range(10)]
    finished(*results)

    said = {record.getMessage(): record.djq_job_id for record in collected}
    assert said == {
        f"job {number}{where}": result.id
        for number, result in enumerate(results)
        for where in ("", " in a thread")
    }


def test_records_of_a_task_know_their_trace(spans, collected, make_runtime, finished):
    make_runtime()
    finished(telemetry_tasks.say.enqueue("traced"))

    [record], span = collected, spans.one("process")
    assert record.djq_trace_id == f"{span.context.trace_id:032x}"
    assert record.djq_span_id == f"{span.context.span_id:016x}"


def test_where_nobody_makes_spans_the_trace_is_that_of_the_enqueue(
    spans, collected, make_runtime, finished
):
    result = telemetry_tasks.say.enqueue("carried")
    make_runtime(telemetry=False)
    finished(result)

    [record] = collected
    assert record.djq_trace_id == f"{spans.one('enqueue').context.trace_id:032x}"
    assert record.djq_span_id is None


def test_outside_of_jobs_there_is_what_stands_for_nothing():
    record = logging.makeLogRecord({"msg": "x", "djq_queue": "of the record"})

    assert JobContextFilter(missing="-").filter(record)

    assert (record.djq_job_id, record.djq_trace_id) == ("-", "-")
    assert record.djq_queue == "of the record"
    assert current.running.get() is None


def test_the_filter_can_be_named_in_logging_before_there_are_apps():
    program = """
import django
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["dj_queue"],
    LOGGING={
        "version": 1,
        "filters": {"job": {"()": "dj_queue.log.JobContextFilter", "missing": "-"}},
        "formatters": {"plain": {"format": "%(djq_job_id)s %(message)s"}},
        "handlers": {"console": {
            "class": "logging.StreamHandler", "filters": ["job"], "formatter": "plain"}},
        "root": {"handlers": ["console"]},
    },
)
django.setup()
import logging
logging.getLogger("anything").warning("hello")
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE,
        check=False,
    )

    assert done.stderr.strip().endswith("- hello"), done.stderr


@pytest.mark.parametrize(("silent", "is_logged"), [(True, False), (False, True)])
def test_statements_of_the_runtime_are_not_in_djangos_log(settings, caplog, silent, is_logged):
    default = settings.TASKS["default"]
    settings.TASKS = {
        "default": {**default, "OPTIONS": {**default["OPTIONS"], "silence_polling": silent}}
    }
    caplog.set_level(logging.DEBUG, logger="django.db.backends")
    connection.force_debug_cursor = True

    def ask():
        current.bookkeeping_of.set("default")
        _select()

    try:
        _in_thread(ask)
        bookkeeping = _selects(caplog)
        _select()
        everybody = _selects(caplog)
    finally:
        connection.force_debug_cursor = False

    assert bool(bookkeeping) is is_logged
    assert len(everybody) == len(bookkeeping) + 1


def _select():
    connection.force_debug_cursor = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT 4711")


def _selects(caplog):
    return [each for each in caplog.records if "4711" in each.getMessage()]


def _in_thread(work):
    def run():
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)


def test_actors_work_in_silence(make_runtime, monkeypatch):
    seen = []
    runtime = make_runtime(started=False)
    worker = runtime.workers[0]
    tick = worker.tick
    monkeypatch.setattr(
        worker,
        "tick",
        lambda session: (seen.append(current.bookkeeping_of.get()), tick(session))[1],
    )
    runtime.start()

    wait_until(lambda: seen)
    assert seen[0] == "default"


# Whoever takes such a setting for an order to configure logging changes nothing.
INCREMENTAL = {"version": 1, "incremental": True}


@pytest.mark.parametrize(
    ("verbosity", "configured", "level"),
    [(1, {}, None), (2, {}, "INFO"), (3, {}, "DEBUG"), (3, INCREMENTAL, None)],
)
def test_verbosity_counts_where_the_project_says_nothing(settings, verbosity, configured, level):
    settings.LOGGING = configured
    logger, root = logging.getLogger("dj_queue"), logging.getLogger()
    before = logger.level, logger.handlers, root.handlers
    logger.handlers, root.handlers = [], []
    try:
        log_to_standard_error(verbosity)
        found = logging.getLevelName(logger.level) if logger.handlers else None
    finally:
        logger.setLevel(before[0])
        _, logger.handlers, root.handlers = before

    assert found == level
