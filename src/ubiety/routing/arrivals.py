"""Stanzas that other nodes send for the people of this one, and the verdicts that go back."""

from ubiety.jid import JidError
from ubiety.routing.homes import Homes, Person
from ubiety.routing.lately import Lately
from ubiety.routing.links import Item, Kind, LinkEvent, Links
from ubiety.routing.packing import unpack_stanza
from ubiety.routing.remote_home import FIRST, NOT_HOME, PROMISED, ROW, Home, RemoteOrigin
from ubiety.routing.router import Router
from ubiety.routing.verdict import UNSERVED, Delivered, Pending, Refused, Settled, Verdict, refuse
from ubiety.stanza import Stanza, make_error
from ubiety.telemetry import event

TOKENS_KEPT = 10_000
"""Verdicts remembered for each node, for messages that come twice or were written meanwhile."""


class Arrivals:
    """Takes what other nodes send.

    A node that is turned away once is turned away for that recipient until it says that nothing is on its
    way (``FIRST``): else a message behind the one that came too early would be delivered before it.
    """

    def __init__(self, homes: Homes, links: Links, router: Router, home: Home) -> None:
        self._homes = homes
        self._links = links
        self._router = router
        self._home = home
        self._taken: dict[int, Lately[int, Verdict]] = {}
        self._turned_away: dict[int, set[str]] = {}
        links.handle(Kind.STANZA, self._stanza)
        links.handle(Kind.STORED, self._stored)
        links.watch(self._link_changed)

    def _stanza(self, node: int, item: Item) -> None:
        _, token, flags, sender_id, packed = item
        try:
            stanza = unpack_stanza(packed)
        except (JidError, TypeError, ValueError) as error:
            event("stanza_not_read", level="error", node=node, reason=str(error))
            self._answer(node, token, refuse("bad-request"))
            return
        person = self._find(node, stanza, token, flags)
        if person is None:
            return
        taken = self._taken_from(node)
        verdict = taken.get(token) if token else None
        if verdict is None:
            verdict = self._home.take(person, stanza, RemoteOrigin(sender_id, bool(flags & PROMISED)))
        if not token:
            self._answer_with_error(stanza, verdict)
            return
        taken.put(token, verdict)
        if type(verdict) is Pending:
            verdict.then(lambda settled: self._answer_later(node, token, person, settled))
        else:
            self._answer(node, token, verdict)

    def _find(self, node: int, stanza: Stanza, token: int, flags: int) -> Person | None:
        """Return the recipient; None: the node was told that this is not the home, as far as it cares."""
        bare = stanza.to.bare if stanza.to is not None else ""
        person = self._homes.find(bare)
        turned_away = self._turned_away.get(node)
        if person is not None and self._homes.is_here(person):
            if not turned_away or not token or bare not in turned_away:
                return person
            if flags & FIRST:
                turned_away.discard(bare)
                return person
        if token:
            self._turn_away(node, token, bare)
        elif stanza.kind == "iq":
            self._answer_with_error(stanza, refuse("recipient-unavailable"))
        return None

    def _answer(self, node: int, token: int, verdict: Verdict) -> None:
        if isinstance(verdict, Refused):
            error = verdict.error
            self._links.send(node, (Kind.VERDICT, token, error.condition, error.type, error.text))
        else:
            self._links.send(node, (Kind.VERDICT, token, "", "", ""))

    def _answer_later(self, node: int, token: int, person: Person, settled: Settled) -> None:
        if settled is UNSERVED:  # the next home takes it
            self._taken_from(node).forget(token)
            self._turn_away(node, token, person.jid.bare)
        else:
            self._answer(node, token, settled)

    def _turn_away(self, node: int, token: int, bare: str) -> None:
        self._turned_away.setdefault(node, set()).add(bare)
        self._links.send(node, (Kind.VERDICT, token, NOT_HOME, "", ""))

    def _answer_with_error(self, stanza: Stanza, verdict: Verdict) -> None:
        """Send the sender the error that the sender's home would send, were the verdict its own."""
        if isinstance(verdict, Pending):
            verdict.then(lambda settled: self._answer_with_error(stanza, settled))
            return
        if not isinstance(verdict, Refused) or stanza.from_ is None:
            return
        # RFC 6120 §8.3.1: an error is never answered with an error; RFC 6121: nor is a presence other
        # than a subscription's.
        if stanza.type == "error" or (stanza.kind == "iq" and stanza.type == "result"):
            return
        if stanza.kind == "presence" and stanza.type in (None, "unavailable", "probe"):
            return
        self._router.route(make_error(stanza, verdict.error))

    # -- rows that the sender's home has written ---------------------------------------------------

    def _stored(self, node: int, item: Item) -> None:
        _, telling, address_id, epoch, numbers, tokens = item
        person = self._homes.at(address_id)
        if person is None or not self._homes.is_here(person):
            self._links.send(node, (Kind.VERDICT, telling, NOT_HOME, "", ""))
            return
        self._home.go_on_in(epoch)
        taken = self._taken.get(node)
        new = []
        for number, token in zip(numbers, tokens, strict=True):
            verdict = taken.get(token) if taken is not None else None
            if number and self.is_needed(person, number, verdict):  # 0: the message had a row already
                new.append(number)
        if new or 0 in numbers:
            self._home.rows_stored(person, new)
        self._links.send(node, (Kind.VERDICT, telling, "", "", ""))

    def is_needed(self, person: Person, number: int, verdict: Verdict | None) -> bool:
        """Tell whether a row is of a message that did not come here; if it did, the row goes."""
        if isinstance(verdict, Pending):
            if verdict.verdict is None:
                verdict.then(lambda settled: self._compare(person, number, settled))
                return False
            verdict = verdict.verdict
        if verdict is None or verdict is ROW:
            return True
        self._compare(person, number, verdict)
        return False

    def known(self, node: int, token: int) -> Verdict | None:
        """Return what became of a message from another node, None if it did not come."""
        taken = self._taken.get(node)
        return taken.get(token) if taken is not None else None

    def expect_no_more(self, node: int, token: int) -> None:
        """A message is a row: should it still come, it is not delivered."""
        self._taken_from(node).put(token, ROW)

    def _taken_from(self, node: int) -> Lately[int, Verdict]:
        return self._taken.setdefault(node, Lately(TOKENS_KEPT))

    def _compare(self, person: Person, number: int, settled: Settled) -> None:
        """A message came both ways: the row is needed only if this node could not keep it."""
        if isinstance(settled, Delivered) or settled.error.condition != "resource-constraint":
            self._home.row_superfluous(person, number)
        else:
            self._home.rows_stored(person, [number])

    def _link_changed(self, node: int, change: LinkEvent) -> None:
        if change is LinkEvent.RESTARTED:  # nothing of the old process will come any more
            self._taken.pop(node, None)
            self._turned_away.pop(node, None)
