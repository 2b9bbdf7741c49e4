"""A project's tests: run jobs at once, travel in time, see what was enqueued."""

import unittest
from datetime import timedelta

from project import setup

setup()

from django.tasks import task
from django.test import TestCase

from dj_queue.testing import assert_enqueued, assert_not_enqueued, run_jobs, travel

sent = []


@task
def send(address, subject):
    sent.append(f"{subject} to {address}")


def sign_up(address):
    send.enqueue(address, subject="welcome")
    send.using(run_after=timedelta(days=7)).enqueue(address, subject="how are you")


class SignUpTests(TestCase):
    def test_mails_go_out_now_and_after_a_week(self):
        sign_up("a@example.org")

        assert_enqueued(send, kwargs={"subject": "welcome"}, args=["a@example.org"])
        run_jobs()
        assert sent == ["welcome to a@example.org"]
        with travel(timedelta(days=8)):
            run_jobs()
        assert sent[-1] == "how are you to a@example.org"

    def test_nothing_is_left_of_the_other_test(self):
        assert_not_enqueued(send)


tests = unittest.defaultTestLoader.loadTestsFromTestCase(SignUpTests)
outcome = unittest.TestResult()
tests.run(outcome)
print(outcome.testsRun, "tests,", len(outcome.failures) + len(outcome.errors), "failed")
for _, text in outcome.failures + outcome.errors:
    print(text)

# Output:
# 2 tests, 0 failed
