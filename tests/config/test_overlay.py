"""Options from a file and from the environment: who wins, both shapes, and what errors name."""

import pytest

from dj_queue.config import BACKEND_PATH, backend_config, load_backend_config, using_file
from dj_queue.exceptions import ConfigurationError

TOML = "shutdown_timeout = 11\n"
YAML = "shutdown_timeout: 11\n"
ALL_TOML = "[backends.default]\nshutdown_timeout = 11\n[backends.mail]\nshutdown_timeout = 22\n"
ALL_YAML = "backends:\n  default: {shutdown_timeout: 11}\n  mail:\n    shutdown_timeout: 22\n"


def entry(**options):
    return {"BACKEND": BACKEND_PATH, "OPTIONS": options}


TASKS = {"default": entry(), "mail": entry(), "third": entry(shutdown_timeout=3)}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ("DJ_QUEUE_CONFIG", "DJ_QUEUE_MODE", "DJ_QUEUE_SKIP_RECURRING"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def write(tmp_path):
    def write_file(name, text):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write_file


def timeout_of(alias="default", **overrides):
    config = load_backend_config(alias, tasks_settings=TASKS, cli_overrides=overrides)
    return config.options.shutdown_timeout


def complaint(path, tasks=TASKS):
    with pytest.raises(ConfigurationError) as caught, using_file(path, "default"):
        load_backend_config(tasks_settings=tasks)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"), [("a.toml", TOML), ("a.yaml", YAML), ("a.yml", YAML), ("A.TOML", TOML)]
)
def test_a_file_is_read_by_its_extension(write, name, text):
    with using_file(write(name, text), "default"):
        assert timeout_of() == 11.0


@pytest.mark.parametrize(("name", "text"), [("a.toml", ALL_TOML), ("a.yaml", ALL_YAML)])
def test_a_file_may_have_options_of_several_backends(write, name, text):
    with using_file(write(name, text), "default"):
        assert [timeout_of(alias) for alias in TASKS] == [11.0, 22.0, 3.0]


def test_a_flat_file_of_the_command_line_is_about_the_backend_that_runs(write):
    with using_file(write("a.toml", TOML), "mail"):
        assert [timeout_of(alias) for alias in TASKS] == [5.0, 11.0, 3.0]


def test_a_file_named_by_the_environment_is_about_every_backend(write, monkeypatch):
    monkeypatch.setenv("DJ_QUEUE_CONFIG", write("a.yaml", YAML))

    assert [timeout_of(alias) for alias in TASKS] == [11.0, 11.0, 11.0]


def test_the_command_line_s_file_replaces_the_environment_s(write, monkeypatch):
    monkeypatch.setenv("DJ_QUEUE_CONFIG", write("a.toml", "preserve_finished_jobs = false"))

    with using_file(write("b.toml", TOML), "default"):
        options = load_backend_config(tasks_settings=TASKS).options

    assert (options.shutdown_timeout, options.preserve_finished_jobs) == (11.0, True)


def test_no_file_changes_nothing(write, monkeypatch):
    monkeypatch.setenv("DJ_QUEUE_CONFIG", write("a.toml", TOML))

    with using_file(None, "default"):
        assert timeout_of() == 11.0


def test_a_file_holds_for_all_of_the_process_and_not_beyond_the_block(write, settings):
    settings.TASKS = {"default": entry()}
    before = backend_config("default").options.shutdown_timeout

    with using_file(write("a.toml", TOML), "default"):
        assert backend_config("default").options.shutdown_timeout == 11.0

    assert backend_config("default").options.shutdown_timeout == before == 5.0


@pytest.mark.parametrize(
    ("places", "mode"),
    [
        (["settings"], "fork"),
        (["settings", "file"], "async"),
        (["settings", "file", "environment"], "fork"),
        (["settings", "file", "environment", "command line"], "async"),
        (["settings", "command line"], "async"),
        (["file"], "async"),
        ([], "async"),
    ],
)
def test_who_is_nearer_to_the_start_of_the_process_wins(write, monkeypatch, places, mode):
    tasks = {"default": entry(**({"mode": "fork"} if "settings" in places else {}))}
    path = write("a.toml", 'mode = "async"\n') if "file" in places else None
    if "environment" in places:
        monkeypatch.setenv("DJ_QUEUE_MODE", "fork")
    overrides = {"mode": "async"} if "command line" in places else {}

    with using_file(path, "default"):
        config = load_backend_config(tasks_settings=tasks, cli_overrides=overrides)

    assert config.options.mode == mode


def test_an_option_is_replaced_as_a_whole_and_the_others_stay(write):
    tasks = {"default": entry(workers=[{"threads": 9}, {}], shutdown_timeout=7)}

    with using_file(write("a.toml", '[[workers]]\nqueues = ["a", "b*"]\n'), "default"):
        options = load_backend_config(tasks_settings=tasks).options

    (worker,) = options.workers
    assert (str(worker.queues), worker.threads) == ("a,b*", 3)
    assert options.shutdown_timeout == 7.0


@pytest.mark.parametrize("name", ["a.yaml", "a.toml"])
def test_a_file_without_anything_says_nothing(write, name):
    with using_file(write(name, "# shutdown_timeout\n"), "default"):
        assert timeout_of() == 5.0


def test_yaml_can_say_none(write):
    tasks = {"default": entry(supervisor_pidfile="/run/dj_queue.pid")}

    with using_file(write("a.yaml", "supervisor_pidfile: null\n"), "default"):
        assert load_backend_config(tasks_settings=tasks).options.supervisor_pidfile is None


@pytest.mark.parametrize(
    ("name", "text", "place", "message"),
    [
        ("a.toml", "shutdown_timeout = -1", "['shutdown_timeout']", "must be a number of seconds"),
        (
            "a.yaml",
            "workers: [{threads: 3x}]",
            "['workers'][0]['threads']",
            "must be a whole number",
        ),
        ("a.yaml", "shutdown: 5", "['shutdown']", "is not an option; the options here are"),
        ("a.yaml", "5: 6", "[5]", "is not an option"),
        ("a.yaml", "- mode", "", "must be a mapping of options, not ['mode']"),
        ("a.yaml", "just text", "", "must be a mapping of options, not 'just text'"),
        (
            "a.yaml",
            "backends: [default]",
            "['backends']",
            "must be a mapping from aliases to options",
        ),
        (
            "a.toml",
            "[backends]\ndefault = 3",
            "['backends']['default']",
            "must be a mapping of options, not 3",
        ),
        (
            "a.toml",
            "[backends.default]\nthreads = 3",
            "['backends']['default']['threads']",
            "is not an option",
        ),
        ("a.toml", 'database_alias = "no"', "['database_alias']", "must be one of the keys of"),
    ],
)
def test_an_error_names_the_file_and_the_key(write, name, text, place, message):
    path = write(name, text)

    assert complaint(path).startswith(f"{path}{place} {message}")


def test_a_wrong_database_in_the_settings_is_not_blamed_on_the_file(write):
    path = write("a.toml", TOML)

    message = complaint(path, {"default": entry(database_alias="no")})

    assert message.startswith(
        "TASKS['default']['OPTIONS']['database_alias'] must be one of the keys"
    )


def test_both_shapes_at_once_are_refused(write):
    path = write("a.yaml", "backends: {}\nmode: fork\n")

    assert complaint(path).startswith(
        f"{path}: beside 'backends' there must be no other key, but there is 'mode'"
    )


@pytest.mark.parametrize(
    ("name", "text", "kind", "where"),
    [("a.toml", "mode = async", "TOML", "line 1"), ("a.yaml", "a: [1\nb: 2", "YAML", "line 2")],
)
def test_a_file_that_cannot_be_parsed_is_told_with_the_line(write, name, text, kind, where):
    path = write(name, text)

    message = complaint(path)

    assert message.startswith(f"--config: {path} is not valid {kind}: ")
    assert where in message
    assert "\n" not in message


def test_a_file_of_another_kind_is_refused(write):
    path = write("options.json", "{}")

    assert complaint(path) == (
        f"--config: {path} must end in .toml, .yaml or .yml, which says how it is read"
    )


def test_a_missing_file_is_told_with_who_named_it(tmp_path, monkeypatch):
    path = str(tmp_path / "none.toml")
    assert complaint(path) == f"--config: {path} cannot be read: No such file or directory"

    monkeypatch.setenv("DJ_QUEUE_CONFIG", path)
    with pytest.raises(
        ConfigurationError, match=f"^DJ_QUEUE_CONFIG: {path} cannot be read: No such"
    ):
        load_backend_config(tasks_settings=TASKS)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xff\xfe\x00")

    assert complaint(str(path)).startswith(f"--config: {path} cannot be read: 'utf-8' codec")


def test_yaml_makes_no_objects(write):
    path = write("a.yaml", "mode: !!python/object/apply:os.getpid []\n")

    assert "is not valid YAML" in complaint(path)


def test_another_mode_in_the_environment_is_refused(monkeypatch):
    monkeypatch.setenv("DJ_QUEUE_MODE", "threads")

    with pytest.raises(ConfigurationError) as caught:
        load_backend_config(tasks_settings=TASKS)

    assert str(caught.value) == "DJ_QUEUE_MODE must be one of 'async', 'fork', not 'threads'"


@pytest.mark.parametrize("name", ["DJ_QUEUE_MODE", "DJ_QUEUE_CONFIG", "DJ_QUEUE_SKIP_RECURRING"])
def test_an_empty_variable_is_a_missing_one(monkeypatch, name):
    monkeypatch.setenv(name, "")

    config = load_backend_config(tasks_settings=TASKS)

    assert (config.options.mode, config.skip_recurring) == ("async", False)


@pytest.mark.parametrize(
    ("word", "flag", "meant"),
    [
        (None, None, False),
        (None, True, True),
        ("1", None, True),
        ("yes", None, True),
        ("off", None, False),
        ("0", True, True),
        ("1", False, False),
    ],
)
def test_recurring_tasks_are_skipped_by_the_flag_or_else_by_the_environment(
    monkeypatch, word, flag, meant
):
    if word is not None:
        monkeypatch.setenv("DJ_QUEUE_SKIP_RECURRING", word)
    overrides = {} if flag is None else {"skip_recurring": flag}

    config = load_backend_config(tasks_settings=TASKS, cli_overrides=overrides)

    assert config.skip_recurring is meant


def test_another_word_for_skipping_is_refused(monkeypatch):
    monkeypatch.setenv("DJ_QUEUE_SKIP_RECURRING", "maybe")

    with pytest.raises(ConfigurationError, match=r"^DJ_QUEUE_SKIP_RECURRING must be True or False"):
        load_backend_config(tasks_settings=TASKS)
