"""Endpoints through which a test enqueues in a server that it has started."""

import asyncio
import json
import os

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
    """Enqueue `count` times; answers with the ids and this process's pid."""
    task, args, kwargs = _call(request)
    count = int(request.GET.get("count", "1"))
    results = [task.enqueue(*args, **kwargs) for _ in range(count)]
    return JsonResponse({"ids": [result.id for result in results], "pid": os.getpid()})


async def enqueue_async(request: HttpRequest) -> JsonResponse:
    """The same on the event loop."""
    task, args, kwargs = _call(request)
    result = await task.aenqueue(*args, **kwargs)
    return JsonResponse({"ids": [result.id], "pid": os.getpid()})


async def slow(request: HttpRequest) -> JsonResponse:
    """A request that takes as long as it is told."""
    await asyncio.sleep(float(request.GET["seconds"]))
    return JsonResponse({"pid": os.getpid()})


urlpatterns = [
    path("admin/", admin.site.urls),
    path("own-admin/", own_admin.site.urls),
    path("dj_queue/", include("dj_queue.urls")),
    path("enqueue", enqueue),
    path("enqueue-async", enqueue_async),
    path("slow", slow),
]
