"""A process that gets SIGTERM while no thread can be started; prints what its own handler was told."""

import os
import resource
import signal
import threading

import django

from dj_queue.contrib._hold import Hold


def main() -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: print("handler was called"))
    django.setup()
    hold = Hold()
    print("refusal:", hold.start())
    hold.heed_sigterm()
    limit = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as pages:
        used = int(pages.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used, limit[1]))
    try:
        threading.Thread(target=int).start()
    except RuntimeError as error:
        print("threads:", error)
    os.kill(os.getpid(), signal.SIGTERM)
    resource.setrlimit(resource.RLIMIT_AS, limit)
    hold.stop()


if __name__ == "__main__":
    main()
