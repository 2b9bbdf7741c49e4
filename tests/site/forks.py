"""A process that forks while it has a connection, and while another thread holds a lock of ours.

Prints what the child said, and what became of the parent's connection.
"""

import os
import signal
import sys
import threading

import django


def main() -> None:
    """Fork, let the child work and end as any program does, and go on."""
    django.setup()
    from django.db import connection

    from dj_queue.runtime import embedded
    from dj_queue.store.announcements import Announcements
    from tests.site.tasks import noop

    embedded.running()
    noop.enqueue()
    mine = connection.connection
    # As when a thread of the parent is just announcing; released when the child is there.
    every = [Announcements(), *_announcements_of_the_store()]
    locks = [announcements._lock for announcements in every]
    _hold_in_a_thread(locks)

    child = os.fork()
    if child == 0:
        # A lock that nobody will release again must end the child, not the test run.
        signal.alarm(20)
        every[0].begin("default", "topic", ["queue"], is_deferred=False)
        shares = connection.connection is mine
        noop.enqueue()
        print("child shares the connection:", shares, flush=True)
        sys.exit(0)  # The interpreter's end takes apart whatever it finds.

    _, status = os.waitpid(child, 0)
    print("child ended with:", os.waitstatus_to_exitcode(status))
    for lock in locks:
        lock.release()
    noop.enqueue()
    print("parent keeps its connection:", connection.connection is mine)


def _announcements_of_the_store():
    from dj_queue.store import store_for

    announcements = getattr(store_for("default"), "_announcements", None)
    return [] if announcements is None else [announcements]


def _hold_in_a_thread(locks) -> None:
    thread = threading.Thread(target=lambda: [lock.acquire() for lock in locks])
    thread.start()
    thread.join()


if __name__ == "__main__":
    main()
