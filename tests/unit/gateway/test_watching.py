"""Our people watch somebody outside: SUBSCRIBE out, NOTIFY in, presence shown, over two agents."""

import pytest

from tests.unit.gateway.rig import YSAM, Answer, Rig
from tests.unit.users.place import DOMAIN, Client, condition
from ubiety.gateway.stack import MARK
from ubiety.jid import parse
from ubiety.sip.message import Response
from ubiety.sip.outputs import Hop
from ubiety.sip.pidf import SipPresence
from ubiety.store import sip_subscriptions as rows
from ubiety.store.sip_subscriptions import Subscription
from ubiety.users import policy_changes
from ubiety.users.policy_changes import ALLOW, BLOCK
from ubiety.xmpp import ns

AWAY = SipPresence(True, frozenset({"away"}), "lunch")
BUSY = SipPresence(True, frozenset({"do-not-disturb"}))
CLOSED = SipPresence(False)


async def subscribe(client: Client, rig: Rig, to: str = YSAM) -> None:
    client.send(f"<presence type='subscribe' to='{to}'/>")
    await rig.settle()


async def watching(rig: Rig) -> Client:
    """Ann, who sees YSAM; what came meanwhile is forgotten."""
    ann = await rig.place.sign_in("ann")
    await subscribe(ann, rig)
    await ann.take()
    rig.theirs.take_subscribes()
    return ann


async def shown(client: Client) -> list[tuple[str, str | None, str, str]]:
    """Take presence: sender, type, show and status."""
    found = []
    for presence in await client.take("presence"):
        show, status = presence.find("show", ns.CLIENT), presence.find("status", ns.CLIENT)
        found.append(
            (
                presence.get("from") or "",
                presence.get("type"),
                show.text if show is not None else "",
                status.text if status is not None else "",
            )
        )
    return found


async def stored(rig: Rig) -> list[Subscription]:
    return list(await rig.place.database.read(rows.list_of_set, 1))


def the_call(rig: Rig) -> str:
    (call_id,) = rig.theirs.watched
    return call_id


async def side(rig: Rig, client: Client) -> str | None:
    """Return the subscription that the roster shows."""
    answer = await client.ask("get", f"<query xmlns='{ns.ROSTER}'/>")
    query = answer.find("query", ns.ROSTER)
    assert query is not None
    items = [item for item in query.elements if item.get("jid") == YSAM]
    return items[0].get("subscription") if items else None


async def test_somebody_is_added_and_seen(rig: Rig) -> None:
    ann = await rig.place.sign_in("ann")
    await subscribe(ann, rig)
    (request,) = rig.theirs.subscribes
    assert request.uri == f"sip:{YSAM}"
    assert request.headers.get("accept") == "application/pidf+xml, application/cpim-pidf+xml"
    assert request.headers.get("user-agent") == MARK
    assert request.headers.get("contact") == "<sip:imp.example.org:5061;transport=tls>"
    assert (request.expires, request.max_forwards) == (7446, 70)
    assert {one for one in await shown(ann) if one[0] == YSAM} == {
        (YSAM, "subscribed", "", ""),
        (YSAM, None, "", ""),
    }
    assert await side(rig, ann) == "to"
    (row,) = await stored(rig)
    assert (row.direction, row.state, row.peer) == ("out", "granted", YSAM)
    assert row.expires == pytest.approx(rig.place.clock.now() + 7446)


async def test_presence_is_mapped_and_the_same_is_not_shown_again(rig: Rig) -> None:
    ann = await watching(rig)
    call = the_call(rig)
    rig.theirs.notify(call, "active", AWAY)
    await rig.settle()
    assert await shown(ann) == [(YSAM, None, "away", "lunch")]
    rig.theirs.notify(call, "active", AWAY)
    await rig.settle()
    assert await shown(ann) == []
    rig.theirs.notify(call, "active", BUSY)
    await rig.settle()
    assert await shown(ann) == [(YSAM, None, "dnd", "Busy")]
    rig.theirs.notify(call, "active", CLOSED)
    await rig.settle()
    assert await shown(ann) == [(YSAM, "unavailable", "", "")]


async def test_the_other_side_asks_its_person_first(rig: Rig) -> None:
    rig.theirs.first_state = "pending;expires=7446"
    ann = await rig.place.sign_in("ann")
    await subscribe(ann, rig)
    assert await ann.presences() == []
    assert await side(rig, ann) == "none"
    rig.theirs.notify(the_call(rig), "active", AWAY)
    await rig.settle()
    assert set(await shown(ann)) == {(YSAM, "subscribed", "", ""), (YSAM, None, "away", "lunch")}
    assert await side(rig, ann) == "to"


async def test_the_other_person_refuses(rig: Rig) -> None:
    rig.theirs.first_state = "pending;expires=7446"
    ann = await rig.place.sign_in("ann")
    await subscribe(ann, rig)
    rig.theirs.notify(the_call(rig), "terminated;reason=rejected", None)
    await rig.settle()
    assert (YSAM, "unsubscribed") in await ann.presences()
    assert await stored(rig) == []
    assert len(rig.presence.watching) == rig.presence.watching.timers == 0
    await rig.advance(20_000)
    assert len(rig.theirs.subscribes) == 1


async def test_a_notify_before_the_answer(rig: Rig) -> None:
    ann = await rig.place.sign_in("ann")
    rig.theirs.first_presence = AWAY
    original = rig.theirs.respond
    late: list[tuple[int, Response]] = []
    rig.theirs.respond = lambda key, response: late.append((key, response))  # type: ignore[method-assign]
    await subscribe(ann, rig)
    assert (YSAM, None, "away", "lunch") in await shown(ann)
    rig.theirs.respond = original  # type: ignore[method-assign]
    for key, response in late:
        rig.theirs.respond(key, response)
    await rig.settle()
    rig.theirs.notify(the_call(rig), "active", BUSY)
    await rig.settle()
    assert await shown(ann) == [(YSAM, None, "dnd", "Busy")]


async def test_a_new_session_is_shown_what_is_known(rig: Rig) -> None:
    ann = await watching(rig)
    rig.theirs.notify(the_call(rig), "active", AWAY)
    await rig.settle()
    await ann.take()
    phone = await rig.place.sign_in("ann", "phone", presence=None)
    phone.send("<presence/>")
    await rig.settle()
    assert (YSAM, None, "away", "lunch") in await shown(phone)
    assert (YSAM, None, "away", "lunch") not in await shown(ann)
    assert rig.theirs.take_subscribes() == []


async def test_it_goes_on_while_nobody_is_signed_in(rig: Rig) -> None:
    ann = await watching(rig)
    ann.leave()
    rig.theirs.notify(the_call(rig), "active", AWAY)
    await rig.advance(7000)
    assert rig.theirs.take_subscribes() == [(7446, False)]
    again = await rig.place.sign_in("ann", presence=None)
    again.send("<presence/>")
    await rig.settle()
    assert any(one[0] == YSAM for one in await shown(again))


async def test_refreshes(rig: Rig) -> None:
    await watching(rig)
    await rig.advance(7446 * 0.875 - 1)
    assert rig.theirs.take_subscribes() == []
    await rig.advance(2)
    assert rig.theirs.take_subscribes() == [(7446, False)]
    await rig.advance(7446 * 0.875)
    assert rig.theirs.take_subscribes() == [(7446, False)]
    (row,) = await stored(rig)
    assert row.expires > rig.place.clock.now() + 7000


async def test_the_other_side_was_restarted(rig: Rig) -> None:
    ann = await watching(rig)
    rig.theirs.watched.clear()
    rig.theirs.first_presence = AWAY
    await rig.advance(7446 * 0.9)
    assert rig.theirs.take_subscribes() == [(7446, False), (7446, True)]
    assert await shown(ann) == [(YSAM, None, "away", "lunch")]
    assert len(await stored(rig)) == 1


async def test_the_other_side_is_away_for_a_while(rig: Rig) -> None:
    ann = await watching(rig)
    rig.theirs.is_deaf = True
    await rig.advance(7446 * 0.875 + 40)
    assert await shown(ann) == []
    rig.theirs.is_deaf = False
    await rig.advance(200)
    assert (7446, True) in rig.theirs.take_subscribes()
    assert await shown(ann) == []


async def test_the_other_side_stays_away(rig: Rig) -> None:
    ann = await watching(rig)
    rig.theirs.is_shut = True
    await rig.advance(7446)
    assert await shown(ann) == [(YSAM, "unavailable", "", "")]
    assert await side(rig, ann) == "to"
    rig.theirs.is_shut = False
    rig.theirs.first_presence = AWAY
    await rig.advance(4000)
    assert await shown(ann) == [(YSAM, None, "away", "lunch")]


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, "item-not-found"), (480, "recipient-unavailable"), (503, "resource-constraint")],
)
async def test_somebody_who_cannot_be_had_is_told_once_and_tried_again(
    rig: Rig, status: int, error: str
) -> None:
    rig.theirs.answers["SUBSCRIBE"].extend([Answer(status)] * 3)
    ann = await rig.place.sign_in("ann")
    await subscribe(ann, rig)
    (told,) = [one for one in await ann.take("presence") if one.get("type") == "error"]
    assert condition(told) == error
    await rig.advance(40_000)
    assert [one for one in await ann.take("presence") if one.get("type") == "error"] == []
    assert len(rig.theirs.subscribes) >= 4
    assert await side(rig, ann) == "to"


async def test_a_server_that_refuses_us_asks_nobody_again(rig: Rig) -> None:
    rig.theirs.answers["SUBSCRIBE"].append(Answer(403))
    ann = await rig.place.sign_in("ann")
    await subscribe(ann, rig)
    assert (YSAM, "unsubscribed") in await ann.presences()
    assert await stored(rig) == []


async def test_a_server_that_refuses_us_later_does_not_end_what_was_agreed(rig: Rig) -> None:
    ann = await watching(rig)
    rig.theirs.answers["SUBSCRIBE"].extend([Answer(403)] * 200)
    await rig.advance(7446 + 100)
    assert await shown(ann) == [(YSAM, "unavailable", "", "")]
    await rig.advance(7200)
    assert await side(rig, ann) == "to"
    rig.theirs.answers["SUBSCRIBE"].clear()
    await rig.advance(30_000)
    assert (YSAM, None, "", "") in await shown(ann)


async def test_no_route(rig: Rig) -> None:
    rig.ours.roads.routes = []
    ann = await rig.place.sign_in("ann")
    await subscribe(ann, rig)
    (error,) = [one for one in await ann.take("presence") if one.get("type") == "error"]
    assert condition(error) == "remote-server-not-found"
    assert len(rig.presence.watching) == 0


async def test_too_brief_for_them(rig: Rig) -> None:
    rig.theirs.answers["SUBSCRIBE"].append(Answer(423, (("Min-Expires", "9000"),)))
    ann = await rig.place.sign_in("ann")
    await subscribe(ann, rig)
    assert rig.theirs.take_subscribes() == [(7446, True), (9000, True)]
    assert await side(rig, ann) == "to"


async def test_fail_over(rig: Rig) -> None:
    rig.theirs.answers["SUBSCRIBE"].append(Answer(503))
    rig.ours.roads.routes.append(Hop("tls", "fe2.example.org", 5061, "fe2.example.org"))
    ann = await rig.place.sign_in("ann")
    await subscribe(ann, rig)
    assert await side(rig, ann) == "to"
    first, second = rig.theirs.subscribes
    assert first.call_id == second.call_id and first.via.branch != second.via.branch


# -- the end ---------------------------------------------------------------------------------------


async def test_a_contact_is_removed(rig: Rig) -> None:
    ann = await watching(rig)
    item = f"<item jid='{YSAM}' subscription='remove'/>"
    await ann.ask("set", f"<query xmlns='{ns.ROSTER}'>{item}</query>")
    await rig.settle()
    assert rig.theirs.take_subscribes() == [(0, False)]
    assert rig.theirs.watched == {}
    assert len(rig.presence.watching) == rig.presence.watching.timers == 0
    assert await stored(rig) == []


async def test_removed_and_added_at_once(rig: Rig) -> None:
    ann = await watching(rig)
    ann.send(f"<presence type='unsubscribe' to='{YSAM}'/>")
    ann.send(f"<presence type='subscribe' to='{YSAM}'/>")
    await rig.settle()
    assert sorted(rig.theirs.take_subscribes(), key=str) == [(0, False), (7446, True)]
    assert len(rig.presence.watching) == 1
    assert len(await stored(rig)) == 1


async def test_unsubscribing_from_a_peer_that_is_gone(rig: Rig) -> None:
    ann = await watching(rig)
    rig.theirs.is_deaf = True
    ann.send(f"<presence type='unsubscribe' to='{YSAM}'/>")
    await rig.advance(40)
    assert len(rig.presence.watching) == rig.presence.watching.timers == 0
    assert await stored(rig) == []


async def test_a_contact_who_came_home(rig: Rig) -> None:
    await watching(rig)
    await rig.place.people("ysam")
    await rig.advance(7446)
    assert rig.theirs.take_subscribes() == []
    assert len(rig.presence.watching) == 0


async def test_a_person_is_deleted(rig: Rig) -> None:
    ann = await watching(rig)
    rig.presence.deleted(ann.user.person)
    await rig.settle()
    assert rig.theirs.take_subscribes() == [(0, False)]
    assert len(rig.presence.watching) == 0


# -- never asked -----------------------------------------------------------------------------------


async def test_a_look_at_somebody_is_no_subscription(rig: Rig) -> None:
    ann = await rig.place.sign_in("ann")
    for xml in (
        f"<presence type='probe' to='{YSAM}'/>",
        f"<presence to='{YSAM}'/>",
        f"<presence type='unavailable' to='{YSAM}'/>",
        f"<presence type='unsubscribe' to='nobody@{DOMAIN}'/>",
    ):
        ann.send(xml)
        await rig.advance(40)
    assert rig.theirs.subscribes == []
    assert len(rig.presence.watching) == 0


async def test_a_blocked_contact_is_not_shown(rig: Rig) -> None:
    ann = await watching(rig)
    await policy_changes.put(rig.place.context, ann.user.person, BLOCK, [parse(YSAM)])
    await policy_changes.put(rig.place.context, ann.user.person, ALLOW, [parse(YSAM)])
    rig.theirs.notify(the_call(rig), "active", AWAY)
    await rig.settle()
    assert (YSAM, None, "away", "lunch") in await shown(ann)


# -- bad NOTIFYs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"content_type": "text/plain", "body": "x"}, 415),
        ({"content_type": "application/pidf+xml", "body": "<not-xml"}, 400),
        ({"content_type": "application/pidf+xml", "body": "<html/>"}, 400),
        ({"event": "dialog"}, 489),
    ],
)
async def test_bad_notifies(rig: Rig, changes: dict[str, str], status: int) -> None:
    ann = await watching(rig)
    key = rig.theirs.notify(the_call(rig), "active", AWAY, **changes)
    await rig.settle()
    response = rig.theirs.responses[key]
    assert isinstance(response, Response) and response.status == status
    assert await shown(ann) == []
    rig.theirs.notify(the_call(rig), "active", AWAY)
    await rig.settle()
    assert await shown(ann) == [(YSAM, None, "away", "lunch")]


async def test_a_notify_of_nothing_we_asked_for(rig: Rig) -> None:
    await watching(rig)
    await rig.place.database.write(lambda conn: rows.delete(conn, 1))
    rig.presence.release(1)
    key = rig.theirs.notify(the_call(rig), "active", AWAY)
    await rig.settle()
    response = rig.theirs.responses[key]
    assert isinstance(response, Response) and response.status == 481


# -- rows ------------------------------------------------------------------------------------------


async def test_a_restart_of_ours(rig: Rig) -> None:
    ann = await watching(rig)
    rig.presence.release(1)
    assert len(rig.presence.watching) == rig.presence.watching.timers == 0
    rig.theirs.first_presence = AWAY
    await rig.presence.load(1)
    await rig.advance(1)
    (request,) = rig.theirs.subscribes
    assert request.to.tag is not None and request.cseq.number > 1000
    assert (YSAM, None, "away", "lunch") in await shown(ann)
    assert not [one for one in await ann.presences() if one[1] == "subscribed"]
    assert len(await stored(rig)) == 1


async def test_a_long_outage_of_ours(rig: Rig) -> None:
    ann = await watching(rig)
    rig.presence.release(1)
    rig.place.clock.advance(10_000)
    rig.theirs.watched.clear()
    await rig.presence.load(1)
    await rig.advance(1)
    assert rig.theirs.take_subscribes() == [(7446, True)]
    assert await side(rig, ann) == "to"
    assert len(await stored(rig)) == 1


async def test_one_that_was_never_answered_is_asked_for_after_a_restart(rig: Rig) -> None:
    rig.theirs.is_deaf = True
    ann = await rig.place.sign_in("ann")
    await subscribe(ann, rig)
    await rig.presence.flush()
    rig.presence.release(1)
    rig.theirs.is_deaf = False
    await rig.presence.load(1)
    await rig.advance(1)
    assert await side(rig, ann) == "to"


async def test_a_contact_who_stands_in_the_roster_without_a_row(rig: Rig) -> None:
    ann = await watching(rig)
    rig.presence.release(1)
    rig.theirs.watched.clear()
    phone = await rig.place.sign_in("ann", "phone", presence=None)
    phone.send("<presence/>")
    await rig.settle()
    assert rig.theirs.take_subscribes() == [(7446, True)]
    assert (YSAM, None, "", "") in await shown(ann)


async def test_a_person_is_moved_away(rig: Rig) -> None:
    ann = await watching(rig)
    rig.place.context.homes.moving.add(ann.user.person.user_id)
    key = rig.theirs.notify(the_call(rig), "active", AWAY)
    await rig.settle()
    response = rig.theirs.responses[key]
    assert isinstance(response, Response) and response.status == 481
    assert len(rig.presence.watching) == rig.presence.watching.timers == 0
    assert len(await stored(rig)) == 1  # it is the new home's


async def test_a_person_is_moved_away_and_nothing_comes(rig: Rig) -> None:
    ann = await watching(rig)
    rig.place.context.homes.moving.add(ann.user.person.user_id)
    await rig.advance(8000)
    assert rig.theirs.take_subscribes() == []
    assert len(rig.presence.watching) == rig.presence.watching.timers == 0


async def test_a_person_is_moved_here(rig: Rig) -> None:
    ann = await watching(rig)
    rig.presence.release(1)  # nothing of them is in memory
    rig.theirs.notify(the_call(rig), "active", AWAY)
    await rig.settle()
    assert await shown(ann) == [(YSAM, None, "away", "lunch")]
    assert len(rig.presence.watching) == 1
    await rig.presence.load(1)
    await rig.advance(5)
    assert len(rig.presence.watching) == len(await stored(rig)) == 1


async def test_a_person_is_deleted_and_nobody_says_so(rig: Rig) -> None:
    ann = await watching(rig)
    rig.place.context.homes.remove(ann.user.person.user_id)
    await rig.advance(8000)
    assert rig.theirs.take_subscribes() == []
    assert len(rig.presence.watching) == 0


async def test_while_rows_are_read(rig: Rig) -> None:
    ann = await watching(rig)
    call_id = the_call(rig)
    rig.presence.release(1)
    await rig.presence.load(1)
    rig.presence.look_at(ann.user, parse(YSAM))
    assert len(rig.presence.watching) == 0  # no second subscription is opened
    key = rig.theirs.notify(call_id, "active", AWAY)
    await rig.settle()
    response = rig.theirs.responses[key]
    assert isinstance(response, Response) and response.status == 200
    await rig.advance(5)
    assert rig.theirs.take_subscribes() == [(7446, False)]
    assert len(rig.presence.watching) == len(await stored(rig)) == 1


async def test_served_no_more_while_rows_are_read(rig: Rig) -> None:
    await watching(rig)
    await rig.presence.load(1)
    rig.presence.release(1)
    await rig.settle()
    assert len(rig.presence.watching) == 0
    await rig.presence.load(1)
    await rig.presence.load(1)
    await rig.advance(5)
    assert len(rig.presence.watching) == 1
    assert rig.theirs.take_subscribes() == [(7446, False)]
