"""Endpoints through which a test enqueues in a server that it has started."""

import asyncio
import json
import os
import time
from pathlib import Path

from django.contrib import admin
from django.http import HttpRequest, JsonResponse
from django.urls import include, path
from django.utils.module_loading import import_string

from tests.site import own_admin


def _call(request: HttpRequest) -> tuple:
    asked = json.loads(request.GET.get("call", "{}"))
    task = import_string(asked.get("task", "tests.site.tasks.add"))
    return task, asked.get("args", []), asked.get("kwargs", {})


def enqueue(request: HttpRequest) -> JsonResponse:
    """Enqueue once, or `count` times in one statement; answers with the ids and this process's pid."""
    task, args, kwargs = _call(request)
    if "count" in request.GET and request.GET["count"] != "1":
        calls = [(task, args, kwargs)] * int(request.GET["count"])
        results = task.get_backend().enqueue_all(calls)
    else:
        results = [task.enqueue(*args, **kwargs)]
    return JsonResponse({"ids": [result.id for result in results], "pid": os.getpid()})


async def enqueue_async(request: HttpRequest) -> JsonResponse:
    """The same on the event loop."""
    task, args, kwargs = _call(request)
    result = await task.aenqueue(*args, **kwargs)
    return JsonResponse({"ids": [result.id], "pid": os.getpid()})


async def slow(request: HttpRequest) -> JsonResponse:
    """A request of so many seconds at most: it makes the file `begun`, and ends when there is `until`."""
    if "begun" in request.GET:
        Path(request.GET["begun"]).touch()
    over = time.monotonic() + float(request.GET["seconds"])
    until = Path(request.GET.get("until", "/nowhere"))
    while time.monotonic() < over and not until.exists():
        await asyncio.sleep(min(0.05, max(0.0, over - time.monotonic())))
    return JsonResponse({"pid": os.getpid()})


urlpatterns = [
    path("admin/", admin.site.urls),
    path("own-admin/", own_admin.site.urls),
    path("dj_queue/", include("dj_queue.urls")),
    path("enqueue", enqueue),
    path("enqueue-async", enqueue_async),
    path("slow", slow),
]
