"""Tasks that say for which time they were fired."""

from django.tasks import task

from dj_queue.api import nominal_time


def _text():
    moment = nominal_time()
    return None if moment is None else moment.isoformat()


@task
def tell_time():
    return _text()


@task
async def atell_time():
    return _text()


@task
def fail_with_time():
    raise ValueError(_text())
