"""People whom other nodes serve: what a node's users send there, and what comes from there for them.

The recipient's home keeps the recipient's history, the sender's home the sender's, each with numbers of its
own. What was written by a sender's home gets into the recipient's history when the recipient's home is told.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from ubiety.routing.arrivals import Arrivals
from ubiety.routing.delivery import is_durable
from ubiety.routing.homes import Person
from ubiety.routing.lately import Lately
from ubiety.routing.links import Links
from ubiety.routing.remote import RemoteNodes
from ubiety.routing.remote_home import ROW, RemoteOrigin, read_mark
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import DELIVERED, Delivered, Pending, Refused, Settled, Verdict, refuse
from ubiety.stanza import Stanza, parse_stanza, strip_asserted
from ubiety.store import policy, strays
from ubiety.store.errors import StoreError
from ubiety.telemetry import event
from ubiety.users import archive, policy_changes
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.messages import ORIGIN_ID, origin_id
from ubiety.users.offline import Delivery
from ubiety.users.policy import Policy
from ubiety.users.preferences import ARCHIVE_ENABLED

Origin = Session | RemoteOrigin
"""Who has sent a stanza: one of this node's clients, or somebody's at another node."""

REPEATS_KEPT = 20_000
"""Messages of other nodes' people that are remembered by their origin ids."""


class People(Protocol):
    """The people of this node (``users.service.Users``)."""

    def take(self, person: Person, stanza: Stanza, origin: Origin | None) -> Verdict:
        """Deliver to a person who is served here."""

    def when_loaded(self, person: Person, fn: Callable[[User | None], None]) -> bool:
        """Call ``fn`` with the actor once there is one; False: too much waits already."""


class Elsewhere:
    """What joins the people of this node to those of the others (``routing.remote_home.Home``)."""

    def __init__(
        self,
        context: Context,
        people: People,
        links: Links,
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._context = context
        self._people = people
        self._repeats: Lately[tuple[int, int, str], Delivered | Pending] = Lately(REPEATS_KEPT)
        self.nodes = RemoteNodes(
            context.homes,
            links,
            context.database,
            context.clock,
            context.counters,
            self,
            call_later,
            context.spawn,
        )
        self._arrivals = Arrivals(context.homes, links, context.router, self)

    # -- out -----------------------------------------------------------------------------------

    def claims(self, person: Person) -> bool:
        """Tell whether a stanza for this person goes, or waits to go, to another node."""
        return not self._context.homes.is_here(person) or person.address_id in self.nodes.lanes

    def send(self, person: Person, stanza: Stanza, origin: Session | None) -> Verdict:
        """Send a stanza to a person whom another node serves."""
        context = self._context
        if person.set_id in context.homes.here and not (stanza.kind == "message" and is_durable(stanza)):
            return self._people.take(person, stanza, origin)  # only durable messages wait in a lane
        if origin is None:
            return self.nodes.send(person, stanza, 0, False)
        verdict = self.nodes.send(person, stanza, origin.address_id, origin.smacks is not None)
        if type(verdict) is Pending and context.settings.get(ARCHIVE_ENABLED):
            self._keep_when_settled(verdict, person, stanza, origin)
        return verdict

    def follow(self, delivery: Delivery) -> bool:
        """Send a message of one of our clients after its recipient, whom this node serves no more.

        It is held until it is known where to, or written after a while, like all that waits for other nodes.
        False: its sender is not a client of ours, who would be told an error; other nodes look themselves.
        """
        context, entry, pending = self._context, delivery.entry, delivery.pending
        if entry is None or pending is None or entry.sender_id is None:
            return False
        person, sender = context.homes.user(entry.recipient_id), context.actors.get(entry.sender_id)
        if person is None or sender is None:
            return False
        stanza = strip_asserted(parse_stanza(entry.stanza), (person.jid.bare,))
        session = sender.sessions.get(stanza.from_.resource) if stanza.from_ is not None else None
        if session is None:
            return False
        if delivery.submitted:  # it is being written at this moment: the ledger's word decides
            return True
        context.ledger.unarchive(entry.number)
        # It may come back here: then it is no repeat of itself.
        self._repeats.forget((entry.sender_id, person.address_id, entry.origin_id or ""))
        promised = session.smacks is not None
        verdict = self.nodes.send(person, stanza, session.address_id, promised, hold=True)
        if isinstance(verdict, Pending):
            if context.settings.get(ARCHIVE_ENABLED):
                self._keep_when_settled(verdict, person, stanza, session)
            verdict.then(pending.settle)
        else:
            pending.settle(verdict)
        return True

    def _keep_when_settled(self, pending: Pending, person: Person, stanza: Stanza, origin: Session) -> None:
        """Keep a message in its sender's history, in the place where it was sent, unless it is refused."""
        context = self._context
        number, now = context.next_number(), context.clock.now()

        def keep(settled: Settled) -> None:
            sender = context.actors.get(origin.address_id)
            if isinstance(settled, Delivered) and sender is not None:
                archive.keep_sent(context, sender, person, stanza, number, now)

        pending.then(keep)

    # -- in --------------------------------------------------------------------------------------

    def take(self, person: Person, stanza: Stanza, origin: RemoteOrigin) -> Verdict:
        """Deliver a stanza that was routed to this node; a repeat gets the first one's verdict.

        The sender's home knows repeats by itself, unless it changed since the first one (promise 1).
        """
        if origin.smacks is None or ORIGIN_ID not in stanza.children:
            return self._people.take(person, stanza, origin if stanza.kind == "message" else None)
        key = (origin.address_id, person.address_id, origin_id(stanza) or "")
        first = self._repeats.get(key) if key[2] else None
        if isinstance(first, Pending) and first.verdict is not None:
            first = None if isinstance(first.verdict, Refused) else DELIVERED
        if first is not None:
            return first
        verdict = self._people.take(person, stanza, origin)
        if not isinstance(verdict, Refused):
            self._repeats.put(key, verdict)
        return verdict

    def origin_id(self, stanza: Stanza) -> str | None:
        """Return the id that the sender's client gave a message (XEP-0359 §3.2)."""
        return origin_id(stanza) if ORIGIN_ID in stanza.children else None

    async def refusals(self, messages: list[tuple[Person, Stanza]]) -> list[Refused | None]:
        """Return what recipients served elsewhere would refuse, by their policies. Raises StoreError."""
        ids = {person.user_id for person, _ in messages}
        stored = await self._context.database.read(lambda conn: {one: policy.load(conn, one) for one in ids})
        policies = {one: policy_changes.make_policy(self._context, rows) for one, rows in stored.items()}
        return [
            refuse("service-unavailable")
            if self._context.homes.user(person.user_id) is None
            or self._is_kept_out(policies[person.user_id], person, stanza)
            else None
            for person, stanza in messages
        ]

    def _is_kept_out(self, rules: Policy | None, person: Person, stanza: Stanza) -> bool:
        sender = stanza.from_
        if rules is None or sender is None or sender.bare == person.jid.bare or not sender.local:
            return False
        return not rules.allows(sender)  # XEP-0191 §3.2

    def go_on_in(self, epoch: int) -> None:
        """Number messages in this epoch from now on, unless the present one is greater."""
        self._context.set_epoch(epoch)

    def rows_stored(self, person: Person, numbers: list[int]) -> None:
        """Another node has added rows for a person: deliver them in their turn, keep them in the history."""

        def note(user: User | None) -> None:
            if user is not None:
                user.inbox.row_waits()
                if numbers:
                    self._context.spawn(self._keep_rows(user, numbers))

        self._people.when_loaded(person, note)

    async def _keep_rows(self, user: User, numbers: list[int]) -> None:
        try:
            rows = await self._context.database.read(strays.find, numbers)
        except StoreError as error:
            event("history_not_kept", level="warning", user_id=user.person.user_id, reason=str(error))
            return
        for row in rows:
            archive.keep_received(
                self._context,
                user,
                parse_stanza(row.stanza),
                row.sender_id,
                row.number,
                row.stanza,
                row.stamp,
            )

    async def rows_added(self, epochs: Sequence[int] | None) -> None:
        """Take over which messages other nodes have written, should they not live to tell. Raises StoreError.

        ``None``: nobody knows; all who are loaded look.
        """
        if epochs is None:
            for user in self._context.actors.values():
                user.inbox.row_waits()
        homes = self._context.homes
        for epoch in epochs or ():
            needed: dict[int, tuple[Person, list[int]]] = {}
            for row in await self._context.database.read(strays.of_epoch, epoch):
                person = homes.user(row.recipient_id)
                if person is not None and homes.is_here(person) and self._is_news(person, row):
                    needed.setdefault(person.user_id, (person, []))[1].append(row.number)
            for person, numbers in needed.values():
                self.rows_stored(person, numbers)

    def _is_news(self, person: Person, row: strays.Undelivered) -> bool:
        """Tell whether a row is to be delivered; if so, and its message comes as well, that is not."""
        origin = row.origin_id or ""
        mark = read_mark(origin)
        key = (row.sender_id or 0, person.address_id, origin)
        known = self._arrivals.known(*mark) if mark is not None else self._repeats.get(key)
        if known is ROW or not self._arrivals.is_needed(person, row.number, known):
            return False
        if mark is not None:
            self._arrivals.expect_no_more(*mark)
        elif origin:
            self._repeats.put(key, ROW)
        return True

    def row_superfluous(self, person: Person, number: int) -> None:
        """A row that another node has added is of a message that was here already."""
        self._context.ledger.forget(person.user_id, number)
