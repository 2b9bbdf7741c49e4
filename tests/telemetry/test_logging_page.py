"""What docs/logging.md shows works: each LOGGING there, in a fresh process that runs a job."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contrib.servers import ROOT, environment
from tests.waiting import PATIENCE

_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SNIPPETS = _PYTHON.findall((Path(ROOT) / "docs" / "logging.md").read_text())

# A job's context without a runtime: what the filter reads is what `Watch` sets.
_PROGRAM = """
import datetime, logging, logging.config, uuid
{snippet}
import django
django.setup()
from dj_queue.config import backend_config
from dj_queue.runtime.watch import Watch
from dj_queue.store.records import ClaimedJob, Outcome
logging.config.dictConfig(LOGGING)
logging.getLogger("shop").warning("outside")
now = datetime.datetime.now(datetime.UTC)
carrier = {{"traceparent": "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"}}
job = ClaimedJob(
    uuid.UUID(int=7), 1, "shop.tasks.send", "mail", 0, 0, {{}}, now, None, None, None, None, carrier
)
watch = Watch(backend_config("default"), "worker-1@here", job, lambda: False)
logging.getLogger("shop").warning("inside")
{more}
watch.end(Outcome(job, now, now))
"""

JOB = "00000000-0000-0000-0000-000000000007"
TRACE = "0123456789abcdef0123456789abcdef"


def lines_of(snippet, more=""):
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(snippet=snippet, more=more)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stderr.splitlines()


def test_plain_lines_name_the_job_and_the_trace():
    outside, inside = lines_of(SNIPPETS[0])

    assert outside == "WARNING shop job=- trace=- outside"
    assert inside == f"WARNING shop job={JOB} trace={TRACE} inside"


def test_json_has_all_fields():
    pytest.importorskip("pythonjsonlogger")
    outside, inside = map(json.loads, lines_of(SNIPPETS[1]))

    assert outside["djq_job_id"] is None
    assert (inside["message"], inside["djq_job_id"]) == ("inside", JOB)
    assert (inside["djq_queue"], inside["djq_attempt"]) == ("mail", 1)


def test_structlog_and_logging_both_know_the_job():
    pytest.importorskip("structlog")
    more = "structlog.get_logger('shop').warning('structured', order=5)"
    outside, inside, structured = map(json.loads, lines_of(SNIPPETS[2], more))

    assert "djq_job_id" not in outside
    assert (inside["event"], inside["djq_job_id"]) == ("inside", JOB)
    assert (structured["event"], structured["order"]) == ("structured", 5)
    assert structured["djq_trace_id"] == TRACE
