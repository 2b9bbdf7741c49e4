"""Names of OpenTelemetry's semantic conventions for messaging (1.44), and our own beside them.

Written here and not imported: the package that has them is in beta and names one exact version of the API,
which would then be forced on every project. Argument values, results and users are never attributes.
"""

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
SCOPE: Final = "dj_queue"

SYSTEM: Final = "messaging.system"
SYSTEM_NAME: Final = "dj_queue"
OPERATION: Final = "messaging.operation.name"
OPERATION_TYPE: Final = "messaging.operation.type"
DESTINATION: Final = "messaging.destination.name"
MESSAGE_ID: Final = "messaging.message.id"
MESSAGE_COUNT: Final = "messaging.batch.message_count"
CLIENT_ID: Final = "messaging.client.id"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"
FUNCTION: Final = "code.function.name"

BACKEND: Final = "dj_queue.backend"
TASK: Final = "dj_queue.task.name"
PRIORITY: Final = "dj_queue.job.priority"
SCHEDULED_AT: Final = "dj_queue.job.scheduled_at"
ATTEMPT: Final = "dj_queue.job.attempt"
WAIT_TIME: Final = "dj_queue.job.wait_time"
OUTCOME: Final = "dj_queue.job.outcome"
STATE: Final = "dj_queue.job.state"
ROWS: Final = "dj_queue.rows"
LINK_TYPE: Final = "dj_queue.link.type"
RECURRING_KEY: Final = "dj_queue.recurring.key"
RECURRING_SCHEDULED_AT: Final = "dj_queue.recurring.scheduled_at"
PROCESS_KIND: Final = "dj_queue.process.kind"
PROCESS_STATUS: Final = "dj_queue.process.status"

EXCEPTION_EVENT: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"

MAX_LINKS: Final = 128
"""SDKs drop what is above."""

BUCKETS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
"""Seconds, as the conventions advise."""
LONG_BUCKETS: Final = (*BUCKETS, 30.0, 60.0, 300.0, 1800.0, 3600.0)
"""For what runs in the background, which may take an hour."""
WAIT_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


def error_type(class_path: str) -> str:
    """The class of an error as `error.type` has it: built-in ones without their module."""
    return class_path.removeprefix("builtins.")
