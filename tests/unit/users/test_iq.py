"""Queries: found by who is asked, answered in order, refused with cause; and the server as an address."""

import asyncio

from tests.unit.users.place import Client, Place, condition
from ubiety.conditions import StanzaError
from ubiety.jid import parse
from ubiety.stanza import Stanza
from ubiety.store.errors import DatabaseUnavailable
from ubiety.users.iq import Answer, Asked, Handler, Queries, Request
from ubiety.xmpp import ns

X = "urn:example:x"


def ask(name: str) -> str:
    """A query for one of the handlers below."""
    return f"<{name} xmlns='{X}'/>"


class Slow:
    """A handler whose answers come when the test says so."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def __call__(self, request: Request) -> Answer:
        """Wait, then answer."""
        await self.gate.wait()
        return b"<slow xmlns='urn:example:x'/>"


def refuse(request: Request) -> Answer:
    """Refuse."""
    raise StanzaError("not-acceptable", "No.", extra=b"<why xmlns='urn:example:x'/>")


async def refuse_later(request: Request) -> Answer:
    """Refuse after a while."""
    await asyncio.sleep(0)
    raise StanzaError("conflict")


async def fail(request: Request) -> Answer:
    """Find no database."""
    raise DatabaseUnavailable("gone")


async def break_down(request: Request) -> Answer:
    """Make a mistake."""
    raise ZeroDivisionError


async def person_with(place: Place, slow: Slow) -> Client:
    """Somebody whose server answers these queries."""
    handlers = [
        Handler(Asked.OWN, "get", X, "quick", lambda _: b"<quick xmlns='urn:example:x'/>"),
        Handler(Asked.OWN, "set", X, "quick", lambda _: None),
        Handler(Asked.OWN, "get", X, "slow", slow),
        Handler(Asked.OWN, "get", X, "refuse", refuse),
        Handler(Asked.OWN, "get", X, "later", refuse_later),
        Handler(Asked.OWN, "get", X, "fail", fail),
        Handler(Asked.OWN, "get", X, "break", break_down),
        Handler(Asked.OTHER, "get", X, "quick", lambda r: f"<of xmlns='{X}'>{r.account.jid}</of>".encode()),
        Handler(Asked.HOST, "get", X, "quick", lambda r: f"<of xmlns='{X}'>{r.user}</of>".encode()),
    ]
    queries = Queries(place.context, handlers)
    place.users._queries = place.host._queries = queries
    return await place.sign_in("alice")


async def test_handler_is_found_by_who_is_asked(place: Place) -> None:
    alice = await person_with(place, Slow())
    await place.people("bob")
    for to, expected in (
        (None, b"<quick xmlns='urn:example:x'/>"),
        (alice.bare, b"<quick xmlns='urn:example:x'/>"),
        ("bob@example.org", b"<of xmlns='urn:example:x'>bob@example.org</of>"),
        ("example.org", b"<of xmlns='urn:example:x'>None</of>"),
    ):
        answer = await alice.ask("get", ask("quick"), to)
        assert answer.elements[0].to_bytes() == expected
        assert (answer.get("from"), answer.get("to")) == (to, alice.full)
    empty = await alice.ask("set", ask("quick"))
    assert (empty.get("type"), empty.elements) == ("result", [])


async def test_what_nobody_answers(place: Place) -> None:
    alice = await person_with(place, Slow())
    for type_, payload, to in (
        ("get", ask("unknown"), None),
        ("set", ask("slow"), None),
        ("get", "<quick xmlns='urn:other'/>", None),
        ("get", ask("slow"), "example.org"),
        ("get", ask("quick"), "nobody@example.org"),
        ("get", ask("quick"), "alice@example.org/gone"),
        ("get", ask("quick"), "alice@elsewhere.example"),
    ):
        expected = "remote-server-not-found" if to and "elsewhere" in to else "service-unavailable"
        assert condition(await alice.ask(type_, payload, to)) == expected, (type_, payload, to)


async def test_refusals_and_failures(place: Place) -> None:
    alice = await person_with(place, Slow())
    answer = await alice.ask("get", ask("refuse"))
    error = answer.find("error")
    assert condition(answer) == "not-acceptable" and error is not None
    assert [e.name for e in error.elements] == ["not-acceptable", "text", "why"]
    assert condition(await alice.ask("get", ask("later"))) == "conflict"
    assert condition(await alice.ask("get", ask("fail"))) == "resource-constraint"
    assert condition(await alice.ask("get", ask("break"))) == "internal-server-error"
    assert [type(failure) for failure in place.failures] == [ZeroDivisionError]
    place.failures.clear()
    assert (await alice.ask("get", ask("quick"))).get("type") == "result"


async def test_later_stanzas_wait_for_a_slow_answer(place: Place) -> None:
    slow = Slow()
    alice = await person_with(place, slow)
    bob = await place.sign_in("bob")
    alice.send(f"<iq type='get' id='1'>{ask('slow')}</iq>")
    alice.send(f"<iq type='get' id='2'>{ask('quick')}</iq>")
    alice.send(f"<message type='chat' to='{bob.bare}'><body>behind</body></message>")
    await asyncio.sleep(0.01)
    assert alice.edge.written == [] and bob.edge.written == []
    slow.gate.set()
    assert [e.get("id") for e in await alice.take("iq")] == ["1", "2"]
    assert await bob.bodies() == ["behind"]


async def test_answer_for_a_client_that_has_gone_is_dropped(place: Place) -> None:
    slow = Slow()
    alice = await person_with(place, slow)
    alice.send(f"<iq type='get' id='1'>{ask('slow')}</iq>")
    alice.leave()
    slow.gate.set()
    await place.settle()
    assert alice.edge.written == []


async def test_answers_that_nobody_waits_for_are_dropped(place: Place) -> None:
    alice = await person_with(place, Slow())
    for type_ in ("result", "error"):
        for to in ("example.org", alice.bare, "nobody@example.org", "elsewhere.example"):
            alice.send(f"<iq type='{type_}' id='1' to='{to}'/>")
    assert await alice.take() == []


async def test_question_of_no_session_is_answered_by_the_router(place: Place) -> None:
    alice = await person_with(place, Slow())
    asking = Stanza(
        "iq",
        parse("example.org"),
        parse(alice.full),
        "r",
        "get",
        None,
        ((X, "quick"),),
        ask("quick").encode(),
    )
    place.context.router.route(asking)
    (answer,) = await alice.take("iq")
    assert (answer.get("id"), answer.get("from"), answer.get("type")) == ("r", "example.org", "result")


async def test_server_takes_no_presence_and_no_chat(place: Place) -> None:
    alice = await person_with(place, Slow())
    alice.send("<presence to='example.org'/>")
    alice.send("<message to='example.org' type='chat'><body>are you there?</body></message>")
    (error,) = await alice.take()
    assert condition(error) == "service-unavailable"
    assert place.host.claims(parse("example.org/any")) and not place.host.claims(parse("x@example.org"))
    ping = f"<ping xmlns='{ns.PING}'/>"
    assert condition(await alice.ask("get", ping, "example.org")) == "service-unavailable"
