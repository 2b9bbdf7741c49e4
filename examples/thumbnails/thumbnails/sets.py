"""What visitors may do to their sets: start one, try a picture again, delete one."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.utils import timezone

from thumbnails.models import MAX_NAME, Picture, PictureSet
from thumbnails.reports import State, report_on
from thumbnails.tasks import delete_set, make_thumbnails


@dataclass(frozen=True)
class Source:
    """One picture to work on."""

    name: str
    upload: UploadedFile | None = None
    content: bytes | None = None
    sample: int | None = None
    """Nothing to store: the job paints it."""


def start_set(visitor: str, sources: Sequence[Source]) -> PictureSet:
    """Keep the files, and enqueue a job for each picture and one that deletes them all later."""
    picture_set = PictureSet(visitor=visitor, expires_at=timezone.now() + settings.KEEP_PICTURES)
    pictures = [
        Picture(
            picture_set=picture_set,
            position=position,
            name=source.name[:MAX_NAME],
            sample=source.sample,
        )
        for position, source in enumerate(sources)
    ]
    picture_set.folder.mkdir(parents=True)
    try:
        # Files before the transaction: while it is open, nobody else writes to an SQLite database.
        for picture, source in zip(pictures, sources, strict=True):
            _store(source, picture)
        _write(picture_set, pictures)
    except BaseException:
        shutil.rmtree(picture_set.folder, ignore_errors=True)
        raise
    return picture_set


def _write(picture_set: PictureSet, pictures: Sequence[Picture]) -> None:
    # One transaction for the site's rows and the queue's: they are in the same database, so they appear
    # together or not at all. No worker sees a job before its picture is there, no crash in between
    # leaves a picture that nobody works on, and no `on_commit` is needed.
    with transaction.atomic():
        picture_set.save(force_insert=True)
        for picture in pictures:
            picture.job_id = make_thumbnails.enqueue(str(picture.pk)).id
        Picture.objects.bulk_create(pictures)
        delete_set.using(run_after=picture_set.expires_at).enqueue(str(picture_set.pk))


def _store(source: Source, picture: Picture) -> None:
    if source.upload is not None:
        with picture.source.open("xb") as file:
            for chunk in source.upload.chunks():
                file.write(chunk)
    elif source.content is not None:
        picture.source.write_bytes(source.content)


def try_again(picture_id: UUID) -> None:
    """Enqueue a new job for a picture whose job failed; otherwise nothing."""
    # The question is inside the transaction, so that two clicks are one job.
    with transaction.atomic():
        picture = Picture.objects.filter(pk=picture_id).first()
        if picture is not None and report_on(picture).state is State.FAILED:
            picture.job_id = make_thumbnails.enqueue(str(picture.pk)).id
            picture.tries += 1
            picture.percent, picture.step = 0, ""
            picture.save()


def delete_now(picture_set: PictureSet) -> None:
    """Hide a set at once and let a job delete it; the job that waits for its time finds nothing then."""
    with transaction.atomic():
        PictureSet.objects.filter(pk=picture_set.pk).update(expires_at=timezone.now())
        delete_set.enqueue(str(picture_set.pk))
