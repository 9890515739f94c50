"""The portraits: valid PNG, small, the same each time, different for each person."""

import hashlib
import struct
import zlib

from ubiety.demo.organisation import build_organisation
from ubiety.demo.photos import SIZE, Canvas, Photo, draw_photo


def read_png(data: bytes) -> tuple[int, int, list[bytes]]:
    """Decode a PNG without row filters; return width, height and the rows as RGB bytes."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    chunks: list[tuple[bytes, bytes]] = []
    position = 8
    while position < len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        body = data[position + 8 : position + 8 + length]
        (crc,) = struct.unpack(">I", data[position + 8 + length : position + 12 + length])
        assert crc == zlib.crc32(kind + body)
        chunks.append((kind, body))
        position += 12 + length
    assert [kind for kind, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    assert (depth, colour, rest) == (8, 2, [0, 0, 0])
    raw = zlib.decompress(chunks[1][1])
    line = width * 3 + 1
    assert len(raw) == line * height
    rows = [raw[start : start + line] for start in range(0, len(raw), line)]
    assert all(row[0] == 0 for row in rows)
    return width, height, [row[1:] for row in rows]


def test_all_photos_are_small_valid_and_distinct() -> None:
    photos = [draw_photo(person.userid) for person in build_organisation("example.org", "s").people]
    assert len({photo.sha1 for photo in photos}) == len(photos)
    for photo in photos:
        assert len(photo.data) < 4096
        assert photo.sha1 == hashlib.sha1(photo.data).hexdigest()
    assert read_png(photos[0].data)[:2] == (SIZE, SIZE)


def test_a_photo_is_the_same_each_time() -> None:
    assert draw_photo("anna.adler") == draw_photo("anna.adler")
    assert isinstance(draw_photo("anna.adler"), Photo)


def test_an_ellipse_is_filled_and_stays_inside_the_image() -> None:
    canvas = Canvas((0, 0, 0))
    canvas.fill_ellipse(48, 48, 200, 10, (255, 0, 0))
    _, _, rows = read_png(canvas.to_png())
    assert rows[48] == bytes((255, 0, 0)) * SIZE
    assert rows[10] == rows[90] == bytes(SIZE * 3)


def test_edges_are_mixed() -> None:
    canvas = Canvas((0, 0, 0))
    canvas.fill_ellipse(48, 48, 20.5, 20.5, (200, 200, 200))
    _, _, rows = read_png(canvas.to_png())
    shades = set(rows[48])
    assert {0, 200} < shades
