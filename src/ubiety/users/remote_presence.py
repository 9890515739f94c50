"""Presence between nodes: one item per node for a fan-out, however many watchers it has there.

A person's home decides who may see them; a watcher's home asks the watcher's own policy, shows it to the
watcher's sessions, and remembers what it has shown (``shown``), so that it can take it back when the other
node is lost (``resync``). Who looks at somebody elsewhere without being a contact is kept by the home of the
one who is looked at.
"""

from array import array
from collections.abc import Callable, Iterable, Sequence

from ubiety.jid import Jid, parse
from ubiety.presence import fanout
from ubiety.routing.homes import Person
from ubiety.routing.links import Item, Kind, Links
from ubiety.routing.sessions import Session
from ubiety.users import availability, pep_events, temporary
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.neighbours import Change
from ubiety.users.remote_rosters import People, RemoteRosters
from ubiety.users.resync import Resync
from ubiety.users.shown import Seen, Shown

CallLater = Callable[[float, Callable[[], None]], object]


class RemotePresence:
    """Joins the presence of this node's people to that of the others (``neighbours.Neighbours``)."""

    def __init__(self, context: Context, people: People, links: Links, call_later: CallLater) -> None:
        self._context = context
        self._links = links
        self.shown = Shown()
        self._abandoned: dict[int, Seen] = {}
        self._resync = Resync(context, links, self.shown, self.send_all, call_later)
        self._rosters = RemoteRosters(context, people, links)
        links.handle(Kind.PRESENCE, self._take_presence)
        links.handle(Kind.PROBE, self._take_probe)
        links.handle(Kind.SHOWN, self._take_shown)
        links.handle(Kind.UNWATCH, self._take_unwatch)
        links.handle(Kind.EVENT, self._take_event)

    # -- where people are --------------------------------------------------------------------------

    def person(self, address_id: int) -> Person | None:
        """Return the person with this address if another node serves them."""
        person = self._context.homes.at(address_id)
        return person if person is not None and self.is_elsewhere(person) else None

    def is_elsewhere(self, person: Person) -> bool:
        """Tell whether another node serves a person, or nobody at the moment."""
        return not self._context.homes.is_here(person)

    def _node_of(self, address_id: int) -> int | None:
        """Return the other node that serves a person."""
        homes = self._context.homes
        person = homes.at(address_id)
        node_id = homes.node_of(person) if person is not None else None
        return node_id if node_id != homes.node_id else None

    def _by_node(self, address_ids: Iterable[int], user: User) -> dict[int, list[int]]:
        """Group those people of other nodes whom ``user`` lets near by the node that serves them."""
        homes, policy = self._context.homes, user.policy
        at, serving, here = homes.at, homes.serving, homes.here
        nodes: dict[int, list[int]] = {}
        for address_id in address_ids:
            person = at(address_id)
            if person is None or person.set_id in here:
                continue
            node_id = serving.get(person.set_id)
            if node_id is None or (policy is not None and not policy.allows(person.jid)):
                continue
            if node_id in nodes:
                nodes[node_id].append(address_id)
            else:
                nodes[node_id] = [address_id]
        nodes.pop(homes.node_id, None)
        return nodes

    # -- out: what this node's people show ---------------------------------------------------------

    def show(self, user: User, sender: Jid, is_available: bool, tail: bytes) -> None:
        """Show presence of one of ``user``'s sessions to all who may see it at other nodes."""
        for node_id, ids in self._by_node(_audience(user), user).items():
            self._send(node_id, user, sender, is_available, tail, ids, True)

    def show_to(self, user: User, address_id: int, *, available: bool = True) -> None:
        """Show ``user``'s sessions to one watcher at another node, or make them disappear there."""
        person, node_id = self._context.homes.at(address_id), self._node_of(address_id)
        if person is None or node_id is None:
            return
        if available and not (
            availability.shares(self._context) and (user.policy is None or user.policy.allows(person.jid))
        ):
            return
        for session in user.available_sessions:
            tail = session.presence_tail if available else fanout.UNAVAILABLE
            self._send(node_id, user, session.jid, available, tail, [address_id], False)

    def send_all(self, node_id: int, user: User) -> int:
        """Show all sessions of ``user`` to one node; returns how many."""
        if not availability.shares(self._context):
            return 0
        sessions = user.available_sessions
        ids = self._by_node(_audience(user), user).get(node_id) if sessions else None
        if not ids:
            return 0
        for session in sessions:
            self._send(node_id, user, session.jid, True, session.presence_tail, ids, True)
        return len(sessions)

    def _send(
        self,
        node_id: int,
        user: User,
        sender: Jid,
        is_available: bool,
        tail: bytes,
        ids: Sequence[int],
        is_all: bool,
    ) -> None:
        item = (Kind.PRESENCE, user.person.address_id, sender.text, is_available, tail, ids, is_all)
        self._links.send(node_id, item, sheddable=True)

    def notify(self, user: User, node: str, content: bytes) -> None:
        """Tell a personal event of ``user`` to all who may have it at other nodes."""
        for node_id, ids in self._by_node(_audience(user), user).items():
            item = (Kind.EVENT, user.person.address_id, user.jid.bare, node, content, ids)
            self._links.send(node_id, item, sheddable=True)

    # -- out: whom this node's people want to see ----------------------------------------------------

    def look_around(self, user: User, session: Session) -> None:
        """Have a new session shown whom its person watches at other nodes."""
        for node_id, ids in self._by_node(user.watched, user).items():
            self._probe(node_id, session.jid.text, user, ids)

    def look_at(self, user: User, address_id: int) -> None:
        """Have all sessions of ``user`` shown one person at another node."""
        node_id = self._node_of(address_id)
        if node_id is not None and user.is_online():
            self._probe(node_id, user.jid.bare, user, [address_id])

    def _probe(self, node_id: int, watcher: str, user: User, ids: Sequence[int]) -> None:
        self._links.send(node_id, (Kind.PROBE, watcher, user.person.address_id, ids), sheddable=True)

    def hide(self, user: User, address_id: int) -> None:
        """Make one person at another node disappear from all sessions of ``user``."""
        seen = self.shown.get(address_id)
        if seen is None or user.person.address_id not in seen.watchers:
            return
        for resource in seen.resources:
            jid = parse(seen.bare).with_resource(resource)
            _deliver(user, jid, fanout.UNAVAILABLE)
        self.shown.forget_watcher(address_id, user.person.address_id)

    def note_look(self, user: User, to: Jid) -> None:
        """Remember that ``user`` looks at somebody at another node, who may be no contact."""
        person = self._context.homes.find(to.bare)
        if person is None or not self.is_elsewhere(person) or person.address_id in user.watched:
            return
        if user.looks_at is None:
            user.looks_at = set()
        user.looks_at.add(person.address_id)

    def end_looks(self, user: User, address_ids: Iterable[int]) -> None:
        """Say that ``user``, who has signed out, looks at these people no more."""
        for address_id in list(address_ids):
            node_id = self._node_of(address_id)
            if node_id is None:
                continue
            self._links.send(node_id, (Kind.UNWATCH, user.person.address_id, address_id))
            if user.looks_at is not None:
                user.looks_at.discard(address_id)

    # -- contact lists -------------------------------------------------------------------------------

    def tell_change(self, user: User, peer: Person, change: Change | None, shows: int) -> None:
        """Tell the home of ``peer`` what was written there about ``user``."""
        node_id = self._node_of(peer.address_id)
        if node_id is not None:
            self._rosters.tell(node_id, user, peer, change, shows)

    # -- in ------------------------------------------------------------------------------------------

    def _take_presence(self, node_id: int, item: Item) -> None:
        _, address_id, sender, is_available, tail, ids, is_all = item
        if not self._context.engine.runs:
            return  # all is shown anew when it does
        jid = parse(sender)
        if not is_available:
            self._take_leave(address_id, jid, tail, ids, is_all)
            return
        if self._node_of(address_id) != node_id or not availability.shares(self._context):
            return  # it is not their home any more, or not yet as we know: then they are shown anew
        shown = [watcher for watcher in ids if self._show_one(watcher, jid, tail)]
        self._resync.confirm(node_id, address_id, jid.resource, ids if is_all else None)
        record = self.shown.replace if is_all else self.shown.put
        record(address_id, jid.bare, jid.resource, shown)

    def _take_leave(self, address_id: int, jid: Jid, tail: bytes, ids: Sequence[int], is_all: bool) -> None:
        for watcher in ids:
            self._show_one(watcher, jid, tail)
            if not is_all:
                self.shown.forget_watcher(address_id, watcher)
        if is_all:
            self.shown.remove(address_id, jid.resource)

    def _show_one(self, watcher_id: int, sender: Jid, tail: bytes) -> bool:
        """Show presence to all sessions of a watcher; False: nobody was there, or it is not wanted."""
        watcher = self._context.actors.get(watcher_id)
        if watcher is None or not watcher.sessions:
            return False
        if watcher.policy is not None and not watcher.policy.allows(sender):
            return False
        sent = _deliver(watcher, sender, tail)
        self._context.counters.presences_out += sent
        return sent > 0

    def _take_probe(self, node_id: int, item: Item) -> None:
        """Show whom somebody's home asks for: it knows whom its people are subscribed to."""
        _, watcher, watcher_id, ids = item
        if not watcher_id:
            self._resync.answer(node_id, ids[0])
            return
        if not availability.shares(self._context):
            return
        jid = parse(watcher)
        found = [
            (address_id, session.jid.text, session.presence_tail)
            for address_id in ids
            if (user := self._context.actors.get(address_id)) is not None
            and (user.policy is None or user.policy.allows(jid))
            for session in user.available_sessions
        ]
        if found:
            self._links.send(node_id, (Kind.SHOWN, watcher, watcher_id, found), sheddable=True)

    def _take_shown(self, node_id: int, item: Item) -> None:
        _, watcher, watcher_id, found = item
        if not watcher_id:
            self._resync.finish(node_id, found[0])
            return
        user = self._context.actors.get(watcher_id)
        if user is None or not availability.shares(self._context):
            return
        resource = parse(watcher).resource
        for address_id, sender, tail in found:
            jid = parse(sender)
            if self._node_of(address_id) != node_id or not (user.policy is None or user.policy.allows(jid)):
                continue
            if _deliver(user, jid, tail, resource):
                self.shown.put(address_id, jid.bare, jid.resource, [watcher_id])
                self._resync.confirm(node_id, address_id, jid.resource, None)

    def _take_unwatch(self, _node_id: int, item: Item) -> None:
        _, watcher_id, address_id = item
        user = self._context.looked_at.get(address_id)
        if user is not None:
            temporary.end(self._context, user, watcher_id)

    def _take_event(self, node_id: int, item: Item) -> None:
        _, address_id, owner, node, content, ids = item
        if self._node_of(address_id) != node_id or not availability.shares(self._context):
            return
        jid = parse(owner)
        for watcher_id in ids:
            watcher = self._context.actors.get(watcher_id)
            if watcher is not None and (watcher.policy is None or watcher.policy.allows(jid)):
                pep_events.tell(jid, watcher, node, content)

    # -- nodes come and go ---------------------------------------------------------------------------

    def resync(self, node_id: int | None = None) -> None:
        """Have a node, or all, show its people anew; what is not shown again is taken back."""
        if node_id is not None:
            self._resync.ask(node_id)
            return
        homes = self._context.homes
        self._resync.lose(lambda person: homes.node_of(person) in (None, homes.node_id))
        for one in {*homes.serving.values()}:
            self._resync.ask(one)
        self._resync.answer_owed()

    def abandoned(self, user: User) -> None:
        """``user`` is about to be dropped without a word: those who saw them here are to be told."""
        sessions = user.available_sessions
        if not sessions or not availability.shares(self._context):
            return
        at, policy = self._context.homes.at, user.policy
        watchers: Iterable[int] = _audience(user)
        if policy is not None:
            people = [person for one in watchers if (person := at(one)) is not None]
            watchers = [person.address_id for person in people if policy.allows(person.jid)]
        if not self._abandoned:
            self._context.defer(self._tell_abandoned)
        resources = tuple(session.jid.resource for session in sessions)
        self._abandoned[user.person.address_id] = Seen(user.jid.bare, resources, array("q", watchers))

    def _tell_abandoned(self) -> None:
        abandoned, self._abandoned = self._abandoned, {}
        self._resync.tell_lost(abandoned)

    def set_lost(self, set_id: int) -> None:
        """Nobody serves a set any more: its people are not available, until they sign in elsewhere."""
        self._resync.lose(lambda person: person.set_id == set_id)
        self._end_temporary(set_id)

    def node_gone(self, node_id: int) -> None:
        """A node serves nobody any more."""
        for set_id, owner in list(self._context.homes.serving.items()):
            if owner == node_id:
                self.set_lost(set_id)

    def set_gained(self, node_id: int, set_id: int) -> None:
        """A node, perhaps this one, serves a set from now on."""
        if node_id == self._context.homes.node_id:
            self.set_lost(set_id)  # what was shown of it is over: its people sign in here
        else:
            self._resync.ask(node_id)

    def _end_temporary(self, set_id: int) -> None:
        """End what people of a set looked at (facts §2.3: such subscriptions do not outlive a fail-over)."""
        homes = self._context.homes
        for user in list(self._context.looked_at.values()):
            for address_id in list(user.temporary or ()):
                person = homes.at(address_id)
                if person is not None and person.set_id == set_id and set_id not in homes.here:
                    temporary.end(self._context, user, address_id)


def _audience(user: User) -> Iterable[int]:
    """Return the address ids of everybody who may be told of ``user``, but for policies."""
    if not user.temporary:
        return user.watchers
    return dict.fromkeys((*user.watchers, *user.temporary))


def _deliver(watcher: User, sender: Jid, tail: bytes, resource: str = "") -> int:
    """Show presence to the available sessions of a watcher, or to one of them; returns to how many."""
    data = fanout.addressed(fanout.head(sender), watcher.jid, tail)
    sent = 0
    for session in watcher.sessions.values():
        if session.available and resource in ("", session.jid.resource):
            session.send_presence(sender.text, data)
            sent += 1
    return sent
