"""One picture of a person, whichever way clients speak of it (XEP-0084, XEP-0153, XEP-0398).

The personal nodes of XEP-0084 are the truth once they exist. A photo in a vCard that is set is published
there; a vCard that is read shows the picture that is published there.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass

from sqlalchemy import Connection

from ubiety.conditions import StanzaError
from ubiety.element import Element, ElementError, escape_attribute, parse_element
from ubiety.store import pep as rows
from ubiety.users.pep_nodes import Options, load_options
from ubiety.xmpp import ns

DEFAULT_TYPE = "image/png"


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture; ``hash`` is SHA-1 in hexadecimal, the id of its items (XEP-0084 §4.1)."""

    data: bytes
    type: str

    @property
    def hash(self) -> str:
        """What clients know it by."""
        return hashlib.sha1(self.data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Published:
    """What the personal nodes say: a picture or None, and who may see it."""

    photo: Photo | None
    options: Options


def read_photo(card: Element) -> Photo | None:
    """Return the photo in a vCard. Raises StanzaError (bad-request)."""
    element = card.find("PHOTO")
    binary = element.find("BINVAL") if element is not None else None
    if element is None or binary is None or not binary.text.strip():
        return None
    kind = element.find("TYPE")
    type_ = kind.text.strip() if kind is not None else ""
    try:
        return Photo(_decode(binary.text), type_ or DEFAULT_TYPE)
    except ValueError:
        raise StanzaError("bad-request", "The photo is not base64.") from None


def set_photo(card: Element, photo: Photo | None) -> Element:
    """Return the vCard with this photo and no other."""
    kept = [child for child in card.children if isinstance(child, str) or child.name != "PHOTO"]
    made = Element(card.name, card.ns, card.attrs, kept)
    if photo is not None:
        encoded = base64.b64encode(photo.data).decode()
        element = Element("PHOTO", ns.VCARD)
        element.add(Element("TYPE", ns.VCARD, {}, [photo.type]))
        made.add(element.add(Element("BINVAL", ns.VCARD, {}, [encoded])))
    return made


def render_metadata(photo: Photo | None) -> bytes:
    """Return the payload that announces a picture, or that there is none (XEP-0084 §4.2)."""
    if photo is None:
        return f"<metadata xmlns='{ns.AVATAR_METADATA}'/>".encode()
    info = f"<info id='{photo.hash}' bytes='{len(photo.data)}' type='{escape_attribute(photo.type)}'/>"
    return f"<metadata xmlns='{ns.AVATAR_METADATA}'>{info}</metadata>".encode()


def publish(
    conn: Connection, user_id: int, photo: Photo | None, publisher: str, now: float
) -> tuple[Options, rows.Item]:
    """Store a picture in the personal nodes; return the options and the item to tell of.

    Nodes that are not there are made open: a vCard's photo is for everybody (XEP-0398 §3).
    """
    if photo is not None:
        encoded = base64.b64encode(photo.data)
        data = f"<data xmlns='{ns.AVATAR_DATA}'>".encode() + encoded + b"</data>"
        _put(conn, user_id, ns.AVATAR_DATA, rows.Item(photo.hash, publisher, now, data))
    item_id = photo.hash if photo is not None else "none"
    item = rows.Item(item_id, publisher, now, render_metadata(photo))
    return _put(conn, user_id, ns.AVATAR_METADATA, item), item


def _put(conn: Connection, user_id: int, node: str, item: rows.Item) -> Options:
    found = rows.find_node(conn, user_id, node)
    options = load_options(found.options) if found is not None else Options(access_model="open")
    node_id = found.id if found is not None else rows.put_node(conn, user_id, node, options.changed())
    rows.publish(conn, node_id, item, options.max_items)
    return options


def load(conn: Connection, user_id: int, known: str = "") -> Published | None:
    """Return what is published; None where nothing is, or nothing else than the ``known`` hash."""
    metadata = rows.find_node(conn, user_id, ns.AVATAR_METADATA)
    newest = rows.load_items(conn, metadata.id, 1) if metadata is not None else []
    if metadata is None or not newest or newest[0].item_id == known:
        return None
    options = load_options(metadata.options)
    try:
        info = parse_element(newest[0].xml).find("info")
    except ElementError:
        return None
    if info is None:
        return Published(None, options)
    data = rows.find_node(conn, user_id, ns.AVATAR_DATA)
    item = rows.load_item(conn, data.id, info.get("id") or "") if data is not None else None
    if item is None:
        return None  # announced, but kept elsewhere: nothing that a vCard could show
    try:
        photo = Photo(_decode(parse_element(item.xml).text), info.get("type") or DEFAULT_TYPE)
    except (ElementError, ValueError):
        return None
    return Published(photo, options)


def _decode(text: str) -> bytes:
    """Return what base64 text stands for, however it is broken into lines. Raises ValueError."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
