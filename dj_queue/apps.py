"""The Django application."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DjQueueConfig(AppConfig):
    """Registers the listeners; opens no connection and starts no thread."""

    name = "dj_queue"
    label = "dj_queue"
    verbose_name = _("dj_queue")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Let logs, traces and metrics listen, and register the checks that are not of one backend."""
        from django.core import checks

        from dj_queue import telemetry
        from dj_queue.checks import check_deployment, check_routing

        telemetry.listen()
        checks.register(check_routing)
        checks.register(check_deployment, deploy=True)
