"""Errors and their messages."""

import inspect
import pickle

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.tasks.exceptions import InvalidTask, TaskException

from dj_queue import exceptions
from dj_queue.exceptions import DjQueueError, exception_path

ALL = [
    kind
    for _, kind in inspect.getmembers(exceptions, inspect.isclass)
    if kind.__module__ == exceptions.__name__
]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_has_the_base_class_and_a_message_of_its_own(kind):
    error = kind()

    assert isinstance(error, DjQueueError)
    assert str(error) == " ".join(kind.__doc__.split())
    assert str(error)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_message_that_is_given_is_the_message(kind):
    assert str(kind("what was found")) == "what was found"


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_errors_travel_between_processes(kind):
    again = pickle.loads(pickle.dumps(kind("what was found")))

    assert type(again) is kind
    assert str(again) == "what was found"


def test_a_wrong_setting_is_an_improper_configuration():
    assert issubclass(exceptions.ConfigurationError, ImproperlyConfigured)
    assert issubclass(exceptions.UnsupportedDatabase, ImproperlyConfigured)


def test_a_wrong_queue_or_priority_is_what_either_world_expects():
    assert issubclass(exceptions.InvalidEnqueue, exceptions.EnqueueError)
    assert issubclass(exceptions.InvalidEnqueue, InvalidTask)
    assert issubclass(exceptions.InvalidEnqueue, TaskException)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (exceptions.PayloadError, TypeError),
        (exceptions.ReturnValueError, TypeError),
        (exceptions.TaskNotImportable, ImportError),
    ],
)
def test_errors_are_the_builtin_ones_that_django_raises_in_their_place(kind, builtin):
    assert issubclass(kind, builtin)


def test_the_path_of_an_error_leads_to_its_class():
    assert exception_path(ValueError("x")) == "builtins.ValueError"
    assert exception_path(exceptions.EnqueueError) == "dj_queue.exceptions.EnqueueError"


def test_the_path_of_a_nested_class_has_its_qualified_name():
    class Inner(Exception):
        pass

    assert exception_path(Inner()).endswith(
        "test_the_path_of_a_nested_class_has_its_qualified_name.<locals>.Inner"
    )
