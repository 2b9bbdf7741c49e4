"""Settings of a process that does not wait long for SQLite's one write lock."""

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

DATABASES["default"]["OPTIONS"]["timeout"] = 0.3
