"""SIP clients of our people: they sign in, show themselves, watch and write."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.gateway.client_rig import MD5, SHA_256, ClientRig
from tests.unit.users.place import DOMAIN, open_place
from ubiety.gateway.client_settings import CLIENTS, DIGEST_MD5
from ubiety.presence.model import State, Statement
from ubiety.sip import pidf
from ubiety.sip.digest import Challenge
from ubiety.sip.pidf import SipPresence

ANN, BOB = f"ann@{DOMAIN}", f"bob@{DOMAIN}"
BUSY = pidf.write(f"sip:{ANN}", SipPresence(True, frozenset({"busy"}), "deep in it"))[1]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[ClientRig]:
    place = open_place(tmp_path)
    made = ClientRig(place)
    yield made
    assert not made.wire
    await place.close()


# -- signing in ------------------------------------------------------------------------------------


async def test_a_client_registers_after_a_challenge(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    challenged = await phone.ask(phone.make("REGISTER", f"sip:{DOMAIN}", to=phone.aor), authenticates=False)
    assert challenged.status == 401
    asked = [Challenge.parse(one) for one in challenged.headers.all("www-authenticate")]
    assert [one.algorithm for one in asked] == [SHA_256]
    answer = await phone.register()
    assert answer.status == 200
    assert answer.headers.get("contact") == f"{phone.contact};expires=3600"
    assert len(rig.clients.devices) == 1


async def test_md5_is_offered_second_and_only_when_allowed(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1, with_md5=True)
    phone.algorithms = (MD5,)
    rig.place.set(DIGEST_MD5, True)
    request = phone.make("REGISTER", f"sip:{DOMAIN}", to=phone.aor)
    asked = (await phone.ask(request, authenticates=False)).headers.all("www-authenticate")
    assert [Challenge.parse(one).algorithm for one in asked] == [SHA_256, MD5]
    assert (await phone.register()).status == 200
    baresip = request.replace(headers=request.headers.added("User-Agent", "baresip v1.0.0 (x86_64/linux)"))
    alone = (await phone.ask(baresip, authenticates=False)).headers.all("www-authenticate")
    assert [Challenge.parse(one).algorithm for one in alone] == [MD5]
    old = await rig.phone("bob", 2)  # whose password was set before MD5 was allowed
    old.algorithms = (MD5,)
    assert (await old.register()).status == 401


async def test_a_wrong_password_opens_nothing_and_makes_wait(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1, password="wrong")
    statuses = [(await phone.register()).status for _ in range(8)]
    assert statuses[0] == 401 and statuses[-1] == 503
    assert not len(rig.clients.devices)
    phone.password = "secret"
    assert (await phone.register()).status == 503
    await rig.advance(11)
    assert (await phone.register()).status == 200


async def test_nobody_is_let_in_as_another_one(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    await rig.phone("bob", 2)
    await phone.register()
    request = phone.make("MESSAGE", f"sip:{BOB}", contact=None, content_type="text/plain", body=b"I am Bob")
    forged = request.replace(headers=request.headers.with_("From", f"<sip:{BOB}>;tag=f"))
    assert (await phone.ask(forged)).status == 401  # with the password of Ann
    other = phone.make("PUBLISH", f"sip:{BOB}", contact=None, headers=[("Event", "presence")], body=BUSY)
    assert (await phone.ask(other)).status == 403


async def test_an_answer_to_a_challenge_is_worth_something_once(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    await rig.place.sign_in("bob")
    assert (await phone.write(BOB, "once")).status == 200
    heard = phone.authorised
    eve = await rig.phone("eve", 9)
    assert heard is not None
    answer = await eve.ask(heard, authenticates=False)
    assert answer.status == 401
    assert Challenge.parse(answer.headers.get("www-authenticate") or "").is_stale


async def test_a_connection_that_has_signed_in_is_not_asked_again(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    datagrams = await rig.phone("ann", 2, transport="udp")
    for one, status in ((phone, 200), (datagrams, 401)):
        await one.register()
        request = one.make("OPTIONS", f"sip:{BOB}", contact=None)
        assert (await one.ask(request, authenticates=False)).status == status


async def test_registrations_end(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    bob = await rig.place.sign_in("bob")
    bob.send(f"<presence type='subscribe' to='{ANN}'/>")
    await rig.settle()
    await phone.register(expires=120)
    assert [kind for _, kind in await bob.presences()][-1] is None
    await rig.advance(119)
    assert len(rig.clients.devices) == 1
    await rig.advance(2)
    assert [kind for _, kind in await bob.presences()] == ["unavailable"]
    assert rig.leftovers() == {"devices": 0, "watches": 0, "calls": 0, "held": 0}
    await phone.register()
    assert (await phone.register(expires=0)).headers.get("contact") is None
    assert rig.leftovers()["devices"] == 0
    short = await phone.register(expires=10)
    assert (short.status, short.headers.get("min-expires")) == (423, "60")


async def test_several_clients_of_one_person(rig: ClientRig) -> None:
    one, other = await rig.phone("ann", 1), await rig.phone("ann", 2)
    await one.register()
    answer = await other.register()
    assert len(answer.contacts) == 2
    bob = await rig.place.sign_in("bob")
    bob.send(f"<message type='chat' to='{ANN}'><body>both</body></message>")
    await rig.settle()
    assert one.texts() == ["both"] == other.texts()


async def test_a_broken_connection_signs_out_who_can_be_reached_over_it_alone(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    await phone.register()
    rig.hang_up(phone)
    assert rig.leftovers() == {"devices": 0, "watches": 0, "calls": 0, "held": 0}


# -- messages --------------------------------------------------------------------------------------


async def test_messages_both_ways_with_an_xmpp_client(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    await phone.register()
    bob = await rig.place.sign_in("bob", managed=True)
    assert (await phone.write(BOB, "hello Bob")).status == 200
    message = await bob.saw(lambda e: e.name == "message")
    assert message.get("type") == "chat" and (message.get("from") or "").startswith(f"{ANN}/sip-")
    bob.send(f"<message type='chat' to='{ANN}'><body>hello Ann &amp; all</body></message>")
    await rig.settle()
    (page,) = [one for one in phone.received if one.method == "MESSAGE"]
    assert page.body == b"hello Ann & all" and page.content_type == "text/plain"
    assert page.from_.uri.aor == BOB  # type: ignore[union-attr]
    assert page.uri == phone.contact.strip("<>")


async def test_two_sip_clients_write_to_each_other(rig: ClientRig) -> None:
    ann, bob = await rig.phone("ann", 1), await rig.phone("bob", 2)
    await ann.register()
    await bob.register()
    for number in range(5):
        assert (await ann.write(BOB, f"{number} \U0001f600")).status == 200
    assert bob.texts() == [f"{number} \U0001f600" for number in range(5)]


async def test_a_message_is_offline_until_a_client_has_answered(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    await phone.register()
    bob = await rig.place.sign_in("bob", managed=True)
    phone.answers["MESSAGE"].append(480)
    for text in ("one", "two"):
        bob.send(f"<message type='chat' to='{ANN}'><body>{text}</body></message>")
    await rig.settle()
    assert phone.texts() == ["one"]
    assert not len(rig.clients.devices)
    await phone.register()
    await rig.settle()
    assert phone.texts() == ["one", "two"]
    await phone.register(expires=0)
    await phone.register()
    assert phone.texts() == []  # both were taken


async def test_a_client_that_takes_no_messages_stays_signed_in(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    await phone.register()
    bob = await rig.place.sign_in("bob", managed=True)
    phone.answers["MESSAGE"].append(405)
    bob.send(f"<message type='chat' to='{ANN}'><body>one</body></message>")
    await rig.settle()
    assert len(rig.clients.devices) == 1
    bob.send(f"<message type='chat' to='{ANN}'><body>two</body></message>")
    await rig.settle()
    assert phone.texts() == ["one"]
    desk = await rig.place.sign_in("ann", "desk", managed=True, presence=None)
    desk.send("<presence/>")
    await rig.settle()
    assert await desk.bodies() == ["one", "two"]


async def test_who_has_not_registered_may_write(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    bob = await rig.place.sign_in("bob", managed=True)
    assert (await phone.write(BOB, "in passing")).status == 200
    assert await bob.bodies() == ["in passing"]
    assert rig.leftovers() == {"devices": 0, "watches": 0, "calls": 0, "held": 0}


async def test_what_cannot_be_delivered_is_refused(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    await phone.register()
    assert (await phone.write(f"nobody@{DOMAIN}", "hello")).status == 480
    assert (await phone.write("somebody@elsewhere.example", "hello")).status == 404
    assert (await phone.write(BOB, "x", content_type="image/png")).status == 415


async def test_a_message_to_somebody_away_is_kept_before_it_is_answered(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    await phone.register()
    await rig.place.people("bob")
    assert (await phone.write(BOB, "for later")).status == 200
    bob = await rig.place.sign_in("bob", presence=None)
    bob.send("<presence/>")
    await rig.settle()
    assert await bob.bodies() == ["for later"]


# -- presence --------------------------------------------------------------------------------------


async def test_what_a_client_publishes_is_shown_as_its_resource(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    await phone.register()
    bob = await rig.place.sign_in("bob")
    bob.send(f"<presence type='subscribe' to='{ANN}'/>")
    await rig.settle()
    await bob.take()
    answer = await phone.publish(BUSY)
    assert answer.status == 200
    presence = await bob.saw(lambda e: e.name == "presence" and e.get("type") is None)
    show, status = presence.find("show"), presence.find("status")
    assert show is not None and show.text == "dnd" and status is not None and status.text == "deep in it"
    etag = answer.headers.get("sip-etag") or ""
    refreshed = await phone.publish(b"", etag=etag)
    assert refreshed.status == 200 and refreshed.headers.get("sip-etag") != etag
    assert (await phone.publish(b"", etag=etag)).status == 412
    gone = await phone.publish(b"", etag=refreshed.headers.get("sip-etag") or "", expires=0)
    assert (gone.status, gone.headers.get("expires")) == (200, "0")
    presence = await bob.saw(lambda e: e.name == "presence" and e.get("type") is None)
    assert presence.find("show") is None


async def test_a_publication_ends_by_itself(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    bob = await rig.place.sign_in("bob")
    bob.send(f"<presence type='subscribe' to='{ANN}'/>")
    await rig.settle()
    await phone.publish(BUSY, expires=60)  # without registering
    assert len(rig.clients.devices) == 1
    presence = await bob.saw(lambda e: e.name == "presence" and e.find("show") is not None)
    priority = presence.find("priority")
    assert priority is not None and priority.text == "-1"
    await rig.advance(61)
    assert (await bob.presences())[-1] == (presence.get("from"), "unavailable")
    assert rig.leftovers() == {"devices": 0, "watches": 0, "calls": 0, "held": 0}


async def test_of_several_publications_the_newest_is_shown(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    await phone.register()
    first = await phone.publish(pidf.write(f"sip:{ANN}", SipPresence(False))[1], expires=60)
    session = rig.clients.devices.on(1)[0].session
    assert first.status == 200 and not session.available
    second = await phone.publish(BUSY, expires=600)
    assert session.available and b"dnd" in session.presence_tail
    await rig.advance(61)  # the first one ends
    assert b"dnd" in session.presence_tail
    await phone.publish(b"", etag=second.headers.get("sip-etag") or "", expires=0)
    assert session.available and b"dnd" not in session.presence_tail


async def test_what_is_no_presence_is_refused(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    assert (await phone.publish(b"<nonsense/>")).status == 415
    assert (await phone.publish(b"")).status == 400
    assert rig.leftovers()["devices"] == 0


async def test_a_client_watches_one_of_our_people(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    await phone.register()
    bob = await rig.place.sign_in("bob")
    assert (await phone.subscribe(BOB)).status == 200
    await rig.advance(2)
    notified = phone.notified()
    states = [(one.headers.get("subscription-state") or "").partition(";")[0] for one in notified]
    assert states[0] == "pending" and states[-1] == "active"
    assert pidf.read(notified[-1].body, notified[-1].content_type).is_open
    bob.send("<presence><show>away</show><status>at lunch</status></presence>")
    await rig.advance(2)
    shown = pidf.read(phone.notified()[-1].body, "application/pidf+xml")
    assert (shown.activities, shown.note) == (frozenset({"away"}), "at lunch")
    person = rig.place.context.homes.find(BOB)
    assert person is not None
    bob.send("<presence/>")
    rig.place.context.sources.put_phone(person.user_id, "line", Statement(State.ON_THE_PHONE))
    await rig.advance(2)
    assert "on-the-phone" in pidf.read(phone.notified()[-1].body, "application/pidf+xml").activities
    rig.place.context.sources.put_phone(person.user_id, "line", None)
    bob.leave()
    await rig.advance(2)
    assert not pidf.read(phone.notified()[-1].body, "application/pidf+xml").is_open
    assert (await phone.resubscribe(0)).status == 200
    assert (phone.notified()[-1].headers.get("subscription-state") or "").startswith("terminated")
    assert len(rig.clients.watches) == 0


async def test_two_sip_clients_see_each_other(rig: ClientRig) -> None:
    ann, bob = await rig.phone("ann", 1), await rig.phone("bob", 2)
    await ann.register()
    await bob.register()
    await ann.subscribe(BOB)
    await bob.subscribe(ANN)
    await ann.publish(BUSY)
    await rig.advance(3)
    assert pidf.read(bob.notified()[-1].body, "application/pidf+xml").note == "deep in it"
    await bob.register(expires=0)
    await rig.advance(3)
    shown = ann.notified()[-1]
    # Bob still watches, so he is there; what ends is that he can be written to.
    assert pidf.read(shown.body, shown.content_type).is_open
    rig.hang_up(bob)
    await rig.advance(3)
    assert not pidf.read(ann.notified()[-1].body, "application/pidf+xml").is_open


async def test_whoever_is_shut_out_sees_nobody(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    await phone.register()
    bob = await rig.place.sign_in("bob")
    await bob.ask("set", f"<block xmlns='urn:xmpp:blocking'><item jid='{ANN}'/></block>")
    await phone.subscribe(BOB)
    await rig.advance(3)
    states = [one.headers.get("subscription-state") or "" for one in phone.notified()]
    assert states and not any(one.startswith("active") for one in states)


async def test_subscriptions_to_nobody_and_of_other_packages_are_refused(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    await phone.register()
    assert (await phone.subscribe(f"nobody@{DOMAIN}")).status == 404
    request = phone.make("SUBSCRIBE", phone.aor, headers=[("Event", "message-summary")])
    assert (await phone.ask(request)).status == 489
    assert (await phone.ask(phone.make("INVITE", f"sip:{BOB}"))).status == 405


async def test_a_session_that_is_closed_here_ends_the_client(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    await phone.register()
    await phone.subscribe(BOB if rig.place.context.homes.find(BOB) else ANN)
    user = next(iter(rig.place.context.actors.values()))
    (session,) = user.sessions.values()
    edge = session.edge
    rig.place.users.end(session)
    assert edge is not None
    edge.close("policy-violation", "The password was changed.")
    await rig.advance(40)
    assert rig.leftovers() == {"devices": 0, "watches": 0, "calls": 0, "held": 0}
    assert (phone.notified()[-1].headers.get("subscription-state") or "").startswith("terminated")


async def test_who_is_served_by_another_node_is_sent_there(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    rig.place.context.homes.here.clear()
    answer = await phone.register()
    assert (answer.status, answer.headers.get("retry-after")) == (503, "10")
    rig.clients.home_of = lambda person, peer: f"<sip:node2.example.org:5060;transport={peer.transport}>"
    answer = await phone.register()
    assert answer.status == 302
    assert answer.headers.get("contact") == "<sip:node2.example.org:5060;transport=tcp>"


async def test_turning_sip_clients_off_signs_them_out(rig: ClientRig) -> None:
    phone = await rig.phone("ann", 1)
    await phone.register()
    rig.place.set(CLIENTS, False)
    assert rig.leftovers()["devices"] == 0
