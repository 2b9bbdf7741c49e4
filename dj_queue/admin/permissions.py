"""Who may do what. A permission on the model does, and so does the one that is named for the action.

Every button asks here whether to be shown, and every POST asks here again.
"""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

VIEW = "view"
VIEW_ARGUMENTS = "view_arguments"

# Any of these is enough.
_ENOUGH: Mapping[str, tuple[str, ...]] = {
    VIEW: ("view_dashboard", "view_job"),
    VIEW_ARGUMENTS: ("view_job_args",),
    "retry": ("change_job", "retry_job"),
    "run_now": ("change_job", "run_job"),
    "enqueue": ("add_job", "run_job"),
    "enqueue_copy_now": ("add_job", "run_job"),
    "discard": ("delete_job", "discard_job"),
    "pause": ("add_pause", "pause_queue"),
    "resume": ("delete_pause", "pause_queue"),
    "clear": ("delete_job", "clear_queue"),
    "run": ("change_recurringtask", "manage_recurring"),
    "enable": ("change_recurringtask", "manage_recurring"),
    "disable": ("change_recurringtask", "manage_recurring"),
    "unschedule": ("delete_recurringtask", "manage_recurring"),
}


def may(request: HttpRequest, action: str) -> bool:
    """Whether who asks may do *action* (or see what that stands for)."""
    user: Any = request.user
    return any(user.has_perm(f"dj_queue.{name}") for name in _ENOUGH[action])


def demand(request: HttpRequest, action: str) -> None:
    """Raise `PermissionDenied`, which becomes a 403, unless who asks may do *action*."""
    if not may(request, action):
        raise PermissionDenied


class Allowed:
    """For templates: `allowed.retry` is whether to show that button."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    def __getitem__(self, action: str) -> bool:
        return action in _ENOUGH and may(self._request, action)
