"""Where a backend's configuration comes from, and when it is read."""

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from dj_queue import config
from dj_queue.config import (
    BACKEND_PATH,
    Options,
    backend_config,
    configured_backend_aliases,
    load_backend_config,
    queue_database_aliases,
)
from dj_queue.exceptions import ConfigurationError

DUMMY = "django.tasks.backends.dummy.DummyBackend"


def entry(**options):
    return {"BACKEND": BACKEND_PATH, "OPTIONS": options}


def test_an_alias_that_does_not_exist_is_told_with_those_that_do():
    tasks = {"default": entry(), "mail": entry(), "other": {"BACKEND": DUMMY}}

    with pytest.raises(ConfigurationError) as caught:
        load_backend_config("mial", tasks_settings=tasks)

    assert str(caught.value) == (
        "TASKS['mial'] does not exist; the backends of dj_queue are ['default', 'mail']"
    )


@pytest.mark.parametrize("found", [DUMMY, "dj_queue.backend.Other", None], ids=repr)
def test_an_alias_of_another_backend_is_refused(found):
    with pytest.raises(ConfigurationError) as caught:
        load_backend_config("default", tasks_settings={"default": {"BACKEND": found}})

    assert str(caught.value) == (
        f"TASKS['default']['BACKEND'] must be 'dj_queue.backend.DjQueueBackend', not {found!r}"
    )


def test_an_alias_without_a_backend_is_refused():
    with pytest.raises(ConfigurationError, match=r"TASKS\['default'\]\['BACKEND'\] .* not None"):
        load_backend_config("default", tasks_settings={"default": {}})


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (["default"], "TASKS must be a mapping, not ['default']"),
        ({"default": BACKEND_PATH}, f"TASKS['default'] must be a mapping, not {BACKEND_PATH!r}"),
        (
            {"default": {"BACKEND": BACKEND_PATH, "OPTIONS": ["mode"]}},
            "TASKS['default']['OPTIONS'] must be a mapping, not ['mode']",
        ),
        (
            {"default": {"BACKEND": BACKEND_PATH, "OPTIONS": None}},
            "TASKS['default']['OPTIONS'] must be a mapping, not None",
        ),
    ],
)
def test_what_should_be_a_mapping_is_one(tasks, message):
    with pytest.raises(ConfigurationError) as caught:
        load_backend_config("default", tasks_settings=tasks)

    assert str(caught.value) == message


def test_errors_are_djangos_improperly_configured():
    with pytest.raises(ImproperlyConfigured):
        load_backend_config("nowhere", tasks_settings={"default": entry()})


@pytest.mark.parametrize("tasks", [{}, None], ids=["empty", "missing"])
def test_without_tasks_there_is_an_implicit_default(tasks, settings):
    settings.TASKS = tasks or {}
    if tasks is None:
        del settings.TASKS

    assert configured_backend_aliases() == ["default"]
    assert backend_config("default").options == Options()
    assert backend_config("default").queues == frozenset()


def test_the_implicit_default_is_the_only_one():
    with pytest.raises(ConfigurationError, match=r"^TASKS\['mail'\] does not exist"):
        load_backend_config("mail", tasks_settings={})


def test_only_entries_with_exactly_this_backend_count():
    tasks = {
        "mail": entry(),
        "default": {"BACKEND": DUMMY},
        "subclass": {"BACKEND": "tests.site.backends.MyBackend"},
        "broken": "text",
        "second": entry(),
    }

    assert configured_backend_aliases(tasks) == ["mail", "second"]


@pytest.mark.parametrize("queues", [None, [], (), ""], ids=repr)
def test_no_queues_mean_that_all_are_allowed(load, queues):
    assert load(queues=queues).queues == frozenset()


def test_missing_queues_mean_that_all_are_allowed():
    tasks = {"default": {"BACKEND": BACKEND_PATH}}

    assert load_backend_config(tasks_settings=tasks).queues == frozenset()


@pytest.mark.parametrize("queues", [["a", "b"], ("a", "b"), {"a", "b"}, ["a", "b", "a"]], ids=repr)
def test_queues_are_the_ones_that_are_allowed(load, queues):
    assert load(queues=queues).queues == frozenset({"a", "b"})


@pytest.mark.parametrize("queues", ["default", 5, ["a", 5], [["a"]], [None], True], ids=repr)
def test_queues_of_another_kind_are_refused(load, queues):
    with pytest.raises(ConfigurationError) as caught:
        load(queues=queues)

    assert str(caught.value) == (
        f"TASKS['default']['QUEUES'] must be a list of queue names, not {queues!r}"
    )


def test_overrides_of_the_command_line_win_option_by_option(load):
    tasks = {"default": entry(mode="fork", shutdown_timeout=9)}

    options = load_backend_config(tasks_settings=tasks, cli_overrides={"mode": "async"}).options

    assert (options.mode, options.shutdown_timeout) == ("async", 9.0)
    assert tasks == {"default": entry(mode="fork", shutdown_timeout=9)}


def test_overrides_are_checked_like_settings():
    with pytest.raises(ConfigurationError, match=r"^cli_overrides\['mode'\] must be one of"):
        load_backend_config(tasks_settings={"default": entry()}, cli_overrides={"mode": "x"})


def test_overridden_settings_take_effect_and_go_again():
    before = backend_config("default")

    with override_settings(TASKS={"default": entry(shutdown_timeout=77)}):
        assert backend_config("default").options.shutdown_timeout == 77.0

    assert backend_config("default") == before


def test_nested_overrides_take_effect_too():
    with override_settings(TASKS={"default": entry(mode="fork")}):
        assert backend_config("default").options.mode == "fork"
        with override_settings(TASKS={"default": entry(mode="async")}):
            assert backend_config("default").options.mode == "async"
        assert backend_config("default").options.mode == "fork"


def test_settings_are_read_once(monkeypatch):
    loads = []
    load = config.load_backend_config
    monkeypatch.setattr(
        config, "load_backend_config", lambda alias: loads.append(alias) or load(alias)
    )
    with override_settings(TASKS={"default": entry(), "mail": entry()}):
        for _ in range(5):
            backend_config("default")
            backend_config("mail")

    assert loads == ["default", "mail"]


def test_an_error_is_not_remembered():
    with override_settings(TASKS={"default": entry(mode="x")}):
        for _ in range(2):
            with pytest.raises(ConfigurationError):
                backend_config("default")


def test_each_database_of_a_backend_is_named_once(add_database):
    add_database("apart", "django.db.backends.sqlite3", NAME=":memory:")
    tasks = {
        "first": entry(database_alias="apart"),
        "default": {"BACKEND": DUMMY},
        "second": entry(),
        "third": entry(database_alias="apart"),
    }

    with override_settings(TASKS=tasks):
        assert list(queue_database_aliases()) == ["apart", "default"]


def test_an_environment_may_be_given(monkeypatch):
    monkeypatch.setenv("DJ_QUEUE_MODE", "fork")
    tasks = {"default": entry()}

    given = load_backend_config(tasks_settings=tasks, env={"DJ_QUEUE_SKIP_RECURRING": "1"})

    assert (given.options.mode, given.skip_recurring) == ("async", True)
    assert load_backend_config(tasks_settings=tasks).options.mode == "fork"


def test_an_alias_is_ensured_to_be_one_of_ours():
    tasks = {"default": entry(), "other": {"BACKEND": "other.Backend"}}

    assert config.ensure_dj_queue_backend_alias("default", tasks) == "default"
    assert config.ensure_dj_queue_backend_alias("default", {}) == "default"
    for alias in ("other", "none"):
        with pytest.raises(ConfigurationError, match=f"^TASKS.'{alias}'."):
            config.ensure_dj_queue_backend_alias(alias, tasks)


@pytest.mark.parametrize("value", ["mail", 0, False, {"mail": 1}, [5]], ids=repr)
def test_queues_that_are_no_list_are_refused(value):
    tasks = {"default": {"BACKEND": BACKEND_PATH, "QUEUES": value}}

    with pytest.raises(ConfigurationError) as caught:
        load_backend_config(tasks_settings=tasks)

    assert str(caught.value) == (
        f"TASKS['default']['QUEUES'] must be a list of queue names, not {value!r}"
    )
