"""The router: the first route that claims an address gets the stanza."""

import pytest

from ubiety.jid import Jid, parse
from ubiety.routing.router import Router
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import DELIVERED, Refused, Verdict
from ubiety.stanza import Stanza


class Domain:
    """A route to one domain that keeps what it got."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.got: list[Stanza] = []

    def claims(self, address: Jid) -> bool:
        """Its domain."""
        return address.domain == self.name

    def route(self, stanza: Stanza, origin: Session | None) -> Verdict:
        """Keep it."""
        self.got.append(stanza)
        return DELIVERED


def message(to: str | None) -> Stanza:
    """A message."""
    return Stanza("message", parse(to) if to else None, parse("alice@example.org/desk"))


def test_first_route_that_claims_it() -> None:
    first, second, third = Domain("example.org"), Domain("example.com"), Domain("example.com")
    router = Router([first, second, third])
    stanza = message("bob@example.com")
    assert router.route(stanza) is DELIVERED
    assert (first.got, second.got, third.got) == ([], [stanza], [])


def test_nobody_claims_it() -> None:
    verdict = Router([Domain("example.org")]).route(message("bob@example.net"))
    assert isinstance(verdict, Refused) and verdict.error.condition == "remote-server-not-found"


def test_stanza_without_an_address_is_our_own_mistake() -> None:
    with pytest.raises(ValueError):
        Router().route(message(None))
