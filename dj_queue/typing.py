"""Django's task types, which are generic for type checkers only."""

from typing import Any

from django.tasks.base import Task, TaskResult

type AnyTask = Task[..., Any]
type AnyResult = TaskResult[..., Any]
