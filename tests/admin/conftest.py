"""Users of the admin, and jobs in every state for them to look at."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.test import Client

from tests.admin.world import World


@pytest.fixture(autouse=True)
def no_users(empty_tables) -> Iterator[None]:
    yield
    LogEntry.objects.all().delete()
    User.objects.all().delete()
    Session.objects.all().delete()


@pytest.fixture
def operator() -> Client:
    """Somebody who may do everything."""
    client = Client()
    client.force_login(User.objects.create_superuser("olga"))
    return client


@pytest.fixture
def staff() -> Any:
    """Makes a client of a member of staff with some permissions of dj_queue."""

    def make(*codenames: str) -> Client:
        user = User.objects.create_user(f"user{User.objects.count()}", is_staff=True)
        found = Permission.objects.filter(
            content_type__app_label="dj_queue", codename__in=codenames
        )
        assert {each.codename for each in found} == set(codenames)
        user.user_permissions.set(found)
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def world() -> World:
    return World()
