"""The page, what its buttons do, and what its script asks.

A visitor is a random name in a signed cookie, given with the first set; everybody sees only their own.
"""

import mimetypes
import uuid
from pathlib import Path

from django.conf import settings
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.cache import patch_cache_control
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST, require_safe

from thumbnails import samples, sets
from thumbnails.forms import UploadForm
from thumbnails.models import Picture, PictureSet
from thumbnails.reports import report_on, summary
from thumbnails.sets import Source

_STATIC_FOLDER = Path(__file__).parent / "static" / "thumbnails"
_STATIC_FILES = frozenset(file.name for file in _STATIC_FOLDER.iterdir())


@require_safe
@never_cache
def index(request: HttpRequest) -> HttpResponse:
    """The page."""
    return _page(request, UploadForm())


@require_POST
def upload(request: HttpRequest) -> HttpResponse:
    """Start a set of the files that came with the request."""
    form = UploadForm(request.POST, request.FILES)
    if not form.is_valid():
        return _page(request, form, status=422)
    return _start(request, [Source(f.name, upload=f) for f in form.cleaned_data["pictures"]])


@require_POST
def start_sample(request: HttpRequest) -> HttpResponse:
    """Start a set of pictures that the jobs paint themselves, and a file that is none."""
    sources = [Source(name, sample=number) for number, name in enumerate(samples.NAMES)]
    sources.append(Source("shopping-list.jpg", content=b"Milk, bread, two lemons.\n"))
    return _start(request, sources)


@require_GET
@never_cache
def state(request: HttpRequest) -> JsonResponse:
    """How the pictures named in the query are doing; those that are gone are left out.

    `{"pictures": [{"id", "state", "percent", "step", "problem", "version", "thumbnails", "html"}]}`.
    The page asks only for what is still open, and uses `html`, which is the same template that the
    page was made of; the other fields are for those who write another page.
    """
    wanted = _uuids(request.GET.getlist("picture")[: settings.MAX_PICTURES_PER_VISITOR])
    reports = [report_on(picture) for picture in _own_pictures(request).filter(pk__in=wanted)]
    pictures = [
        {
            "id": str(report.picture.pk),
            "state": report.state,
            "percent": report.picture.percent,
            "step": report.picture.step,
            "problem": report.problem,
            "version": report.version,
            "thumbnails": list(report.made),
            "html": render_to_string(
                "thumbnails/_picture.html", {"report": report}, request=request
            ),
        }
        for report in reports
    ]
    return JsonResponse({"pictures": pictures})


@require_POST
def try_again(request: HttpRequest, picture_id: uuid.UUID) -> HttpResponse:
    """Enqueue a failed picture once more."""
    sets.try_again(get_object_or_404(_own_pictures(request), pk=picture_id).pk)
    return redirect("thumbnails:index")


@require_POST
def delete(request: HttpRequest, set_id: uuid.UUID) -> HttpResponse:
    """Delete a set before its time."""
    sets.delete_now(get_object_or_404(_own_sets(request), pk=set_id))
    return redirect("thumbnails:index")


@require_safe
def thumbnail(request: HttpRequest, picture_id: uuid.UUID, size: int) -> HttpResponse:
    """One thumbnail, to its owner. Originals are not served: nobody checked what is in them."""
    picture = get_object_or_404(_own_pictures(request), pk=picture_id)
    try:
        # Small enough to be sent in one piece.
        response = HttpResponse(picture.thumbnail(size).read_bytes(), content_type="image/webp")
    except FileNotFoundError:
        raise Http404 from None
    patch_cache_control(response, private=True, max_age=int(settings.KEEP_PICTURES.total_seconds()))
    return response


@require_safe
def static_file(request: HttpRequest, name: str) -> HttpResponse:
    """A file of this app's own static folder.

    So that the demo is one process. A real site lets its web server do this, or WhiteNoise. No path is
    made of what was asked for unless it is the name of one of these files.
    """
    del request
    if name not in _STATIC_FILES:
        raise Http404
    content_type = mimetypes.guess_type(name)[0]
    response = HttpResponse((_STATIC_FOLDER / name).read_bytes(), content_type=content_type)
    # Kept by the browser, and asked for again with its ETag: an edited file is seen at once.
    patch_cache_control(response, public=True, no_cache=True)
    return response


def _start(request: HttpRequest, sources: list[Source]) -> HttpResponse:
    refusal = _refusal(request, len(sources))
    if refusal is not None:
        return _page(request, UploadForm(), refusal=refusal, status=422)
    sets.start_set(_visitor_or_new(request), sources)
    return redirect("thumbnails:index")


def _page(
    request: HttpRequest, form: UploadForm, *, refusal: str | None = None, status: int = 200
) -> HttpResponse:
    shown = [
        (each, [report_on(picture) for picture in each.pictures.all()])
        for each in _own_sets(request).prefetch_related("pictures__picture_set")
    ]
    reports = [report for _, in_set in shown for report in in_set]
    context = {
        "form": form,
        "refusal": refusal,
        "sets": shown,
        "summary": summary(reports),
        "is_open": any(report.is_open for report in reports),
        "keep_minutes": round(settings.KEEP_PICTURES.total_seconds() / 60) or 1,
        "samples": len(samples.NAMES),
    }
    return render(request, "thumbnails/index.html", context, status=status)


def _visitor_or_new(request: HttpRequest) -> str:
    if "visitor" not in request.session:
        request.session["visitor"] = uuid.uuid4().hex
    return request.session["visitor"]


def _own_sets(request: HttpRequest) -> QuerySet[PictureSet]:
    # By their time, not only by being there: the job that deletes them may come a moment late.
    return PictureSet.objects.filter(
        visitor=request.session.get("visitor", ""), expires_at__gt=timezone.now()
    )


def _own_pictures(request: HttpRequest) -> QuerySet[Picture]:
    return Picture.objects.filter(picture_set__in=_own_sets(request)).select_related("picture_set")


def _refusal(request: HttpRequest, number: int) -> str | None:
    """Why *number* more pictures are not taken; None when they are."""
    if _own_pictures(request).count() + number > settings.MAX_PICTURES_PER_VISITOR:
        return (
            f"You can keep {settings.MAX_PICTURES_PER_VISITOR} pictures here at a time. "
            "Delete a set first, or wait until one goes by itself."
        )
    if Picture.objects.count() + number > settings.MAX_PICTURES:
        return "So many pictures are here that yours would wait long. Please come back in a while."
    return None


def _uuids(texts: list[str]) -> list[uuid.UUID]:
    found = []
    for text in texts:
        try:
            found.append(uuid.UUID(text))
        except ValueError:
            continue
    return found
