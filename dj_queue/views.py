"""Stats, metrics and health over HTTP, for machines.

Stats and metrics tell names of queues and tasks, and are closed until a project opens them: with
`DJ_QUEUE_OBSERVABILITY_TOKEN`, which a request then has to bear, or for everybody with
`DJ_QUEUE_OBSERVABILITY_PUBLIC = True`. Where there is a token it is asked for in any case. Health is open to
all, because probes bear nothing; without the token it says yes or no and not why.
"""

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import Error
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare

from dj_queue import observability, probes
from dj_queue.contrib import prometheus

_TEXT = "text/plain; charset=utf-8"

_PROBES = {"live": probes.live, "ready": probes.ready}


def observability_stats_view(request: HttpRequest) -> HttpResponse:
    """What runs and what waits, as JSON."""
    if not is_allowed(request):
        return _unauthorized()
    try:
        return _fresh(JsonResponse(observability.stats_payload()))
    except Error:
        return _fresh(JsonResponse({"error": "the database does not answer"}, status=503))


def observability_metrics_view(request: HttpRequest) -> HttpResponse:
    """The metrics for Prometheus: its text format, or OpenMetrics where that is asked for."""
    if not is_allowed(request):
        return _unauthorized()
    if prometheus.registry is None:
        return _fresh(HttpResponse(prometheus.INSTALL_HINT, status=503, content_type=_TEXT))
    body, content_type = prometheus.exposition(request.headers.get("Accept", ""))
    return _fresh(HttpResponse(body, content_type=content_type))


def health_view(request: HttpRequest) -> HttpResponse:
    """200 when all is well, 503 when not; `?probe=live` or `?probe=ready`, which is the default."""
    asked = request.GET.get("probe", "ready")
    if asked not in _PROBES:
        words = " or ".join(_PROBES)
        return _fresh(HttpResponse(f"probe: expected {words}", status=400, content_type=_TEXT))
    problems = _PROBES[asked]()
    said = "ok" if not problems else "not ok"
    if problems and is_allowed(request):
        said = "\n".join(problems)
    return _fresh(HttpResponse(said, status=503 if problems else 200, content_type=_TEXT))


def is_allowed(request: HttpRequest) -> bool:
    """Whether *request* may know what only the project's own may."""
    token = getattr(settings, "DJ_QUEUE_OBSERVABILITY_TOKEN", None)
    if token is not None and not isinstance(token, str):
        raise ImproperlyConfigured(
            f"DJ_QUEUE_OBSERVABILITY_TOKEN must be a string, not of type {type(token).__name__}"
        )
    if not token:
        return getattr(settings, "DJ_QUEUE_OBSERVABILITY_PUBLIC", False) is True
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and constant_time_compare(given.strip(), token)


def _unauthorized() -> HttpResponse:
    return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})


def _fresh[R: HttpResponse](response: R) -> R:
    response.headers["Cache-Control"] = "no-store"
    return response
