"""The router: an ordered list of routes; the first that claims an address gets the stanza.

The whole way of a stanza is told in ``docs/stanza-routing.md``.
"""

from collections.abc import Sequence
from typing import Protocol

from ubiety.jid import Jid
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import Verdict, refuse
from ubiety.stanza import Stanza


class Route(Protocol):
    """One way out: people of this server, a host service, another node, another protocol."""

    def claims(self, address: Jid) -> bool:
        """Tell whether this route is the one for ``address``."""

    def route(self, stanza: Stanza, origin: Session | None) -> Verdict:
        """Take the stanza. ``origin`` is the local session that sent it, if one did."""


class Router:
    """Finds the route of a stanza. It keeps no state of its own."""

    def __init__(self, routes: Sequence[Route] = ()) -> None:
        self.routes = list(routes)

    def route(self, stanza: Stanza, origin: Session | None = None) -> Verdict:
        """Route ``stanza`` (its ``to`` and ``from_`` are set) and return the verdict."""
        to = stanza.to
        if to is None:
            raise ValueError("a stanza without an address cannot be routed")
        for route in self.routes:
            if route.claims(to):
                return route.route(stanza, origin)
        return refuse("remote-server-not-found", f"This server knows no way to {to.domain}.")
