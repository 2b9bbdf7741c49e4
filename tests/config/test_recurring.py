"""Recurring tasks in settings: types are told when settings are read, everything else by the checks."""

import pytest

from dj_queue.checks import check_backend
from dj_queue.config import RecurringTaskConfig, SchedulerConfig, load_backend_config
from dj_queue.config.recurring import CATCH_UP
from dj_queue.exceptions import ConfigurationError
from dj_queue.operations import declared

GOOD = {"task_path": "tests.site.tasks.add", "schedule": "0 3 * * *"}
WHERE = r"TASKS\['default'\]\['OPTIONS'\]\['recurring'\]"


def tasks_with(*, queues=None, **options):
    entry = {"BACKEND": "dj_queue.backend.DjQueueBackend", "OPTIONS": options}
    return {"default": entry if queues is None else {**entry, "QUEUES": queues}}


def load(**options):
    return load_backend_config(tasks_settings=tasks_with(**options)).options


def test_entry_has_these_defaults():
    [entry] = load(recurring={"sums": GOOD}).recurring

    assert entry == RecurringTaskConfig(
        key="sums",
        task_path="tests.site.tasks.add",
        schedule="0 3 * * *",
        args=(),
        kwargs={},
        queue_name="default",
        priority=0,
        description="",
        timezone=None,
        catch_up="latest",
        enabled=True,
    )


def test_scheduler_has_these_defaults():
    assert load().scheduler == SchedulerConfig(False, 5.0, 100)
    assert load(scheduler={"dynamic_tasks_enabled": "yes"}).scheduler.dynamic_tasks_enabled


@pytest.mark.parametrize("catch_up", CATCH_UP)
def test_all_of_an_entry_is_read(catch_up):
    given = {
        **GOOD,
        "args": [1, 2],
        "kwargs": {"a": 3},
        "queue_name": "sums",
        "priority": -7,
        "description": "each night",
        "timezone": "Asia/Tokyo",
        "catch_up": catch_up,
        "enabled": False,
    }

    [entry] = load(recurring={"sums": given}).recurring

    shown = entry.as_dict()
    assert shown.pop("key") == "sums"
    assert shown == given


@pytest.mark.parametrize(
    ("recurring", "says"),
    [
        ([], rf"{WHERE} must be a mapping"),
        ({"a": []}, rf"{WHERE}\['a'\] must be a mapping"),
        ({"a": {"schedule": "@daily"}}, rf"{WHERE}\['a'\]\['task_path'\] is missing"),
        ({"a": {"task_path": "x.y"}}, rf"{WHERE}\['a'\]\['schedule'\] is missing"),
        ({"a": {**GOOD, "colour": 1}}, rf"{WHERE}\['a'\]\['colour'\] is not an option"),
        ({"a": {**GOOD, "key": "b"}}, rf"{WHERE}\['a'\]\['key'\] is not an option"),
        ({"a": {**GOOD, "schedule": 5}}, r"\['schedule'\] must be text of 1 to 255.* not 5"),
        ({"a": {**GOOD, "args": "xy"}}, r"\['args'\] must be a list, not 'xy'"),
        ({"a": {**GOOD, "kwargs": {1: 2}}}, r"\['kwargs'\] must be a mapping"),
        ({"a": {**GOOD, "queue_name": None}}, r"\['queue_name'\] must be left out, or a value"),
        ({"a": {**GOOD, "queue_name": "q" * 65}}, r"\['queue_name'\] must be text of 1 to 64"),
        ({"a": {**GOOD, "priority": 101}}, r"\['priority'\] must be a whole number between"),
        ({"a": {**GOOD, "priority": True}}, r"\['priority'\] must be a whole number between"),
        ({"a": {**GOOD, "catch_up": "none"}}, r"\['catch_up'\] must be one of 'skip', 'latest'"),
        ({"a": {**GOOD, "enabled": "maybe"}}, r"\['enabled'\] must be True or False"),
        ({"a": {**GOOD, "timezone": 1}}, r"\['timezone'\] must be text"),
        ({"": GOOD}, r"the key of .* must be text of 1 to 255"),
        ({7: GOOD}, r"the key of .* must be text of 1 to 255"),
    ],
)
def test_what_is_of_a_wrong_type_is_told_with_its_key(recurring, says):
    with pytest.raises(ConfigurationError, match=says):
        load(recurring=recurring)


@pytest.mark.parametrize(
    ("scheduler", "says"),
    [
        ({"polling_interval": 0}, r"\['scheduler'\]\['polling_interval'\] must be"),
        ({"catch_up_limit": 0}, r"\['catch_up_limit'\] must be a whole number of at least 1"),
        ({"interval": 1}, r"\['scheduler'\]\['interval'\] is not an option"),
        ([], r"\['scheduler'\] must be a mapping"),
    ],
)
def test_what_is_wrong_with_the_scheduler_is_told(scheduler, says):
    with pytest.raises(ConfigurationError, match=says):
        load(scheduler=scheduler)


@pytest.mark.parametrize(
    ("change", "check", "says"),
    [
        ({"task_path": "tests.site.tasks.gone"}, "E010", "cannot be imported"),
        ({"task_path": "tests.site.fails_at_import.x"}, "E010", "cannot be imported"),
        ({"task_path": "os.path.join"}, "E011", "not a task"),
        ({"schedule": "0 3 * *"}, "E012", "found 4"),
        ({"schedule": "0 0 31 2 *"}, "E012", "never comes"),
        ({"timezone": "Europe/Nowhere"}, "E012", "no time zone"),
        ({"queue_name": "other"}, "E013", "Queue 'other' is not valid"),
        ({"args": [object()]}, "E014", "JSON has not"),
    ],
)
def test_what_makes_no_sense_is_told_by_the_checks_alone(
    settings, monkeypatch, change, check, says
):
    monkeypatch.setattr(declared, "_declarations", {})
    recurring = {"good": GOOD, "bad": {**GOOD, **change}}
    settings.TASKS = tasks_with(recurring=recurring, queues=["default"])

    assert len(load_backend_config().options.recurring) == 2
    [found] = [each for each in check_backend("default") if each.is_serious()]
    assert found.id == f"dj_queue.{check}"
    assert found.msg.startswith("TASKS['default']['OPTIONS']['recurring']['bad']: ")
    assert says in found.msg


def test_declared_entries_are_checked_too(settings, monkeypatch):
    monkeypatch.setattr(declared, "_declarations", {})

    @declared.recurring("0 3 * * *", key="mine")
    def local_function():
        return None

    [found] = [each for each in check_backend("default") if each.is_serious()]
    assert found.id == "dj_queue.E010"
    assert found.msg.startswith("@recurring 'mine' of backend 'default': ")
