"""Tasks for servers that run as processes of their own."""

import os
import time

from django.tasks import task


@task
def sleep_and_note(seconds):
    time.sleep(seconds)
    return os.getpid()


@task
def note_in_file(path, text, seconds=0.01):
    """Writes down that it began, in one write that is never mixed with others'."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, f"{text}\n".encode())
    finally:
        os.close(descriptor)
    time.sleep(seconds)
