"""Arguments and results as people may see them: values under names that sound secret are taken out."""

import inspect
import json
from collections.abc import Callable, Iterable
from typing import Any

from dj_queue.config import BackendConfig, values
from dj_queue.exceptions import TaskNotImportable
from dj_queue.reads.tasks import import_task

HIDDEN = "••••••"

# Characters of one shown value; the rest is cut, so that a megabyte does not reach the browser.
_MAX_SHOWN = 20_000


class Redactor:
    """Hides what `OPTIONS["admin"]` says."""

    def __init__(self, config: BackendConfig, task_path: str) -> None:
        options = config.options.admin
        self._words = tuple(word.lower() for word in options.redact)
        self._task_path = task_path
        self._asked: Callable[..., object] | None = None
        if options.redact_with is not None:
            where = f"TASKS[{config.alias!r}]['OPTIONS']['admin']['redact_with']"
            self._asked = values.resolved(options.redact_with, where)

    def hides(self, name: str, value: Any) -> bool:
        """Whether *value* is not to be seen, going by its *name*."""
        if any(word in name.lower().replace("-", "_") for word in self._words):
            return True
        return self._asked is not None and bool(self._asked(self._task_path, name, value))

    def shown(self, name: str, value: Any) -> Any:
        """*value* without what is hidden in it, however deep."""
        if self.hides(name, value):
            return HIDDEN
        if isinstance(value, dict):
            return {key: self.shown(str(key), each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.shown(name, each) for each in value]
        return value

    def arguments(self, payload: dict[str, Any]) -> list[tuple[str, str]]:
        """Each argument's name and JSON; positional ones by the task's signature, if that is here."""
        args, kwargs = payload.get("args", []), payload.get("kwargs", {})
        names = _parameters(self._task_path, len(args))
        named = [*zip(names, args, strict=True), *kwargs.items()]
        return [(name, as_json(self.shown(name, value))) for name, value in named]

    def lines(self, named: Iterable[tuple[str, Any]]) -> list[tuple[str, str]]:
        """Each name with the JSON of its value, redacted."""
        return [(name, as_json(self.shown(name, value))) for name, value in named]


def as_json(value: Any) -> str:
    """*value* as indented JSON, cut when it is very long."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]} …"


def _parameters(task_path: str, count: int) -> list[str]:
    """Names for the first *count* positional arguments; their numbers where the task does not tell."""
    try:
        task = import_task(task_path)
        parameters = [
            each
            for each in inspect.signature(task.func).parameters.values()
            if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
        ]
    except (TaskNotImportable, ValueError, TypeError):
        return [str(number) for number in range(count)]
    names = [each.name for each in parameters[1 if task.takes_context else 0 :]]
    return [names[n] if n < len(names) else str(n) for n in range(count)]
