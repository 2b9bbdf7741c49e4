"""The demo in `examples/thumbnails` as a visitor meets it: a real server process, asked over HTTP."""

import http.client
import io
import json
import os
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.waiting import PATIENCE

FOLDER = Path(__file__).parent.parent / "examples" / "thumbnails"
OPEN_STATES = ("waiting", "running")


@dataclass
class Answer:
    """What the site said."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    seconds: float

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Demo:
    """The demo in one uvicorn process, with its files in a folder of its own."""

    var: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    port: int = 0

    def migrate(self) -> None:
        subprocess.run(
            [sys.executable, FOLDER / "manage.py", "migrate", "--no-input", "--verbosity=0"],
            env=self._environment,
            check=True,
            timeout=60 * PATIENCE,
        )

    def start(self) -> None:
        """Start the server on a port that it chooses itself, and wait until it says which."""
        # A log of its own for each start: the port is read from it.
        self.log = self.var / f"server-{uuid.uuid4().hex}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "uvicorn", "--app-dir", FOLDER,
                    "mysite.asgi:application", "--port", "0",
                ],
                env=self._environment,
                # From anywhere: nothing of the demo may depend on the current folder.
                cwd=self.var,
                stdout=log,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        wait_until(lambda: self._announced_port() is not None, "the server to listen", self)
        self.port = int(self._announced_port() or 0)

    def terminate(self, seconds: float) -> None:
        """Ask the server to stop, and raise `TimeoutExpired` when it has not after *seconds*."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(seconds * PATIENCE)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10 * PATIENCE)

    def count(self, table: str) -> int:
        with closing(sqlite3.connect(self.var / "db.sqlite3")) as database:
            return database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]

    @property
    def media(self) -> list[Path]:
        return [path for path in (self.var / "media").rglob("*") if path.is_file()]

    @property
    def _environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("DEMO_", "DJANGO_"))}
        return {**inherited, "DEMO_VAR": str(self.var), **self.environment}

    def _announced_port(self) -> str | None:
        found = re.search(r"running on http://[\d.]+:(\d+)", self.log.read_text())
        return found[1] if found else None


@dataclass
class Visitor:
    """A browser without a script: keeps cookies, sends forms."""

    demo: Demo
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str = "/") -> Answer:
        return self._ask("GET", path)

    def post(self, path: str, *files: tuple[str, bytes]) -> Answer:
        """Send the form at *path*, with the token of the page it stands on."""
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.get().text)
        boundary = uuid.uuid4().hex
        parts = [
            ('name="csrfmiddlewaretoken"', token[1].encode() if token else b""),
            *((f'name="pictures"; filename="{name}"', content) for name, content in files),
        ]
        body = b"".join(
            f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode()
            + content
            + b"\r\n"
            for head, content in parts
        )
        body += f"--{boundary}--\r\n".encode()
        return self._ask("POST", path, body, f"multipart/form-data; boundary={boundary}")

    def bring(self, *files: tuple[str, bytes]) -> None:
        assert self.post("/upload/", *files).status == 302

    def pictures(self) -> list[dict[str, Any]]:
        """The state of all pictures on the visitor's page, in their order there."""
        ids = re.findall(r'data-picture="([\w-]+)"', self.get().text)
        query = "&".join(f"picture={each}" for each in ids)
        return json.loads(self.get(f"/state/?{query}").body)["pictures"]

    def pictures_when_closed(self) -> list[dict[str, Any]]:
        """The same when nothing of it waits or runs any more."""
        found: list[dict[str, Any]] = []

        def none_is_open() -> bool:
            found[:] = self.pictures()
            return not any(each["state"] in OPEN_STATES for each in found)

        wait_until(none_is_open, "all pictures to be done or failed", self.demo)
        return found

    def _ask(
        self, method: str, path: str, body: bytes | None = None, content_type: str = ""
    ) -> Answer:
        headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        if content_type:
            headers["Content-Type"] = content_type
        began = time.monotonic()
        with closing(
            http.client.HTTPConnection("127.0.0.1", self.demo.port, timeout=30 * PATIENCE)
        ) as asked:
            asked.request(method, path, body, headers)
            response = asked.getresponse()
            content = response.read()
        for line in response.headers.get_all("Set-Cookie", []):
            self.cookies |= {name: each.value for name, each in SimpleCookie(line).items()}
        return Answer(response.status, response.headers, content, time.monotonic() - began)


def wait_until(holds: Callable[[], bool], what: str, demo: Demo, *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds * PATIENCE
    while not holds():
        assert demo.process is not None
        assert demo.process.poll() is None, f"the server ended:\n{demo.log.read_text()}"
        assert time.monotonic() < deadline, f"waited for {what}:\n{demo.log.read_text()}"
        time.sleep(0.05)


def photo(width: int = 1800, height: int = 1200, *, orientation: int = 1) -> bytes:
    """A JPEG that takes some time to work on."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    written = io.BytesIO()
    picture = Image.effect_noise((width // 8, height // 8), 80).resize((width, height))
    picture.save(written, "JPEG", exif=exif)
    return written.getvalue()


def drawing_of_many_pixels() -> bytes:
    """49 million pixels in some kilobytes."""
    written = io.BytesIO()
    Image.new("1", (7000, 7000)).save(written, "PNG")
    return written.getvalue()


def states(pictures: Sequence[dict[str, Any]]) -> list[str]:
    return [each["state"] for each in pictures]


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Iterator[Demo]:
    """One server for all tests that do not stop it."""
    demo = Demo(tmp_path_factory.mktemp("demo"))
    try:
        demo.migrate()
        demo.start()
        yield demo
    finally:
        demo.close()


@pytest.fixture
def own_demo(tmp_path) -> Iterator[Demo]:
    """A migrated demo for one test, not started."""
    demo = Demo(tmp_path)
    try:
        demo.migrate()
        yield demo
    finally:
        demo.close()


@pytest.fixture
def visitor(demo) -> Visitor:
    return Visitor(demo)


def test_pictures_become_thumbnails_of_every_size(visitor):
    visitor.bring(("wide.jpg", photo()), ("small.png", photo(90, 60)))

    wide, small = visitor.pictures_when_closed()

    assert [(each["width"], each["height"]) for each in wide["thumbnails"]] == [
        (1600, 1067), (800, 533), (400, 267), (200, 133),
    ]  # fmt: skip
    assert [(each["width"], each["height"]) for each in small["thumbnails"]] == [(90, 60)]
    with Image.open(io.BytesIO(visitor.get(f"/pictures/{wide['id']}/400.webp").body)) as served:
        assert (served.format, served.size) == ("WEBP", (400, 267))


def test_picture_taken_on_its_side_comes_out_upright(visitor):
    visitor.bring(("portrait.jpg", photo(900, 600, orientation=6)))

    (portrait,) = visitor.pictures_when_closed()

    assert [(each["width"], each["height"]) for each in portrait["thumbnails"]] == [
        (533, 800), (267, 400), (133, 200),
    ]  # fmt: skip


def test_site_answers_while_its_jobs_run(visitor):
    visitor.bring(*((f"{number}.jpg", photo(3600, 2400)) for number in range(4)))
    answers, seen = [], set()

    def none_is_open() -> bool:
        found = states(visitor.pictures())
        seen.update(found)
        if "running" in found:
            answers.append(visitor.get())
        return not seen.intersection(OPEN_STATES).intersection(found)

    wait_until(none_is_open, "four pictures to be done", visitor.demo)

    assert seen == {"waiting", "running", "done"}
    assert answers
    assert {answer.status for answer in answers} == {200}
    # A job on the server's event loop, or one that holds Python's lock, would hold up an answer for
    # as long as it takes; these jobs take a second or so each, two at a time.
    assert statistics.median(answer.seconds for answer in answers) < 0.5 * PATIENCE


@pytest.mark.parametrize(
    ("make_content", "sentence"),
    [
        pytest.param(lambda: b"Milk, bread", "This is not a picture that we can read", id="text"),
        pytest.param(lambda: photo()[:2000], "This picture is damaged", id="broken off"),
        pytest.param(drawing_of_many_pixels, "it has too many pixels", id="too many pixels"),
    ],
)
def test_file_that_cannot_be_used_fails_with_a_sentence(visitor, make_content, sentence):
    visitor.bring(("holiday.jpg", make_content()), ("good.jpg", photo(300, 200)))

    bad, good = visitor.pictures_when_closed()

    assert (bad["state"], good["state"]) == ("failed", "done")
    assert sentence in bad["problem"]
    assert bad["problem"] in visitor.get().text
    assert "Traceback" not in visitor.get().text


def test_failed_picture_can_be_tried_again(visitor):
    visitor.bring(("holiday.jpg", b"Milk, bread"))
    (first,) = visitor.pictures_when_closed()

    answer = visitor.post(f"/pictures/{first['id']}/try-again/")
    (second,) = visitor.pictures_when_closed()

    assert answer.status == 302
    assert (second["id"], second["state"]) == (first["id"], "failed")
    assert "Tried 2 times." in second["html"]
    # Another job than before, not the old one again.
    assert second["version"] != first["version"]


def test_picture_that_is_done_cannot_be_tried_again(visitor):
    visitor.bring(("good.jpg", photo(300, 200)))
    (first,) = visitor.pictures_when_closed()

    visitor.post(f"/pictures/{first['id']}/try-again/")

    assert visitor.pictures() == [first]


def test_sample_set_ends_with_one_failed_file(visitor):
    visitor.post("/sample/")

    pictures = visitor.pictures_when_closed()

    assert states(pictures) == ["done"] * 7 + ["failed"]
    # The third is stored lying on its side.
    upright = pictures[2]["thumbnails"][0]
    assert upright["height"] > upright["width"]


def test_set_that_its_visitor_deletes_is_gone_with_its_files(visitor):
    visitor.bring(("good.jpg", photo(300, 200)))
    (picture,) = visitor.pictures_when_closed()
    (set_id,) = re.findall(r"/sets/([\w-]+)/delete/", visitor.get().text)

    visitor.post(f"/sets/{set_id}/delete/")

    assert visitor.pictures() == []
    assert visitor.get(f"/pictures/{picture['id']}/200.webp").status == 404
    folder = visitor.demo.var / "media" / set_id
    wait_until(lambda: not folder.exists(), "the files to be deleted", visitor.demo)


def test_visitors_see_only_their_own_pictures(visitor):
    visitor.bring(("good.jpg", photo(300, 200)))
    (picture,) = visitor.pictures_when_closed()
    stranger = Visitor(visitor.demo)
    stranger.bring(("other.jpg", photo(300, 200)))

    answers = [
        stranger.get(f"/pictures/{picture['id']}/200.webp"),
        stranger.post(f"/pictures/{picture['id']}/try-again/"),
    ]

    assert [answer.status for answer in answers] == [404, 404]
    assert json.loads(stranger.get(f"/state/?picture={picture['id']}").body) == {"pictures": []}
    assert "good.jpg" not in stranger.get().text


def test_form_without_its_token_is_refused(visitor):
    visitor.get()
    visitor.cookies.clear()

    answer = visitor._ask("POST", "/sample/", b"", "application/x-www-form-urlencoded")

    assert answer.status == 403
    assert "Please send that again" in answer.text


def test_file_above_the_limit_is_refused_with_a_sentence(visitor):
    answer = visitor.post("/upload/", ("huge.jpg", bytes(16 * 1024**2)))

    assert answer.status == 422
    assert "we take up to 15\N{NO-BREAK SPACE}MB for one picture" in answer.text


def test_upload_above_the_limit_is_refused_before_it_is_parsed(visitor):
    answer = visitor.post("/upload/", ("huge.jpg", bytes(61 * 1024**2)))

    assert answer.status == 400
    assert "That was not taken" in answer.text


def test_page_reloads_by_itself_only_while_something_is_open(visitor):
    visitor.bring(("large.jpg", photo(3600, 2400)))
    while_open = visitor.get().text
    visitor.pictures_when_closed()

    refresh = '<noscript><meta http-equiv="refresh"'

    assert refresh in while_open
    assert refresh not in visitor.get().text


def test_page_carries_no_script_or_style_of_its_own(visitor):
    visitor.bring(("good.jpg", photo(300, 200)), ("bad.jpg", b"no picture"))
    visitor.pictures_when_closed()

    answer = visitor.get()

    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]* src=)", answer.text)


@pytest.mark.parametrize(
    ("name", "content_type"),
    [("site.css", "text/css"), ("site.js", "text/javascript"), ("icon.svg", "image/svg+xml")],
)
def test_static_files_are_served(visitor, name, content_type):
    answer = visitor.get(f"/static/thumbnails/{name}")

    assert answer.status == 200
    assert answer.headers.get_content_type() == content_type


@pytest.mark.parametrize(
    "path", ["../views.py", "%2e%2e%2fviews.py", "..%5cviews.py", "nothing.css"]
)
def test_nothing_but_static_files_is_served_from_there(visitor, path):
    assert visitor.get(f"/static/thumbnails/{path}").status == 404


def test_set_is_deleted_when_its_time_is_over(own_demo):
    own_demo.environment["DEMO_KEEP_MINUTES"] = "0.05"
    own_demo.start()
    visitor = Visitor(own_demo)

    visitor.bring(("good.jpg", photo(300, 200)))

    assert own_demo.media
    wait_until(lambda: not own_demo.media, "the files to be deleted", own_demo, seconds=20)
    assert own_demo.count("thumbnails_pictureset") == own_demo.count("thumbnails_picture") == 0


def test_stopped_server_leaves_no_job_claimed(own_demo):
    own_demo.start()
    visitor = Visitor(own_demo)
    visitor.bring(*((f"{number}.jpg", photo(3600, 2400)) for number in range(6)))
    wait_until(lambda: "running" in states(visitor.pictures()), "a job to run", own_demo)

    own_demo.terminate(seconds=25)

    assert own_demo.count("dj_queue_claimed_executions") == 0
    assert own_demo.count("dj_queue_processes") == 0
    # What ran was given time to end, what waited waits on.
    assert own_demo.count("dj_queue_failed_executions") == 0
    assert own_demo.count("dj_queue_ready_executions") > 0


def test_pictures_that_waited_are_made_after_a_restart(own_demo):
    own_demo.start()
    visitor = Visitor(own_demo)
    visitor.bring(*((f"{number}.jpg", photo()) for number in range(6)))
    own_demo.terminate(seconds=25)

    own_demo.start()

    assert states(visitor.pictures_when_closed()) == ["done"] * 6
