"""Presence both ways while everything happens that can happen: in the end both sides see what is."""

import random

import pytest

from tests.unit.gateway.rig import YSAM, Answer, Rig, word_of
from tests.unit.users.place import DOMAIN
from ubiety.gateway.mapping import FROM_MICROSOFT, IN_PIDF, SHOWS, Microsoft
from ubiety.sip.message import Response
from ubiety.sip.pidf import SipPresence
from ubiety.xmpp import ns

ANN = f"ann@{DOMAIN}"
SHOWN = {"": "open", "away": "away", "dnd": "busy", "xa": "away"}
STEPS = 60


class Walk:
    """A hundred things in an order that a seed gives."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig = rig
        self.random = random.Random(seed)
        self.show = ""
        self.theirs = Microsoft.AVAILABLE

    async def begin(self) -> None:
        """Ann and YSAM watch each other."""
        self.ann = await self.rig.place.sign_in("ann")
        self.ann.send(f"<presence type='subscribe' to='{YSAM}'/>")
        self.rig.theirs.subscribe(ANN, call_id="c1", expires=86_400)
        await self.rig.settle()

    def change_ours(self) -> None:
        self.show = self.random.choice(["", "away", "dnd", "xa"])
        self.ann.send(f"<presence>{f'<show>{self.show}</show>' if self.show else ''}</presence>")

    def change_theirs(self) -> None:
        self.theirs = self.random.choice(list(Microsoft))
        is_open, activities = IN_PIDF[self.theirs]
        self.rig.theirs.first_presence = SipPresence(is_open, activities)
        for call_id in list(self.rig.theirs.watched):
            self.rig.theirs.notify(call_id, "active", self.rig.theirs.first_presence)

    def go_deaf(self) -> None:
        self.rig.theirs.is_deaf = self.random.random() < 0.4

    def shut(self) -> None:
        self.rig.theirs.is_shut = self.random.random() < 0.4

    def answer_badly(self) -> None:
        status = self.random.choice([500, 503, 408])
        method = self.random.choice(["NOTIFY", "SUBSCRIBE"])
        self.rig.theirs.answers[method].append(Answer(status))

    def forget_dialogs(self) -> None:
        self.rig.theirs.watched.clear()

    def refresh(self) -> None:
        if not self.rig.theirs.is_deaf:
            self.rig.theirs.subscribe(ANN, call_id="c1", expires=86_400)

    async def restart(self) -> None:
        await self.rig.presence.flush()
        self.rig.presence.release(1)
        await self.rig.presence.load(1)

    async def step(self) -> None:
        act = self.random.choice(
            [self.change_ours] * 4
            + [self.change_theirs] * 3
            + [self.go_deaf, self.shut, self.answer_badly, self.forget_dialogs, self.refresh]
        )
        act()
        if self.random.random() < 0.05:
            await self.restart()
        await self.rig.advance(self.random.choice([0, 0.1, 1, 3, 40, 400]))

    async def end(self) -> None:
        """Everything works again: both are to see the truth before long."""
        theirs = self.rig.theirs
        theirs.is_deaf = theirs.is_shut = False
        for waiting in theirs.answers.values():
            waiting.clear()
        await self.rig.advance(2000)
        key = theirs.subscribe(ANN, call_id="c1", expires=86_400)
        await self.rig.settle()
        response = theirs.responses[key]
        if isinstance(response, Response) and response.status == 481:
            theirs.dialogs.clear()
            theirs.subscribe(ANN, call_id="c2", expires=86_400)
        await self.rig.advance(10_000)


@pytest.mark.parametrize("seed", range(15))
async def test_walks(rig: Rig, seed: int) -> None:
    walk = Walk(rig, seed)
    await walk.begin()
    for _ in range(STEPS):
        await walk.step()
    await walk.end()
    assert word_of(rig.theirs.noted[-1].presence) == SHOWN[walk.show]
    seen = [one for one in await walk.ann.take("presence") if one.get("from") == YSAM]
    last = next(one for one in reversed(seen) if one.get("type") in (None, "unavailable"))
    show = last.find("show", ns.CLIENT)
    state = FROM_MICROSOFT[walk.theirs]
    assert (last.get("type") == "unavailable") == state.is_offline
    if not state.is_offline:
        assert (show.text if show is not None else "") == SHOWS[state]
    # One of each, each with one timer, one row each, and nothing else.
    presence = rig.presence
    assert (len(presence.watchers), len(presence.watching)) == (1, 1)
    assert (presence.watchers.timers, presence.watching.timers) == (1, 1)
    assert rig.leftovers() == {"sent": 0, "transactions": 0, "rows": 0}
    presence.release(1)
    assert presence.watchers.timers == presence.watching.timers == 0
