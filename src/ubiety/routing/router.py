"""The router: an ordered list of routes; the first that claims an address gets the stanza.

The whole way of a stanza is told in ``docs/stanza-routing.md``.
"""

from collections.abc import Sequence
from typing import Protocol

from ubiety.jid import Jid
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import DELIVERED, Verdict, refuse
from ubiety.stanza import Stanza


class Route(Protocol):
    """One way out: people of this server, a host service, another node, another protocol."""

    def claims(self, address: Jid) -> bool:
        """Tell whether this route is the one for ``address``."""

    def route(self, stanza: Stanza, origin: Session | None) -> Verdict:
        """Take the stanza. ``origin`` is the local session that sent it, if one did."""


STOPPED = "The router of this server is stopped. Try again later."


class Router:
    """Finds the route of a stanza. It keeps no state but whether it is open."""

    def __init__(self, routes: Sequence[Route] = ()) -> None:
        self.routes: list[Route] = list(routes)
        self._kept: list[Route] | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the service is stopped: whatever comes is refused."""
        return self._kept is not None

    def close(self) -> None:
        """Route nothing from now on, except that messages are kept."""
        if self._kept is None:
            self._kept, self.routes = self.routes, [_Closed(self.routes)]

    def open(self) -> None:
        """Route again."""
        if self._kept is not None:
            self.routes, self._kept = self._kept, None

    def route(self, stanza: Stanza, origin: Session | None = None) -> Verdict:
        """Route ``stanza`` (its ``to`` and ``from_`` are set) and return the verdict."""
        to = stanza.to
        if to is None:
            raise ValueError("a stanza without an address cannot be routed")
        for route in self.routes:
            if route.claims(to):
                return route.route(stanza, origin)
        return refuse("remote-server-not-found", f"This server knows no way to {to.domain}.")


class _Closed:
    """The only route of a router that is stopped: nobody has a session, and messages are kept for later."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = routes

    def claims(self, _address: Jid) -> bool:
        """Everything."""
        return True

    def route(self, stanza: Stanza, origin: Session | None) -> Verdict:
        """Keep messages that other nodes bring, drop presence, refuse queries (RFC 6120 §8.3.3.18)."""
        assert stanza.to is not None
        if stanza.kind == "presence":
            return DELIVERED
        kept = next((route for route in self._routes if route.claims(stanza.to)), None)
        if stanza.kind == "message" and kept is not None:
            return kept.route(stanza, origin)
        return refuse("resource-constraint", STOPPED)
