"""What clients ask of their person's message history (XEP-0313): pages of it, its ends, its form."""

from dataclasses import dataclass, replace

from sqlalchemy import Connection

from ubiety.conditions import StanzaError
from ubiety.element import Element, escape_attribute
from ubiety.jid import Jid, JidError, parse
from ubiety.store import addresses
from ubiety.store import archive as rows
from ubiety.store.archive import Archived, Page, Query
from ubiety.users.archive_prefs import prefs_handlers
from ubiety.users.disco import Feature
from ubiety.users.iq import Answer, Asked, Handler, Request
from ubiety.users.paging import Paging, read_paging, render_paging
from ubiety.users.preferences import ARCHIVE_ENABLED
from ubiety.users.stamps import format_stamp, parse_stamp
from ubiety.xmpp import ns

PAGE = 50
MAX_PAGE = 250
PAGE_BYTES = 1_000_000
"""A page ends early when it is larger than this; the client asks on."""
MAX_IDS = 100
EXTENDED = f"{ns.MAM}#extended"

_MESSAGE = b"<message"
_FIELDS = {
    "with": "jid-single",
    "start": "text-single",
    "end": "text-single",
    "before-id": "text-single",
    "after-id": "text-single",
    "ids": "list-multi",
}


def message_archive() -> Feature:
    """Every account keeps the history of its owner's messages."""
    return Feature(
        (
            Handler(Asked.OWN, "set", ns.MAM, "query", _query),
            Handler(Asked.OWN, "get", ns.MAM, "query", _form),
            Handler(Asked.OWN, "get", ns.MAM, "metadata", _metadata),
            Handler(Asked.OTHER, "set", ns.MAM, "query", _forbid),
            *prefs_handlers(),
        ),
        account=(ns.MAM, EXTENDED),
        when=ARCHIVE_ENABLED,
    )


@dataclass(frozen=True, slots=True)
class Filter:
    """What a query narrows the history to."""

    peer: Jid | None = None
    start: float | None = None
    end: float | None = None
    after: int | None = None
    before: int | None = None
    ids: tuple[int, ...] = ()


def _forbid(_request: Request) -> Answer:
    raise StanzaError("forbidden", "A history is its owner's.")


def _form(_request: Request) -> Answer:
    fields = "".join(f"<field var='{var}' type='{kind}'/>" for var, kind in _FIELDS.items())
    kind = f"<field var='FORM_TYPE' type='hidden'><value>{ns.MAM}</value></field>"
    form = f"<x xmlns='{ns.DATA_FORMS}' type='form'>{kind}{fields}</x>"
    return f"<query xmlns='{ns.MAM}'>{form}</query>".encode()


async def _query(request: Request) -> Answer:
    session, asked = request.session, request.stanza.child(ns.MAM, "query")
    if session is None or asked is None:
        raise StanzaError("service-unavailable")
    wanted, paging = read_filter(asked.find("x", ns.DATA_FORMS)), read_paging(asked)
    page = await _load(request, wanted, paging)
    shown = reversed(page.rows) if asked.find("flip-page") is not None else page.rows
    query_id = asked.get("queryid")
    for row in shown:
        session.send(_result(request.account.jid, session.jid, row, query_id))
    complete = " complete='true'" if page.is_complete else ""
    rendered = render_paging([str(row.number) for row in page.rows], page.total)
    return f"<fin xmlns='{ns.MAM}'{complete}>{rendered}</fin>".encode()


async def _load(request: Request, wanted: Filter, paging: Paging) -> Page:
    if not request.context.settings.get(ARCHIVE_ENABLED):
        raise StanzaError("service-unavailable", "Histories are turned off on this server.")
    await request.context.ledger.flush()  # design.md promise 2
    owner_id = request.account.person.user_id
    if wanted.ids:
        return await request.context.database.read(_named, owner_id, wanted.ids)
    query = make_query(owner_id, wanted, paging)
    page = await request.context.database.read(_page, query, wanted.peer)
    return _bounded(page, from_end=query.is_backwards)


def make_query(owner_id: int, wanted: Filter, paging: Paging) -> Query:
    """Return the question to the store; ids that we never gave are compared by order (promise 2)."""
    after = [wanted.after] if wanted.after is not None else []
    before = [wanted.before] if wanted.before is not None else []
    if paging.after:
        after.append(read_id(paging.after))
    if paging.before:
        before.append(read_id(paging.before))
    return Query(
        owner_id=owner_id,
        limit=min(PAGE if paging.max is None else paging.max, MAX_PAGE),
        start=wanted.start,
        end=wanted.end,
        after=max(after, default=None),
        before=min(before, default=None),
        is_backwards=paging.before is not None,
        # The store counts without after and before, and those of the filter belong to the count.
        is_counted=wanted.after is None and wanted.before is None,
    )


def _page(conn: Connection, query: Query, peer: Jid | None) -> Page:
    if peer is not None:
        peer_id = addresses.find(conn, peer.bare)
        if peer_id is None:
            return Page([], 0, True)
        query = replace(query, peer_id=peer_id, peer_resource=peer.resource or None)
    return rows.query(conn, query)


def _named(conn: Connection, owner_id: int, ids: tuple[int, ...]) -> Page:
    """Return messages by their ids (XEP-0313 §4.1.4)."""
    found: list[Archived] = []
    for number in sorted(set(ids)):
        query = Query(owner_id, limit=1, after=number - 1, before=number + 1, is_counted=False)
        found += rows.query(conn, query).rows
    if len(found) != len(set(ids)):
        raise StanzaError("item-not-found")
    return Page(found, len(found), True)


def _bounded(page: Page, *, from_end: bool) -> Page:
    """Return as much of a page as may be sent at a time, at least one message."""
    size = 0
    for kept, row in enumerate(reversed(page.rows) if from_end else page.rows):
        size += len(row.stanza)
        if kept and size > PAGE_BYTES:
            return Page(page.rows[-kept:] if from_end else page.rows[:kept], page.total, False)
    return page


def _result(owner: Jid, receiver: Jid, row: Archived, query_id: str | None) -> bytes:
    """Render one message of a history (XEP-0313 §4.2, XEP-0297)."""
    query = f" queryid='{escape_attribute(query_id)}'" if query_id is not None else ""
    head = (
        f"<message to='{receiver.xml}' from='{owner.xml}'><result xmlns='{ns.MAM}'{query} id='{row.number}'>"
        f"<forwarded xmlns='{ns.FORWARD}'><delay xmlns='{ns.DELAY}' stamp='{format_stamp(row.stamp)}'/>"
        f"<message xmlns='{ns.CLIENT}'"
    )
    return head.encode() + row.stanza.removeprefix(_MESSAGE) + b"</forwarded></result></message>"


async def _metadata(request: Request) -> Answer:
    """Say where the history begins and ends (XEP-0313 §4.1.6)."""
    await request.context.ledger.flush()
    first, last = await request.context.database.read(_ends, request.account.person.user_id)
    ends = "".join(
        f"<{name} id='{row.number}' timestamp='{format_stamp(row.stamp)}'/>"
        for name, row in (("start", first), ("end", last))
        if row is not None
    )
    return f"<metadata xmlns='{ns.MAM}'>{ends}</metadata>".encode()


def _ends(conn: Connection, owner_id: int) -> tuple[Archived | None, Archived | None]:
    first = rows.query(conn, Query(owner_id, limit=1, is_counted=False)).rows
    last = rows.query(conn, Query(owner_id, limit=1, is_counted=False, is_backwards=True)).rows
    return (first[0], last[0]) if first and last else (None, None)


def read_filter(form: Element | None) -> Filter:
    """Return what a submitted form narrows the history to.

    Raises StanzaError: feature-not-implemented for a field that we do not know (XEP-0313 §4.1.5),
    bad-request, jid-malformed, item-not-found.
    """
    values: dict[str, list[str]] = {}
    for field in form.findall("field") if form is not None else ():
        var = field.get("var") or ""
        if var != "FORM_TYPE" and var not in _FIELDS:
            raise StanzaError("feature-not-implemented", f"The history cannot be searched by {var!r}.")
        values[var] = [value.text.strip() for value in field.findall("value") if value.text.strip()]
    one = {var: found[0] for var, found in values.items() if found}
    if len(values.get("ids", ())) > MAX_IDS:
        raise StanzaError("not-acceptable", f"Ask for at most {MAX_IDS} messages at a time.")
    try:
        return Filter(
            peer=parse(one["with"]) if "with" in one else None,
            start=parse_stamp(one["start"]) if "start" in one else None,
            end=parse_stamp(one["end"]) if "end" in one else None,
            after=read_id(one["after-id"]) if "after-id" in one else None,
            before=read_id(one["before-id"]) if "before-id" in one else None,
            ids=tuple(read_id(text) for text in values.get("ids", ())),
        )
    except JidError as error:
        raise StanzaError("jid-malformed", error.reason) from None
    except (ValueError, OverflowError):
        raise StanzaError("bad-request", "A time is written as 2010-08-07T00:00:00Z.") from None


def read_id(text: str) -> int:
    """Return the number behind an archive id. Raises StanzaError (item-not-found)."""
    if not text.isascii() or not text.isdigit() or not 0 < len(text) < 19:
        raise StanzaError("item-not-found", "This is not an id of this history.")
    return int(text)
