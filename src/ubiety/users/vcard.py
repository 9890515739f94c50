"""vCards (XEP-0054): what people say of themselves, or what the directory knows of them."""

from sqlalchemy import Connection

from ubiety.conditions import StanzaError
from ubiety.element import escape_text, parse_element
from ubiety.settings import Setting
from ubiety.store import users, vcards
from ubiety.store.pep import Item
from ubiety.users import avatars, pep_events
from ubiety.users.actor import User
from ubiety.users.disco import Feature
from ubiety.users.iq import Answer, Asked, Handler, Request
from ubiety.users.pep_nodes import Options, check_access
from ubiety.users.permissions import asker, is_watcher, require_welcome
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
        account=(ns.VCARD, ns.VCARD_CONVERSION),
    )


def _forbid(_request: Request) -> Answer:
    raise StanzaError("forbidden", "A vCard is set by its owner.")


async def _get(request: Request) -> Answer:
    user = require_welcome(request)
    xml, published = await request.context.database.read(_load, user.person.user_id)
    if published is None or not _may_see(request, user, published.options):
        return xml
    return avatars.set_photo(parse_element(xml), published.photo).to_bytes()


def _load(conn: Connection, user_id: int) -> tuple[bytes, avatars.Published | None]:
    stored = vcards.load(conn, user_id)
    published = avatars.load(conn, user_id, stored.photo_hash if stored is not None else "")
    if stored is not None:
        return stored.xml, published
    row = users.load(conn, user_id)
    return from_directory(row) if row is not None else f"<vCard xmlns='{ns.VCARD}'/>".encode(), published


def _may_see(request: Request, user: User, options: Options) -> bool:
    sender = asker(request)
    try:
        check_access(
            options,
            is_owner=sender.bare == user.jid.bare,
            is_watcher=is_watcher(request.context, user, sender),
        )
    except StanzaError:
        return False
    return True


async def _set(request: Request) -> Answer:
    context, user = request.context, request.account
    card = request.stanza.child(ns.VCARD, "vCard")
    assert card is not None
    xml = card.to_bytes()
    limit = context.settings.get(VCARD_BYTES)
    if len(xml) > limit:
        raise StanzaError("not-acceptable", f"A vCard may have {limit} bytes.")
    photo, publisher = avatars.read_photo(card), asker(request).text
    told = await context.database.write(
        _store, user.person.user_id, xml, photo, publisher, context.clock.now()
    )
    if told is not None:
        options, item = told
        content = pep_events.items(ns.AVATAR_METADATA, pep_events.render_item(item.item_id, item.xml))
        pep_events.notify(context, user, ns.AVATAR_METADATA, options, content)
    return None


def _store(
    conn: Connection, user_id: int, xml: bytes, photo: avatars.Photo | None, publisher: str, now: float
) -> tuple[Options, Item] | None:
    """Store a vCard, and publish its photo if that is another one than before."""
    before, after = vcards.photo_hash(conn, user_id), photo.hash if photo is not None else ""
    vcards.put(conn, user_id, xml, after)
    return avatars.publish(conn, user_id, photo, publisher, now) if before != after else None


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
