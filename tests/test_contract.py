"""`tests/CONTRACT.md` names tests that there are; the names and parameters that projects use are there."""

import ast
import inspect
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINES = (ROOT / "tests" / "CONTRACT.md").read_text(encoding="utf-8").splitlines()
ROWS = [line for line in LINES if line.startswith("| ") and not line.startswith(("| What", "| | "))]
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", "\n".join(LINES))))

NAMES = {
    "dj_queue.api": """ClaimedJob QueueInfo claim_ready_jobs concurrency discard_blocked_jobs
        discard_failed_job discard_failed_jobs discard_ready_jobs discard_scheduled_jobs
        enqueue_on_commit execute_claimed_job retry_failed_job retry_failed_jobs
        schedule_failed_job_retry schedule_recurring_task unschedule_recurring_task""",
    "dj_queue.backend": "DjQueueBackend",
    "dj_queue.config": """BackendConfig DispatcherConfig RecurringTaskConfig SchedulerConfig
        WorkerConfig configured_backend_aliases ensure_dj_queue_backend_alias load_backend_config""",
    "dj_queue.contrib.asgi": "DjQueueLifespan build_supervisor",
    "dj_queue.contrib.gunicorn": "build_supervisor post_fork worker_exit",
    "dj_queue.contrib.prometheus": "DjQueueCollector generate_latest registry",
    "dj_queue.db": """DatabaseCapabilities database_capabilities get_database_alias
        get_queue_connection locked_queryset queue_cursor retry_transient_database_errors
        supports_listen_notify supports_skip_locked""",
    "dj_queue.exceptions": """AlreadyRecorded DispatchPolicyError DjQueueError EnqueueError
        ProcessExitError ProcessMissingError ProcessPrunedError UndiscardableError exception_path""",
    "dj_queue.hooks": """clear_hooks fire_hooks on_dispatcher_exit on_dispatcher_start
        on_dispatcher_stop on_exit on_scheduler_exit on_scheduler_start on_scheduler_stop on_start
        on_stop on_worker_exit on_worker_start on_worker_stop register_hook""",
    "dj_queue.models": """BlockedExecution ClaimedExecution Dashboard FailedExecution Job Pause
        Process ReadyExecution RecurringExecution RecurringTask ScheduledExecution Semaphore""",
    "dj_queue.observability": "all_backend_snapshots backend_snapshot stats_payload",
    "dj_queue.operations.cleanup": """clear_failed_jobs clear_finished_jobs
        clear_recurring_executions""",
    "dj_queue.operations.concurrency": """cleanup_expired_semaphores promote_expired_blocked_jobs
        semaphore_acquire semaphore_release unblock_next_blocked_job""",
    "dj_queue.operations.jobs": """claim_ready_jobs complete_claimed_job discard_blocked_jobs
        discard_failed_job discard_failed_jobs discard_ready_jobs discard_ready_jobs_for_queue
        discard_scheduled_jobs dispatch_scheduled_job_now enqueue_job enqueue_job_again
        enqueue_job_with_dispatch enqueue_jobs_bulk execute_claimed_job fail_claimed_job
        fail_claimed_jobs_for_pid fail_claimed_jobs_for_process fail_orphaned_claimed_jobs
        promote_failed_job_retries promote_scheduled_jobs prune_stale_processes retry_failed_job
        retry_failed_jobs schedule_failed_job_retry""",
    "dj_queue.operations.recurring": "fire_recurring_task upsert_static_recurring_tasks",
    "dj_queue.routers": "DjQueueRouter",
    "dj_queue.runtime.dispatcher": "Dispatcher",
    "dj_queue.runtime.scheduler": "Scheduler",
    "dj_queue.runtime.supervisor": "Supervisor",
    "dj_queue.runtime.worker": "Worker",
    "dj_queue.urls": "app_name urlpatterns",
    "dj_queue.views": "observability_metrics_view observability_stats_view",
}

# What stands before the star is given by its place, what follows by its name.
PARAMETERS = {
    "dj_queue.api:QueueInfo": "queue_name * backend_alias",
    "dj_queue.api:QueueInfo.all": "* backend_alias",
    "dj_queue.api:QueueInfo.clear": "self * batch_size",
    "dj_queue.api:concurrency": "* key limit duration on_conflict",
    "dj_queue.api:enqueue_on_commit": "task * using",
    "dj_queue.api:schedule_recurring_task": """* key task_path schedule args kwargs queue_name priority
        description backend_alias""",
    "dj_queue.api:unschedule_recurring_task": "key * backend_alias",
    "dj_queue.config:load_backend_config": "backend_alias * cli_overrides env tasks_settings",
    "dj_queue.hooks:fire_hooks": "event process * backend_alias",
    "dj_queue.hooks:register_hook": "event fn",
    "dj_queue.operations.cleanup:clear_finished_jobs": "* older_than task_path batch_size backend_alias now",
    "dj_queue.operations.cleanup:clear_recurring_executions": "* older_than task_key backend_alias",
    "dj_queue.operations.concurrency:semaphore_acquire": "key * limit duration_seconds backend_alias",
    "dj_queue.operations.concurrency:semaphore_release": "key * duration_seconds backend_alias",
    "dj_queue.operations.jobs:claim_ready_jobs": "* limit queues process use_skip_locked backend_alias",
    "dj_queue.operations.jobs:complete_claimed_job": "job return_value * backend_alias",
    "dj_queue.operations.jobs:discard_ready_jobs": "* job_ids batch_size backend_alias",
    "dj_queue.operations.jobs:enqueue_job": "task args kwargs * backend_alias",
    "dj_queue.operations.jobs:enqueue_job_again": "job_id * run_after backend_alias",
    "dj_queue.operations.jobs:enqueue_jobs_bulk": "task_calls * backend_alias",
    "dj_queue.operations.jobs:execute_claimed_job": "job * backend_alias",
    "dj_queue.operations.jobs:fail_claimed_job": "job error * traceback_text backend_alias",
    "dj_queue.operations.jobs:promote_scheduled_jobs": "* batch_size use_skip_locked backend_alias",
    "dj_queue.operations.jobs:retry_failed_jobs": "* job_ids batch_size backend_alias",
    "dj_queue.operations.jobs:schedule_failed_job_retry": "job_id * retry_at backend_alias",
    "dj_queue.operations.recurring:fire_recurring_task": "recurring_task run_at * backend_alias",
}


@cache
def found_in(path: str) -> set[str]:
    """The tests of a file: `test_x`, and `TestX::test_y` for those in a class."""
    found: set[str] = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {
            prefix + each.name
            for each in inside
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
            and each.name.startswith("test_")
        }
    return found


def test_the_table_names_tests_that_there_are():
    assert len(NAMED) > 300
    missing = [
        f"{path}::{name}"
        for path, name in NAMED
        if not (ROOT / path).exists() or name not in found_in(path)
    ]
    assert missing == []


def test_each_line_has_a_test_or_says_why_not():
    assert len(ROWS) > 150
    cells = [[cell.strip() for cell in row.strip().strip("|").split("|")] for row in ROWS]

    assert [row for row in cells if len(row) not in (3, 4)] == []
    assert [row for row in cells if "::" not in row[-2] and not row[-1]] == []


def test_each_mistake_has_a_line():
    told = {int(number) for number in re.findall(r"^\| W(\d+) \|", "\n".join(LINES), re.MULTILINE)}

    assert told == set(range(1, 48))


@pytest.mark.parametrize("module", NAMES)
def test_documented_names_are_there(module):
    there = set(dir(import_module(module)))

    assert set(NAMES[module].split()) - there == set()


@pytest.mark.parametrize("path", PARAMETERS)
def test_documented_parameters_are_taken(path):
    module, _, name = path.partition(":")
    found = import_module(module)
    for part in name.split("."):
        found = (
            inspect.getattr_static(found, part) if inspect.isclass(found) else getattr(found, part)
        )
    by_place, _, by_name = PARAMETERS[path].partition("*")
    parameters = inspect.signature(getattr(found, "__func__", found)).parameters

    places = [each.name for each in parameters.values() if each.kind is each.POSITIONAL_OR_KEYWORD]
    assert [each for each in places if each != "cls"][: len(by_place.split())] == by_place.split()
    names = {each.name for each in parameters.values() if each.kind is each.KEYWORD_ONLY}
    assert set(by_name.split()) <= names
