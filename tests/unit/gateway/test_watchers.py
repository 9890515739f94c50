"""Somebody outside watches one of our people: SUBSCRIBE in, NOTIFY out, over two agents."""

import pytest

from tests.unit.gateway.rig import YSAM, Answer, Rig
from tests.unit.users.place import DOMAIN, Client
from ubiety.gateway import watchers
from ubiety.jid import parse
from ubiety.presence.model import State, Statement
from ubiety.sip.message import Response
from ubiety.store import sip_subscriptions as rows
from ubiety.store.sip_subscriptions import Subscription
from ubiety.users import outside_presence, policy_changes
from ubiety.users.policy_changes import ALLOW, BLOCK
from ubiety.users.preferences import AUTO_AUTHORIZE

ANN = f"ann@{DOMAIN}"


def status_of(rig: Rig, key: int) -> int:
    response = rig.theirs.responses[key]
    assert isinstance(response, Response), response
    return response.status


def header_of(rig: Rig, key: int, name: str) -> str | None:
    response = rig.theirs.responses[key]
    assert isinstance(response, Response), response
    return response.headers.get(name)


async def subscribed(rig: Rig, call_id: str = "c1", **changes: object) -> None:
    """Have YSAM watch Ann; forget what was told."""
    rig.theirs.subscribe(ANN, call_id=call_id, **changes)  # type: ignore[arg-type]
    await rig.settle()
    rig.theirs.take_noted()


async def stored(rig: Rig) -> list[Subscription]:
    return list(await rig.place.database.read(rows.list_of_set, 1))


async def test_whoever_may_is_shown_each_change(rig: Rig) -> None:
    ann = await rig.place.sign_in("ann")
    key = rig.theirs.subscribe(ANN)
    await rig.settle()
    assert status_of(rig, key) == 200
    assert header_of(rig, key, "expires") == "3600"
    assert header_of(rig, key, "contact") == "<sip:imp.example.org:5061;transport=tls>"
    assert rig.theirs.noted[0].state == "active;expires=3600"
    assert rig.theirs.noted[0].request.headers.get("event") == "presence"
    assert rig.theirs.take_noted() == [("active", "open")]
    for show, word in (("away", "away"), ("dnd", "busy"), ("xa", "away"), ("chat", "open")):
        ann.send(f"<presence><show>{show}</show></presence>")
        await rig.advance(2)
        assert rig.theirs.take_noted() == [("active", word)]
    ann.leave()
    await rig.advance(2)
    assert rig.theirs.take_noted() == [("active", "closed")]
    assert rig.leftovers() == {"sent": 0, "transactions": rig.leftovers()["transactions"], "rows": 0}


async def test_the_note_travels(rig: Rig) -> None:
    ann = await rig.place.sign_in("ann")
    await subscribed(rig)
    ann.send("<presence><show>away</show><status>Out &lt;for&gt; tea ☕</status></presence>")
    await rig.advance(2)
    (noted,) = rig.theirs.noted
    assert noted.presence is not None and noted.presence.note == "Out <for> tea ☕"


async def test_phones_are_shown_as_busy_and_not_when_offline(rig: Rig) -> None:
    ann = await rig.place.sign_in("ann")
    await subscribed(rig)
    sources, user_id = rig.place.context.sources, ann.user.person.user_id
    sources.watch(lambda _: None)
    sources.put_phone(user_id, "line", Statement(State.ON_THE_PHONE))
    outside_presence.source_changed(rig.place.context, user_id)
    await rig.advance(2)
    assert rig.theirs.take_noted() == [("active", "busy")]
    ann.leave()
    await rig.advance(2)
    assert rig.theirs.take_noted() == [("active", "closed")]  # Offline - On the Phone


async def test_a_person_who_is_not_loaded(rig: Rig) -> None:
    await rig.place.people("ann")
    await subscribed(rig)
    await rig.place.sign_in("ann")
    await rig.advance(2)
    assert rig.theirs.take_noted() == [("active", "open")]


async def test_a_refresh_brings_the_whole_state_and_another_end(rig: Rig) -> None:
    await rig.place.sign_in("ann")
    await subscribed(rig, expires=600)
    await rig.advance(500)
    key = rig.theirs.subscribe(ANN, call_id="c1", expires=600)
    await rig.settle()
    assert status_of(rig, key) == 200
    assert rig.theirs.noted[0].state == "active;expires=600"
    assert rig.theirs.take_noted() == [("active", "open")]
    await rig.advance(599)
    assert rig.theirs.take_noted() == []
    await rig.advance(2)
    assert rig.theirs.take_noted() == [("terminated;reason=timeout", "open")]
    assert len(rig.presence.watchers) == rig.presence.watchers.timers == 0
    assert await stored(rig) == []
    key = rig.theirs.subscribe(ANN, call_id="c1")
    await rig.settle()
    assert status_of(rig, key) == 481


async def test_unsubscribing_keeps_the_permission(rig: Rig) -> None:
    ann = await rig.place.sign_in("ann")
    await subscribed(rig)
    rig.theirs.subscribe(ANN, call_id="c1", expires=0)
    await rig.settle()
    assert rig.theirs.take_noted() == [("terminated;reason=timeout", "open")]
    assert len(rig.presence.watchers) == rig.presence.watchers.timers == 0
    assert ann.user.outside is not None and ann.user.outside.is_watcher(parse(YSAM))
    ann.send("<presence><show>away</show></presence>")
    await rig.advance(5)
    assert rig.theirs.take_noted() == []


async def test_fetching(rig: Rig) -> None:
    ann = await rig.place.sign_in("ann")
    rig.theirs.subscribe(ANN, expires=0)
    await rig.settle()
    assert rig.theirs.take_noted() == [("terminated;reason=timeout", "open")]  # as one of our own would see
    assert await ann.take() == []  # nobody is asked
    rig.place.set(AUTO_AUTHORIZE, False)
    rig.theirs.subscribe(ANN, expires=0)
    await rig.settle()
    assert rig.theirs.take_noted() == [("terminated;reason=timeout", "closed")]  # a stranger
    assert await ann.take() == []
    rig.place.set(AUTO_AUTHORIZE, True)
    await subscribed(rig)
    rig.theirs.subscribe(ANN, expires=0)
    await rig.settle()
    assert rig.theirs.take_noted() == [("terminated;reason=timeout", "open")]


@pytest.mark.parametrize(
    ("changes", "status", "header", "value"),
    [
        ({"event": None}, 489, "allow-events", "presence"),
        ({"event": "dialog"}, 489, "allow-events", "presence"),
        ({"expires": 10}, 423, "min-expires", "60"),
        ({"accept": "application/rlmi+xml"}, 406, "accept", "application/pidf+xml"),
        ({"contact": None}, 400, "warning", None),
        ({"accept": None}, 200, "expires", "3600"),
        ({"accept": "text/xml+msrtc.pidf, application/PIDF+xml;q=0.5"}, 200, "expires", "3600"),
        ({"accept": "application/*"}, 200, "expires", "3600"),
        ({"expires": None}, 200, "expires", "3600"),
        ({"expires": 1_000_000}, 200, "expires", "86400"),
        ({"event": "presence;id=7"}, 200, "expires", "3600"),
    ],
)
async def test_what_a_subscribe_must_be_like(
    rig: Rig, changes: dict[str, object], status: int, header: str, value: str | None
) -> None:
    await rig.place.sign_in("ann")
    key = rig.theirs.subscribe(ANN, **changes)  # type: ignore[arg-type]
    await rig.settle()
    assert status_of(rig, key) == status
    assert header_of(rig, key, header) == value
    assert len(rig.theirs.noted) == (1 if status == 200 else 0)
    if status == 200:
        assert rig.theirs.noted[0].request.headers.get("event") == changes.get("event", "presence")


async def test_only_cpim_pidf(rig: Rig) -> None:
    await rig.place.sign_in("ann")
    rig.theirs.subscribe(ANN, accept="application/cpim-pidf+xml")
    await rig.settle()
    assert rig.theirs.noted[0].request.content_type == "application/cpim-pidf+xml"


async def test_nobody_of_that_name(rig: Rig) -> None:
    key = rig.theirs.subscribe(f"nobody@{DOMAIN}")
    await rig.settle()
    assert status_of(rig, key) == 404


async def test_a_subscription_that_is_only_in_a_row(rig: Rig) -> None:
    await rig.place.sign_in("ann")
    await subscribed(rig)
    rig.presence.release(1)
    key = rig.theirs.subscribe(ANN, call_id="c1")
    await rig.settle()
    assert status_of(rig, key) == 200
    assert rig.theirs.take_noted() == [("active", "open")] * 2
    assert len(rig.presence.watchers) == len(await stored(rig)) == 1


async def test_a_subscription_that_is_over_is_not_known(rig: Rig) -> None:
    await rig.place.sign_in("ann")
    await subscribed(rig)
    await rig.place.database.write(lambda conn: rows.delete(conn, 1))
    rig.presence.release(1)
    key = rig.theirs.subscribe(ANN, call_id="c1")
    await rig.settle()
    assert status_of(rig, key) == 481


# -- policy ----------------------------------------------------------------------------------------


async def asked(rig: Rig) -> Client:
    """Ann, who is asked whether YSAM may watch her."""
    rig.place.set(AUTO_AUTHORIZE, False)
    ann = await rig.place.sign_in("ann")
    rig.theirs.subscribe(ANN, call_id="c1")
    await rig.settle()
    assert rig.theirs.take_noted() == [("pending", None)]
    assert await ann.presences() == [(YSAM, "subscribe")]
    return ann


async def test_a_person_is_asked_and_accepts(rig: Rig) -> None:
    ann = await asked(rig)
    ann.send("<presence><show>away</show></presence>")
    await rig.advance(60)
    assert rig.theirs.take_noted() == []
    ann.send(f"<presence type='subscribed' to='{YSAM}'/>")
    await rig.settle()
    assert rig.theirs.take_noted() == [("active", "away")]
    assert [row.state for row in await stored(rig)] == ["granted"]


async def test_a_person_is_asked_and_refuses(rig: Rig) -> None:
    ann = await asked(rig)
    ann.send(f"<presence type='unsubscribed' to='{YSAM}'/>")
    await rig.settle()
    assert rig.theirs.take_noted() == [("active", "closed")]  # polite blocking
    ann.send("<presence><show>away</show></presence>")
    await rig.advance(5)
    assert rig.theirs.take_noted() == []
    assert [row.state for row in await stored(rig)] == ["denied"]


async def test_a_person_is_asked_and_says_nothing(rig: Rig) -> None:
    ann = await asked(rig)
    rig.theirs.subscribe(ANN, call_id="c1", expires=600)
    await rig.advance(1)
    assert rig.theirs.take_noted() == [("pending", None)]
    assert await ann.presences() == []
    await rig.advance(600)
    assert rig.theirs.take_noted() == [("terminated;reason=timeout", None)]


async def test_polite_blocking(rig: Rig) -> None:
    ann = await rig.place.sign_in("ann")
    await policy_changes.put(rig.place.context, ann.user.person, BLOCK, [parse(YSAM)])
    rig.theirs.subscribe(ANN, call_id="c1")
    await rig.settle()
    assert rig.theirs.take_noted() == [("active", "closed")]
    ann.send("<presence><show>away</show></presence>")
    await rig.advance(5)
    assert rig.theirs.take_noted() == []
    assert await ann.presences() == [(ANN + "/desk", None)]
    await policy_changes.put(rig.place.context, ann.user.person, ALLOW, [parse(YSAM)])
    rig.theirs.subscribe(ANN, call_id="c1")
    await rig.advance(5)
    assert rig.theirs.take_noted()[-1] == ("active", "away")


async def test_blocked_later_and_let_in_again(rig: Rig) -> None:
    ann = await rig.place.sign_in("ann")
    await subscribed(rig)
    await policy_changes.put(rig.place.context, ann.user.person, BLOCK, [parse(YSAM)])
    await rig.advance(2)
    assert rig.theirs.take_noted() == [("active", "closed")]
    await policy_changes.put(rig.place.context, ann.user.person, ALLOW, [parse(YSAM)])
    await rig.advance(2)
    assert rig.theirs.take_noted() == [("active", "open")]


async def test_the_permission_is_taken_back(rig: Rig) -> None:
    ann = await rig.place.sign_in("ann")
    await subscribed(rig)
    ann.send(f"<presence type='unsubscribed' to='{YSAM}'/>")
    await rig.advance(2)
    assert rig.theirs.take_noted() == [("active", "closed")]


# -- faults ----------------------------------------------------------------------------------------


async def test_one_notify_in_flight_and_the_newest_only(rig: Rig) -> None:
    ann = await rig.place.sign_in("ann")
    await subscribed(rig)
    rig.theirs.held = []
    for show in ("away", "dnd", "xa", "dnd", "away", "dnd"):
        ann.send(f"<presence><show>{show}</show></presence>")
        await rig.advance(1.5)
    assert rig.theirs.take_noted() == [("active", "away")]
    ((key, request),) = rig.theirs.held
    rig.theirs.held = None
    rig.theirs.answer(key, request)
    await rig.advance(5)
    assert rig.theirs.take_noted() == [("active", "busy")]


async def test_a_crowd_of_changes_is_told_at_a_pace(rig: Rig) -> None:
    ann = await rig.place.sign_in("ann")
    await subscribed(rig)
    for number in range(20):
        ann.send(f"<presence><status>{number}</status></presence>")
        await rig.advance(0.1)
    await rig.advance(5)
    assert len(rig.theirs.noted) <= 4
    last = rig.theirs.noted[-1].presence
    assert last is not None and last.note == "19"


@pytest.mark.parametrize("status", [481, 404, 489])
async def test_a_watcher_who_is_gone(rig: Rig, status: int) -> None:
    ann = await rig.place.sign_in("ann")
    await subscribed(rig)
    rig.theirs.answers["NOTIFY"].append(Answer(status))
    ann.send("<presence><show>away</show></presence>")
    await rig.advance(2)
    assert len(rig.presence.watchers) == rig.presence.watchers.timers == 0
    assert await stored(rig) == []


async def test_a_peer_that_is_busy_is_told_later(rig: Rig) -> None:
    ann = await rig.place.sign_in("ann")
    await subscribed(rig)
    rig.theirs.answers["NOTIFY"].append(Answer(500, (("Retry-After", "120"),)))
    ann.send("<presence><show>away</show></presence>")
    await rig.advance(2)
    ann.send("<presence><show>dnd</show></presence>")
    await rig.advance(110)
    assert rig.theirs.take_noted() == [("active", "away")]
    await rig.advance(20)
    assert rig.theirs.take_noted() == [("active", "busy")]


@pytest.mark.parametrize("is_shut", [True, False])
async def test_a_peer_that_is_away_for_a_while(rig: Rig, is_shut: bool) -> None:
    ann = await rig.place.sign_in("ann")
    await subscribed(rig)
    rig.theirs.is_deaf, rig.theirs.is_shut = not is_shut, is_shut
    ann.send("<presence><show>away</show></presence>")
    await rig.advance(60)
    rig.theirs.is_deaf = rig.theirs.is_shut = False
    await rig.advance(300)
    assert rig.theirs.take_noted()[-1] == ("active", "away")


async def test_a_peer_that_stays_away(rig: Rig) -> None:
    ann = await rig.place.sign_in("ann")
    await subscribed(rig, expires=86_400)
    rig.theirs.is_deaf = True
    ann.send("<presence><show>away</show></presence>")
    await rig.advance(3000)
    assert len(rig.presence.watchers) == rig.presence.watchers.timers == 0


async def test_so_many_dialogs_and_no_more(rig: Rig) -> None:
    await rig.place.sign_in("ann")
    for number in range(12):
        rig.theirs.subscribe(ANN, call_id=f"c{number}")
        await rig.settle()
    assert len(rig.presence.watchers) == 10
    ends = [state for state, _ in rig.theirs.take_noted() if state.startswith("terminated")]
    assert ends == ["terminated;reason=deactivated"] * 2


async def test_a_person_is_deleted(rig: Rig) -> None:
    ann = await rig.place.sign_in("ann")
    await subscribed(rig)
    rig.presence.deleted(ann.user.person)
    await rig.settle()
    assert rig.theirs.take_noted() == [("terminated;reason=noresource", "open")]
    assert await stored(rig) == []


# -- rows ------------------------------------------------------------------------------------------


async def test_a_restart(rig: Rig) -> None:
    ann = await rig.place.sign_in("ann")
    await subscribed(rig)
    (row,) = await stored(rig)
    assert (row.state, row.peer, row.direction) == ("granted", YSAM, "in")
    assert row.expires == pytest.approx(rig.place.clock.now() + 3600)
    rig.presence.release(1)
    assert len(rig.presence.watchers) == 0
    ann.send("<presence><show>away</show></presence>")
    await rig.advance(600)
    assert rig.theirs.take_noted() == []
    before = rig.theirs.dialogs["c1"].remote_cseq
    await rig.presence.load(1)
    await rig.advance(1)
    (noted,) = rig.theirs.noted
    assert noted.request.cseq.number > 1000, before
    assert noted.state == "active;expires=3000"
    assert rig.theirs.take_noted() == [("active", "away")]
    key = rig.theirs.subscribe(ANN, call_id="c1")
    await rig.settle()
    assert status_of(rig, key) == 200
    assert len(await stored(rig)) == 1


async def test_what_ended_meanwhile_is_not_taken_up(rig: Rig) -> None:
    await rig.place.sign_in("ann")
    await subscribed(rig, expires=60)
    rig.presence.release(1)
    rig.place.clock.advance(100)
    await rig.presence.load(1)
    await rig.settle()
    assert len(rig.presence.watchers) == 0
    assert await stored(rig) == []
    assert rig.theirs.take_noted() == []


async def test_a_person_who_is_offline_after_a_restart(rig: Rig) -> None:
    ann = await rig.place.sign_in("ann")
    await subscribed(rig)
    ann.leave()
    await rig.advance(2)
    rig.theirs.take_noted()
    rig.presence.release(1)
    rig.place.users.forget(ann.place.context.actors[ann.session.address_id])
    await rig.presence.load(1)
    await rig.advance(1)
    assert rig.theirs.take_noted() == [("active", "closed")]


async def test_a_restart_is_no_storm(rig: Rig) -> None:
    names = [f"u{number}" for number in range(60)]
    await rig.place.people(*names)
    for name in names:
        rig.theirs.subscribe(f"{name}@{DOMAIN}", call_id=name)
        await rig.settle()
    rig.theirs.take_noted()
    rig.presence.release(1)
    rig.place.settings.apply("federation.restore_rate", 10)
    await rig.presence.load(1)
    counts = []
    for _ in range(7):
        await rig.advance(1)
        counts.append(len(rig.theirs.take_noted()))
    assert sum(counts) == 60
    assert max(counts) <= 10


async def test_a_slow_peer_is_sent_no_more_than_it_answers(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchers, "MOST_UNDER_WAY", 1)
    rig = Rig(rig.place)
    ann = await rig.place.sign_in("ann")
    for name in ("ysam", "ybob", "ycat"):
        rig.theirs.subscribe(ANN, sender=f"{name}@{DOMAIN}", call_id=name)
        await rig.settle()
    assert rig.theirs.take_noted() == [("active", "open")] * 3
    held = rig.theirs.held = []
    ann.send("<presence><show>away</show></presence>")
    await rig.advance(2)
    assert rig.theirs.take_noted() == [("active", "away")]
    ann.send("<presence><show>dnd</show></presence>")
    await rig.advance(2)
    assert rig.theirs.take_noted() == []
    for _ in range(6):
        while held:
            rig.theirs.answer(*held.pop())
            await rig.settle()
        await rig.advance(2)
    told = rig.theirs.take_noted()
    assert [word for _, word in told] == ["away", "away", "busy", "busy", "busy"]
    assert rig.presence.watchers.waiting == 0
