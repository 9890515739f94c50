"""People outside, in memory: a route that claims them, and what their server is told of ours."""

from __future__ import annotations

from collections.abc import Sequence

from tests.unit.users.place import DOMAIN, Client, Place
from ubiety.element import parse_element
from ubiety.jid import Jid, parse
from ubiety.presence.model import Composed, State
from ubiety.routing.homes import Person
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import DELIVERED, Verdict, refuse
from ubiety.stanza import Stanza, from_element
from ubiety.users.actor import User
from ubiety.users.outsiders import Standing, subscribe_from_outside

MICROSOFT = f"max@{DOMAIN}"
"""Shares our domain and is not one of us."""
REMOTE = "rita@contoso.example"


class Beyond:
    """Implements ``users.outside.Outside`` and is a route (``routing.router.Route``)."""

    def __init__(self, place: Place, *people: str) -> None:
        self.place = place
        self.people = set(people or (MICROSOFT, REMOTE))
        self.routed: list[Stanza] = []
        self.told: list[tuple[str, State, str, list[str]]] = []
        self.sinces: list[float] = []
        self.looked: list[str] = []
        self.dropped: list[str] = []
        self.known: dict[str, str] = {}
        """What is known of people's presence: the children of the stanza by full address."""
        self.refuses = False
        place.context.outside = self
        place.context.router.routes.insert(0, self)

    # -- the route -------------------------------------------------------------------------------

    def claims(self, address: Jid) -> bool:
        """People outside who are none of ours."""
        return address.bare in self.people and self.place.context.homes.find(address.bare) is None

    def route(self, stanza: Stanza, origin: Session | None) -> Verdict:
        """Keep it."""
        self.routed.append(stanza)
        return refuse("remote-server-timeout", "Nobody answers there.") if self.refuses else DELIVERED

    # -- outside -----------------------------------------------------------------------------------

    def shown(self, user: User, composed: Composed, watchers: Sequence[Jid]) -> None:
        """Note it."""
        self.told.append((user.jid.bare, composed.state, composed.note, sorted(one.bare for one in watchers)))
        self.sinces.append(composed.since)

    def look_around(self, user: User, session: Session) -> None:
        """Show what is known of all contacts."""
        self.looked.append(session.jid.text)
        self._show(session.jid)

    def look_at(self, user: User, contact: Jid) -> None:
        """Show what is known of one."""
        self.looked.append(f"{user.jid.bare} {contact.bare}")
        self._show(user.jid.bare_jid(), contact.bare)

    def forgotten(self, user: User) -> None:
        """Note it."""
        self.dropped.append(user.jid.bare)

    def _show(self, to: Jid, bare: str = "") -> None:
        for sender, children in self.known.items():
            if bare in ("", parse(sender).bare):
                self.send(sender, None, to.text, children)

    # -- what a test does ----------------------------------------------------------------------------

    def send(self, sender: str, type_: str | None, to: str, children: str = "") -> Verdict:
        """Send presence to one of our people."""
        kind = f" type='{type_}'" if type_ else ""
        xml = f"<presence xmlns='jabber:client' from='{sender}' to='{to}'{kind}>{children}</presence>"
        return self.place.context.router.route(from_element(parse_element(xml.encode())))

    async def ask(self, person: Person, kind: str = "subscribe", sender: str = MICROSOFT) -> Standing:
        """Have somebody ask for, or answer about, presence; return what it came to."""
        stanza = Stanza("presence", person.jid, parse(sender), type=kind)
        outcome = await subscribe_from_outside(self.place.context, person, stanza)
        await self.place.settle()
        return outcome.state

    def take_routed(self) -> list[tuple[str, str, str | None]]:
        """Take what was routed outside: sender, recipient, type."""
        routed = [(str(s.from_), str(s.to), s.type) for s in self.routed]
        self.routed.clear()
        return routed

    def take_told(self) -> list[tuple[str, State, str, list[str]]]:
        """Take what watchers were told: whom of, state, note, who."""
        told = self.told.copy()
        self.told.clear()
        return told


async def befriend(beyond: Beyond, client: Client, contact: str = MICROSOFT) -> None:
    """Have one of our people and somebody outside see each other, and forget how it came to that."""
    client.send(f"<presence type='subscribe' to='{contact}'/>")
    await beyond.place.settle()
    assert await beyond.ask(client.user.person, "subscribed", contact) is not None
    if await beyond.ask(client.user.person, "subscribe", contact) is Standing.PENDING:
        client.send(f"<presence type='subscribed' to='{contact}'/>")
        await beyond.place.settle()
    client.edge.written.clear()
    beyond.routed.clear()
    beyond.told.clear()
    beyond.looked.clear()
