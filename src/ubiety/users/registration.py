"""Accounts made, passwords changed and accounts removed by clients (XEP-0077).

Changing one's own password is always possible; making and removing accounts are settings, off by default.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy import Connection

from ubiety.conditions import StanzaError
from ubiety.element import Element, escape_text
from ubiety.jid import Jid, JidError, make, unescape_local
from ubiety.routing.homes import Person
from ubiety.settings import Setting
from ubiety.stanza import Stanza, make_error, make_result
from ubiety.store import addresses, archive, domains, users
from ubiety.store.errors import Conflict, StoreError
from ubiety.store.nodes import FIRST_NODE
from ubiety.telemetry import event
from ubiety.users.context import Context
from ubiety.users.disco import Feature
from ubiety.users.iq import Answer, Asked, Handler, Request
from ubiety.xmpp import ns

REMOVAL = Setting(
    "registration.removal", bool, False, "", "People may remove their own account with their client."
)
PER_HOUR = Setting(
    "registration.per_hour",
    int,
    5,
    "accounts",
    "Accounts that clients at one network address may make in an hour, where they may make any.",
    minimum=1,
    maximum=10_000,
)
HOUR = 3600.0
MAX_ADDRESSES = 10_000
"""Network addresses that are remembered."""
ARCHIVE_STEP = 500

HashPassword = Callable[[str, str], Awaitable[str]]
"""Returns the keys to store for a user id and a password.

Raises StanzaError (not-acceptable) when it cannot be one.
"""
Changed = Callable[[Sequence[int]], Awaitable[None]]
"""Told the addresses of people whose rows were changed."""
PlacePerson = Callable[[Connection], int]
"""Returns the set of one more person, within the transaction that adds them."""


class Registration:
    """Answers registration queries, before login and after."""

    def __init__(
        self,
        context: Context,
        changed: Changed,
        hash_password: HashPassword,
        place: PlacePerson = lambda _: FIRST_NODE,
    ) -> None:
        self._context = context
        self._changed = changed
        self._hash = hash_password
        self._place = place
        self._made: OrderedDict[str, list[float]] = OrderedDict()

    def feature(self) -> Feature:
        """People ask about and change their own account."""
        asked = (Asked.OWN, Asked.HOST)
        return Feature(
            (
                *(Handler(one, "get", ns.REGISTER, "query", self._get) for one in asked),
                *(Handler(one, "set", ns.REGISTER, "query", self._set) for one in asked),
            ),
            server=(ns.REGISTER,),
        )

    # -- after login -------------------------------------------------------------------------------

    def _get(self, request: Request) -> Answer:
        username = f"<username>{escape_text(self._person(request).jid.local)}</username>"
        return f"<query xmlns='{ns.REGISTER}'><registered/>{username}<password/></query>".encode()

    async def _set(self, request: Request) -> Answer:
        person = self._person(request)
        query = request.stanza.child(ns.REGISTER, "query")
        assert query is not None
        if query.find("remove") is not None:
            self._remove(person)
            return None
        username, password = _credentials(query)
        if _address(username, person.jid.domain) != person.jid:
            raise StanzaError("not-allowed", "People change their own password only.")
        credentials = await self._context.database.read(users.load_credentials, person.jid.bare)
        if credentials is None or credentials.auth != "local":
            raise StanzaError("not-allowed", "The password of this account is kept elsewhere.")
        scram = await self._hash(credentials.userid, password)
        await self._context.database.write(users.set_scram, person.user_id, scram)
        await self._changed([person.address_id])
        event("password_changed", address=person.jid.bare)
        return None

    def _person(self, request: Request) -> Person:
        """Return who asks; only our own people get here with a session."""
        session = request.session
        person = self._context.homes.at(session.address_id) if session is not None else None
        if person is None:
            raise StanzaError("forbidden")
        return person

    def _remove(self, person: Person) -> None:
        if not self._context.settings.get(REMOVAL):
            raise StanzaError("not-allowed", "Accounts are removed by an administrator.")
        self._context.spawn(self._delete(person))  # behind the answer: it ends the session

    async def _delete(self, person: Person) -> None:
        database = self._context.database
        # First nobody gets in any more, so that nothing new is written for them.
        await database.write(users.set_enabled, person.user_id, False)
        await self._changed([person.address_id])
        while await database.write(archive.delete_some, person.user_id, ARCHIVE_STEP):
            pass
        await database.write(users.delete, person.user_id)
        await self._changed([person.address_id])
        event("account_removed", address=person.jid.bare)

    # -- before login ------------------------------------------------------------------------------

    async def register(self, address: str, stanza: Stanza, domain: str) -> bytes:
        """Answer a registration query that came before login (only where the setting lets it through)."""
        try:
            query = stanza.child(ns.REGISTER, "query")
            if query is None or stanza.type not in ("get", "set"):
                raise StanzaError("bad-request")
            if stanza.type == "get":
                return make_result(stanza, _FORM).to_bytes()
            await self._make(address, query, domain)
        except StanzaError as error:
            return make_error(stanza, error).to_bytes()
        except StoreError as error:
            event("registration_failed", level="error", reason=str(error))
            failure = StanzaError("resource-constraint", "The database does not answer. Try again later.")
            return make_error(stanza, failure).to_bytes()
        return make_result(stanza).to_bytes()

    async def _make(self, address: str, query: Element, domain: str) -> None:
        username, password = _credentials(query)
        jid = _address(username, domain)
        if self._context.homes.find(jid.bare) is not None:
            raise StanzaError("conflict", "This name is taken.")
        self._count(address)
        scram = await self._hash(unescape_local(jid.local), password)
        now = self._context.clock.now()
        try:
            address_id = await self._context.database.write(_insert, jid, scram, now, self._place)
        except Conflict:
            raise StanzaError("conflict", "This name is taken.") from None
        await self._changed([address_id])
        event("account_registered", address=jid.bare, remote=address)

    def _count(self, address: str) -> None:
        """Count an account for a network address. Raises StanzaError (resource-constraint)."""
        network, now = _network(address), self._context.clock.monotonic()
        made = [at for at in self._made.pop(network, ()) if at > now - HOUR]
        self._made[network] = made
        if len(self._made) > MAX_ADDRESSES:
            self._made.popitem(last=False)
        if len(made) >= self._context.settings.get(PER_HOUR):
            event("registration_refused", level="warning", remote=address)
            raise StanzaError("resource-constraint", "Too many accounts were made from here. Try later.")
        made.append(now)


_FORM = (
    f"<query xmlns='{ns.REGISTER}'><instructions>Choose a user name and a password.</instructions>"
    "<username/><password/></query>"
).encode()


def _credentials(query: Element) -> tuple[str, str]:
    username, password = query.find("username"), query.find("password")
    if username is None or password is None or not username.text or not password.text:
        raise StanzaError("bad-request", "A user name and a password are needed.")  # XEP-0077 §3.3
    return username.text, password.text


def _address(username: str, domain: str) -> Jid:
    """Return the address of a user name; its "@" is not the address's (XEP-0106 is the client's part)."""
    try:
        return make(username, domain)
    except JidError as error:
        raise StanzaError("not-acceptable", error.reason) from None


def _network(address: str) -> str:
    """Return what stands for one customer: an IPv4 address, the /64 of an IPv6 address."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if ip.version == 4:
        return str(ip)
    return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))


def _insert(conn: Connection, jid: Jid, scram: str, now: float, place: PlacePerson) -> int:
    domain = domains.find(conn, jid.domain)
    if domain is None:
        raise StanzaError("item-not-found", "This domain is not served here any more.")
    userid = unescape_local(jid.local)
    profile = {"display_name": userid}
    user_id = users.create(conn, jid.bare, userid, domain.id, now, profile, set_id=place(conn))
    users.set_scram(conn, user_id, scram)
    address_id = addresses.find(conn, jid.bare)
    assert address_id is not None
    return address_id
