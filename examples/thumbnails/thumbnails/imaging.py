"""What is done to pictures, with Pillow; knows nothing of Django, tasks or the database.

Files come from strangers. Only common formats are tried, the number of pixels is checked before any of
them is unpacked, and thumbnails carry neither the place nor the camera that the original may name.
"""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageFilter, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")


class PictureError(Exception):
    """A file cannot be used; `sentence` says why to whoever brought it."""

    sentence = "This file cannot be used."


class NotAPicture(PictureError):
    """The file is of no format that is read here."""

    sentence = "This is not a picture that we can read: a JPEG, PNG, WebP or GIF."


class TooManyPixels(PictureError):
    """The picture would take too much memory."""

    sentence = "This picture is too large for us: it has too many pixels."


class DamagedPicture(PictureError):
    """The file begins as a picture and does not go on as one."""

    sentence = "This picture is damaged: the file starts well and then breaks off."


def open_picture(file: Path, *, max_pixels: int) -> Image.Image:
    """The picture in *file*, unpacked; raises a `PictureError`."""
    try:
        picture = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise NotAPicture from error
    except Image.DecompressionBombError as error:
        raise TooManyPixels from error
    # So far only the header was read.
    if picture.width * picture.height > max_pixels:
        picture.close()
        raise TooManyPixels
    try:
        with picture:
            picture.load()
            return picture.copy()
    # Decoders say so in several ways when a file breaks off or makes no sense.
    except (OSError, SyntaxError, ValueError) as error:
        raise DamagedPicture from error


def turn_upright(picture: Image.Image) -> Image.Image:
    """The picture as its camera was held, in colours that WebP knows."""
    upright = ImageOps.exif_transpose(picture)
    return upright.convert("RGBA" if upright.has_transparency_data else "RGB")


def sizes_below(picture: Image.Image, sizes: Sequence[int]) -> list[int]:
    """Those of *sizes* that are smaller than the picture; at least the smallest."""
    return [size for size in sizes if size < max(picture.size)] or [min(sizes)]


def write_thumbnail(picture: Image.Image, size: int, file: Path) -> tuple[int, int, int]:
    """Write *picture*, fitted into a square of *size*, to *file*; its width, height and bytes."""
    # From the original each time: scaling what was scaled before loses what sharpening should find.
    small = picture.copy()
    small.thumbnail((size, size), Image.Resampling.LANCZOS)
    small = small.filter(ImageFilter.UnsharpMask(radius=1.2, percent=80, threshold=2))
    small.save(file, "WEBP", quality=82, method=6, icc_profile=picture.info.get("icc_profile"))
    return small.width, small.height, file.stat().st_size
