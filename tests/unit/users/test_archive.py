"""The message history: what is kept, and what is asked of it (XEP-0313)."""

import pytest

from tests.unit.users.place import NOW, Client, Place, condition
from ubiety.element import Element
from ubiety.users import archive, archive_query
from ubiety.users.preferences import ARCHIVE_DAYS, ARCHIVE_ENABLED
from ubiety.users.stamps import format_stamp
from ubiety.xmpp import ns


def query(rsm: str = "", flip: bool = False, **fields: str | list[str]) -> str:
    """A query of the history."""
    form = ""
    for var, values in fields.items():
        listed = values if isinstance(values, list) else [values]
        content = "".join(f"<value>{value}</value>" for value in listed)
        form += f"<field var='{var.rstrip('_').replace('_', '-')}'>{content}</field>"
    kind = f"<field var='FORM_TYPE' type='hidden'><value>{ns.MAM}</value></field>"
    x = f"<x xmlns='{ns.DATA_FORMS}' type='submit'>{kind}{form}</x>" if fields else ""
    page = f"<set xmlns='{ns.RSM}'>{rsm}</set>" if rsm else ""
    return f"<query xmlns='{ns.MAM}' queryid='q&amp;1'>{x}{page}{'<flip-page/>' if flip else ''}</query>"


class Pages:
    """The answer to a query."""

    def __init__(self, fin: Element, messages: list[Element]) -> None:
        self.is_complete = fin.get("complete") == "true"
        rsm = fin.find("set", ns.RSM)
        assert rsm is not None
        self.first, self.last, count = (
            found.text if (found := rsm.find(name)) is not None else None
            for name in ("first", "last", "count")
        )
        self.count = int(count) if count is not None else None
        results = [m.find("result", ns.MAM) for m in messages]
        self.results = [result for result in results if result is not None]
        self.ids = [result.get("id") or "" for result in self.results]
        self.bodies = [body.text for m in self.messages if (body := m.find("body")) is not None]

    @property
    def messages(self) -> list[Element]:
        """The forwarded messages."""
        forwarded = [result.find("forwarded", ns.FORWARD) for result in self.results]
        found = [f.find("message", ns.CLIENT) for f in forwarded if f is not None]
        return [message for message in found if message is not None]


async def ask(client: Client, payload: str) -> Pages:
    """Ask the history."""
    client.edge.written.clear()
    answer = await client.ask("set", payload)
    fin = answer.find("fin", ns.MAM)
    assert fin is not None, answer
    return Pages(fin, await client.take("message"))


async def say(sender: Client, to: str, *bodies: str, kind: str = "chat", extra: str = "") -> None:
    """Send messages, one a second."""
    for body in bodies:
        sender.send(f"<message type='{kind}' to='{to}'><body>{body}</body>{extra}</message>")
        await sender.place.settle()
        sender.place.clock.advance(1)


async def test_both_sides_have_it_with_the_stanza_id(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    await say(alice, bob.full, "hello")
    (live,) = await bob.take("message")
    stanza_id = live.find("stanza-id", ns.STANZA_ID)
    assert stanza_id is not None and stanza_id.get("by") == bob.bare
    got = await ask(bob, query())
    assert (got.ids, got.bodies, got.is_complete) == ([stanza_id.get("id")], ["hello"], True)
    (message,) = got.messages
    assert (message.get("from"), message.get("to")) == (alice.full, bob.full)
    (result,) = got.results
    delay = result.elements[0].find("delay", ns.DELAY)
    assert delay is not None and delay.get("stamp") == format_stamp(NOW)
    assert result.get("queryid") == "q&1"
    assert (await ask(alice, query())).bodies == ["hello"]


async def test_only_what_has_a_body_is_kept(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    await say(alice, bob.bare, "kept")
    await say(alice, bob.bare, "headline", kind="headline")
    await say(alice, bob.bare, "secret", extra=f"<no-store xmlns='{ns.HINTS}'/>")
    alice.send(f"<message type='chat' to='{bob.bare}'><composing xmlns='{ns.CHAT_STATES}'/></message>")
    await say(bob, bob.bare, "note to self")
    assert (await ask(bob, query())).bodies == ["kept", "note to self"]


async def test_filters(place: Place) -> None:
    alice, bob, carol = [await place.sign_in(name) for name in ("alice", "bob", "carol")]
    await say(alice, bob.full, "a0", "a1")
    await say(carol, bob.bare, "c2")
    await say(bob, alice.bare, "b3")
    await say(alice, bob.full, "a4")
    every = await ask(bob, query())
    assert every.bodies == ["a0", "a1", "c2", "b3", "a4"] and every.count == 5
    first, second, third, fourth, fifth = every.ids
    expected = {
        query(with_=alice.bare): ["a0", "a1", "b3", "a4"],
        query(with_=alice.full): ["a0", "a1", "a4"],
        query(with_="nobody@example.com"): [],
        query(start=format_stamp(NOW + 2)): ["c2", "b3", "a4"],
        query(end=format_stamp(NOW + 2)): ["a0", "a1", "c2"],
        query(start=format_stamp(NOW + 1.5), end=format_stamp(NOW + 3.5)): ["c2", "b3"],
        query(start="2031-01-01T00:00:00Z"): [],
        query(after_id=second): ["c2", "b3", "a4"],
        query(before_id=second): ["a0"],
        query(after_id=first, before_id=fourth): ["a1", "c2"],
        query(ids=[fifth, second]): ["a1", "a4"],
        query(with_=alice.bare, after_id=second, before_id=fifth): ["b3"],
        query(after_id=str(int(first) - 1), before_id=third): ["a0", "a1"],
    }
    for payload, bodies in expected.items():
        assert (await ask(bob, payload)).bodies == bodies, payload


async def test_pages(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    await say(alice, bob.bare, "0", "1", "2", "3", "4")
    page = await ask(bob, query("<max>2</max>"))
    assert (page.bodies, page.is_complete, page.count) == (["0", "1"], False, 5)
    assert (page.first, page.last) == (page.ids[0], page.ids[1])
    page = await ask(bob, query(f"<max>2</max><after>{page.last}</after>"))
    assert (page.bodies, page.is_complete, page.count) == (["2", "3"], False, 5)
    page = await ask(bob, query(f"<max>2</max><after>{page.last}</after>"))
    assert (page.bodies, page.is_complete) == (["4"], True)
    page = await ask(bob, query("<max>2</max><before/>"))
    assert (page.bodies, page.is_complete) == (["3", "4"], False)
    page = await ask(bob, query(f"<max>2</max><before>{page.first}</before>"))
    assert (page.bodies, page.is_complete) == (["1", "2"], False)
    page = await ask(bob, query(f"<max>2</max><before>{page.first}</before>"))
    assert (page.bodies, page.is_complete) == (["0"], True)
    page = await ask(bob, query("<max>0</max>"))
    assert (page.bodies, page.count, page.first) == ([], 5, None)
    page = await ask(bob, query("<max>2</max><before/>", flip=True))
    assert page.bodies == ["4", "3"] and (page.first, page.last) == (page.ids[1], page.ids[0])


async def test_large_pages_end_early(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_query, "PAGE_BYTES", 1000)
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    await say(alice, bob.bare, "a" * 600, "b" * 600, "c" * 600)
    page = await ask(bob, query())
    assert ([body[0] for body in page.bodies], page.is_complete) == (["a"], False)
    page = await ask(bob, query("<before/>"))
    assert ([body[0] for body in page.bodies], page.is_complete) == (["c"], False)


async def test_bad_queries(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    expected = {
        query(with_="a@b@c"): "jid-malformed",
        query(subject="x"): "feature-not-implemented",
        query(start="yesterday"): "bad-request",
        query(start="2031-13-01T00:00:00Z"): "bad-request",
        query(after_id="x"): "item-not-found",
        query(ids=["77"]): "item-not-found",
        query(ids=["1"] * 101): "not-acceptable",
        query("<max>-1</max>"): "bad-request",
        query("<after>x</after>"): "item-not-found",
        query("<after>99999999999999999999</after>"): "item-not-found",
        query("<index>1</index>"): "feature-not-implemented",
    }
    for payload, refusal in expected.items():
        assert condition(await alice.ask("set", payload)) == refusal, payload
    assert condition(await bob.ask("set", query(), alice.bare)) == "forbidden"
    place.set(ARCHIVE_ENABLED, False)
    assert condition(await alice.ask("set", query())) == "service-unavailable"


async def test_form_and_ends(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    form = (await alice.ask("get", f"<query xmlns='{ns.MAM}'/>")).elements[0].elements[0]
    assert {f.get("var") for f in form.elements} >= {"FORM_TYPE", "with", "start", "end", "ids"}
    metadata = f"<metadata xmlns='{ns.MAM}'/>"
    assert (await alice.ask("get", metadata)).elements[0].elements == []
    await say(alice, bob.bare, "0", "1", "2")
    ids = (await ask(alice, query())).ids
    start, end = (await alice.ask("get", metadata)).elements[0].elements
    assert (start.get("id"), start.get("timestamp")) == (ids[0], format_stamp(NOW))
    assert (end.get("id"), end.get("timestamp")) == (ids[2], format_stamp(NOW + 2))


def prefs(default: str, always: str = "", never: str = "") -> str:
    """Wishes."""
    lists = "".join(
        f"<{name}>{f'<jid>{jid}</jid>' if jid else ''}</{name}>"
        for name, jid in (("always", always), ("never", never))
    )
    return f"<prefs xmlns='{ns.MAM}' default='{default}'>{lists}</prefs>"


async def test_wishes_are_kept(place: Place) -> None:
    alice = await place.sign_in("alice")
    asked = f"<prefs xmlns='{ns.MAM}'/>"
    assert (await alice.ask("get", asked)).elements[0].get("default") == "always"
    answer = await alice.ask("set", prefs("roster", "Bob@example.org/desk", "carol@example.org"))
    wanted = prefs("roster", "bob@example.org", "carol@example.org")
    assert answer.elements[0].to_bytes() == wanted.encode()
    alice.leave()
    place.context.actors.clear()
    again = await place.sign_in("alice")
    assert (await again.ask("get", asked)).elements[0].to_bytes() == wanted.encode()
    assert condition(await again.ask("set", prefs("sometimes"))) == "bad-request"
    assert condition(await again.ask("set", prefs("always", "a@b@c"))) == "jid-malformed"


async def test_wishes_are_honoured(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    carol, dave = await place.sign_in("carol"), await place.sign_in("dave")
    kept = {}
    for wishes in (
        prefs("never"),
        prefs("never", always="carol@example.org"),
        prefs("roster"),
        prefs("roster", always="carol@example.org", never="bob@example.org"),
        prefs("always", never="dave@example.org"),
    ):
        await alice.ask("set", wishes)
        known = len((await ask(alice, query())).bodies)
        for client in (bob, carol, dave):
            await say(client, alice.bare, client.user.jid.local)
            await say(alice, client.bare, client.user.jid.local)
        kept[wishes] = (await ask(alice, query())).bodies[known:]
    assert list(kept.values()) == [
        [],
        ["carol"] * 2,
        ["bob"] * 2,
        ["carol"] * 2,
        ["bob"] * 2 + ["carol"] * 2,
    ]
    assert len((await ask(dave, query())).bodies) == 10  # the others' histories are their own business


async def test_what_is_older_than_histories_are_kept_is_dropped_for_both(place: Place) -> None:
    alice, bob = await place.friends("alice", "bob")
    await place.people("carol")
    await say(alice, bob.bare, "old")
    await say(alice, "carol@example.org", "undelivered")
    await place.settle()
    place.clock.advance(29 * archive.DAY)
    await say(bob, alice.bare, "new")
    await place.settle()
    assert await archive.expire(place.context) == 0  # they are kept for ever
    place.set(ARCHIVE_DAYS, 30)
    assert await archive.expire(place.context) == 0
    place.clock.advance(2 * archive.DAY)
    assert await archive.expire(place.context) == 4  # of two messages, each in two histories
    assert (await ask(alice, query())).bodies == ["new"]
    assert (await ask(bob, query())).bodies == ["new"]
    carol = await place.sign_in("carol", presence=None)
    carol.send("<presence/>")
    assert await carol.bodies() == ["undelivered"]
