"""Paints the sample set: landscapes of 12 megapixels, so that there is work to do with nothing at hand."""

import math
import random
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter, ImageOps

_LONG, _SHORT = 4200, 2800
_LAYERS = 6
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class _Scene:
    name: str
    sky: tuple[str, str, str]
    """From the zenith over the middle to the horizon."""
    disc: str
    """The sun or the moon."""
    disc_at: tuple[float, float]
    """In parts of the width and the height."""
    hills: tuple[str, str]
    """The farthest and the nearest."""
    trees: int = 0
    stars: int = 0
    is_portrait: bool = False


_SCENES = (
    _Scene("First light.jpg", ("#3d5a80", "#e0a899", "#ffe3c2"), "#fff4dc", (0.68, 0.52),
           ("#b98b8f", "#2b2d42"), trees=60),
    _Scene("Fjord.jpg", ("#1f5673", "#90c3c8", "#eaf4f4"), "#ffffff", (0.3, 0.3),
           ("#9fc2c9", "#12343b")),
    _Scene("Upright.jpg", ("#264653", "#e9c46a", "#f4a261"), "#fff1c9", (0.5, 0.42),
           ("#d98e5f", "#3a2a2a"), trees=26, is_portrait=True),
    _Scene("Dunes.jpg", ("#6ba8c9", "#f3d9b1", "#f8e8cf"), "#fffbe8", (0.8, 0.24),
           ("#e8b878", "#8a4b2a")),
    _Scene("Moonrise.jpg", ("#0b1026", "#20315c", "#5b6c9c"), "#f2efe2", (0.24, 0.28),
           ("#3e4c78", "#070a17"), trees=90, stars=700),
    _Scene("Spring.jpg", ("#5fa8d3", "#bee1e6", "#f0f7ee"), "#fffef2", (0.6, 0.2),
           ("#a9cf9b", "#1f4d36"), trees=40),
    _Scene("Violet hour.jpg", ("#2d1e4f", "#a35c8f", "#f2b5a7"), "#ffe9dc", (0.42, 0.55),
           ("#9a5f8f", "#1c1233"), trees=30, stars=160),
)  # fmt: skip

NAMES = tuple(scene.name for scene in _SCENES)


def paint(number: int, file: Path) -> None:
    """Paint sample *number* into *file*; always the same picture."""
    scene = _SCENES[number]
    # Not for secrets: the same number must give the same hills.
    dice = random.Random(number)
    size = (_SHORT, _LONG) if scene.is_portrait else (_LONG, _SHORT)
    picture = _sky(scene, size)
    _draw_stars(picture, scene, dice)
    _draw_disc(picture, scene)
    _draw_hills(picture, scene, dice)
    exif = Image.Exif()
    if scene.is_portrait:
        # As cameras do it: the picture lies on its side, and a number says so.
        picture = picture.transpose(Image.Transpose.ROTATE_90)
        exif[_ORIENTATION] = 6
    picture.save(file, "JPEG", quality=90, exif=exif)


def _sky(scene: _Scene, size: tuple[int, int]) -> Image.Image:
    top, middle, bottom = scene.sky
    slope = Image.linear_gradient("L").resize(size, Image.Resampling.BICUBIC)
    # A little grain, or the few shades of a smooth sky show as stripes.
    grain = Image.effect_noise((1400, 1400), 5).resize(size, Image.Resampling.BILINEAR)
    slope = ImageChops.add(slope, grain, offset=-128)
    return ImageOps.colorize(slope, black=top, mid=middle, white=bottom, midpoint=120)


def _draw_stars(picture: Image.Image, scene: _Scene, dice: random.Random) -> None:
    draw = ImageDraw.Draw(picture)
    for _ in range(scene.stars):
        x, y = dice.random() * picture.width, dice.random() ** 1.6 * picture.height * 0.6
        radius = dice.choice((3, 3, 4, 6))
        draw.circle((x, y), radius, fill="#e8ecf8")


def _draw_disc(picture: Image.Image, scene: _Scene) -> None:
    x, y = scene.disc_at[0] * picture.width, scene.disc_at[1] * picture.height
    radius = min(picture.size) // 16
    colour = Image.new("RGB", picture.size, scene.disc)
    # The glow is soft, so a sixteenth of its size is enough to blur it in.
    glow = Image.new("L", (picture.width // 16, picture.height // 16))
    ImageDraw.Draw(glow).circle((x / 16, y / 16), radius / 16 * 2.2, fill=150)
    glow = glow.filter(ImageFilter.GaussianBlur(radius / 16 * 1.6))
    picture.paste(colour, mask=glow.resize(picture.size, Image.Resampling.BICUBIC))
    ImageDraw.Draw(picture).circle((x, y), radius, fill=scene.disc)


def _draw_hills(picture: Image.Image, scene: _Scene, dice: random.Random) -> None:
    draw = ImageDraw.Draw(picture)
    far, near = (ImageColor.getrgb(colour) for colour in scene.hills)
    for layer in range(_LAYERS):
        nearness = layer / (_LAYERS - 1)
        colour = tuple(round(a + (b - a) * nearness) for a, b in zip(far, near, strict=True))
        ridge = _ridge(picture.size, nearness, dice)
        if scene.trees and nearness > 0.5:
            _draw_trees(draw, ridge, colour, round(scene.trees * nearness), nearness, dice)
        draw.polygon([(0, picture.height), *ridge, (picture.width, picture.height)], fill=colour)


def _ridge(
    size: tuple[int, int], nearness: float, dice: random.Random
) -> list[tuple[float, float]]:
    """The upper edge of one row of hills, from left to right."""
    width, height = size
    base = height * (0.56 + 0.36 * nearness)
    # A few waves, each half as high and about twice as dense as the one before.
    waves = [
        (height * 0.075 / 2**n, 2 * math.pi * (1.1 * 2**n + dice.random()), dice.random() * 6.3)
        for n in range(6)
    ]
    return [
        (x, base + sum(high * math.sin(x / width * dense + shift) for high, dense, shift in waves))
        for x in range(0, width + 12, 12)
    ]


def _draw_trees(
    draw: ImageDraw.ImageDraw,
    ridge: list[tuple[float, float]],
    colour: tuple[int, ...],
    number: int,
    nearness: float,
    dice: random.Random,
) -> None:
    for _ in range(number):
        x, y = dice.choice(ridge)
        high = (110 + 110 * dice.random()) * nearness
        # Three tiers, each lower and wider than the one above, and a trunk.
        for tier in (0.45, 0.72, 1.0):
            tip, foot, half = (
                y - high * (1.4 - tier),
                y - high * (1 - tier * 0.85),
                high * 0.24 * tier,
            )
            draw.polygon([(x, tip), (x - half, foot), (x + half, foot)], fill=colour)
        draw.rectangle((x - high * 0.04, y - high * 0.2, x + high * 0.04, y + 20), fill=colour)
