"""Settings that a parent in fork mode can use and its children cannot."""

import os

from tests.settings import *  # noqa: F403
from tests.settings import TASKS

if "DJ_QUEUE_CHILD" in os.environ:
    TASKS["default"]["OPTIONS"]["threds"] = 3
