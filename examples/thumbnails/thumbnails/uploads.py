"""The limit of a whole upload, checked before any of it is parsed."""

from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import FileUploadHandler

# For what surrounds the files in the request.
_ENVELOPE_BYTES = 100_000


class RefuseLargeUploads(FileUploadHandler):
    """Refuses requests whose files together are too large; leaves all others to the next handler.

    Under ASGI the server and Django have by then read the request into a temporary file. A public site
    lets its web server refuse it at the door (nginx: `client_max_body_size`).
    """

    def handle_raw_input(
        self,
        input_data: Any,
        META: dict[str, Any],  # noqa: N803 - Django's name
        content_length: int,
        boundary: bytes,
        encoding: str | None = None,
    ) -> None:
        """Raise `RequestDataTooBig`, which Django answers with 400, or do nothing."""
        del input_data, META, boundary, encoding
        if content_length > settings.MAX_UPLOAD_BYTES + _ENVELOPE_BYTES:
            raise RequestDataTooBig(f"An upload of {content_length} bytes")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        """Pass everything on."""
        del start
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Leave the making of the file to the handlers that follow."""
        del file_size
