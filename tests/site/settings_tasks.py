"""Tasks that say which settings their process has."""

from django.conf import settings
from django.tasks import task

from dj_queue.api import executor


@executor("thread")
@task
def here():
    return settings.SETTINGS_MODULE


@executor("process")
@task
def in_a_child():
    return settings.SETTINGS_MODULE
