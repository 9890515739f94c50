"""What people of different nodes say to each other beside plain messages, and what is kept of it."""

import pytest

from tests.unit.routing.nodes import Nodes
from tests.unit.users.place import DOMAIN, Client, condition
from ubiety.admin.live import announce
from ubiety.element import Element
from ubiety.jid import parse
from ubiety.routing.links import Kind
from ubiety.xmpp import ns

ANN, BOB = f"ann@{DOMAIN}", f"bob@{DOMAIN}"
HISTORY = "<query xmlns='urn:xmpp:mam:2'/>"
FORWARD = "urn:xmpp:forward:0"


async def two(nodes: Nodes, managed: bool = True) -> tuple[Client, Client]:
    """Ann at node 1 and Bob at node 2, signed in."""
    await nodes.person("ann", 1)
    await nodes.person("bob", 2)
    ann = await nodes.nodes[1].place.sign_in("ann", managed=managed)
    bob = await nodes.nodes[2].place.sign_in("bob", managed=managed)
    return ann, bob


def body(text: str, to: str = BOB, more: str = "") -> str:
    """A message."""
    return f"<message type='chat' to='{to}' id='{text}'><body>{text}</body>{more}</message>"


async def history(client: Client) -> list[tuple[str, str]]:
    """Somebody's history: (bare address of the sender, body), in the order of the archive."""
    await client.ask("set", HISTORY)
    found = []
    for message in await client.take("message"):
        result = message.find("result", "urn:xmpp:mam:2")
        forwarded = result.find("forwarded", FORWARD) if result is not None else None
        kept = forwarded.find("message", ns.CLIENT) if forwarded is not None else None
        text = kept.find("body", ns.CLIENT) if kept is not None else None
        if kept is not None and text is not None:
            found.append((parse(kept.get("from") or "").bare, text.text))
    return found


def errors(found: list[Element]) -> list[tuple[str, str]]:
    """The errors among stanzas: (id, condition)."""
    return [(e.get("id") or "", condition(e)) for e in found if e.get("type") == "error"]


async def test_both_sides_keep_their_history_each_in_its_own_order(nodes: Nodes) -> None:
    ann, bob = await two(nodes)
    for number in range(3):
        ann.send(body(f"a{number}"))
        await nodes.pause()
        bob.send(body(f"b{number}", ANN))
        await nodes.pause()
    await nodes.calm()
    for client in (ann, bob):
        client.session.acknowledge(_sent(client))
    await nodes.calm()
    expected = [(ANN, "a0"), (BOB, "b0"), (ANN, "a1"), (BOB, "b1"), (ANN, "a2"), (BOB, "b2")]
    await ann.take(), await bob.take()
    assert await history(ann) == expected
    assert await history(bob) == expected


def _sent(client: Client) -> int:
    assert client.session.smacks is not None
    return len(client.session.smacks.unacked)


@pytest.mark.parametrize("managed", [True, False])
async def test_what_the_other_node_refuses_reaches_the_sender_and_stays_out_of_the_history(
    nodes: Nodes, managed: bool
) -> None:
    ann, bob = await two(nodes, managed)
    await bob.ask("set", f"<block xmlns='{ns.BLOCKING}'><item jid='{ANN}'/></block>")
    ann.send(body("no"))
    ann.send(f"<message type='chat' to='{BOB}' id='typing'><composing xmlns='{ns.CHAT_STATES}'/></message>")
    await nodes.calm()
    assert errors(await ann.take("message")) == [
        ("no", "service-unavailable"),
        ("typing", "service-unavailable"),
    ]
    assert await bob.bodies() == []
    assert await history(ann) == []


async def test_a_message_to_one_who_made_no_promise_is_kept_for_the_absent(nodes: Nodes) -> None:
    ann, bob = await two(nodes, managed=False)
    bob.leave()
    ann.send(body("later"))
    await nodes.calm()
    bob = await nodes.nodes[2].place.sign_in("bob", presence=None)
    bob.send("<presence/>")
    assert await bob.bodies() == ["later"]


async def test_queries_go_to_accounts_and_clients_of_other_nodes(nodes: Nodes) -> None:
    ann, bob = await two(nodes)
    vcard = await ann.ask("get", "<vCard xmlns='vcard-temp'/>", BOB)
    assert (vcard.get("type"), vcard.get("from")) == ("result", BOB)
    ann.send(f"<iq type='get' id='v' to='{bob.full}'><query xmlns='jabber:iq:version'/></iq>")
    asked = await bob.saw(lambda e: e.name == "iq" and e.get("id") == "v")
    assert asked.get("from") == ann.full
    bob.send(f"<iq type='result' id='v' to='{ann.full}'><query xmlns='jabber:iq:version'/></iq>")
    answer = await ann.saw(lambda e: e.name == "iq" and e.get("id") == "v")
    assert (answer.get("type"), answer.get("from")) == ("result", bob.full)
    refused = await ann.ask("get", "<query xmlns='jabber:iq:version'/>", f"{BOB}/nowhere")
    assert condition(refused) == "service-unavailable"


async def test_queries_to_people_whom_nobody_serves_are_refused_at_once(nodes: Nodes) -> None:
    ann, _ = await two(nodes)
    homes = nodes.nodes[1].place.context.homes
    homes.serving.clear()
    query = "<query xmlns='jabber:iq:version'/>"
    assert condition(await ann.ask("get", query, BOB)) == "recipient-unavailable"
    homes.serving[2] = 2
    nodes.nodes[2].place.context.homes.here.clear()
    assert condition(await ann.ask("get", query, BOB)) == "recipient-unavailable"


async def test_a_broadcast_reaches_people_of_all_nodes(nodes: Nodes) -> None:
    ann, bob = await two(nodes)
    await nodes.person("cat", 1)
    cat = await nodes.nodes[1].place.sign_in("cat")
    ann.send(
        f"<message to='{DOMAIN}' id='all'><body>all</body><addresses xmlns='{ns.ADDRESS}'>"
        f"<address type='to' jid='{BOB}'/><address type='to' jid='cat@{DOMAIN}'/></addresses></message>"
    )
    await nodes.calm()
    assert await bob.bodies() == ["all"]
    assert await cat.bodies() == ["all"]
    bob.session.acknowledge(_sent(bob))
    await nodes.calm()
    assert ann.session.smacks is not None
    assert ann.session.smacks.h == 2


async def test_an_announcement_reaches_people_of_all_nodes(nodes: Nodes) -> None:
    ann, bob = await two(nodes)
    await bob.ask("set", f"<block xmlns='{ns.BLOCKING}'><item jid='{ANN}'/></block>")
    sent = await announce(nodes.nodes[1].place.context, [ANN, BOB], "", "maintenance")
    assert sent == 2
    assert await bob.bodies() == ["maintenance"]
    assert await ann.bodies() == ["maintenance"]


async def test_directed_presence_and_chat_states_arrive(nodes: Nodes) -> None:
    ann, bob = await two(nodes)
    ann.send(f"<presence to='{bob.full}'/>")
    ann.send(f"<message type='chat' to='{BOB}'><composing xmlns='{ns.CHAT_STATES}'/></message>")
    await nodes.pause()
    found = await bob.take()
    assert [e.name for e in found if e.name != "iq"] == ["presence", "message"]


async def test_what_waits_is_bounded(nodes: Nodes) -> None:
    ann, _ = await two(nodes)
    remote = nodes.nodes[1].elsewhere.nodes
    remote.bound_bytes = 5000
    nodes.cut.add(frozenset((1, 2)))
    for number in range(10):
        ann.send(body(f"m{number}"))
    refused = errors(await ann.take("message"))
    assert {condition for _, condition in refused} == {"resource-constraint"}
    assert 2 < len(refused) < 10
    await nodes.advance(4)
    assert remote.waiting_bytes == 0
    assert nodes.nodes[1].place.context.counters.unanswered_messages == 10 - len(refused)


async def test_a_repeat_is_not_delivered_again_when_the_senders_home_has_changed(nodes: Nodes) -> None:
    ann, bob = await two(nodes)
    origin = f"<origin-id xmlns='{ns.STANZA_ID}' id='once'/>"
    ann.send(body("once", more=origin))
    await nodes.pause()
    bob.session.acknowledge(_sent(bob))
    await nodes.calm()
    assert await bob.bodies() == ["once"]
    await nodes.kill(1)
    nodes.start(1)
    nodes.take_over(1, 1)
    await nodes.advance(1)
    ann = await nodes.nodes[1].place.sign_in("ann", managed=True)
    ann.send(body("once", more=origin))
    await nodes.calm()
    assert await bob.bodies() == []
    assert ann.session.smacks is not None
    assert ann.session.smacks.h == 2


async def test_a_repeat_is_not_delivered_again_when_the_recipients_home_has_changed(nodes: Nodes) -> None:
    ann, bob = await two(nodes)
    nodes.nodes[1].links.dropped.add(Kind.VERDICT)
    ann.send(body("once", more=f"<origin-id xmlns='{ns.STANZA_ID}' id='once'/>"))
    await nodes.calm()  # it is committed; nobody hears of it
    await nodes.kill(2)
    nodes.nodes[1].links.dropped.clear()
    nodes.start(2)
    nodes.take_over(2, 2)
    await nodes.advance(1)
    bob = await nodes.nodes[2].place.sign_in("bob", presence=None)
    bob.send("<presence/>")
    await nodes.advance(4)
    assert await bob.bodies() == ["once"]
    assert ann.session.smacks is not None
    assert ann.session.smacks.h == 2


async def test_what_is_written_by_the_senders_home_is_kept_in_both_histories(nodes: Nodes) -> None:
    ann, bob = await two(nodes, managed=False)
    nodes.cut.add(frozenset((1, 2)))
    ann.send(body("stored"))
    await nodes.advance(4)
    nodes.cut.clear()
    await nodes.advance(4)
    ann.send(body("sent"))
    await nodes.calm()
    assert await bob.bodies() == ["stored", "sent"]
    assert await history(ann) == [(ANN, "stored"), (ANN, "sent")]
    assert await history(bob) == [(ANN, "stored"), (ANN, "sent")]


async def test_a_blocked_sender_gets_the_refusal_also_when_nobody_serves_the_recipient(nodes: Nodes) -> None:
    ann, bob = await two(nodes)
    await bob.ask("set", f"<block xmlns='{ns.BLOCKING}'><item jid='{ANN}'/></block>")
    await nodes.kill(2)
    ann.send(body("no"))
    await nodes.advance(4)
    assert errors(await ann.take("message")) == [("no", "service-unavailable")]
    assert nodes.nodes[1].place.context.counters.unanswered_messages == 0
