"""Random walks: whatever happens in whatever order, both sides see what they may see, and nothing else."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tests.unit.users.beyond import MICROSOFT, REMOTE, Beyond
from tests.unit.users.place import DOMAIN, Client, Place
from ubiety.element import parse_element
from ubiety.jid import Jid, parse
from ubiety.presence.model import Composed, State, Statement
from ubiety.routing.sessions import Session
from ubiety.routing.verdict import Verdict
from ubiety.stanza import Stanza
from ubiety.store import roster as rows
from ubiety.users import policy_changes, presence_service
from ubiety.users.actor import User
from ubiety.users.outsiders import Standing, seen_by
from ubiety.users.policy_changes import BLOCK
from ubiety.users.preferences import AUTO_AUTHORIZE, SHARING_ENABLED

STEPS = 70
OUTSIDERS = (MICROSOFT, REMOTE)
SHOWS = ("", "<show>away</show>", "<show>dnd</show>", "<show>xa</show>")


class Watching(Beyond):
    """Keeps what each watcher sees, as a server outside would."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.views: dict[str, Composed] = {}
        self.needless: list[tuple[str, Composed]] = []
        self.is_unsure = False

    def shown(self, user: User, composed: Composed, watchers: Sequence[Jid]) -> None:
        """Update their views."""
        for jid in watchers:
            if composed.is_like(self.views.get(jid.bare)) and not self.is_unsure:
                self.needless.append((jid.bare, composed))
            if jid.bare in self.views:
                self.views[jid.bare] = composed

    def route(self, stanza: Stanza, origin: Session | None) -> Verdict:
        """Begin and end views as our person says."""
        assert stanza.to is not None
        if stanza.type == "subscribed":
            self.look(stanza.to.bare)
        elif stanza.type == "unsubscribed":
            self.views.pop(stanza.to.bare, None)
        return super().route(stanza, origin)

    def look(self, watcher: str) -> None:
        """See what there is to be seen at this moment."""
        person = self.place.context.homes.find(f"alice@{DOMAIN}")
        assert person is not None
        self.views[watcher] = seen_by(self.place.context, person, parse(watcher))


class Walk:
    """One person, two devices, two people outside."""

    def __init__(self, place: Place, seed: int) -> None:
        self.place = place
        self.random = random.Random(seed)
        self.beyond = Watching(place)
        self.clients: dict[str, Client] = {}
        self.shown: dict[str, dict[str, str | None]] = {}
        self.trail: list[str] = []

    async def begin(self) -> None:
        """Make the person."""
        (self.person,) = await self.place.people("alice")

    async def step(self) -> None:
        """Do something."""
        moves = [getattr(self, name) for name in dir(self) if name.startswith("do_")]
        move = self.random.choice(moves)
        self.trail.append(move.__name__)
        await move()
        await self.place.settle()
        self.beyond.is_unsure = False
        self.read()

    def client(self) -> Client | None:
        """One of the devices that are signed in."""
        return self.random.choice(list(self.clients.values())) if self.clients else None

    def outsider(self) -> str:
        """One of those outside."""
        return self.random.choice(OUTSIDERS)

    async def do_sign_in(self) -> None:
        resource = self.random.choice(("desk", "phone"))
        if resource not in self.clients:
            self.clients[resource] = await self.place.sign_in("alice", resource, presence=None)
            self.shown[resource] = {}
            self.clients[resource].send("<presence/>")

    async def do_sign_out(self) -> None:
        if self.clients:
            resource = self.random.choice(list(self.clients))
            self.clients.pop(resource).leave()
            del self.shown[resource]

    async def do_show(self) -> None:
        client = self.client()
        if client is not None:
            client.send(f"<presence>{self.random.choice(SHOWS)}</presence>")

    async def do_answer_or_ask(self) -> None:
        client = self.client()
        if client is not None:
            kind = self.random.choice(("subscribe", "subscribed", "unsubscribe", "unsubscribed"))
            client.send(f"<presence type='{kind}' to='{self.outsider()}'/>")

    async def do_be_asked(self) -> None:
        outsider = self.outsider()
        outcome = await self.beyond.ask(self.person, "subscribe", outsider)
        if outcome in (Standing.GRANTED, Standing.DENIED):
            self.beyond.look(outsider)

    async def do_be_answered(self) -> None:
        kind = self.random.choice(("subscribed", "subscribed", "unsubscribe", "unsubscribed"))
        outsider = self.outsider()
        await self.beyond.ask(self.person, kind, outsider)
        if kind == "unsubscribe":
            self.beyond.views.pop(outsider, None)

    def will_load(self) -> None:
        """Somebody who is not loaded is loaded for a change: what was seen before, nobody knows then."""
        if self.person.address_id not in self.place.context.actors:
            self.beyond.is_unsure = True

    async def do_block(self) -> None:
        self.will_load()
        await policy_changes.put(self.place.context, self.person, BLOCK, [parse(self.outsider())])

    async def do_unblock(self) -> None:
        self.will_load()
        await policy_changes.clear(self.place.context, self.person, BLOCK)

    async def do_phone(self) -> None:
        self.will_load()
        said = self.random.choice((None, Statement(State.ON_THE_PHONE)))
        self.place.context.sources.put_phone(self.person.user_id, "line", said)

    async def do_setting(self) -> None:
        setting = self.random.choice((AUTO_AUTHORIZE, SHARING_ENABLED))
        self.place.set(setting, self.random.random() < 0.7)

    async def do_engine(self) -> None:
        if self.place.context.engine.runs and self.random.random() < 0.5:
            await presence_service.stop(self.place.context)
        else:
            await presence_service.start(self.place.context)
        await self.place.settle()
        self.beyond.needless.clear()  # after a stop nobody knows what was missed

    async def do_forget(self) -> None:
        user = self.place.context.actors.get(self.person.address_id)
        if user is not None and not user.sessions and self.place.context.engine.runs:
            self.place.users.forget(user)

    async def do_come_and_go_outside(self) -> None:
        sender = f"{self.outsider()}/sip"
        if self.random.random() < 0.5:
            self.beyond.known[sender] = self.random.choice(SHOWS)
            self.beyond.send(sender, None, self.person.jid.bare, self.beyond.known[sender])
        elif self.beyond.known.pop(sender, None) is not None:
            self.beyond.send(sender, "unavailable", self.person.jid.bare)

    def read(self) -> None:
        """Read what the devices were shown."""
        for resource, client in self.clients.items():
            for element in map(parse_element, client.edge.written):
                sender = element.get("from") or ""
                if element.name == "presence" and sender.endswith("/sip"):
                    self.shown[resource][sender] = element.get("type")
            client.edge.written.clear()

    async def check(self) -> None:
        """Compare everything with what the database and the rules say."""
        context = self.place.context
        items = await self.place.database.read(rows.load_items, self.person.user_id)
        user = context.actors.get(self.person.address_id)
        stored = {item.jid: item.subscription for item in items}
        policy = user.policy if user is not None else None
        if user is not None:
            contacts = user.outside
            watchers = {jid.bare for jid in contacts.watcher_jids()} if contacts is not None else set()
            watched = {jid.bare for jid in contacts.watched_jids()} if contacts is not None else set()
            assert watchers == {jid for jid, bits in stored.items() if bits & rows.FROM}, self.trail
            assert watched == {jid for jid, bits in stored.items() if bits & rows.TO}, self.trail
        if not context.engine.runs:
            return
        assert self.beyond.needless == [], self.trail
        if user is not None:
            for watcher, view in self.beyond.views.items():
                assert view.is_like(seen_by(context, self.person, parse(watcher))), self.trail
        for resource, shown in self.shown.items():
            for contact in OUTSIDERS:
                may_see = bool(stored.get(contact, 0) & rows.TO) and context.settings.get(SHARING_ENABLED)
                may_see = may_see and (policy is None or policy.allows(parse(contact)))
                is_seen = shown.get(f"{contact}/sip", "unavailable") is None
                is_there = f"{contact}/sip" in self.beyond.known
                assert is_seen == (may_see and is_there), (resource, contact, self.trail)


@pytest.mark.parametrize("seed", range(6))
async def test_walk(place: Place, seed: int) -> None:
    walk = Walk(place, seed)
    await walk.begin()
    for _ in range(STEPS):
        await walk.step()
        await walk.check()
