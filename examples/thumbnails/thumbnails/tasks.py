"""The tasks, made with Django's own decorator: nothing here knows which backend runs them."""

import asyncio
import shutil
from typing import Any

from django.conf import settings
from django.tasks import task

from thumbnails import imaging, samples
from thumbnails.models import Picture, PictureSet

SIZES = (1600, 800, 400, 200)


class PictureGone(Exception):
    """The picture was deleted while the work on it was under way."""


# An ordinary function: it runs in one of the worker's threads. Pillow lets go of Python's lock while it
# decodes, scales and encodes, so the site answers meanwhile; a long loop in Python itself would not.
@task(queue_name="pictures")
def make_thumbnails(picture_id: str) -> dict[str, Any] | None:
    """Make every size of a picture; what was made, or None when the picture is gone.

    May run again for the same picture: it then writes the same files.
    """
    # Rows are named, not passed: the arguments of a job are JSON, and a row may have changed by now.
    picture = Picture.objects.select_related("picture_set").filter(pk=picture_id).first()
    if picture is None:
        return None
    try:
        return _make_all(picture)
    except (PictureGone, FileNotFoundError):
        # The visitor may delete a set at any moment. Then nobody waits for this, and nothing is wrong.
        if Picture.objects.filter(pk=picture_id).exists():
            raise
        # What was written after the deletion.
        shutil.rmtree(picture.picture_set.folder, ignore_errors=True)
        return None


def _make_all(picture: Picture) -> dict[str, Any]:
    if picture.sample is not None:
        _report(picture, 0, "Painting the sample")
        samples.paint(picture.sample, picture.source)
    _report(picture, 10, "Opening")
    original = imaging.open_picture(picture.source, max_pixels=settings.MAX_PIXELS)
    _report(picture, 20, "Turning it upright")
    upright = imaging.turn_upright(original)
    made = []
    # Large ones take longer, so steps are not of one length; nobody minds.
    sizes = imaging.sizes_below(upright, SIZES)
    for done, size in enumerate(sizes):
        _report(picture, 30 + 70 * done // len(sizes), f"Making {size} pixels")
        width, height, written = imaging.write_thumbnail(upright, size, picture.thumbnail(size))
        made.append({"size": size, "width": width, "height": height, "bytes": written})
    _report(picture, 100, "Done")
    return {"source_bytes": picture.source.stat().st_size, "thumbnails": made}


def _report(picture: Picture, percent: int, step: str) -> None:
    """Let the page show how far it is; raises `PictureGone` when there is no picture any more."""
    # An UPDATE of its own, committed at once: within one long transaction nobody would see it, and on
    # SQLite nobody else could write.
    if not Picture.objects.filter(pk=picture.pk).update(percent=percent, step=step):
        raise PictureGone


# A coroutine: it waits for the database and the disk and computes nothing, so it runs on the worker's
# event loop. Sets are deleted in time even when every thread has a picture to work on.
@task(queue_name="cleaning")
async def delete_set(set_id: str) -> None:
    """Delete a set, its rows before its files; nothing to do is fine."""
    picture_set = PictureSet(pk=set_id)
    await PictureSet.objects.filter(pk=set_id).adelete()
    await asyncio.to_thread(shutil.rmtree, picture_set.folder, ignore_errors=True)
