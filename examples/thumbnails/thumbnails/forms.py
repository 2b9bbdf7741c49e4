"""The form in which visitors bring pictures."""

from typing import Any

from django import forms
from django.conf import settings
from django.core.files.uploadedfile import UploadedFile


def _megabytes(size: int) -> str:
    return f"{size / 1024**2:.0f}\N{NO-BREAK SPACE}MB"


class SeveralFilesInput(forms.FileInput):
    """A file input that takes several files."""

    allow_multiple_selected = True


class SeveralFilesField(forms.FileField):
    """A list of files, each no larger than allowed.

    Not an ImageField: that would unpack every picture within the request. Whether a file is a picture
    is for the job to find out.
    """

    widget = SeveralFilesInput

    def clean(self, data: Any, initial: Any = None) -> list[UploadedFile]:
        """The files; raises `ValidationError` with a sentence for each that is too large or empty."""
        files = [super(SeveralFilesField, self).clean(each, initial) for each in data or [None]]
        too_large = [each for each in files if each.size > settings.MAX_FILE_BYTES]
        if too_large:
            raise forms.ValidationError(
                [
                    f"“{each.name}” has {_megabytes(each.size)}; "
                    f"we take up to {_megabytes(settings.MAX_FILE_BYTES)} for one picture."
                    for each in too_large
                ]
            )
        return files


class UploadForm(forms.Form):
    """Several pictures."""

    pictures = SeveralFilesField(
        label="Your pictures",
        help_text=(
            f"JPEG, PNG, WebP or GIF; up to {settings.MAX_FILES} at a time, "
            f"{_megabytes(settings.MAX_FILE_BYTES)} each and "
            f"{_megabytes(settings.MAX_UPLOAD_BYTES)} together."
        ),
        widget=SeveralFilesInput(
            attrs={"accept": "image/jpeg,image/png,image/webp,image/gif", "multiple": True}
        ),
        error_messages={"required": "Choose at least one picture first."},
    )
