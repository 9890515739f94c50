"""Contact lists as clients see them: RFC 6121 §2, with versioning.

In memory an actor has only arrays of address ids; what is shown is rendered from the database and
kept as bytes by version for the next login.
"""

from collections import OrderedDict

from sqlalchemy import Connection

from ubiety.conditions import StanzaError
from ubiety.element import Element
from ubiety.jid import Jid, JidError, parse
from ubiety.routing.homes import Person
from ubiety.stanza import Stanza
from ubiety.store import addresses
from ubiety.store import roster as rows
from ubiety.users import subscribing
from ubiety.users.actor import User
from ubiety.users.iq import Answer, Asked, Handler, Request
from ubiety.users.preferences import MAX_CONTACTS
from ubiety.users.roster_push import push, render
from ubiety.xmpp import ns

MAX_NAME = 1023  # RFC 6121 §2.3.3: the server may limit handle and group length
MAX_GROUPS = 100
CACHED_ROSTERS = 5000


class RosterCache:
    """Rendered contact lists by person and version, the least recently used go first."""

    def __init__(self, size: int = CACHED_ROSTERS) -> None:
        self._size = size
        self._rendered: OrderedDict[int, tuple[int, bytes]] = OrderedDict()

    def get(self, user_id: int, version: int) -> bytes | None:
        """Return the items of this version, if they are kept."""
        found = self._rendered.get(user_id)
        if found is None or found[0] != version:
            return None
        self._rendered.move_to_end(user_id)
        return found[1]

    def put(self, user_id: int, version: int, items: bytes) -> None:
        """Keep the items of a version."""
        self._rendered[user_id] = (version, items)
        self._rendered.move_to_end(user_id)
        if len(self._rendered) > self._size:
            self._rendered.popitem(last=False)


class Roster:
    """Answers roster queries."""

    def __init__(self, cache: RosterCache) -> None:
        self._cache = cache

    def handlers(self) -> list[Handler]:
        """The queries answered here."""
        return [
            Handler(Asked.OWN, "get", ns.ROSTER, "query", self._get),
            Handler(Asked.OWN, "set", ns.ROSTER, "query", self._set, in_line=True),
        ]

    async def _get(self, request: Request) -> Answer:
        user = request.account
        if request.session is not None:
            request.session.interested = True
        query = request.stanza.child(ns.ROSTER, "query")
        known = query.get("ver") if query is not None else None
        if known is not None and known == str(user.roster_version):
            return None  # RFC 6121 §2.6.3: nothing has changed
        items = self._cache.get(user.person.user_id, user.roster_version)
        version = user.roster_version
        if items is None:
            loaded = await request.context.database.read(rows.load_items, user.person.user_id)
            items = "".join(render(item) for item in loaded if item.is_listed).encode()
            if version == user.roster_version:
                self._cache.put(user.person.user_id, version, items)
        return b"<query xmlns='jabber:iq:roster' ver='%d'>%b</query>" % (version, items)

    async def _set(self, request: Request) -> Answer:
        user = request.account
        item = _only_item(request.stanza)
        contact = _contact(item, user)
        if item.get("subscription") == "remove":
            await subscribing.remove(request.context, user, contact)
            return None
        name, groups = _checked(item)
        limit = request.context.settings.get(MAX_CONTACTS)
        known = request.context.homes.find(contact.bare)
        version, stored = await request.context.database.write(
            _put, user.person.user_id, contact.bare, known, name, groups, limit
        )
        user.roster_version = max(user.roster_version, version)
        push(user, [render(stored)])
        return None


def _put(
    conn: Connection,
    user_id: int,
    contact: str,
    known: Person | None,
    name: str,
    groups: list[str],
    limit: int,
) -> tuple[int, rows.Item]:
    contact_id = known.address_id if known is not None else addresses.intern(conn, contact)
    present, contacts = rows.load_with_count(conn, user_id, contact_id, contact)
    # Facts §4.1: of a batch that goes over the limit the surplus is refused. Who only watches is no contact.
    if limit and (present is None or not present.is_listed) and contacts >= limit:
        raise StanzaError("not-allowed", f"The contact list is full: {limit} contacts are allowed.")
    had_groups = present is not None and bool(present.groups)
    rows.put_item(conn, user_id, contact_id, name, groups, had_groups=had_groups)
    version = rows.bump_version(conn, user_id)
    flags, state = (present.flags, present.state) if present is not None else (0, 0)
    return version, rows.Item(contact_id, contact, name, flags | rows.LISTED, state, tuple(sorted(groups)))


def _only_item(stanza: Stanza) -> Element:
    query = stanza.child(ns.ROSTER, "query")
    items = query.findall("item", ns.ROSTER) if query is not None else []
    if len(items) != 1:
        raise StanzaError("bad-request", "A roster set holds exactly one item.")  # RFC 6121 §2.3.3
    return items[0]


def _contact(item: Element, user: User) -> Jid:
    try:
        contact = parse(item.get("jid") or "")
    except JidError as error:
        raise StanzaError("jid-malformed", error.reason) from None
    if contact.bare == user.jid.bare:
        raise StanzaError("not-allowed", "A person cannot be their own contact.")
    return contact.bare_jid()


def _checked(item: Element) -> tuple[str, list[str]]:
    name = item.get("name") or ""
    groups = [group.text for group in item.findall("group", ns.ROSTER)]
    if len(set(groups)) != len(groups):
        raise StanzaError("bad-request", "A group is named twice.")  # RFC 6121 §2.3.3
    if any(not group for group in groups):
        raise StanzaError("not-acceptable", "A group has no name.")
    if len(groups) > MAX_GROUPS or len(name) > MAX_NAME or any(len(group) > MAX_NAME for group in groups):
        raise StanzaError("not-acceptable", "A name or group is too long, or there are too many groups.")
    return name, groups
