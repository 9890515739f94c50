"""Phones that Unified CM is asked about."""

import pytest

from tests.unit.gateway.rig import ROUTE, Answer, Rig
from ubiety.gateway.federation import FederationCopy
from ubiety.gateway.phones import Phones, number_of
from ubiety.presence.model import State
from ubiety.sip.pidf import SipPresence
from ubiety.store import presence_gateways
from ubiety.store.presence_gateways import CUCM, PresenceGateway
from ubiety.users.outsiders import composed_of

CALL = SipPresence(True, frozenset({"on-the-phone"}))
IDLE = SipPresence(True)


class Cucm:
    """A place with a phone system that is asked."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.federation = FederationCopy()
        numbers = iter(range(1000))
        ours = rig.ours
        self.phones = ours.presence.phones = Phones(
            ours.context,
            self.federation,
            ours,
            ours.sender,
            ours.roads,
            rig.timeline.call_later,
            lambda: f"p{next(numbers)}",
            lambda: 0.5,
        )
        rig.theirs.first_presence = IDLE

    async def list(self, *, is_asked: bool = True) -> None:
        """Set the phone system down."""
        row = PresenceGateway(0, CUCM, ROUTE.host, ROUTE.port, ROUTE.transport, is_asked, "")
        await self.rig.place.database.write(presence_gateways.add, row)
        await self.federation.refresh(self.rig.place.database)
        await self.rig.advance(2)

    async def unlist(self) -> None:
        """Take it off the list."""
        await self.rig.place.database.write(presence_gateways.delete, ROUTE.host)
        await self.federation.refresh(self.rig.place.database)
        await self.rig.advance(2)

    def state(self, name: str) -> State:
        """What somebody is shown as."""
        person = self.rig.place.context.homes.find(f"{name}@example.org")
        assert person is not None
        return composed_of(self.rig.place.context, person).state


@pytest.fixture
async def cucm(rig: Rig) -> Cucm:
    await rig.place.people("ann", phone="+49 30 1234-56 ext. 7")
    await rig.place.people("bob")
    return Cucm(rig)


async def test_who_has_a_number_is_asked_about(cucm: Cucm) -> None:
    await cucm.list()
    (request,) = cucm.rig.theirs.subscribes
    assert request.uri == f"sip:+4930123456@{ROUTE.host}"
    assert request.event is not None and request.event.package == "presence"
    assert cucm.state("ann") is State.OFFLINE
    (call_id,) = cucm.rig.theirs.watched
    cucm.rig.theirs.notify(call_id, "active", CALL)
    await cucm.rig.advance(1)
    assert cucm.state("ann") is State.OFFLINE_ON_THE_PHONE
    cucm.rig.theirs.notify(call_id, "active", IDLE)
    await cucm.rig.advance(1)
    assert cucm.state("ann") is State.OFFLINE


async def test_a_subscription_is_refreshed(cucm: Cucm) -> None:
    await cucm.list()
    await cucm.rig.advance(7500)
    assert len(cucm.rig.theirs.subscribes) == 2
    assert cucm.rig.theirs.subscribes[1].to.tag is not None


async def test_a_phone_that_nobody_tells_of_any_more_is_idle(cucm: Cucm) -> None:
    await cucm.list()
    (call_id,) = cucm.rig.theirs.watched
    cucm.rig.theirs.notify(call_id, "active", CALL)
    await cucm.rig.advance(1)
    cucm.rig.theirs.notify(call_id, "terminated;reason=noresource", None)
    await cucm.rig.advance(1)
    assert cucm.state("ann") is State.OFFLINE
    assert len(cucm.phones) == 1  # it is asked for later


async def test_a_number_that_is_refused_is_asked_for_hours_later(cucm: Cucm) -> None:
    cucm.rig.theirs.answers["SUBSCRIBE"].append(Answer(403))
    await cucm.list()
    assert len(cucm.rig.theirs.subscribes) == 1
    await cucm.rig.advance(6 * 3600 + 60)
    assert len(cucm.rig.theirs.subscribes) >= 2


async def test_a_phone_system_that_publishes_is_not_asked(cucm: Cucm) -> None:
    await cucm.list(is_asked=False)
    assert not cucm.rig.theirs.subscribes and not len(cucm.phones)


async def test_nothing_is_left_of_one_that_is_taken_off_the_list(cucm: Cucm) -> None:
    await cucm.list()
    (call_id,) = cucm.rig.theirs.watched
    cucm.rig.theirs.notify(call_id, "active", CALL)
    await cucm.rig.advance(1)
    await cucm.unlist()
    assert cucm.state("ann") is State.OFFLINE
    assert (len(cucm.phones), cucm.phones.timers) == (0, 0)


async def test_another_node_asks_about_its_own_people(cucm: Cucm) -> None:
    await cucm.list()
    cucm.rig.ours.presence.release(1)
    assert (len(cucm.phones), cucm.phones.timers) == (0, 0)
    await cucm.rig.ours.presence.load(1)
    await cucm.rig.advance(2)
    assert len(cucm.phones) == 1
    person = cucm.rig.place.context.homes.find("ann@example.org")
    assert person is not None
    cucm.rig.ours.presence.deleted(person)
    await cucm.rig.advance(2)
    assert len(cucm.phones) == 0


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("+49 (30) 1234-56", "+4930123456"),
        ("4711", "4711"),
        ("4711;phone-context=x", "4711"),
        ("*81#", "*81#"),
        ("none", ""),
        ("", ""),
        ("+", ""),
    ],
)
def test_numbers(text: str, number: str) -> None:
    assert number_of(text) == number
