"""Tasks with arguments that JSON has not, and what they need."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum, auto
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import models
from django.tasks import task

from dj_queue.models import Pause


class Colour(Enum):
    RED = "r"
    GREEN = (1, 2)


class Word(StrEnum):
    YES = "yes"


class Level(IntEnum):
    HIGH = 7


class Permission(Flag):
    READ = auto()
    WRITE = auto()


class Choice(models.TextChoices):
    ONE = "1", "One"


class Holder:
    class Inner(Enum):
        DEEP = 1


NOT_AN_ENUM = {"RED": 1}

VALUES = [
    datetime(2026, 3, 29, 1, 30, 0, 123456),  # noqa: DTZ001
    datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
    datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Vienna")),
    date(2026, 1, 2),
    time(3, 4, 5, 6),
    time(3, 4, tzinfo=UTC),
    timedelta(days=-1, microseconds=1),
    timedelta.max,
    Decimal("1.10"),
    Decimal("-Infinity"),
    UUID("6b29fc40-ca47-1067-b31d-00dd010662da"),
    Colour.RED,
    Colour.GREEN,
    Word.YES,
    Level.HIGH,
    Permission.WRITE,
    Choice.ONE,
    Holder.Inner.DEEP,
]


@task
def describe(*args, **kwargs):
    """What arrived, as text."""
    return [repr(args), repr(kwargs)]


@task
def give_back(value):
    return value


@task
async def give_back_async(value):
    return value


@task(takes_context=True)
def give_back_from_context(context, value):
    return [context.task_result.args[0], value]


@task
def queue_of(pause):
    """A field of an instance that was fetched for this job."""
    assert isinstance(pause, Pause)
    return pause.queue_name


@task
async def queue_of_async(pause):
    return pause.queue_name


@task
def now():
    return datetime.now(UTC)
