"""How concurrency limits are declared, and what is refused."""

from datetime import timedelta

import pytest
from django.tasks import task
from django.utils import timezone

from dj_queue.api import concurrency, limits_concurrency
from dj_queue.exceptions import DispatchPolicyError, EnqueueError
from dj_queue.models import Job
from dj_queue.operations import policy
from tests.site import limited_tasks


def plain(account=None, *rest, note="n"):
    return account


def declare(**attributes):
    """A new task at a path that can be imported, with these attributes on its function."""

    def plain(account=None, *rest, note="n"):
        return account

    plain.__qualname__, plain.__module__ = "plain", __name__
    for name, value in attributes.items():
        setattr(plain, name, value)
    return task(plain)


def stored(result):
    job = Job.objects.get(pk=result.id)
    return (
        job.concurrency_key,
        job.concurrency_limit,
        job.concurrency_duration,
        job.concurrency_on_conflict,
    )


def test_attributes_of_the_function_are_a_policy():
    named = declare(
        concurrency_key="account:{account}:{note}", concurrency_limit=2, on_conflict="discard"
    )

    assert stored(named.enqueue(7)) == ("account:7:n", 2, 180, "discard")


def test_the_default_duration_is_an_option(use_tasks):
    use_tasks(default={"default_concurrency_duration": 42.2})

    assert stored(declare(concurrency_key="k", concurrency_limit=1).enqueue())[2] == 43


@pytest.mark.parametrize("key", [None, ""])
def test_no_key_is_no_limit(key):
    assert stored(declare(concurrency_key=key, concurrency_limit=1).enqueue()) == (None,) * 4


def test_decorators_say_the_same_above_and_below_task():
    above = concurrency(key="k", limit=1)(task(plain))
    below = task(concurrency(key="k", limit=1)(plain))

    assert stored(above.enqueue()) == stored(below.enqueue()) == ("k", 1, 180, "block")
    assert limited_tasks.one.func.concurrency_limit == 1


def test_a_callable_key_gets_the_arguments_as_they_were_given():
    named = declare(concurrency_key=lambda *args, **kwargs: f"{args} {kwargs}", concurrency_limit=1)

    assert stored(named.enqueue((1, 2), note="x"))[0] == "((1, 2),) {'note': 'x'}"


def test_the_context_is_no_argument_of_a_key():
    result = limited_tasks.group_key.enqueue("ann")

    assert stored(result) == ("mail/ann", 3, 180, "block")


def test_equal_keys_of_different_tasks_meet_only_in_a_group():
    path = "tests.site.limited_tasks.own_key"

    assert stored(limited_tasks.own_key.enqueue("ann"))[:3] == (f"{path}/ann", 1, 300)
    assert stored(limited_tasks.async_group_key.enqueue("ann"))[0] == "mail/ann"


def test_a_task_is_looked_at_once_for_many_calls(monkeypatch):
    looked = []
    declared = policy.declared
    monkeypatch.setattr(
        "dj_queue.operations.enqueue.declared",
        lambda config, task: looked.append(task) or declared(config, task),
    )

    calls = [(limited_tasks.own_key, (str(n),), {}) for n in range(20)]
    limited_tasks.own_key.get_backend().enqueue_all(calls)

    assert looked == [limited_tasks.own_key]
    assert Job.objects.filter(concurrency_limit=1).count() == 20


WRONG = {
    "concurrency_limit of tests": {"concurrency_key": "k"},
    "whole number above 0, not 0": {"concurrency_key": "k", "concurrency_limit": 0},
    "whole number above 0, not True": {"concurrency_key": "k", "concurrency_limit": True},
    "whole number above 0, not '2'": {"concurrency_key": "k", "concurrency_limit": "2"},
    "a callable, not 7": {"concurrency_key": 7, "concurrency_limit": 1},
    "'block' or 'discard', not 'drop'": {
        "concurrency_key": "k",
        "concurrency_limit": 1,
        "on_conflict": "drop",
    },
    "seconds above 0, not 0": {
        "concurrency_key": "k",
        "concurrency_limit": 1,
        "concurrency_duration": 0,
    },
    "seconds above 0, not nan": {
        "concurrency_key": "k",
        "concurrency_limit": 1,
        "concurrency_duration": float("nan"),
    },
    "seconds above 0, not datetime.timedelta": {
        "concurrency_key": "k",
        "concurrency_limit": 1,
        "concurrency_duration": timedelta(seconds=-1),
    },
    "KeyError('nobody')": {"concurrency_key": "{nobody}", "concurrency_limit": 1},
    "IndexError": {"concurrency_key": "{0}", "concurrency_limit": 1},
    "not empty, not ''": {"concurrency_key": lambda *_, **__: "", "concurrency_limit": 1},
    "not empty, not None": {"concurrency_key": lambda *_, **__: None, "concurrency_limit": 1},
    "ZeroDivisionError": {"concurrency_key": lambda *_, **__: 1 / 0, "concurrency_limit": 1},
    "1 to 255 characters, not the 256": {"concurrency_key": "k" * 256, "concurrency_limit": 1},
    "can be stored": {"concurrency_key": "a\0b", "concurrency_limit": 1},
    "be text that is not empty, not 5": {
        "concurrency_key": "k",
        "concurrency_limit": 1,
        "concurrency_group": 5,
    },
}


@pytest.mark.parametrize("said", WRONG)
@pytest.mark.parametrize("is_future", [False, True])
def test_what_is_wrong_is_told_by_the_enqueue_and_nothing_is_written(said, is_future):
    wrong = declare(**WRONG[said])
    run_after = timezone.now() + timedelta(hours=1) if is_future else None

    with pytest.raises(EnqueueError, match=r".") as raised:
        wrong.using(run_after=run_after).enqueue(1)

    assert isinstance(raised.value, DispatchPolicyError)
    assert said in str(raised.value)
    assert "plain" in str(raised.value)
    assert not Job.objects.exists()


def test_wrong_arguments_are_told_where_a_key_is_made_of_them():
    with pytest.raises(EnqueueError, match="unexpected keyword argument 'colour'"):
        limited_tasks.own_key.enqueue("ann", colour="red")

    assert not Job.objects.exists()


def test_one_wrong_call_of_many_writes_none():
    calls = [(limited_tasks.own_key, ("a",), {}), (limited_tasks.own_key, (), {})]

    with pytest.raises(EnqueueError):
        limited_tasks.own_key.get_backend().enqueue_all(calls)

    assert not Job.objects.exists()


def test_a_limit_needs_a_group_name_if_any():
    assert limits_concurrency(key="k", group="g")(plain).concurrency_group == "g"
