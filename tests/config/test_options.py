"""Every option: its default, what it takes, and what is said of anything else."""

import math
from dataclasses import FrozenInstanceError, fields
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from dj_queue.config import DispatcherConfig, Options, WorkerConfig
from dj_queue.config.options import described_options
from dj_queue.config.values import resolved
from dj_queue.exceptions import ConfigurationError
from dj_queue.selectors import EVERYTHING, parse_selectors


def report(error: BaseException) -> None:
    """Something that `on_thread_error` may name."""


HERE = "TASKS['default']['OPTIONS']"

DEFAULTS: dict[str, Any] = {
    "mode": "async",
    "workers": (WorkerConfig(),),
    "dispatchers": (DispatcherConfig(),),
    "database_alias": "default",
    "preserve_finished_jobs": True,
    "use_skip_locked": True,
    "listen_notify": True,
    "silence_polling": True,
    "rich_arguments": False,
    "async_thread_sensitive": True,
    "async_close_connections": False,
    "max_payload_bytes": 1_048_576,
    "max_result_bytes": 1_048_576,
    "clear_finished_jobs_after": 86400.0,
    "clear_failed_jobs_after": None,
    "clear_recurring_executions_after": None,
    "default_concurrency_duration": 180.0,
    "recurring": (),
    "process_heartbeat_interval": 60.0,
    "process_alive_threshold": 300.0,
    "shutdown_timeout": 5.0,
    "supervisor_pidfile": None,
    "on_thread_error": None,
}
WORKER_DEFAULTS: dict[str, Any] = {
    "queues": EVERYTHING,
    "threads": 3,
    "async_concurrency": 100,
    "processes": 1,
    "polling_interval": 0.1,
    "prefetch_multiplier": 2,
    "max_jobs": None,
    "max_rss": None,
    "max_age": None,
}
DISPATCHER_DEFAULTS: dict[str, Any] = {
    "batch_size": 500,
    "polling_interval": 1.0,
    "concurrency_maintenance": True,
    "concurrency_maintenance_interval": 600.0,
}

SWITCHES = [
    "preserve_finished_jobs",
    "use_skip_locked",
    "listen_notify",
    "silence_polling",
    "rich_arguments",
    "async_thread_sensitive",
    "async_close_connections",
]
SIZES = ["max_payload_bytes", "max_result_bytes"]


def complaint(load, **options: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(**options)
    assert isinstance(caught.value, ImproperlyConfigured)
    return str(caught.value)


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_default_of_an_option(load, name, value):
    assert getattr(load().options, name) == value


@pytest.mark.parametrize(("name", "value"), WORKER_DEFAULTS.items())
def test_default_of_a_workers_option(load, name, value):
    (worker,) = load(workers=[{}]).options.workers

    assert getattr(worker, name) == value


@pytest.mark.parametrize(("name", "value"), DISPATCHER_DEFAULTS.items())
def test_default_of_a_dispatchers_option(load, name, value):
    (dispatcher,) = load(dispatchers=[{}]).options.dispatchers

    assert getattr(dispatcher, name) == value


@pytest.mark.parametrize("kind", [Options, WorkerConfig, DispatcherConfig])
def test_every_option_is_described_for_the_reference(kind):
    described = described_options(kind)

    assert [name for name, _, _ in described] == [each.name for each in fields(kind)]
    assert all(about.endswith(".") for _, _, about in described)


def test_what_was_read_cannot_be_changed(load):
    with pytest.raises(FrozenInstanceError):
        load().options.mode = "fork"  # type: ignore[misc]


def test_options_may_be_missing_altogether(load):
    assert load().options == Options()


@pytest.mark.parametrize("value", ["async", "fork"])
def test_mode_is_one_of_two_words(load, value):
    assert load(mode=value).options.mode == value


@pytest.mark.parametrize("value", ["threads", "", None, 1, "ASYNC", ["fork"]], ids=repr)
def test_another_mode_is_refused(load, value):
    assert complaint(load, mode=value) == (
        f"{HERE}['mode'] must be one of 'async', 'fork', not {value!r}"
    )


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (True, True),
        (False, False),
        (1, True),
        (0, False),
        ("true", True),
        ("False", False),
        (" YES ", True),
        ("no", False),
        ("On", True),
        ("off", False),
        ("1", True),
        ("0", False),
    ],
    ids=repr,
)
def test_a_switch_takes_booleans_and_the_words_for_them(load, name, given, meant):
    assert getattr(load(**{name: given}).options, name) is meant


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("value", [None, 2, -1, 1.0, "", "maybe", "yes!", [], object], ids=repr)
def test_a_switch_refuses_anything_else(load, name, value):
    message = complaint(load, **{name: value})

    assert message.startswith(f"{HERE}[{name!r}] must be True or False")
    assert message.endswith(f", not {value!r}")


@pytest.mark.parametrize("name", SIZES)
def test_a_size_is_a_number_of_bytes(load, name):
    assert getattr(load(**{name: 64}).options, name) == 64
    assert getattr(load(**{name: 10**9}).options, name) == 10**9


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("value", [63, 0, -1, None, True, 100.0, "1048576", "1MB"], ids=repr)
def test_a_size_refuses_anything_else(load, name, value):
    assert complaint(load, **{name: value}) == (
        f"{HERE}[{name!r}] must be a whole number of at least 64, not {value!r}"
    )


@pytest.mark.parametrize("value", [0.5, 1, 3600])
def test_the_heartbeat_interval_is_a_number_of_seconds(load, value):
    options = load(process_heartbeat_interval=value, process_alive_threshold=7200).options
    found = options.process_heartbeat_interval

    assert found == value
    assert type(found) is float


def test_a_process_counts_as_lost_only_after_two_signs_of_life_are_missing(load):
    assert load(process_heartbeat_interval=2, process_alive_threshold=4)

    with pytest.raises(
        ConfigurationError,
        match=r"\['process_alive_threshold'\] must be at least twice .*, and so 20, not 19",
    ):
        load(process_heartbeat_interval=10, process_alive_threshold=19)


@pytest.mark.parametrize("value", [0, 1.5, 600])
def test_the_shutdown_timeout_may_be_zero(load, value):
    assert load(shutdown_timeout=value).options.shutdown_timeout == float(value)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        *[
            ("process_heartbeat_interval", value, "a number of seconds above 0")
            for value in (0, 0.0, -1, math.nan, math.inf, None, True, "60")
        ],
        *[
            ("shutdown_timeout", value, "a number of seconds of at least 0")
            for value in (-0.1, math.nan, math.inf, None, False, "5", [5])
        ],
    ],
)
def test_other_durations_are_refused(load, name, value, expected):
    assert complaint(load, **{name: value}) == f"{HERE}[{name!r}] must be {expected}, not {value!r}"


def test_a_number_beyond_all_floats_is_refused_like_any_other(load):
    assert "['shutdown_timeout'] must be a number of seconds" in complaint(
        load, shutdown_timeout=10**400
    )


@pytest.mark.parametrize("value", ["", None, 5, ["default"]], ids=repr)
def test_the_database_alias_is_text(load, value):
    assert complaint(load, database_alias=value) == (
        f"{HERE}['database_alias'] must be a non-empty string, not {value!r}"
    )


def test_the_database_alias_is_a_key_of_databases(load, settings):
    message = complaint(load, database_alias="elsewhere")

    keys = ", ".join(map(repr, settings.DATABASES))
    assert message == (
        f"{HERE}['database_alias'] must be one of the keys of DATABASES ({keys}), not 'elsewhere'"
    )


@pytest.mark.parametrize(
    "value", [None, report, "tests.config.test_options.report", "no.such.path"], ids=repr
)
def test_on_thread_error_is_a_callable_or_a_path_that_is_not_imported_yet(load, value):
    assert load(on_thread_error=value).options.on_thread_error == value


@pytest.mark.parametrize("value", ["", 5, [], True], ids=repr)
def test_on_thread_error_refuses_anything_else(load, value):
    assert complaint(load, on_thread_error=value) == (
        f"{HERE}['on_thread_error'] must be a callable or the dotted path of one, not {value!r}"
    )


def test_a_path_is_resolved_to_what_it_names():
    assert resolved("tests.config.test_options.report", "here") is report
    assert resolved(report, "here") is report


@pytest.mark.parametrize("path", ["no.such.path", "nodots", "tests.config.test_options.missing"])
def test_a_path_that_leads_nowhere_is_told_with_its_place(path):
    with pytest.raises(ConfigurationError) as caught:
        resolved(path, "TASKS['x']['OPTIONS']['on_thread_error']")

    assert str(caught.value).startswith(
        f"TASKS['x']['OPTIONS']['on_thread_error'] is {path!r}, which cannot be imported: "
    )


def test_a_path_to_something_that_cannot_be_called_is_refused():
    with pytest.raises(ConfigurationError, match=r"^here must be a callable .*HERE'$"):
        resolved("tests.config.test_options.HERE", "here")


@pytest.mark.parametrize("name", ["workers", "dispatchers"])
@pytest.mark.parametrize("value", [None, 5, "mail", {1}, Options()], ids=repr)
def test_a_list_of_actors_is_a_list(load, name, value):
    assert complaint(load, **{name: value}) == (
        f"{HERE}[{name!r}] must be a list of mappings, or one mapping, not {value!r}"
    )


@pytest.mark.parametrize("name", ["workers", "dispatchers"])
def test_an_entry_of_a_list_of_actors_is_a_mapping(load, name):
    assert complaint(load, **{name: [{}, "mail"]}) == (
        f"{HERE}[{name!r}][1] must be a mapping, not 'mail'"
    )


@pytest.mark.parametrize("name", ["workers", "dispatchers"])
def test_one_actor_may_stand_without_a_list(load, name):
    alone = getattr(load(**{name: {"polling_interval": 2}}).options, name)
    listed = getattr(load(**{name: [{"polling_interval": 2}]}).options, name)

    assert alone == listed
    assert alone[0].polling_interval == 2.0


@pytest.mark.parametrize("name", ["workers", "dispatchers"])
@pytest.mark.parametrize("value", [[], ()], ids=repr)
def test_there_may_be_no_actor_of_a_kind(load, name, value):
    assert getattr(load(**{name: value}).options, name) == ()


def test_workers_keep_their_order_and_get_defaults_each(load):
    workers = load(
        workers=[{"queues": "mail", "threads": 1}, {"queues": ["a*", "b"], "processes": 2}]
    ).options.workers

    assert [str(each.queues) for each in workers] == ["mail", "a*,b"]
    assert [each.threads for each in workers] == [1, 3]
    assert [each.processes for each in workers] == [1, 2]


@pytest.mark.parametrize("value", ["mail", "mail*", "*", ["a", "b*"], ("a",), []], ids=repr)
def test_queues_are_one_selector_or_a_list_of_them(load, value):
    (worker,) = load(workers={"queues": value}).options.workers

    assert worker.queues == parse_selectors(value)


@pytest.mark.parametrize("value", [None, 5, {"a": 1}, {"a"}, b"mail"], ids=repr)
def test_queues_of_another_type_are_refused(load, value):
    assert complaint(load, workers=[{"queues": value}]) == (
        f"{HERE}['workers'][0]['queues'] must be "
        f"a queue name, a prefix with *, or a list of them, not {value!r}"
    )


@pytest.mark.parametrize("value", ["", [""], ["a", 5], [None]], ids=repr)
def test_queues_without_a_name_are_refused(load, value):
    message = complaint(load, workers=[{}, {"queues": value}])

    assert message.startswith(f"{HERE}['workers'][1]['queues']: a queue selector must be ")


@pytest.mark.parametrize(
    "name", ["threads", "async_concurrency", "processes", "prefetch_multiplier"]
)
@pytest.mark.parametrize("value", [0, -1, None, True, 2.0, "3x"], ids=repr)
def test_numbers_of_a_worker_are_whole_and_above_zero(load, name, value):
    assert complaint(load, workers=[{name: value}]) == (
        f"{HERE}['workers'][0][{name!r}] must be a whole number of at least 1, not {value!r}"
    )
    (worker,) = load(workers=[{name: 1}]).options.workers
    assert getattr(worker, name) == 1


@pytest.mark.parametrize("name", ["max_jobs", "max_rss"])
@pytest.mark.parametrize("value", [0, -1, True, 2.0, "3x"], ids=repr)
def test_limits_of_a_worker_are_whole_numbers_above_zero_or_none(load, name, value):
    assert complaint(load, workers=[{name: value}]) == (
        f"{HERE}['workers'][0][{name!r}] must be a whole number of at least 1, not {value!r}"
    )
    for allowed in (1, None):
        (worker,) = load(workers=[{name: allowed}]).options.workers
        assert getattr(worker, name) == allowed


@pytest.mark.parametrize("value", [0, -1, True, "3600"], ids=repr)
def test_the_age_of_a_worker_is_a_number_of_seconds_above_zero_or_none(load, value):
    assert complaint(load, workers=[{"max_age": value}]) == (
        f"{HERE}['workers'][0]['max_age'] must be a number of seconds above 0, not {value!r}"
    )
    for allowed in (0.5, None):
        (worker,) = load(workers=[{"max_age": allowed}]).options.workers
        assert worker.max_age == allowed


@pytest.mark.parametrize("value", ["", 5, ["a"]], ids=repr)
def test_the_pidfile_is_a_path_or_none(load, value):
    assert complaint(load, supervisor_pidfile=value) == (
        f"{HERE}['supervisor_pidfile'] must be a non-empty string, not {value!r}"
    )
    for allowed in ("/run/dj_queue.pid", None):
        assert load(supervisor_pidfile=allowed).options.supervisor_pidfile == allowed


@pytest.mark.parametrize("value", [0, True, 1.5, "500"], ids=repr)
def test_the_batch_size_of_a_dispatcher_is_whole_and_above_zero(load, value):
    assert complaint(load, dispatchers=[{"batch_size": value}]) == (
        f"{HERE}['dispatchers'][0]['batch_size'] must be a whole number of at least 1, not {value!r}"
    )


@pytest.mark.parametrize("name", ["workers", "dispatchers"])
@pytest.mark.parametrize("value", [0, -1, "0.1", None, math.nan], ids=repr)
def test_polling_intervals_are_above_zero(load, name, value):
    assert complaint(load, **{name: [{"polling_interval": value}]}) == (
        f"{HERE}[{name!r}][0]['polling_interval'] must be a number of seconds above 0, not {value!r}"
    )


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"worker": []}, "['worker']"),
        ({"Mode": "fork"}, "['Mode']"),
        ({5: 6}, "[5]"),
        ({"workers": [{}, {"thread": 3}]}, "['workers'][1]['thread']"),
        ({"workers": {"batch_size": 3}}, "['workers']['batch_size']"),
        ({"dispatchers": [{"queues": "*"}]}, "['dispatchers'][0]['queues']"),
    ],
)
def test_an_unknown_option_is_named_with_those_that_are_known(options, place):
    from dj_queue.config import BACKEND_PATH, load_backend_config

    with pytest.raises(ConfigurationError) as caught:
        load_backend_config(
            tasks_settings={"default": {"BACKEND": BACKEND_PATH, "OPTIONS": options}}
        )

    message = str(caught.value)
    assert message.startswith(f"{HERE}{place} is not an option; the options here are ")
    assert "polling_interval" in message or "workers" in message


def test_the_message_names_the_alias(load):
    with pytest.raises(ConfigurationError, match=r"^TASKS\['second'\]\['OPTIONS'\]\['mode'\] "):
        load("second", mode="x")


def test_the_configuration_is_shown_as_settings_have_it(load):
    shown = load(
        queues=["b", "a"],
        workers=[{"queues": ["x", "y*"]}],
        scheduler={"polling_interval": 2},
        recurring={"tidy": {"task_path": "a.b", "schedule": "@daily", "args": [1]}},
    ).as_dict()

    assert (shown["alias"], shown["queues"]) == ("default", ["a", "b"])
    assert shown["options"]["workers"][0]["queues"] == ["x", "y*"]
    assert shown["options"]["scheduler"]["polling_interval"] == 2.0
    assert shown["options"]["recurring"]["tidy"]["args"] == [1]
    assert load(**shown["options"]).as_dict()["options"] == shown["options"]


def test_durations_may_be_timedeltas(load):
    options = load(
        shutdown_timeout=timedelta(minutes=1),
        clear_failed_jobs_after=timedelta(days=30),
        workers={"polling_interval": timedelta(milliseconds=200)},
    ).options

    assert (options.shutdown_timeout, options.clear_failed_jobs_after) == (60.0, 2_592_000.0)
    assert options.workers[0].polling_interval == 0.2
    with pytest.raises(
        ConfigurationError, match=r"'shutdown_timeout'\] .*, not datetime.timedelta"
    ):
        load(shutdown_timeout=timedelta(seconds=-1))


def test_parts_may_be_written_with_their_classes_and_are_checked_like_mappings(load):
    worker = WorkerConfig(queues=parse_selectors(["mail", "low*"]), threads=5)

    options = load(workers=[worker], dispatchers=DispatcherConfig(batch_size=7)).options

    assert options.workers == (worker,)
    assert options.dispatchers == (DispatcherConfig(batch_size=7),)
    assert load(workers=[WorkerConfig(queues="mail")]).options.workers[0].queues == (
        parse_selectors("mail")
    )
    assert "['workers'][0]['threads'] must be a whole number" in complaint(
        load, workers=[WorkerConfig(threads="many")]
    )
