"""The Django application of the demo."""

from django.apps import AppConfig


class ThumbnailsConfig(AppConfig):
    """Pictures, and the sets in which they were brought."""

    name = "thumbnails"
