"""Tasks that say when, and where, they began."""

import threading

from django.tasks import task

said = []
"""`(word, thread)` of everything that happened, in its order."""


def say(word):
    """Add to what was said."""
    said.append((word, threading.get_ident()))


@task
def begin():
    say("task")


@task
async def begin_async():
    say("task")
