"""Private XML storage (XEP-0049): what clients keep with the server for themselves."""

from sqlalchemy import Connection

from ubiety.conditions import StanzaError
from ubiety.element import Element
from ubiety.settings import Setting
from ubiety.store import private_xml as rows
from ubiety.users.disco import Feature
from ubiety.users.iq import Answer, Asked, Handler, Request
from ubiety.xmpp import ns

PRIVATE_BYTES = Setting(
    "private_xml.bytes",
    int,
    1_000_000,
    "bytes",
    "Room for what the clients of one person store with the server (private XML storage).",
    minimum=0,
    maximum=100_000_000,
)
MAX_ELEMENTS = 200


def private_xml() -> Feature:
    """An account keeps elements for its owner, and for nobody else."""
    return Feature(
        (
            Handler(Asked.OWN, "get", ns.PRIVATE, "query", _get),
            Handler(Asked.OWN, "set", ns.PRIVATE, "query", _set),
            Handler(Asked.OTHER, "get", ns.PRIVATE, "query", _forbid),
            Handler(Asked.OTHER, "set", ns.PRIVATE, "query", _forbid),
        ),
        server=(ns.PRIVATE,),
        account=(ns.PRIVATE,),
    )


def _forbid(_request: Request) -> Answer:
    raise StanzaError("forbidden")  # XEP-0049 §2.3


async def _get(request: Request) -> Answer:
    asked = _elements(request)
    if len(asked) != 1:
        raise StanzaError("bad-request", "Ask for one element.")
    name = asked[0]
    xml = await request.context.database.read(rows.load, request.account.person.user_id, name.ns, name.name)
    if xml is None:
        xml = Element(name.name, name.ns).to_bytes(ns.PRIVATE)  # §2.2: empty, not an error
    return b"<query xmlns='jabber:iq:private'>" + xml + b"</query>"


async def _set(request: Request) -> Answer:
    elements = _elements(request)
    if not elements:
        raise StanzaError("bad-request", "There is nothing to store.")
    if any(element.ns in ("", ns.PRIVATE, ns.CLIENT) for element in elements):
        raise StanzaError("not-acceptable", "What is stored needs a namespace of its own.")
    limit = request.context.settings.get(PRIVATE_BYTES)
    await request.context.database.write(_store, request.account.person.user_id, elements, limit)
    return None


def _store(conn: Connection, user_id: int, elements: list[Element], limit: int) -> None:
    for element in elements:
        rows.put(conn, user_id, element.ns, element.name, element.to_bytes(ns.PRIVATE))
    count, size = rows.used(conn, user_id)
    if count > MAX_ELEMENTS or size > limit:
        raise StanzaError("resource-constraint", f"There is room for {limit} bytes.", type="cancel")


def _elements(request: Request) -> list[Element]:
    query = request.stanza.child(ns.PRIVATE, "query")
    return query.elements if query is not None else []
