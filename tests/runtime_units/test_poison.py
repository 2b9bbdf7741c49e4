"""Jobs that do what no job should: each fails alone, with a clear record, and the next one runs."""

import pytest
from django.db import connection
from django.tasks import TaskResultStatus

from dj_queue.events import TransactionLeakFound
from dj_queue.models import ClaimedExecution, FailedExecution, Job, Pause
from dj_queue.states import JobState
from tests.site import poison

RETURNED = "dj_queue.exceptions.ReturnValueError"
LEAKED = "dj_queue.exceptions.TransactionLeaked"
GONE = "dj_queue.exceptions.TaskNotImportable"

POISONS = [
    (poison.exit_now, "builtins.SystemExit", "3"),
    (poison.interrupt, "builtins.KeyboardInterrupt", ""),
    (poison.cancel, "asyncio.exceptions.CancelledError", ""),
    (poison.exit_a_generator, "builtins.GeneratorExit", ""),
    (poison.abandon, "tests.site.poison.Abandon", "left"),
    (poison.raise_nul_and_surrogate, "builtins.ValueError", r"a\x00b \udc80 c"),
    (poison.raise_unprintable, "tests.site.poison.Unprintable", "cannot be shown: RuntimeError"),
    (
        poison.raise_what_exits_when_printed,
        "tests.site.poison.ExitsWhenPrinted",
        "cannot be shown: SystemExit",
    ),
    (poison.assert_without_a_message, "builtins.AssertionError", ""),
    (poison.recurse, "builtins.RecursionError", "maximum recursion depth"),
    (poison.raise_a_group, "builtins.ExceptionGroup", "several (2 sub-exceptions)"),
    (poison.raise_its_own_cause, "builtins.ValueError", "circle"),
    (poison.stop_an_iteration, "builtins.StopIteration", ""),
    (poison.return_nul, RETURNED, "the return value[0] contains a NUL character"),
    (poison.return_surrogate, RETURNED, "the return value['name'] contains a lone surrogate"),
    (poison.return_nul_key, RETURNED, r"the return value['a\x00b'] contains a NUL"),
    (poison.return_itself, RETURNED, "or contains itself"),
    (poison.return_itself_deeply, RETURNED, "or contains itself"),
    (poison.return_much, RETURNED, "5000002 bytes"),
    (poison.return_nan, RETURNED, "the return value is nan"),
    (poison.return_an_object, RETURNED, "the return value is of type builtins.object"),
    (poison.return_a_huge_integer, RETURNED, "is an integer of 100001 bits"),
    (poison.return_binary, RETURNED, "is bytes that are not UTF-8"),
    (poison.return_what_fails_when_read, "builtins.RuntimeError", "the mapping failed"),
    (poison.add_two, "builtins.TypeError", "missing 2 required positional arguments"),
]
ASYNC_POISONS = [
    (poison.exit_async, "builtins.SystemExit", "3"),
    (poison.interrupt_async, "builtins.KeyboardInterrupt", ""),
    (poison.cancel_async, "asyncio.exceptions.CancelledError", ""),
    (poison.cancel_itself, "asyncio.exceptions.CancelledError", ""),
    (poison.raise_nul_and_surrogate_async, "builtins.ValueError", r"a\x00b \udc80 c"),
    (poison.return_itself_async, RETURNED, "or contains itself"),
    (poison.return_much_async, RETURNED, "OPTIONS['max_result_bytes'] allows 1048576"),
    (poison.add_async, "builtins.TypeError", "missing 2 required positional arguments"),
]
# Python 3.12 never hears of a thread that ended with StopIteration, so nobody may send one there.
PLAIN_ON_LOOP = [each for each in POISONS if each[0] is not poison.stop_an_iteration]
LEAKS = [
    poison.leave_an_atomic_block,
    poison.leave_two_atomic_blocks,
    poison.leave_autocommit_off,
]


def assert_failed(result, error_class: str, message: str) -> None:
    """The job failed, is nobody's any more, and its record says why."""
    assert result.status == TaskResultStatus.FAILED
    (error,) = result.errors
    assert error.exception_class_path == error_class
    failure = FailedExecution.objects.get()
    assert str(failure.job_id) == result.id
    assert failure.exception_class == error_class
    assert message in failure.message
    assert failure.traceback == error.traceback
    assert Job.objects.get(pk=result.id).status is JobState.FAILED
    assert not ClaimedExecution.objects.exists()


def assert_next_job_runs(trial) -> None:
    """The thread and its connection serve the next job."""
    result = trial.enqueue_and_run(poison.count_pauses)
    assert result.status == TaskResultStatus.SUCCESSFUL, result.errors
    assert result.return_value == Pause.objects.count()


@pytest.mark.parametrize(
    ("task", "error_class", "message"), POISONS, ids=[task.name for task, _, _ in POISONS]
)
def test_a_poisonous_job_fails_with_a_clear_record(trial, task, error_class, message):
    result = trial.enqueue_and_run(task)

    assert_failed(result, error_class, message)
    assert_next_job_runs(trial)


@pytest.mark.parametrize(
    ("task", "error_class", "message"),
    ASYNC_POISONS,
    ids=[task.name for task, _, _ in ASYNC_POISONS],
)
def test_a_poisonous_async_job_fails_with_a_clear_record(trial, task, error_class, message):
    result = trial.enqueue_and_arun(task)

    assert_failed(result, error_class, message)
    assert trial.enqueue_and_arun(poison.count_pauses_async).return_value == 0


@pytest.mark.parametrize(
    ("task", "error_class", "message"),
    PLAIN_ON_LOOP,
    ids=[task.name for task, _, _ in PLAIN_ON_LOOP],
)
def test_a_poisonous_plain_job_fails_on_a_loop_with_the_same_record(
    trial, task, error_class, message
):
    """A task may have become a coroutine since it was enqueued, or the other way round."""
    result = trial.enqueue_and_arun(task)

    assert_failed(result, error_class, message)


def test_an_error_of_a_class_with_a_long_name_keeps_the_ends_of_the_name(trial):
    result = trial.enqueue_and_run(poison.raise_with_a_long_name)

    assert result.status == TaskResultStatus.FAILED
    path = FailedExecution.objects.get().exception_class
    assert len(path) <= 255
    assert path.startswith("tests.site.poison.Long")
    assert path.endswith("xName")
    assert result.errors[0].exception_class_path == path
    assert_next_job_runs(trial)


def test_of_an_error_of_megabytes_the_ends_are_kept(trial):
    result = trial.enqueue_and_run(poison.raise_much)

    failure = FailedExecution.objects.get()
    assert failure.message.startswith("begin ")
    assert failure.message.endswith(" end")
    assert len(failure.message) <= 10_000
    assert failure.traceback.startswith("Traceback")
    assert failure.traceback.endswith(" end\n")
    assert len(failure.traceback) <= 50_000
    assert result.errors[0].traceback == failure.traceback
    assert_next_job_runs(trial)


@pytest.mark.parametrize(
    "text",
    ["", " ", "\0", "\ud800", "\udfff" * 20_000, "\0" * 100_000, "é" * 30_000, "\N{GRINNING FACE}"],
    ids=lambda text: ascii(text[:2]) + str(len(text)),
)
def test_any_text_of_an_error_is_recorded(trial, text):
    poison.raise_text.enqueue("")
    job = trial.worker.claim_one()
    job.payload["args"] = [text]

    trial.worker.write(trial.run(job))

    assert FailedExecution.objects.get().exception_class == "builtins.ValueError"
    assert "\0" not in FailedExecution.objects.get().message
    assert_next_job_runs(trial)


@pytest.mark.parametrize(
    "path",
    [
        "tests.site.poison.taken_away",
        "tests.no_such_module.task",
        "tests.site.poison.LongName",
        "tests.site.fails_at_import.task",
        "tests.site.exits_at_import.task",
        "nodots",
        "",
    ],
)
def test_a_job_whose_task_is_gone_fails_with_the_path(trial, path):
    result = poison.add_two.enqueue(1, 2)
    Job.objects.update(task_path=path)

    trial.finish(result)

    assert_failed(result, GONE, path)
    assert_next_job_runs(trial)


def test_wrong_arguments_fail_the_job(trial):
    result = trial.enqueue_and_run(poison.add_two, 1, second=2, third=3)

    assert_failed(result, "builtins.TypeError", "unexpected keyword argument 'third'")


def test_a_context_argument_cannot_be_passed_from_outside(trial):
    from tests.site.catalogue import read_context

    result = trial.enqueue_and_run(read_context, context="mine")

    assert_failed(result, "builtins.TypeError", "multiple values for argument 'context'")


def test_the_limit_of_a_result_counts_bytes(trial, use_tasks):
    from tests.site.catalogue import echo

    use_tasks(default={"max_result_bytes": 100})
    fits = trial.enqueue_and_run(echo, "é" * 30)

    result = trial.enqueue_and_run(echo, "é" * 50)

    assert fits.return_value["args"] == ["é" * 30]
    assert_failed(result, RETURNED, "125 bytes as JSON; OPTIONS['max_result_bytes'] allows 100")


def test_a_result_of_exactly_the_limit_is_stored(trial, use_tasks):
    from tests.site.catalogue import send_mail

    use_tasks(default={"max_result_bytes": 64})

    assert trial.enqueue_and_run(send_mail, "x" * 62).status == TaskResultStatus.SUCCESSFUL
    assert trial.enqueue_and_run(send_mail, "x" * 63).status == TaskResultStatus.FAILED


@pytest.mark.parametrize("task", LEAKS, ids=lambda task: task.name)
def test_a_transaction_that_was_left_open_is_rolled_back_and_fails_the_job(trial, heard, task):
    leaks = heard(TransactionLeakFound)

    result = trial.enqueue_and_run(task)

    assert_failed(result, LEAKED, "with an open transaction on the database 'default'")
    assert not Pause.objects.exists()
    assert [(str(leak.job_id), leak.task_path, leak.database) for leak in leaks] == [
        (result.id, task.module_path, "default")
    ]
    assert_next_job_runs(trial)


@pytest.mark.parametrize(
    "task", [poison.leave_a_literal_begin, poison.leave_a_failed_transaction], ids=lambda t: t.name
)
def test_a_literal_begin_is_rolled_back_and_told_where_the_driver_tells(trial, task):
    result = trial.enqueue_and_run(task)

    # MySQL's driver does not tell: there it is ended, and nobody hears of it.
    if connection.vendor != "mysql":
        assert_failed(result, LEAKED, "with an open transaction")
    assert not Pause.objects.exists()
    assert_next_job_runs(trial)


def test_a_job_that_leaves_a_transaction_and_fails_keeps_its_own_error(trial, heard):
    leaks = heard(TransactionLeakFound)

    result = trial.enqueue_and_run(poison.leave_an_atomic_block_and_fail)

    assert_failed(result, "builtins.ValueError", "and then this")
    assert len(leaks) == 1
    assert not Pause.objects.exists()
    assert_next_job_runs(trial)


@pytest.mark.parametrize(
    ("task", "error_class"),
    [
        (poison.leave_an_atomic_block_async, LEAKED),
        (poison.leave_autocommit_off_async, LEAKED),
        (poison.leave_an_atomic_block_and_fail_async, "builtins.ValueError"),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_an_async_job_that_leaves_a_transaction_open_is_found_too(trial, heard, task, error_class):
    leaks = heard(TransactionLeakFound)

    result = trial.enqueue_and_arun(task)

    assert_failed(result, error_class, "")
    assert [leak.database for leak in leaks] == ["default"]
    assert not Pause.objects.exists()
    assert trial.enqueue_and_arun(poison.count_pauses_async).return_value == 0


@pytest.mark.parametrize(
    "task",
    [
        poison.close_the_connection,
        poison.leave_a_block_and_close,
        poison.close_the_drivers_connection,
    ],
    ids=lambda task: task.name,
)
def test_a_closed_connection_is_open_for_the_next_job(trial, task):
    trial.enqueue_and_run(poison.count_pauses)

    trial.enqueue_and_run(task)

    assert not Pause.objects.exists()
    assert_next_job_runs(trial)


def test_a_drivers_connection_closed_by_an_async_job_troubles_nobody(trial):
    result = trial.enqueue_and_arun(poison.close_the_drivers_connection_async)

    assert result.status == TaskResultStatus.SUCCESSFUL
    assert trial.enqueue_and_arun(poison.count_pauses_async).return_value == 0


# SQLite has no server that could end a connection.
if connection.vendor != "sqlite":

    def test_a_connection_that_the_server_ended_is_open_for_the_next_job(trial):
        trial.enqueue_and_run(poison.have_the_server_hang_up)

        assert_next_job_runs(trial)


def test_a_statement_that_failed_leaves_the_connection_usable(trial):
    result = trial.enqueue_and_run(poison.change_nothing_but_fail_in_the_database)

    assert result.status == TaskResultStatus.FAILED
    assert "no_such_column" in FailedExecution.objects.get().message
    assert_next_job_runs(trial)
