"""`dj_queue.db`: where a queue is, and what its database can do."""

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection, connections, transaction

from dj_queue import db
from dj_queue.exceptions import ConfigurationError
from dj_queue.models import Pause
from dj_queue.store.transactions import RowsMoved


def test_a_backend_is_on_the_database_that_it_names(use_tasks, queue_database):
    use_tasks(default={}, other={"database_alias": queue_database})
    Pause.objects.using(queue_database).create(queue_name="there")

    assert db.get_database_alias() == "default"
    assert db.get_database_alias("other") == queue_database
    assert db.get_queue_connection("other") is connections[queue_database]
    with db.queue_cursor("other") as cursor:
        cursor.execute("SELECT queue_name FROM dj_queue_pauses")
        assert [row[0] for row in cursor.fetchall()] == ["there"]
    Pause.objects.using(queue_database).all().delete()


def test_an_unknown_backend_is_an_error():
    with pytest.raises(ConfigurationError, match=r"TASKS\['none'\] does not exist"):
        db.get_database_alias("none")


def test_what_a_database_can_do_is_told(vendor, use_tasks):
    found = db.database_capabilities("default")

    family = "mariadb" if vendor == "mysql" and connection.mysql_is_mariadb else vendor
    assert found.backend_family == family
    assert found.supports_skip_locked is (vendor != "sqlite")
    assert found.supports_listen_notify is (vendor == "postgresql")
    assert found.uses_serialized_writes is (vendor == "sqlite")
    assert db.supports_skip_locked() is found.supports_skip_locked
    assert db.supports_listen_notify() is found.supports_listen_notify
    use_tasks(default={"use_skip_locked": False, "listen_notify": False})
    assert (db.supports_skip_locked(), db.supports_listen_notify()) == (False, False)


def test_a_vendor_without_a_store_is_improperly_configured(monkeypatch):
    odd = connections["default"].__class__({**connections["default"].settings_dict}, "odd")
    odd.vendor = "oracle"
    monkeypatch.setattr(connections._connections, "odd", odd, raising=False)
    monkeypatch.setitem(connections.settings, "odd", connections.settings["default"])

    with pytest.raises(ImproperlyConfigured, match="'oracle'"):
        db.database_capabilities("odd")


def test_locked_rows_are_passed_over_by_others(vendor, in_another_thread):
    Pause.objects.create(queue_name="a")

    with transaction.atomic():
        assert len(db.locked_queryset(Pause.objects.all())) == 1
        seen = in_another_thread(read_locked)

    assert seen == ([] if vendor != "sqlite" else ["a"])


def read_locked():
    with transaction.atomic():
        return [pause.queue_name for pause in db.locked_queryset(Pause.objects.all())]


@pytest.fixture
def in_another_thread():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        yield lambda function: pool.submit(function).result(30)
        pool.submit(connections.close_all).result(30)


def test_transient_errors_are_retried_and_others_raised():
    calls = []

    def work():
        calls.append(1)
        if len(calls) < 3:
            raise RowsMoved
        return "done"

    assert db.retry_transient_database_errors(work) == "done"
    with pytest.raises(OperationalError, match="no"):
        db.retry_transient_database_errors(raise_no)
    assert len(calls) == 3


def raise_no():
    raise OperationalError("no")
