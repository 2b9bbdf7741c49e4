"""A headless Chromium, and the test site under uvicorn for it to visit."""

import os
import shutil
from collections.abc import Iterator

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session

from tests.browser.visitor import Visitor
from tests.contrib.servers import uvicorn


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        if os.environ.get("CI"):
            pytest.fail("chromium and chromedriver are needed (Debian: chromium chromium-driver)")
        pytest.skip("chromium or chromedriver is not installed")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for each in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(each)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def visitor(chromium, tmp_path) -> Iterator[Visitor]:
    """A visitor of a site that runs jobs; what the browser has to complain about fails the test."""
    with uvicorn(tmp_path / "log", application="tests.site.asgi_admin:application") as server:
        visitor = Visitor(chromium, f"http://127.0.0.1:{server.port}")
        yield visitor
        visitor.forget()
    assert visitor.complaints == []


@pytest.fixture(autouse=True)
def no_users(empty_tables) -> Iterator[None]:
    yield
    LogEntry.objects.all().delete()
    User.objects.all().delete()
    Session.objects.all().delete()
