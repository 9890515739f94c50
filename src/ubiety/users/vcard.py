"""vCards (XEP-0054): what people say of themselves, or what the directory knows of them."""

import base64
import binascii
import hashlib

from sqlalchemy import Connection

from ubiety.conditions import StanzaError
from ubiety.element import Element, escape_text
from ubiety.settings import Setting
from ubiety.store import users, vcards
from ubiety.users.disco import Feature
from ubiety.users.iq import Answer, Asked, Handler, Request
from ubiety.users.permissions import require_welcome
from ubiety.xmpp import ns

VCARD_BYTES = Setting(
    "vcard.bytes",
    int,
    200_000,
    "bytes",
    "Size of the largest vCard, photo included, that a person may store.",
    minimum=1000,
    maximum=10_000_000,
)


def vcard() -> Feature:
    """An account has a vCard that its owner sets and everybody welcome reads."""
    return Feature(
        (
            Handler(Asked.OWN, "get", ns.VCARD, "vCard", _get),
            Handler(Asked.OTHER, "get", ns.VCARD, "vCard", _get),
            Handler(Asked.OWN, "set", ns.VCARD, "vCard", _set),
            Handler(Asked.OTHER, "set", ns.VCARD, "vCard", _forbid),
        ),
        server=(ns.VCARD,),
        account=(ns.VCARD,),
    )


def _forbid(_request: Request) -> Answer:
    raise StanzaError("forbidden", "A vCard is set by its owner.")


async def _get(request: Request) -> Answer:
    user = require_welcome(request)
    return await request.context.database.read(_load, user.person.user_id)


def _load(conn: Connection, user_id: int) -> bytes:
    stored = vcards.load(conn, user_id)
    if stored is not None:
        return stored.xml
    row = users.load(conn, user_id)
    return from_directory(row) if row is not None else f"<vCard xmlns='{ns.VCARD}'/>".encode()


async def _set(request: Request) -> Answer:
    card = request.stanza.child(ns.VCARD, "vCard")
    assert card is not None
    xml = card.to_bytes()
    limit = request.context.settings.get(VCARD_BYTES)
    if len(xml) > limit:
        raise StanzaError("not-acceptable", f"A vCard may have {limit} bytes.")
    await request.context.database.write(vcards.put, request.account.person.user_id, xml, photo_hash(card))
    return None


def photo_hash(card: Element) -> str:
    """Return the SHA-1 of a vCard's photo in hexadecimal, "" without one (XEP-0153 §3)."""
    photo = card.find("PHOTO")
    binary = photo.find("BINVAL") if photo is not None else None
    if binary is None or not binary.text.strip():
        return ""
    try:
        data = base64.b64decode("".join(binary.text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise StanzaError("bad-request", "The photo is not base64.") from None
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def from_directory(row: users.User) -> bytes:
    """Render what the directory knows of a person."""
    parts = [_field("FN", row.display_name or row.userid)]
    if row.surname or row.given_name:
        parts.append(f"<N>{_field('FAMILY', row.surname)}{_field('GIVEN', row.given_name)}</N>")
    if row.mail:
        parts.append(f"<EMAIL><INTERNET/><WORK/>{_field('USERID', row.mail)}</EMAIL>")
    if row.department:
        parts.append(f"<ORG>{_field('ORGUNIT', row.department)}</ORG>")
    parts.append(_field("TITLE", row.title))
    if row.phone:
        parts.append(f"<TEL><WORK/><VOICE/>{_field('NUMBER', row.phone)}</TEL>")
    parts.append(_field("JABBERID", row.jid))
    return f"<vCard xmlns='{ns.VCARD}'>{''.join(parts)}</vCard>".encode()


def _field(name: str, value: str) -> str:
    return f"<{name}>{escape_text(value)}</{name}>" if value else ""
