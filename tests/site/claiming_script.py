"""A script that claims two jobs and begins one, which does not end; the test kills it."""

import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from dj_queue.api import claim_ready_jobs, execute_claimed_job  # noqa: E402


def main() -> None:
    """Tell when jobs are claimed, and begin the first."""
    claimed = claim_ready_jobs(limit=2)
    sys.stdout.write(f"{len(claimed)} claimed\n")
    sys.stdout.flush()
    execute_claimed_job(claimed[0])


if __name__ == "__main__":
    main()
