"""A database router for projects that keep the queue in a database of its own."""

from typing import Any

from django.db.models import Model

from dj_queue.config import backend_config, configured_backend_aliases, queue_database_aliases

_APP_LABEL = "dj_queue"


class DjQueueRouter:
    """Sends this app's models to the databases that backends name, and nothing else there.

    The queue itself names its database in every statement; this router serves the admin, shells and
    `migrate`. With several backends the model's default database is that of the first.
    """

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        """The database of the first backend."""
        return self._database_of(model, hints)

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        """The database of the first backend."""
        return self._database_of(model, hints)

    def allow_relation(self, first: Model, second: Model, **_: Any) -> bool | None:
        """Only among this app's models."""
        labels = {first._meta.app_label, second._meta.app_label}
        if _APP_LABEL not in labels:
            return None
        return labels == {_APP_LABEL}

    def allow_migrate(self, db: str, app_label: str, **_: Any) -> bool | None:
        """On every database that a backend names."""
        if app_label != _APP_LABEL:
            return None
        return db in set(queue_database_aliases())

    def _database_of(self, model: type[Model], hints: dict[str, Any]) -> str | None:
        if model._meta.app_label != _APP_LABEL:
            return None
        instance = hints.get("instance")
        if instance is not None and instance._state.db:
            database: str = instance._state.db
            return database
        for alias in configured_backend_aliases():
            return backend_config(alias).options.database_alias
        return None
