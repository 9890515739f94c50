"""The ways of this node out over SIP: decided from memory, by static routes and the health of next hops."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import random

from ubiety.clock import Clock
from ubiety.conditions import StanzaError
from ubiety.gateway.federation import FederationCopy
from ubiety.gateway.routing import Action, Decision, Question, decide
from ubiety.gateway.settings import ADVANCED, MICROSOFT, ROUTING_MODE
from ubiety.jid import Jid
from ubiety.routing.homes import Homes
from ubiety.settings import Settings
from ubiety.sip.outputs import Cause, Hop

LOOK_SECONDS = 1.0
REASONS = {
    Cause.TRANSPORT.value: "No connection could be made, or it broke.",
    Cause.TIMEOUT.value: "It did not answer in time.",
}
"""For whoever reads which next hops are tried last."""


@dataclass(frozen=True, slots=True)
class Name:
    """How this node calls itself towards peers."""

    host: Callable[[], str]
    """The name of its group of nodes, or its address; in brackets where it is an IPv6 address."""
    ports: Callable[[], dict[str, int]]
    """The ports that are listened on: `sip`, `sip_tls_peer`."""


class StaticWays:
    """The ways of one node. Implements `stack.Ways`."""

    def __init__(
        self,
        federation: FederationCopy,
        homes: Homes,
        settings: Settings,
        clock: Clock,
        name: Name,
        why: Callable[[Hop], str] = lambda hop: "",
    ) -> None:
        """`why` says why no connection to a next hop could be made the last time; "": it is not known."""
        self._federation = federation
        self._homes = homes
        self._settings = settings
        self._clock = clock
        self._name = name
        self._why = why

    def is_outside(self, address: Jid) -> bool:
        """Tell whether an address that nobody here has can be somebody's outside."""
        if not address.local:
            return False
        if address.domain in self._federation.value.remote_domains:
            return True
        if address.domain not in self._homes.domains or not self._settings.get(MICROSOFT):
            return False
        is_known = address.bare in self._federation.microsoft
        return is_known or self._settings.get(ROUTING_MODE) != ADVANCED

    def decide(self, question: Question) -> Decision:
        """Decide on a request, by what is known now."""
        rules = self._federation.rules(self._settings, self._homes.domains)
        return decide(question, rules, random, self._federation.hops.is_dead)

    # -- stack.Ways --------------------------------------------------------------------------------

    def hops(self, sender: Jid, recipient: Jid) -> Sequence[Hop]:
        """Return the next hops for a new request of one of our people, in the order to be tried.

        Raises StanzaError when there is no way.
        """
        decision = self.decide(Question(sender.bare, recipient.local, recipient.domain, is_ours=False))
        if decision.action in (Action.MICROSOFT, Action.REMOTE):
            return [route.hop for route in decision.routes]
        raise StanzaError(decision.condition or "item-not-found", decision.reason)

    def contact(self, transport: str) -> str:
        """Return our Contact for requests over a transport."""
        port = self._name.ports().get("sip_tls_peer" if transport == "tls" else "sip", 0)
        host = self._name.host()
        return f"<sip:{host}:{port};transport={transport}>" if port else f"<sip:{host};transport={transport}>"

    def is_microsoft(self, address: Jid) -> bool:
        """Tell whether somebody outside is reached at the Microsoft side of one of our own domains."""
        return address.domain in self._homes.domains

    def answered(self, hop: Hop, status: int, retry_after: float | None) -> None:
        """Note that a next hop gave a final answer."""
        self._federation.hops.answered(hop, status, self._clock.monotonic(), retry_after)

    def failed(self, hop: Hop, reason: str) -> None:
        """Note that a next hop could not be reached or did not answer."""
        known = self._why(hop) if reason == Cause.TRANSPORT.value else ""
        text = f"No connection: {known}" if known else REASONS.get(reason, reason)
        self._federation.hops.failed(hop, text, self._clock.monotonic())

    # -- probes ------------------------------------------------------------------------------------

    async def probe(self, send: Callable[[Hop], None]) -> None:
        """Have next hops that do not answer asked now and then, for as long as the gateway runs."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for hop in self._federation.hops.due_probes(self._clock.monotonic()):
                send(hop)
