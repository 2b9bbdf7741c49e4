"""The pictures in the README and in docs/dashboard.md, taken of real pages; `make screenshots` keeps them."""

import io
import os
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from PIL import Image

from tests.browser.shop import Shop
from tests.browser.visitor import DASHBOARD, Visitor
from tests.contrib.servers import uvicorn
from tests.waiting import wait_until

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "_static"
PASSWORD = "correct horse"
WIDTH = 1200

# A README with pictures of half a megabyte is not read on a train.
MOST_BYTES = 150_000

PICTURES = {
    "overview": (DASHBOARD, 1240),
    "job": ("", 1180),
    "recurring": (f"{DASHBOARD}recurring/", 640),
}


@pytest.fixture
def watcher(chromium, tmp_path):
    """A visitor of a site on which nothing runs."""
    with uvicorn(tmp_path / "log", application="tests.site.asgi_watching:application") as server:
        visitor = Visitor(chromium, f"http://127.0.0.1:{server.port}")
        yield visitor
        visitor.forget()
    assert visitor.complaints == []


@pytest.fixture
def folder(tmp_path) -> Path:
    return FOLDER if os.environ.get("DJ_QUEUE_SCREENSHOTS") else tmp_path


def optimised(png: bytes) -> bytes:
    """The same with few colours, which is all that a page of text has."""
    made = io.BytesIO()
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(128, dither=Image.Dither.NONE).save(made, "PNG", optimize=True)
    return made.getvalue()


def test_pictures_are_taken_in_light_and_dark(watcher, folder):
    failed = Shop().open()
    User.objects.create_superuser("olga", password=PASSWORD)
    watcher.log_in("olga", PASSWORD)
    for scheme in ("light", "dark"):
        # Before the page is opened: one that is there changes its colours slowly.
        watcher.prefers(scheme)
        for name, (path, height) in PICTURES.items():
            watcher.sits_before(WIDTH, height)
            watcher.open(path or reverse("admin:dj_queue_job_change", args=[failed.pk]))
            wait_until(lambda: watcher.run("return document.getAnimations().length") == 0)
            png = optimised(watcher.driver.get_screenshot_as_png())
            (folder / f"{name}-{scheme}.png").write_bytes(png)

    taken = {path.name for path in folder.glob("*-light.png")} | {
        path.name for path in folder.glob("*-dark.png")
    }
    assert taken == {f"{name}-{scheme}.png" for name in PICTURES for scheme in ("light", "dark")}


def test_the_pictures_that_are_shown_are_there_and_small():
    for page in ("README.md", "docs/dashboard.md"):
        assert "overview-light.png" in (FOLDER.parents[1] / page).read_text(), page
    for name in PICTURES:
        for scheme in ("light", "dark"):
            path = FOLDER / f"{name}-{scheme}.png"
            assert path.stat().st_size < MOST_BYTES, path
            with Image.open(path) as image:
                assert image.width == WIDTH, path
