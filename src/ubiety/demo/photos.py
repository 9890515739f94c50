"""Portraits for the sample organisation: small PNG images, the same for a user id every time."""

import hashlib
import math
import struct
import zlib
from dataclasses import dataclass

SIZE = 96

Colour = tuple[int, int, int]

_BACKGROUNDS: tuple[Colour, ...] = (
    (214, 229, 240),
    (233, 221, 240),
    (221, 238, 222),
    (247, 229, 209),
    (244, 218, 218),
    (216, 238, 236),
    (236, 234, 208),
    (224, 224, 232),
)
_SKINS: tuple[Colour, ...] = (
    (250, 220, 196),
    (238, 195, 160),
    (220, 170, 130),
    (186, 130, 92),
    (141, 92, 62),
    (98, 63, 44),
)
_HAIR: tuple[Colour, ...] = (
    (36, 30, 28),
    (78, 50, 34),
    (132, 82, 46),
    (196, 152, 84),
    (170, 76, 42),
    (168, 168, 172),
)
_SHIRTS: tuple[Colour, ...] = (
    (46, 84, 130),
    (120, 48, 72),
    (52, 104, 84),
    (84, 72, 132),
    (176, 92, 44),
    (56, 64, 76),
    (34, 118, 138),
    (150, 130, 60),
)
_DARK: Colour = (48, 40, 40)
_MOUTH: Colour = (168, 76, 76)


@dataclass(frozen=True, slots=True)
class Photo:
    """A portrait: PNG bytes and their SHA-1 in hexadecimal, as XEP-0153 names a photo."""

    data: bytes
    sha1: str


def draw_photo(userid: str) -> Photo:
    """Draw the portrait of a user id: the same one each time."""
    traits = hashlib.sha256(f"portrait of {userid}".encode()).digest()
    canvas = Canvas(_BACKGROUNDS[traits[0] % len(_BACKGROUNDS)])
    skin = _SKINS[traits[1] % len(_SKINS)]
    hair = _HAIR[traits[2] % len(_HAIR)]
    shirt = _SHIRTS[traits[3] % len(_SHIRTS)]
    width = 18.5 + traits[4] % 5
    if traits[5] % 3 == 0:  # long hair falls behind the shoulders
        canvas.fill_ellipse(48, 48, width + 7, 34, hair)
    canvas.fill_ellipse(48, 104, 38, 36, shirt)
    canvas.fill_ellipse(48, 69, 9.5, 13, _shade(skin, 0.88))
    if traits[5] % 3 != 1:  # a cap of hair, wider than the head
        canvas.fill_ellipse(48, 38, width + 2.5, 24, hair)
    canvas.fill_ellipse(48, 45, width, 24.5, skin)
    _draw_fringe(canvas, traits[6] % 4, width, hair)
    _draw_face(canvas, traits[7] % 4, width, skin)
    data = canvas.to_png()
    return Photo(data, hashlib.sha1(data, usedforsecurity=False).hexdigest())


def _draw_fringe(canvas: "Canvas", style: int, width: float, hair: Colour) -> None:
    if style == 0:
        canvas.fill_ellipse(48, 25, width * 0.92, 8, hair)
    elif style == 1:
        canvas.fill_ellipse(48 - width * 0.35, 27, width * 0.72, 9, hair)
    elif style == 2:
        canvas.fill_ellipse(48 + width * 0.35, 27, width * 0.72, 9, hair)
    else:
        canvas.fill_ellipse(48, 22, width * 0.7, 5, hair)


def _draw_face(canvas: "Canvas", style: int, width: float, skin: Colour) -> None:
    eyes = (48 - width * 0.42, 48 + width * 0.42)
    for x in eyes:
        if style == 0:  # glasses
            canvas.fill_ellipse(x, 46, 6.6, 6.2, _DARK)
            canvas.fill_ellipse(x, 46, 5.2, 4.8, skin)
        canvas.fill_ellipse(x, 46, 2.2, 2.6, _DARK)
    canvas.fill_ellipse(48, 58, 6.5 if style % 2 else 5.0, 2.2, _MOUTH)


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (int(part * factor) for part in colour)
    return red, green, blue


class Canvas:
    """A square image in true colour that fills ellipses with smooth left and right edges."""

    __slots__ = ("_rows",)

    def __init__(self, background: Colour) -> None:
        """Start with a plain background."""
        self._rows = [bytearray(bytes(background) * SIZE) for _ in range(SIZE)]

    def fill_ellipse(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """Fill the ellipse around (x, y); width and height are its half axes in pixels."""
        top, bottom = max(0, math.floor(y - height)), min(SIZE - 1, math.ceil(y + height))
        for line in range(top, bottom + 1):
            inside = 1 - ((line + 0.5 - y) / height) ** 2
            if inside > 0:
                reach = width * math.sqrt(inside)
                _fill_span(self._rows[line], max(0.0, x - reach), min(float(SIZE), x + reach), colour)

    def to_png(self) -> bytes:
        """Return the image as a PNG file."""
        # PNG (ISO/IEC 15948): true colour, 8 bits a part, each row behind its filter type (0: none)
        header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0)
        lines = b"".join(b"\0" + row for row in self._rows)
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)


def _fill_span(row: bytearray, left: float, right: float, colour: Colour) -> None:
    """Fill part of a row, mixing the colour with what is there where a pixel is covered in part."""
    first, last = math.ceil(left), math.floor(right)
    if last > first:
        row[first * 3 : last * 3] = bytes(colour) * (last - first)
    _mix(row, first - 1, first - left, colour)
    _mix(row, last, right - last, colour)


def _mix(row: bytearray, pixel: int, share: float, colour: Colour) -> None:
    if 0 <= pixel < SIZE and share > 0:
        start = pixel * 3
        for offset, part in enumerate(colour, start):
            row[offset] += round((part - row[offset]) * share)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
