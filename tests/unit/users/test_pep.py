"""Personal eventing: publish, read, own, and who is told."""

import pytest

from tests.unit.users.place import Client, Place, condition
from ubiety.element import Element, parse_element
from ubiety.users import caps, pep
from ubiety.users.caps import Identity
from ubiety.users.interests import PATIENCE
from ubiety.users.pep_publish import PEP_BYTES, PEP_NODES
from ubiety.xmpp import ns

NICK = "http://jabber.org/protocol/nick"
CLIENT = Identity("client", "pc", "test")


def pubsub(content: str, namespace: str = ns.PUBSUB) -> str:
    """A request to a personal node."""
    return f"<pubsub xmlns='{namespace}'>{content}</pubsub>"


def form(**options: str) -> str:
    """A submitted form."""
    fields = "".join(f"<field var='pubsub#{k}'><value>{v}</value></field>" for k, v in options.items())
    kind = "<field var='FORM_TYPE' type='hidden'><value>x</value></field>"
    return f"<x xmlns='{ns.DATA_FORMS}' type='submit'>{kind}{fields}</x>"


def publish(node: str, item_id: str = "current", text: str = "x", **options: str) -> str:
    """A publish request."""
    given = f"<publish-options>{form(**options)}</publish-options>" if options else ""
    item = f"<item id='{item_id}'><nick xmlns='{NICK}'>{text}</nick></item>"
    return pubsub(f"<publish node='{node}'>{item}</publish>{given}")


def items(node: str, *ids: str, most: str = "") -> str:
    """A request for items."""
    named = "".join(f"<item id='{one}'/>" for one in ids)
    limit = f" max_items='{most}'" if most else ""
    return pubsub(f"<items node='{node}'{limit}>{named}</items>")


def ids(answer: Element) -> list[str | None]:
    """The ids of the items in an answer."""
    found = answer.find("pubsub", ns.PUBSUB)
    assert found is not None, answer
    inner = found.find("items")
    assert inner is not None
    return [item.get("id") for item in inner.findall("item")]


async def done(client: Client, payload: str) -> Element:
    """Ask for a change that is accepted."""
    answer = await client.ask("set", payload)
    assert answer.get("type") == "result", answer
    return answer


def capabilities(*nodes: str, ver: str = "") -> tuple[str, str]:
    """A client's presence and its answer to disco#info."""
    features = [f"{node}+notify" for node in nodes] + [ns.CAPS]
    ver = ver or caps.verification([CLIENT], features)
    c = f"<c xmlns='{ns.CAPS}' hash='sha-1' node='urn:test' ver='{ver}'/>"
    vars_ = "".join(f"<feature var='{var}'/>" for var in features)
    info = f"<query xmlns='{ns.DISCO_INFO}' node='urn:test#{ver}'>{CLIENT.render()}{vars_}</query>"
    return f"<presence>{c}</presence>", info


def is_question(stanza: Element) -> bool:
    """The server asks what a client can do."""
    return stanza.name == "iq" and stanza.get("type") == "get"


async def want(client: Client, *nodes: str, ver: str = "") -> None:
    """Send presence with interests and answer the server's question if it comes."""
    presence, info = capabilities(*nodes, ver=ver)
    client.send(presence)
    for question in [s for s in await client.take() if is_question(s)]:
        client.send(f"<iq type='result' id='{question.get('id')}' to='example.org'>{info}</iq>")
    await client.place.settle()


async def events(client: Client) -> list[tuple[str | None, str, list[tuple[str, str | None]]]]:
    """Take the events: (sender, node, [(item or retract, id)])."""
    found = []
    for message in await client.take("message"):
        event = message.find("event", ns.PUBSUB_EVENT)
        assert event is not None and message.get("type") == "headline"
        (what,) = event.elements
        entries = [(e.name, e.get("id")) for e in what.elements]
        found.append((message.get("from"), what.get("node") or "", entries))
    return found


async def test_publish_and_read_again(place: Place) -> None:
    alice = await place.sign_in("alice")
    answer = await done(alice, publish("n", "a", "one"))
    published = answer.elements[0].elements[0]
    assert (published.name, published.get("node"), published.elements[0].get("id")) == ("publish", "n", "a")
    answer = await alice.ask("get", items("n"))
    (item,) = answer.elements[0].elements[0].elements
    assert (item.get("id"), item.elements[0].ns, item.elements[0].text) == ("a", NICK, "one")
    await done(alice, publish("n", "b"))
    assert ids(await alice.ask("get", items("n"))) == ["b"]  # one item is the default


async def test_item_without_an_id_gets_one(place: Place) -> None:
    alice = await place.sign_in("alice")
    payload = pubsub(f"<publish node='n'><item><nick xmlns='{NICK}'/></item></publish>")
    answer = await done(alice, payload)
    given = answer.elements[0].elements[0].elements[0].get("id")
    assert given and ids(await alice.ask("get", items("n"))) == [given]


async def test_many_items(place: Place) -> None:
    alice = await place.sign_in("alice")
    for name in "abcd":
        await done(alice, publish("n", name, max_items="3", persist_items="true"))
    assert ids(await alice.ask("get", items("n"))) == ["d", "c", "b"]
    assert ids(await alice.ask("get", items("n", most="1"))) == ["d"]
    assert ids(await alice.ask("get", items("n", "b", "x"))) == ["b"]
    await done(alice, publish("n", "b"))
    assert ids(await alice.ask("get", items("n"))) == ["b", "d", "c"]
    await done(alice, pubsub(f"<configure node='n'>{form(max_items='1')}</configure>", ns.PUBSUB_OWNER))
    assert ids(await alice.ask("get", items("n"))) == ["b"]


async def test_publish_options_are_preconditions(place: Place) -> None:
    alice = await place.sign_in("alice")
    await done(alice, publish("n", access_model="whitelist", max_items="max"))
    await done(alice, publish("n", access_model="whitelist", max_items="max", unknown="1"))
    answer = await alice.ask("set", publish("n", "other", access_model="open"))
    assert condition(answer) == "conflict"
    error = answer.find("error")
    assert error is not None and error.find("precondition-not-met", ns.PUBSUB_ERRORS) is not None
    assert ids(await alice.ask("get", items("n"))) == ["current"]


async def test_access_models(place: Place) -> None:
    alice, friend = await place.friends("alice", "friend")
    stranger = await place.sign_in("stranger")
    for model in ("open", "presence", "whitelist"):
        await done(alice, publish(model, access_model=model))
    seen = {}
    for client in (alice, friend, stranger):
        for model in ("open", "presence", "whitelist", "nothing"):
            answer = await client.ask("get", items(model), alice.bare)
            fine = answer.get("type") == "result"
            seen[client.user.jid.local, model] = "result" if fine else condition(answer)
    assert seen == {
        ("alice", "open"): "result",
        ("alice", "presence"): "result",
        ("alice", "whitelist"): "result",
        ("alice", "nothing"): "item-not-found",
        ("friend", "open"): "result",
        ("friend", "presence"): "result",
        ("friend", "whitelist"): "not-allowed",
        ("friend", "nothing"): "item-not-found",
        ("stranger", "open"): "result",
        ("stranger", "presence"): "not-authorized",
        ("stranger", "whitelist"): "not-allowed",
        ("stranger", "nothing"): "not-authorized",
    }


async def test_nodes_are_discovered_by_those_who_may(place: Place) -> None:
    alice, friend = await place.friends("alice", "friend")
    await done(alice, publish("shown", title="A &amp; B"))
    await done(alice, publish("hidden", access_model="whitelist"))
    query = f"<query xmlns='{ns.DISCO_ITEMS}'/>"
    listed = {
        client: [i.get("node") for i in (await client.ask("get", query, alice.bare)).elements[0].elements]
        for client in (alice, friend)
    }
    assert listed == {alice: ["hidden", "shown"], friend: ["shown"]}
    info = await friend.ask("get", f"<query xmlns='{ns.DISCO_INFO}' node='shown'/>", alice.bare)
    identity = info.elements[0].find("identity")
    assert identity is not None and (identity.get("type"), identity.get("name")) == ("leaf", "A & B")
    hidden = await friend.ask("get", f"<query xmlns='{ns.DISCO_INFO}' node='hidden'/>", alice.bare)
    assert condition(hidden) == "not-allowed"


async def test_owning(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    create = pubsub(f"<create node='n'/><configure>{form(access_model='open', max_items='5')}</configure>")
    await done(alice, create)
    assert condition(await alice.ask("set", create)) == "conflict"
    answer = await alice.ask("get", pubsub("<configure node='n'/>", ns.PUBSUB_OWNER))
    rendered = answer.elements[0].elements[0].elements[0]
    values = {f.get("var"): v.text for f in rendered.elements if (v := f.find("value")) is not None}
    assert (values["pubsub#access_model"], values["pubsub#max_items"]) == ("open", "5")
    answer = await alice.ask("get", pubsub("<default/>", ns.PUBSUB_OWNER))
    assert answer.elements[0].elements[0].elements[0].ns == ns.DATA_FORMS
    await done(alice, publish("n", "a"))
    await done(alice, pubsub("<purge node='n'/>", ns.PUBSUB_OWNER))
    assert ids(await alice.ask("get", items("n"))) == []
    for payload in (publish("n"), pubsub("<delete node='n'/>", ns.PUBSUB_OWNER)):
        assert condition(await bob.ask("set", payload, alice.bare)) == "forbidden"
    await done(alice, pubsub("<delete node='n'/>", ns.PUBSUB_OWNER))
    for payload in ("<configure node='n'/>",):
        assert condition(await alice.ask("get", pubsub(payload, ns.PUBSUB_OWNER))) == "item-not-found"
    assert (
        condition(await alice.ask("set", pubsub("<delete node='n'/>", ns.PUBSUB_OWNER))) == "item-not-found"
    )


async def test_bad_requests(place: Place) -> None:
    alice = await place.sign_in("alice")
    nick = f"<nick xmlns='{NICK}'/>"
    expected = {
        pubsub(""): "bad-request",
        pubsub("<publish node='n'/>"): "bad-request",
        pubsub("<publish node='n'><item/></publish>"): "bad-request",
        pubsub(f"<publish node='n'><item>{nick}{nick}</item></publish>"): "bad-request",
        pubsub(f"<publish><item>{nick}</item></publish>"): "bad-request",
        pubsub(f"<publish node='{'n' * 2000}'><item>{nick}</item></publish>"): "not-acceptable",
        pubsub(f"<publish node='n'><item id='{'n' * 2000}'>{nick}</item></publish>"): "not-acceptable",
        pubsub("<subscribe node='n' jid='a@b'/>"): "feature-not-implemented",
        publish("n", access_model="roster"): "not-acceptable",
        publish("n", publish_model="open"): "not-acceptable",
        publish("n", persist_items="maybe"): "bad-request",
        publish("n", max_items="0"): "bad-request",
        publish("n", max_items="-1"): "bad-request",
        pubsub("<retract node='n'><item id='a'/></retract>"): "item-not-found",
        pubsub("<retract node='n'><item/></retract>"): "bad-request",
    }
    for payload, refusal in expected.items():
        assert condition(await alice.ask("set", payload)) == refusal, payload
    assert condition(await alice.ask("get", items("n"))) == "item-not-found"


async def test_room_is_bounded(place: Place) -> None:
    alice = await place.sign_in("alice")
    place.set(PEP_NODES, 2)
    place.set(PEP_BYTES, 10_000)
    await done(alice, publish("a"))
    assert condition(await alice.ask("set", publish("b", text="x" * 10_000))) == "resource-constraint"
    await done(alice, publish("b"))
    assert condition(await alice.ask("set", publish("c"))) == "resource-constraint"
    assert condition(await alice.ask("set", pubsub("<create node='c'/>"))) == "resource-constraint"
    assert ids(await alice.ask("get", items("b"))) == ["current"]


# -- who is told -----------------------------------------------------------------------------------------


async def test_those_who_want_and_may_are_told(place: Place) -> None:
    alice, friend, enemy = await place.friends("alice", "friend", "enemy")
    stranger, phone = await place.sign_in("stranger"), await place.sign_in("alice", "phone")
    await done(enemy, f"<block xmlns='{ns.BLOCKING}'><item jid='{alice.bare}'/></block>")
    for client in (alice, friend, enemy, stranger):
        await want(client, "n")
        await client.take()
    await done(alice, publish("n", "a"))
    told = [(alice.bare, "n", [("item", "a")])]
    assert {c.full: await events(c) for c in (alice, friend, enemy, stranger, phone)} == {
        alice.full: told,
        friend.full: told,
        enemy.full: [],
        stranger.full: [],
        phone.full: [],
    }
    await done(alice, publish("other", "a"))
    assert await events(friend) == []
    await done(alice, pubsub("<retract node='n'><item id='a'/></retract>"))
    assert await events(friend) == [(alice.bare, "n", [("retract", "a")])]
    await done(alice, pubsub("<purge node='n'/>", ns.PUBSUB_OWNER))
    await done(alice, pubsub("<delete node='n'/>", ns.PUBSUB_OWNER))
    assert await events(friend) == [(alice.bare, "n", [])] * 2


async def test_secret_nodes_are_told_to_own_clients_only(place: Place) -> None:
    alice, friend = await place.friends("alice", "friend")
    for client in (alice, friend):
        await want(client, ns.BOOKMARKS)
        await client.take()
    await done(alice, publish(ns.BOOKMARKS, "room@example.org", access_model="whitelist"))
    assert len(await events(alice)) == 1
    assert await events(friend) == []


async def test_newest_item_is_waiting_for_who_comes(place: Place) -> None:
    alice, friend = await place.friends("alice", "friend")
    await done(alice, publish("n", "a", max_items="5"))
    await done(alice, publish("n", "b"))
    await done(alice, publish("silent", "b", send_last_published_item="never"))
    await done(alice, publish("secret", "b", access_model="whitelist"))
    await want(friend, "n", "silent", "secret")
    assert await events(friend) == [(alice.bare, "n", [("item", "b")])]
    await want(alice, "secret")
    assert await events(alice) == [(alice.bare, "secret", [("item", "b")])]
    friend.send("<presence><show>away</show></presence>")
    await want(friend, "n", "silent", "secret")
    assert await events(friend) == []


async def test_newest_item_of_somebody_who_is_away_and_blocks(place: Place) -> None:
    alice, friend = await place.friends("alice", "friend")
    await done(alice, publish("n", "a"))
    alice.leave()
    place.context.actors.pop(alice.user.person.address_id)
    await want(friend, "n")
    assert await events(friend) == [(alice.bare, "n", [("item", "a")])]
    again = await place.sign_in("alice")
    await done(again, f"<block xmlns='{ns.BLOCKING}'><item jid='{friend.bare}'/></block>")
    again.leave()
    place.context.actors.pop(again.user.person.address_id)
    phone = await place.sign_in("friend", "phone")
    await want(phone, "n")
    assert await events(phone) == []


# -- what clients want -------------------------------------------------------------------------------------


async def test_capabilities_are_asked_for_once(place: Place) -> None:
    alice, bob = await place.sign_in("alice"), await place.sign_in("bob")
    presence, info = capabilities("n")
    alice.send(presence)
    bob.send(presence)
    (question,) = [s for s in await alice.take() if is_question(s)]
    assert not [s for s in await bob.take() if is_question(s)]
    alice.send(f"<iq type='result' id='{question.get('id')}' to='example.org'>{info}</iq>")
    assert alice.session.interests == bob.session.interests == {"n"}
    carol = await place.sign_in("carol", presence=presence)
    assert carol.session.interests == {"n"}


async def test_silent_client_does_not_keep_others_waiting(place: Place) -> None:
    presence, info = capabilities("n")
    alice = await place.sign_in("alice", presence=presence)
    place.clock.advance(PATIENCE)
    bob = await place.sign_in("bob", presence=None)
    bob.send(presence)
    (question,) = [s for s in await bob.take() if is_question(s)]
    bob.send(f"<iq type='result' id='{question.get('id')}' to='example.org'>{info}</iq>")
    assert alice.session.interests == bob.session.interests == {"n"}


async def test_answer_that_does_not_fit_counts_for_its_client_alone(place: Place) -> None:
    ver = caps.verification([CLIENT], [ns.CAPS])
    mallory, bob = await place.sign_in("mallory"), await place.sign_in("bob")
    await want(mallory, "n", ver=ver)
    assert mallory.session.interests == {"n"}
    honest = capabilities(ver=ver)
    bob.send(honest[0])
    (question,) = [s for s in await bob.take() if is_question(s)]
    bob.send(f"<iq type='result' id='{question.get('id')}' to='example.org'>{honest[1]}</iq>")
    assert bob.session.interests == frozenset()


async def test_answers_of_others_are_not_taken(place: Place) -> None:
    alice, mallory = await place.sign_in("alice"), await place.sign_in("mallory")
    presence, info = capabilities("n")
    alice.send(presence)
    (question,) = [s for s in await alice.take() if is_question(s)]
    mallory.send(f"<iq type='result' id='{question.get('id')}' to='example.org'>{info}</iq>")
    assert alice.session.interests == frozenset()
    alice.send(f"<iq type='error' id='{question.get('id')}' to='example.org'/>")
    assert alice.session.interests == frozenset()


async def test_nested_tag_is_not_taken_for_the_capabilities(place: Place) -> None:
    mallory = await place.sign_in("mallory", presence=None)
    presence, _ = capabilities("n")
    victim = parse_element(presence.encode()).elements[0].to_bytes().decode()
    own, _ = capabilities("mine")
    inner = own.removeprefix("<presence>").removesuffix("</presence>")
    mallory.send(f"<presence><x xmlns='urn:x'>{victim}</x>{inner}</presence>")
    assert not [s for s in await mallory.take() if is_question(s)]


async def test_events_are_shed_for_a_client_that_does_not_read(place: Place) -> None:
    alice, friend = await place.friends("alice", "friend")
    await want(friend, "n")
    await friend.take()
    friend.edge.congested = True
    await done(alice, publish("n"))
    assert await events(friend) == []


async def test_answers_are_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pep, "ANSWER_BYTES", 1000)
    alice = await place.sign_in("alice")
    for name in "abc":
        await done(alice, publish("n", name, "x" * 400, max_items="3"))
    assert ids(await alice.ask("get", items("n"))) == ["c", "b"]
    await done(alice, publish("n", "d", "x" * 2000))
    assert ids(await alice.ask("get", items("n"))) == ["d"]
