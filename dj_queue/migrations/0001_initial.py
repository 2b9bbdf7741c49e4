# The first migration. Generated, except for compare_names_exactly.

from typing import Any

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import dj_queue.ids
import dj_queue.states


def compare_names_exactly(apps: Any, schema_editor: Any) -> None:
    """Have MySQL and MariaDB tell `mail` from `Mail` in queue names, aliases and keys.

    Columns there take the database's collation, which usually takes the two for one; the other
    databases compare text as it is.
    """
    if schema_editor.connection.vendor != "mysql":
        return
    quote = schema_editor.connection.ops.quote_name
    for model in apps.get_app_config("dj_queue").get_models():
        for field in model._meta.local_fields if model._meta.managed else ():
            if isinstance(field, models.CharField):
                schema_editor.execute(
                    f"ALTER TABLE {quote(model._meta.db_table)} MODIFY {quote(field.column)} "
                    f"{field.db_type(schema_editor.connection)} CHARACTER SET utf8mb4 "
                    f"COLLATE utf8mb4_bin {'NULL' if field.null else 'NOT NULL'}"
                )


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Dashboard",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
            ],
            options={
                "verbose_name": "dashboard",
                "verbose_name_plural": "dashboard",
                "db_table": "dj_queue_dashboard",
                "permissions": [
                    ("view_dashboard", "Can view the dashboard"),
                    ("view_job_args", "Can view arguments and results of jobs"),
                    ("retry_job", "Can retry failed jobs"),
                    ("run_job", "Can start scheduled jobs now and enqueue jobs again"),
                    ("discard_job", "Can discard jobs"),
                    ("pause_queue", "Can pause and resume queues"),
                    ("clear_queue", "Can clear queues"),
                    (
                        "manage_recurring",
                        "Can run, enable, disable and unschedule recurring tasks",
                    ),
                ],
                "managed": False,
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="BulkAction",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("backend_alias", models.CharField(default="default", max_length=64)),
                ("action", models.CharField(max_length=32)),
                ("filters", models.JSONField(default=dict)),
                ("last_key", models.BigIntegerField()),
                ("cursor", models.BigIntegerField(default=0)),
                ("examined", models.BigIntegerField(default=0)),
                ("done", models.BigIntegerField(default=0)),
                ("refused", models.BigIntegerField(default=0)),
                ("state", models.CharField(default="waiting", max_length=16)),
                ("message", models.TextField(blank=True, default="")),
                ("requested_by", models.CharField(blank=True, default="", max_length=255)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("updated_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "bulk action",
                "verbose_name_plural": "bulk actions",
                "db_table": "dj_queue_bulk_actions",
            },
        ),
        migrations.CreateModel(
            name="Occurrence",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("backend_alias", models.CharField(max_length=64)),
                ("kind", models.CharField(max_length=8)),
                ("queue_name", models.CharField(max_length=64)),
                ("task_path", models.CharField(max_length=255)),
                ("about", models.CharField(max_length=255)),
                ("times", models.BigIntegerField(default=0)),
            ],
            options={
                "verbose_name": "occurrence",
                "verbose_name_plural": "occurrences",
                "db_table": "dj_queue_occurrences",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("backend_alias", "kind", "queue_name", "task_path", "about"),
                        name="djq_occurrence_key",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Statistic",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("backend_alias", models.CharField(max_length=64)),
                ("minute", models.BigIntegerField()),
                ("queue_name", models.CharField(max_length=64)),
                ("task_path", models.CharField(max_length=255)),
                ("finished", models.BigIntegerField(default=0)),
                ("failed", models.BigIntegerField(default=0)),
                ("retried", models.BigIntegerField(default=0)),
                ("duration_sum", models.FloatField(default=0)),
                ("wait_sum", models.FloatField(default=0)),
                ("duration_0", models.BigIntegerField(default=0)),
                ("duration_1", models.BigIntegerField(default=0)),
                ("duration_2", models.BigIntegerField(default=0)),
                ("duration_3", models.BigIntegerField(default=0)),
                ("duration_4", models.BigIntegerField(default=0)),
                ("duration_5", models.BigIntegerField(default=0)),
                ("duration_6", models.BigIntegerField(default=0)),
                ("duration_7", models.BigIntegerField(default=0)),
                ("duration_8", models.BigIntegerField(default=0)),
                ("duration_9", models.BigIntegerField(default=0)),
                ("duration_10", models.BigIntegerField(default=0)),
                ("duration_11", models.BigIntegerField(default=0)),
                ("duration_12", models.BigIntegerField(default=0)),
                ("wait_0", models.BigIntegerField(default=0)),
                ("wait_1", models.BigIntegerField(default=0)),
                ("wait_2", models.BigIntegerField(default=0)),
                ("wait_3", models.BigIntegerField(default=0)),
                ("wait_4", models.BigIntegerField(default=0)),
                ("wait_5", models.BigIntegerField(default=0)),
                ("wait_6", models.BigIntegerField(default=0)),
                ("wait_7", models.BigIntegerField(default=0)),
                ("wait_8", models.BigIntegerField(default=0)),
                ("wait_9", models.BigIntegerField(default=0)),
                ("wait_10", models.BigIntegerField(default=0)),
                ("wait_11", models.BigIntegerField(default=0)),
                ("wait_12", models.BigIntegerField(default=0)),
            ],
            options={
                "verbose_name": "statistic",
                "verbose_name_plural": "statistics",
                "db_table": "dj_queue_statistics",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("backend_alias", "minute", "queue_name", "task_path"),
                        name="djq_statistic_key",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Semaphore",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key", models.CharField(max_length=255, unique=True)),
                ("value", models.IntegerField()),
                ("limit", models.IntegerField()),
                ("period", models.PositiveIntegerField(blank=True, null=True)),
                ("limit_set_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("expires_at", models.DateTimeField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("updated_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "verbose_name": "semaphore",
                "verbose_name_plural": "semaphores",
                "db_table": "dj_queue_semaphores",
            },
        ),
        migrations.CreateModel(
            name="Workflow",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=dj_queue.ids.new_job_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                        verbose_name="id",
                    ),
                ),
                (
                    "backend_alias",
                    models.CharField(default="default", max_length=64, verbose_name="backend"),
                ),
                ("steps", models.JSONField(verbose_name="steps")),
                ("position", models.PositiveSmallIntegerField(default=0, verbose_name="position")),
                ("job_ids", models.JSONField(default=list, verbose_name="job ids")),
                ("workspace", models.JSONField(default=dict, verbose_name="workspace")),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, verbose_name="created at"
                    ),
                ),
                (
                    "updated_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, verbose_name="updated at"
                    ),
                ),
                (
                    "finished_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="finished at"),
                ),
            ],
            options={
                "verbose_name": "workflow",
                "verbose_name_plural": "workflows",
                "db_table": "dj_queue_workflows",
                "indexes": [models.Index(fields=["finished_at"], name="djq_workflows_finished")],
            },
        ),
        migrations.CreateModel(
            name="Job",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=dj_queue.ids.new_job_id,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                        verbose_name="id",
                    ),
                ),
                ("task_path", models.TextField(verbose_name="task path")),
                (
                    "queue_name",
                    models.CharField(default="default", max_length=64, verbose_name="queue"),
                ),
                ("priority", models.SmallIntegerField(default=0, verbose_name="priority")),
                ("payload", models.JSONField(verbose_name="payload")),
                (
                    "backend_alias",
                    models.CharField(default="default", max_length=64, verbose_name="backend"),
                ),
                (
                    "executor",
                    models.SmallIntegerField(
                        default=dj_queue.states.Executor["THREAD"], verbose_name="executor"
                    ),
                ),
                (
                    "scheduled_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="scheduled at"),
                ),
                (
                    "concurrency_key",
                    models.CharField(
                        blank=True, max_length=255, null=True, verbose_name="concurrency key"
                    ),
                ),
                (
                    "concurrency_limit",
                    models.IntegerField(blank=True, null=True, verbose_name="concurrency limit"),
                ),
                (
                    "concurrency_duration",
                    models.IntegerField(blank=True, null=True, verbose_name="concurrency duration"),
                ),
                (
                    "concurrency_on_conflict",
                    models.CharField(
                        blank=True, max_length=7, null=True, verbose_name="on conflict"
                    ),
                ),
                (
                    "retry_policy",
                    models.JSONField(blank=True, null=True, verbose_name="retry policy"),
                ),
                (
                    "trace_context",
                    models.JSONField(blank=True, null=True, verbose_name="trace context"),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, verbose_name="created at"
                    ),
                ),
                (
                    "updated_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, verbose_name="updated at"
                    ),
                ),
                (
                    "started_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="started at"),
                ),
                (
                    "last_attempted_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="last attempted at"),
                ),
                (
                    "finished_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="finished at"),
                ),
                (
                    "return_value",
                    models.JSONField(blank=True, null=True, verbose_name="return value"),
                ),
                ("worker_ids", models.JSONField(blank=True, null=True, verbose_name="worker ids")),
                ("errors", models.JSONField(blank=True, null=True, verbose_name="errors")),
            ],
            options={
                "verbose_name": "job",
                "verbose_name_plural": "jobs",
                "db_table": "dj_queue_jobs",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("priority__gte", -100), ("priority__lte", 100)),
                        name="dj_queue_jobs_priority_range",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Leadership",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("backend_alias", models.CharField(default="default", max_length=64)),
                ("role", models.CharField(max_length=32)),
                ("process_name", models.CharField(max_length=255)),
                ("pid", models.IntegerField()),
                ("hostname", models.CharField(max_length=255)),
                ("incarnation", models.CharField(blank=True, default="", max_length=128)),
                ("term", models.BigIntegerField(default=1)),
                ("since", models.DateTimeField(default=django.utils.timezone.now)),
                ("progress_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "leadership",
                "verbose_name_plural": "leaderships",
                "db_table": "dj_queue_leaderships",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("backend_alias", "role"), name="djq_leadership_role"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Pause",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("backend_alias", models.CharField(default="default", max_length=64)),
                ("queue_name", models.CharField(max_length=64)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "verbose_name": "pause",
                "verbose_name_plural": "pauses",
                "db_table": "dj_queue_pauses",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("backend_alias", "queue_name"), name="djq_pause_queue"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="PastPause",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("backend_alias", models.CharField(default="default", max_length=64)),
                ("queue_name", models.CharField(max_length=64)),
                ("paused_at", models.DateTimeField()),
                ("resumed_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "past pause",
                "verbose_name_plural": "past pauses",
                "db_table": "dj_queue_past_pauses",
                "indexes": [
                    models.Index(
                        fields=["backend_alias", "queue_name", "resumed_at"], name="djq_past_pause"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Process",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("backend_alias", models.CharField(default="default", max_length=64)),
                ("kind", models.CharField(max_length=32)),
                ("name", models.CharField(max_length=255)),
                ("pid", models.IntegerField()),
                ("hostname", models.CharField(max_length=255)),
                ("metadata", models.JSONField(blank=True, default=dict)),
                ("last_heartbeat_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "supervisor",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="children",
                        to="dj_queue.process",
                    ),
                ),
            ],
            options={
                "verbose_name": "process",
                "verbose_name_plural": "processes",
                "db_table": "dj_queue_processes",
            },
        ),
        migrations.CreateModel(
            name="ClaimedExecution",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("token", models.BigIntegerField()),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "job",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="claimed_execution",
                        to="dj_queue.job",
                    ),
                ),
                (
                    "process",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        to="dj_queue.process",
                    ),
                ),
            ],
            options={
                "verbose_name": "claimed execution",
                "verbose_name_plural": "claimed executions",
                "db_table": "dj_queue_claimed_executions",
            },
        ),
        migrations.CreateModel(
            name="ReadyExecution",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("backend_alias", models.CharField(default="default", max_length=64)),
                ("queue_name", models.CharField(default="default", max_length=64)),
                ("priority", models.SmallIntegerField(default=0)),
                ("executor", models.SmallIntegerField(default=dj_queue.states.Executor["THREAD"])),
                ("latency_started_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "job",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="ready_execution",
                        to="dj_queue.job",
                    ),
                ),
            ],
            options={
                "verbose_name": "ready execution",
                "verbose_name_plural": "ready executions",
                "db_table": "dj_queue_ready_executions",
            },
        ),
        migrations.CreateModel(
            name="RecurringExecution",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("backend_alias", models.CharField(default="default", max_length=64)),
                ("task_key", models.CharField(max_length=255)),
                ("run_at", models.DateTimeField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "job",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="recurring_execution",
                        to="dj_queue.job",
                    ),
                ),
            ],
            options={
                "verbose_name": "recurring execution",
                "verbose_name_plural": "recurring executions",
                "db_table": "dj_queue_recurring_executions",
            },
        ),
        migrations.CreateModel(
            name="RecurringTask",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("backend_alias", models.CharField(default="default", max_length=64)),
                ("key", models.CharField(max_length=255)),
                ("task_path", models.CharField(max_length=255)),
                ("payload", models.JSONField(blank=True, null=True)),
                ("schedule", models.CharField(max_length=255)),
                ("queue_name", models.CharField(default="default", max_length=64)),
                ("priority", models.SmallIntegerField(default=0)),
                ("description", models.TextField(blank=True, default="")),
                ("static", models.BooleanField(default=True)),
                ("timezone", models.CharField(blank=True, max_length=64, null=True)),
                ("catch_up", models.CharField(default="latest", max_length=6)),
                ("enabled", models.BooleanField(default=True)),
                ("disabled_by_hand", models.BooleanField(default=False)),
                ("next_run_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("updated_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "verbose_name": "recurring task",
                "verbose_name_plural": "recurring tasks",
                "db_table": "dj_queue_recurring_tasks",
                "indexes": [
                    models.Index(
                        fields=["backend_alias", "next_run_at"], name="djq_recurring_next_run"
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("backend_alias", "key"),
                        name="dj_queue_recurring_tasks_backend_alias_key_unique",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ScheduledExecution",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("backend_alias", models.CharField(default="default", max_length=64)),
                ("queue_name", models.CharField(default="default", max_length=64)),
                ("priority", models.SmallIntegerField(default=0)),
                ("executor", models.SmallIntegerField(default=dj_queue.states.Executor["THREAD"])),
                ("scheduled_at", models.DateTimeField()),
                ("concurrency_key", models.CharField(blank=True, max_length=255, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "job",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="scheduled_execution",
                        to="dj_queue.job",
                    ),
                ),
            ],
            options={
                "verbose_name": "scheduled execution",
                "verbose_name_plural": "scheduled executions",
                "db_table": "dj_queue_scheduled_executions",
            },
        ),
        migrations.CreateModel(
            name="SemaphoreHolder",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key", models.CharField(max_length=255)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "job",
                    models.OneToOneField(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="semaphore_holder",
                        to="dj_queue.job",
                    ),
                ),
            ],
            options={
                "verbose_name": "semaphore holder",
                "verbose_name_plural": "semaphore holders",
                "db_table": "dj_queue_semaphore_holders",
            },
        ),
        migrations.CreateModel(
            name="FailedExecution",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "exception_class",
                    models.CharField(blank=True, max_length=255, verbose_name="exception class"),
                ),
                ("message", models.TextField(blank=True, verbose_name="message")),
                ("traceback", models.TextField(blank=True, verbose_name="traceback")),
                ("retry_at", models.DateTimeField(blank=True, null=True, verbose_name="retry at")),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "job",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="failed_execution",
                        to="dj_queue.job",
                    ),
                ),
            ],
            options={
                "verbose_name": "failed execution",
                "verbose_name_plural": "failed executions",
                "db_table": "dj_queue_failed_executions",
                "indexes": [
                    models.Index(fields=["created_at", "id"], name="djq_failed_created"),
                    models.Index(fields=["retry_at"], name="djq_failed_retry"),
                ],
            },
        ),
        migrations.CreateModel(
            name="BlockedExecution",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("backend_alias", models.CharField(default="default", max_length=64)),
                ("queue_name", models.CharField(default="default", max_length=64)),
                ("priority", models.SmallIntegerField(default=0)),
                ("executor", models.SmallIntegerField(default=dj_queue.states.Executor["THREAD"])),
                ("concurrency_key", models.CharField(max_length=255)),
                ("waits", models.BooleanField(default=True)),
                ("expires_at", models.DateTimeField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "job",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="blocked_execution",
                        to="dj_queue.job",
                    ),
                ),
            ],
            options={
                "verbose_name": "blocked execution",
                "verbose_name_plural": "blocked executions",
                "db_table": "dj_queue_blocked_executions",
                "indexes": [
                    models.Index(
                        fields=["concurrency_key", "waits", "-priority", "id"],
                        name="djq_blocked_next",
                    )
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="process",
            constraint=models.UniqueConstraint(
                fields=("backend_alias", "name"), name="djq_process_name"
            ),
        ),
        migrations.AddIndex(
            model_name="readyexecution",
            index=models.Index(
                fields=["backend_alias", "executor", "-priority", "id"], name="djq_ready_claim"
            ),
        ),
        migrations.AddIndex(
            model_name="readyexecution",
            index=models.Index(
                fields=["backend_alias", "queue_name", "executor", "-priority", "id"],
                name="djq_ready_claim_queue",
            ),
        ),
        migrations.AddConstraint(
            model_name="recurringexecution",
            constraint=models.UniqueConstraint(
                fields=("backend_alias", "task_key", "run_at"),
                name="dj_queue_recur_exec_backend_run_at_unique",
            ),
        ),
        migrations.AddIndex(
            model_name="scheduledexecution",
            index=models.Index(
                fields=["backend_alias", "scheduled_at", "-priority", "id"],
                name="djq_scheduled_due",
            ),
        ),
        migrations.AddIndex(
            model_name="scheduledexecution",
            index=models.Index(fields=["backend_alias", "queue_name"], name="djq_scheduled_queue"),
        ),
        migrations.AddIndex(
            model_name="blockedexecution",
            index=models.Index(fields=["backend_alias", "queue_name"], name="djq_blocked_queue"),
        ),
        migrations.AddIndex(
            model_name="semaphoreholder",
            index=models.Index(fields=["key"], name="djq_holder_key"),
        ),
        migrations.RunPython(compare_names_exactly, migrations.RunPython.noop, atomic=False),
    ]
