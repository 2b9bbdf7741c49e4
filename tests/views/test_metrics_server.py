"""`manage.py dj_queue --metrics-port`: the same answers from a process that is no web server."""

import urllib.error
import urllib.request

import pytest

from dj_queue import probes
from dj_queue.exceptions import NotStarted
from dj_queue.management.metrics_server import MetricsServer
from tests.contrib.servers import free_port
from tests.contrib.standalone import command
from tests.waiting import wait_until


@pytest.fixture
def server():
    with MetricsServer("127.0.0.1:0") as running:
        yield running


def get(port, path, token=None):
    """Status and text of an answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def test_it_is_as_closed_as_the_views(server, settings):
    assert get(server.port, "/metrics")[0] == 401

    settings.DJ_QUEUE_OBSERVABILITY_TOKEN = "a secret"
    assert get(server.port, "/metrics", "another")[0] == 401
    status, text = get(server.port, "/metrics", "a secret")

    assert status == 200
    assert 'dj_queue_up{backend="default"} 1.0' in text


def test_it_has_stats_and_health_and_nothing_else(server, settings):
    probes._kept.forget()
    settings.DJ_QUEUE_OBSERVABILITY_PUBLIC = True

    assert get(server.port, "/stats.json")[0] == 200
    assert get(server.port, "/health?probe=live") == (200, "ok")
    assert get(server.port, "/health")[0] == 503
    assert get(server.port, "/admin/")[0] == 404


def test_an_address_that_is_taken_or_none_is_told(server):
    with pytest.raises(NotStarted, match=r"--metrics-port 127\.0\.0\.1"):
        MetricsServer(f"127.0.0.1:{server.port}")
    with pytest.raises(NotStarted, match="cannot listen there"):
        MetricsServer("eight thousand")


def test_the_command_serves_them_in_fork_mode_from_the_parent(tmp_path):
    port = free_port()

    with command(tmp_path / "log", "--mode", "fork", "--metrics-port", f"127.0.0.1:{port}"):
        wait_until(lambda: get(port, "/health") == (200, "ok"), seconds=30)

        assert get(port, "/metrics")[0] == 401
