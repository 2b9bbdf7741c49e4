"""The rows of processes: registered together, kept alive, and gone when they stop."""

from datetime import timedelta

from dj_queue.models import Process
from dj_queue.store.records import ProcessRecord
from tests.store.building import database_clock


def record(name, kind="Worker", **fields):
    return ProcessRecord(**{"name": name, "kind": kind, "pid": 42, "hostname": "host", **fields})


def test_process_is_registered_with_its_actors(session):
    metadata = {"queues": "größe*,*", "threads": 3, "nested": {"a": [None]}}

    ids = session.register(
        [record("supervisor", "Supervisor"), record("worker", metadata=metadata), record("other")]
    )

    rows = {row.name: row for row in Process.objects.all()}
    assert ids == {name: row.id for name, row in rows.items()}
    assert rows["supervisor"].supervisor_id is None
    assert rows["worker"].supervisor_id == rows["other"].supervisor_id == ids["supervisor"]
    assert (rows["worker"].kind, rows["worker"].pid, rows["worker"].hostname) == (
        "Worker",
        42,
        "host",
    )
    assert rows["worker"].metadata == metadata
    assert rows["worker"].backend_alias == "default"


def test_process_alone_is_registered_too(session):
    ids = session.register([record("supervisor")])

    assert list(ids) == ["supervisor"]


def test_registration_is_the_first_sign_of_life(session):
    before = database_clock()

    session.register([record("supervisor"), record("worker")])

    for row in Process.objects.all():
        assert before <= row.last_heartbeat_at <= database_clock()
        assert before <= row.created_at <= database_clock()


def test_registering_again_after_a_lost_answer_gives_one_row_each(session):
    session.register([record("supervisor"), record("worker"), record("dispatcher")])

    ids = session.register([record("supervisor"), record("worker"), record("dispatcher")])

    assert dict(Process.objects.values_list("name", "id")) == ids
    children = Process.objects.exclude(name="supervisor")
    assert set(children.values_list("supervisor_id", flat=True)) == {ids["supervisor"]}


def test_same_name_in_another_backend_is_another_process(session, open_session):
    first = session.register([record("worker")])
    second = open_session("other").register([record("worker")])

    assert first != second


def test_heartbeat_is_written_by_the_clock_of_the_database(session):
    ids = session.register([record("supervisor"), record("worker")])
    Process.objects.update(last_heartbeat_at=database_clock() - timedelta(hours=1))
    before = database_clock()

    beaten = session.heartbeat(list(ids.values()))

    assert beaten == 2
    for row in Process.objects.all():
        assert before <= row.last_heartbeat_at <= database_clock()


def test_heartbeat_tells_how_many_are_still_registered(session):
    ids = session.register([record("supervisor"), record("worker"), record("other")])
    Process.objects.filter(name="worker").delete()

    assert session.heartbeat(list(ids.values())) == 2


def test_second_heartbeat_at_the_same_moment_counts_too(session):
    ids = list(session.register([record("supervisor"), record("worker")]).values())

    assert [session.heartbeat(ids) for _ in range(3)] == [2, 2, 2]


def test_heartbeat_of_one_process_does_not_keep_another_alive(session):
    [mine] = session.register([record("mine")]).values()
    session.register([record("other")])
    long_ago = database_clock() - timedelta(hours=1)
    Process.objects.update(last_heartbeat_at=long_ago)

    session.heartbeat([mine])

    assert Process.objects.get(name="other").last_heartbeat_at == long_ago


def test_heartbeat_of_nobody_is_nothing(session):
    assert session.heartbeat([]) == 0


def test_a_process_tells_something_else_about_itself(session):
    ids = session.register([record("worker", metadata={"threads": 3}), record("other")])

    session.describe(ids["worker"], {"größe": [None]})
    session.describe(123456789, {"nobody": 1})

    assert dict(Process.objects.values_list("name", "metadata")) == {
        "worker": {"größe": [None]},
        "other": {},
    }


def test_deregistered_processes_are_gone_and_others_stay(session):
    ids = session.register([record("supervisor"), record("worker")])
    session.register([record("another")])

    session.deregister(list(ids.values()))

    assert list(Process.objects.values_list("name", flat=True)) == ["another"]


def test_actor_can_stop_before_its_supervisor(session):
    ids = session.register([record("supervisor"), record("worker")])

    session.deregister([ids["worker"]])

    assert list(Process.objects.values_list("name", flat=True)) == ["supervisor"]


def test_supervisor_can_stop_before_its_actors(session):
    ids = session.register([record("supervisor"), record("worker")])

    session.deregister([ids["supervisor"]])

    assert list(Process.objects.values_list("name", "supervisor_id")) == [("worker", None)]


def test_process_that_is_gone_can_be_deregistered_again(session):
    ids = list(session.register([record("supervisor")]).values())
    session.deregister(ids)

    session.deregister([*ids, 123456789])

    assert not Process.objects.exists()


def test_deregistering_nobody_is_nothing(session):
    session.deregister([])

    assert not Process.objects.exists()


def test_a_server_says_how_many_connections_it_has_and_takes(session, vendor):
    answer = session.connections()

    if vendor == "sqlite":
        assert answer is None
    else:
        assert 0 < answer.used <= answer.limit
        assert answer.limit > 10
