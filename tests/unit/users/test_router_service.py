"""The router stopped and started: sessions end, messages are kept, queries are refused."""

from tests.unit.users.place import Place
from ubiety.jid import parse
from ubiety.routing.verdict import DELIVERED, Pending, Refused
from ubiety.stanza import Stanza
from ubiety.users import router_service
from ubiety.xmpp import ns

BODY = b"<body>kept</body>"


def message(to: str) -> Stanza:
    return Stanza(
        "message", parse(to), parse("eve@example.org/far"), "m1", "chat", None, ((ns.CLIENT, "body"),), BODY
    )


async def test_stopped_it_ends_all_sessions_and_keeps_messages(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    await place.people("eve")
    await router_service.stop(place.context, place.users)
    assert place.context.router.is_closed
    assert not alice.user.sessions and not bob.user.sessions
    assert alice.edge.closed == "system-shutdown"

    router = place.context.router
    presence = Stanza("presence", parse(bob.bare), parse("eve@example.org/far"))
    assert router.route(presence) == DELIVERED
    query = Stanza("iq", parse(bob.bare), parse("eve@example.org/far"), "q1", "get")
    verdict = router.route(query)
    assert isinstance(verdict, Refused) and verdict.error.condition == "resource-constraint"
    assert not isinstance(router.route(message(bob.bare)), Refused)

    await router_service.start(place.context)
    assert not router.is_closed
    again = await place.sign_in("bob", presence=None)
    again.send("<presence/>")
    assert await again.bodies() == ["kept"]


async def test_stopping_and_starting_twice_does_no_harm(place: Place) -> None:
    alice = await place.sign_in("alice")
    for _ in range(2):
        await router_service.stop(place.context, place.users)
    for _ in range(2):
        await router_service.start(place.context)
    verdict = place.context.router.route(message(alice.bare))
    assert verdict == DELIVERED or isinstance(verdict, Pending)
