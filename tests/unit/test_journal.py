"""Notes of what has begun, which outlive the process that made them."""

import os
import signal
import subprocess
import sys

import psutil
import pytest
from django.db import connections

from dj_queue.ids import new_job_id
from dj_queue.runtime import journal
from dj_queue.runtime.journal import Journal, Notes, Owner
from dj_queue.store.records import Claim
from tests.contrib.servers import ROOT
from tests.waiting import wait_until

OWNER = Owner("database", "default", "supervisor@host:1:abc")

# Begins the jobs of the ids on its command line, settles the last, and waits for its end.
_PROGRAM = """
import sys, time
from pathlib import Path
from uuid import UUID
from dj_queue.runtime.journal import Journal, Notes, Owner
from dj_queue.store.records import Claim
journal = Journal.open(Path(sys.argv[1]), Owner("database", "default", "other"), capacity=8)
claims = [Claim(UUID(each), token) for token, each in enumerate(sys.argv[2:], start=1)]
for claim in claims:
    journal.begin(claim)
journal.settle(claims[-1:])
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def claims():
    return [Claim(new_job_id(), token) for token in range(1, 5)]


@pytest.fixture
def own(tmp_path):
    opened = Journal.open(tmp_path, OWNER, capacity=8)
    yield opened
    opened.close(remove=True)


@pytest.fixture
def other(tmp_path, claims):
    """Another process that has begun three jobs and settled a fourth."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(tmp_path), *(str(claim.id) for claim in claims)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def found(directory):
    (path,) = journal.paths(directory)
    return path


def test_it_knows_what_has_begun_and_is_not_settled(own, claims):
    for claim in claims:
        own.begin(claim)
    own.settle(claims[:2])

    assert own.notes.begun == set(claims[2:])


def test_what_was_never_begun_may_be_settled(own, claims):
    own.settle(claims)

    assert own.notes.begun == frozenset()


def test_places_are_used_again(own):
    for token in range(1, 100):
        claim = Claim(new_job_id(), token)
        own.begin(claim)
        assert own.notes.begun == {claim}
        own.settle([claim])


def test_the_same_job_claimed_anew_is_another_note(own, claims):
    first, again = claims[0], claims[0]._replace(token=77)
    own.begin(first)
    own.begin(again)
    own.settle([first])

    assert own.notes.begun == {again}


def test_an_import_is_another_note_and_lasts_as_long_as_its_block(own, claims):
    new, reserved, begun, _ = claims
    own.reserve(reserved)
    own.begin(begun)

    with own.importing([new, reserved, begun]):
        notes = own.notes

    assert notes == Notes(begun=frozenset(), importing=frozenset([new, reserved, begun]))
    assert own.notes == Notes(begun=frozenset([begun]))
    # The places of those that have one are still theirs.
    own.begin(reserved)
    assert own.notes.begun == {reserved, begun}
    own.settle(claims)
    assert own.notes.begun == frozenset()


def test_imports_take_no_place_for_good(own, claims):
    for _ in range(50):
        with own.importing(claims):
            assert own.notes.begun == frozenset()

    own.begin(claims[0])
    assert own.notes.begun == {claims[0]}


def test_with_more_jobs_than_it_has_room_for_nothing_is_known(own):
    for token in range(1, 10):
        own.begin(Claim(new_job_id(), token))

    assert own.notes.begun is None


def test_a_full_disk_is_an_error_when_it_is_opened_and_not_a_crash_later(tmp_path):
    program = f"""
import resource
from pathlib import Path
from dj_queue.runtime.journal import Journal, Owner
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    Journal.open(Path({str(tmp_path)!r}), Owner("database", "default", "full"), capacity=1000)
except OSError as error:
    print(error)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=ROOT)

    assert b"no room for a journal" in ended.stdout, ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_one_that_was_removed_says_so(own):
    assert own.touch()

    own.path.unlink()

    assert not own.touch()


def test_a_half_made_one_is_removed_when_it_is_old(tmp_path):
    path = tmp_path / "half.journal"
    path.write_bytes(b"")
    with journal.orphaned(path):
        pass
    assert path.exists()

    os.utime(path, (0, 0))
    with journal.orphaned(path):
        pass

    assert not path.exists()


def test_two_schemas_of_one_database_are_two_databases():
    connection = connections["default"]
    before = journal.database_identity("default")
    given = connection.settings_dict["OPTIONS"]
    connection.settings_dict["OPTIONS"] = {**given, "options": "-c search_path=other"}
    try:
        other = journal.database_identity("default")
    finally:
        connection.settings_dict["OPTIONS"] = given

    assert other != before == journal.database_identity("default")


def test_its_age_is_that_of_the_last_sign_of_life(own):
    os.utime(own.path, (0, 0))

    own.touch()

    assert own.path.stat().st_mtime > 0


def test_of_a_living_process_it_is_not_orphaned_but_can_be_read(tmp_path, other, claims):
    with journal.orphaned(found(tmp_path)) as orphan:
        assert orphan is None
    assert journal.notes_of(tmp_path, "other").begun == set(claims[:3])


def test_of_a_stopped_process_it_is_not_orphaned_either(tmp_path, other):
    other.send_signal(signal.SIGSTOP)

    with journal.orphaned(found(tmp_path)) as orphan:
        assert orphan is None


def test_of_a_killed_process_it_says_what_had_begun(tmp_path, other, claims):
    other.kill()
    other.wait(10)

    with journal.orphaned(found(tmp_path)) as orphan:
        assert orphan.owner == Owner("database", "default", "other")
        assert orphan.notes.begun == set(claims[:3])
        orphan.remove()
    assert journal.paths(tmp_path) == []


# Keeps a journal for jobs that a child of its own begins, and says the child's pid.
_PARENT = """
import subprocess, sys, time
from pathlib import Path
from uuid import UUID
from dj_queue.runtime.journal import Journal, Notes, Owner
from dj_queue.store.records import Claim
journal = Journal.open(Path(sys.argv[1]), Owner("database", "default", "parent"), capacity=8)
child = subprocess.Popen(
    [sys.executable, "-c", sys.argv[2], str(journal.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
)
for token, each in enumerate(sys.argv[3:], start=1):
    place = journal.reserve(Claim(UUID(each), token))
    child.stdin.write(f"{each} {token} {place}\\n".encode())
    child.stdin.flush()
    child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""

# Notes each job that it is told, except the first.
_CHILD = """
import sys, time
from pathlib import Path
from uuid import UUID
from dj_queue.runtime.journal import Share
from dj_queue.store.records import Claim
share = Share(Path(sys.argv[1]))
for line in sys.stdin:
    job_id, token, place = line.split()
    if token != "1":
        share.noting(Claim(UUID(job_id), int(token)), int(place))()
    print("noted", flush=True)
time.sleep(60)
"""


@pytest.fixture
def family(tmp_path, claims):
    """A process with a child that has noted all but the first of three jobs; and the child's pid."""
    ids = [str(claim.id) for claim in claims[:3]]
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path), _CHILD, *ids],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        process.child = psutil.Process(int(process.stdout.readline()))
        yield process
        process.kill()
        process.child.kill()


def test_a_child_notes_what_it_begins_and_what_is_only_reserved_has_not_begun(
    tmp_path, family, claims
):
    assert journal.notes_of(tmp_path, "parent").begun == set(claims[1:3])


def test_of_a_killed_process_it_is_not_orphaned_while_a_child_could_begin_something(
    tmp_path, family, claims
):
    family.kill()
    family.wait(10)
    with journal.orphaned(found(tmp_path)) as orphan:
        assert orphan is None

    family.child.kill()

    def is_orphaned():
        with journal.orphaned(found(tmp_path)) as orphan:
            return orphan is not None and orphan.notes.begun == set(claims[1:3])

    wait_until(is_orphaned)


def test_only_one_recovers_it(tmp_path, other):
    other.kill()
    other.wait(10)
    path = found(tmp_path)
    program = f"""
from pathlib import Path
from dj_queue.runtime import journal
with journal.orphaned(Path({str(path)!r})) as orphan:
    print(orphan)
"""
    with journal.orphaned(path) as orphan:
        assert orphan is not None
        second = subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=ROOT)

    assert second.stdout == b"None\n", second.stderr


def test_a_process_does_not_take_its_own_for_orphaned(tmp_path, own, claims):
    own.begin(claims[0])

    assert journal.paths(tmp_path) == []


def test_what_is_closed_and_kept_can_be_recovered_in_the_same_process(tmp_path, claims):
    left = Journal.open(tmp_path, OWNER, capacity=8)
    left.begin(claims[0])
    left.close(remove=False)

    with journal.orphaned(found(tmp_path)) as orphan:
        assert orphan.notes.begun == {claims[0]}


def test_a_forked_child_neither_holds_nor_closes_it(tmp_path, own, claims):
    own.begin(claims[0])
    child = os.fork()
    if child == 0:
        own.close(remove=True)
        os._exit(0)
    os.waitpid(child, 0)

    assert own.path.exists()
    assert own.notes.begun == {claims[0]}


def test_a_file_that_is_no_journal_is_left_alone(tmp_path):
    (tmp_path / "broken.journal").write_bytes(b"\xff" * 3000)

    with journal.orphaned(found(tmp_path)) as orphan:
        assert orphan is None
    assert journal.notes_of(tmp_path, "other").begun is None


def test_the_default_folder_belongs_to_this_user_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))

    directory = journal.journal_directory(None)

    assert directory.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_may_write_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    journal.journal_directory(None).chmod(0o777)

    with pytest.raises(OSError, match="others may write to it"):
        journal.journal_directory(None)


def test_a_folder_that_was_named_is_made(tmp_path):
    assert journal.journal_directory(str(tmp_path / "a" / "b")).is_dir()
