"""One page to ask for, and one that makes work."""

from django.http import HttpRequest, JsonResponse
from django.urls import path

from web_site import jobs


async def hello(_: HttpRequest) -> JsonResponse:
    """A small answer."""
    return JsonResponse({"hello": "world"})


def enqueue(request: HttpRequest) -> JsonResponse:
    """Enqueue as many jobs as asked for."""
    count, seconds = int(request.GET["jobs"]), float(request.GET["seconds"])
    task = getattr(jobs, request.GET["task"])
    return JsonResponse({"ids": [task.enqueue(n, seconds).id for n in range(count)]})


urlpatterns = [path("", hello), path("enqueue", enqueue)]
