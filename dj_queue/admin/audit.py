"""Who did what: an entry in the admin's log for each action, and an event for the logs of the project."""

from typing import Any

from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model
from django.http import HttpRequest

from dj_queue import events

_DELETING = frozenset(("discard", "clear", "unschedule"))


def record(
    request: HttpRequest,
    backend: str,
    action: str,
    model: type[Model],
    *,
    what: str,
    count: int,
    object_id: object = "",
) -> None:
    """Note that the user of *request* has done *action* to *what*, which were *count* rows of *model*."""
    user: Any = request.user
    content_type = ContentType.objects.get_for_model(model)
    LogEntry.objects.create(
        user_id=user.pk,
        content_type_id=content_type.pk,
        object_id=str(object_id),
        object_repr=what[:200],
        action_flag=DELETION if action in _DELETING else CHANGE,
        change_message=f"dj_queue: {action}, backend {backend}, {count}",
    )
    events.emit(events.OperatorActed(backend, user.get_username(), action, what, count))
