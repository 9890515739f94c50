"""Taking back what was shown of other nodes' people: when their node is lost, and after a loss on the way.

A resync asks the other node to show all its people anew, each with everybody here who may see them, and to
say when it is done. What was shown before and has not been confirmed by then is over.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from ubiety.jid import JidError, parse
from ubiety.presence import fanout
from ubiety.routing.homes import Person
from ubiety.routing.links import Kind, LinkEvent, Links
from ubiety.telemetry import event
from ubiety.users.actor import User
from ubiety.users.context import Context
from ubiety.users.shown import Seen, Shown

STANZAS_AT_ONCE = 300
"""What is written between two turns of the loop."""
LOOKED_AT_ONCE = 1000
"""People who are looked at between two turns of the loop."""
UNREACHABLE = 10.0
"""Seconds after which the people of a silent node, whom nobody took over, are not shown any more."""
DEBOUNCE = 0.5
"""Seconds in which several reasons to look anew are one."""


class Resync:
    """Losses and their repair, by node."""

    def __init__(
        self,
        context: Context,
        links: Links,
        shown: Shown,
        send_all: Callable[[int, User], int],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._context = context
        self._links = links
        self._shown = shown
        self._send_all = send_all
        self._call_later = call_later
        self._rounds = 0
        self._due: set[int] = set()
        self._owed: dict[int, int] = {}  # nodes that wait for the presence engine, and for which round
        self._missed: set[int] = set()  # nodes that went down: whatever they said meanwhile is lost
        self._silences: dict[int, int] = {}  # how often a node went down
        self._unconfirmed: dict[int, tuple[int, dict[int, tuple[str, ...]]]] = {}
        links.watch(self._link_changed)

    def _link_changed(self, node_id: int, happened: LinkEvent) -> None:
        if happened is LinkEvent.DOWN:
            self._missed.add(node_id)
            self._silences[node_id] = silence = self._silences.get(node_id, 0) + 1
            self._call_later(UNREACHABLE, lambda: self._give_up(node_id, silence))
        elif happened is not LinkEvent.UP or node_id in self._missed:
            self._missed.discard(node_id)
            self.ask(node_id)

    def _give_up(self, node_id: int, silence: int) -> None:
        """Nothing was heard of a node for long: nobody knows who is available there."""
        if node_id in self._missed and self._silences[node_id] == silence:
            self.lose(lambda person: self._context.homes.node_of(person) == node_id)

    # -- asking ------------------------------------------------------------------------------------

    def ask(self, node_id: int) -> None:
        """Have a node show its people anew, soon; several reasons within a moment are one.

        Nobody is asked while the presence engine does not run: all are asked when it does.
        """
        if not self._context.engine.runs:
            return
        if node_id != self._context.homes.node_id and node_id not in self._due:
            self._due.add(node_id)
            self._call_later(DEBOUNCE, lambda: self._begin(node_id))

    def _begin(self, node_id: int) -> None:
        self._due.discard(node_id)
        self._context.spawn(self._look_anew(node_id))

    async def _look_anew(self, node_id: int) -> None:
        homes = self._context.homes
        if not self._shown and not self._context.counters.client_sessions:
            return  # nobody here would see it
        before: dict[int, tuple[str, ...]] = {}
        for number, address_id in enumerate(self._shown):
            person, seen = homes.at(address_id), self._shown.get(address_id)
            if seen is not None and (person is None or homes.node_of(person) == node_id):
                before[address_id] = seen.resources
            if number % LOOKED_AT_ONCE == LOOKED_AT_ONCE - 1:
                await asyncio.sleep(0)
        self._rounds += 1
        self._unconfirmed[node_id] = (self._rounds, before)
        self._links.send(node_id, (Kind.PROBE, "", 0, [self._rounds]))

    def confirm(self, node_id: int, address_id: int, resource: str, watchers: Sequence[int] | None) -> None:
        """A resource was shown (again); ``watchers`` are all who may see the person, None: not told.

        Called before that is recorded: who was shown it before and is not among them may no more.
        """
        if node_id not in self._unconfirmed:
            return
        before = self._unconfirmed[node_id][1]
        if resource in before.get(address_id, ()):
            before[address_id] = tuple(one for one in before[address_id] if one != resource)
        seen = self._shown.get(address_id)
        if watchers is None or seen is None:
            return
        for watcher in set(seen.watchers).difference(watchers):
            self._show_gone(seen, seen.resources, (watcher,))

    def finish(self, node_id: int, round_number: int) -> None:
        """A node has shown everybody."""
        found = self._unconfirmed.get(node_id)
        if found is None or found[0] != round_number:
            return  # it was asked again meanwhile
        self._context.spawn(self._take_back(node_id, *found))

    async def _take_back(self, node_id: int, round_number: int, before: dict[int, tuple[str, ...]]) -> None:
        """Take back what was not confirmed; what is confirmed while others are told stays."""
        written = looked = 0
        while before:
            address_id, resources = before.popitem()
            seen = self._shown.get(address_id)
            if seen is not None and resources:
                watchers = list(seen.watchers)
                for resource in resources:
                    self._shown.remove(address_id, resource)
                written = await _breathe(written + self._show_gone(seen, resources, watchers))
            looked += 1
            if looked % LOOKED_AT_ONCE == 0:
                await asyncio.sleep(0)
        if self._unconfirmed.get(node_id, (0,))[0] == round_number:
            del self._unconfirmed[node_id]

    # -- answering ---------------------------------------------------------------------------------

    def answer(self, node_id: int, round_number: int) -> None:
        """Show a node everybody who is available here, then say so; once the presence engine runs."""
        if self._context.engine.runs:
            self._context.spawn(self._show_all(node_id, round_number))
        else:
            self._owed[node_id] = round_number

    def answer_owed(self) -> None:
        """The presence engine runs again."""
        owed, self._owed = self._owed, {}
        for node_id, round_number in owed.items():
            self.answer(node_id, round_number)

    async def _show_all(self, node_id: int, round_number: int) -> None:
        sessions = looked = 0
        for address_id in list(self._context.actors):
            user = self._context.actors.get(address_id)
            if user is not None and user.sessions:
                sessions += self._send_all(node_id, user)
                looked = await _breathe(looked + 10)
        self._links.send(node_id, (Kind.SHOWN, "", 0, [round_number]))
        event("presence_shown_anew", node=node_id, sessions=sessions)

    # -- losing ------------------------------------------------------------------------------------

    def lose(self, is_lost: Callable[[Person], bool]) -> None:
        """Show everybody of whom this holds as unavailable, once per resource, a few at a time."""
        if not self._context.engine.runs:
            return  # people keep seeing what they saw last, until it runs
        homes = self._context.homes
        ids = [one for one in self._shown if (person := homes.at(one)) is None or is_lost(person)]
        lost = self._shown.take(ids)
        for _, before in self._unconfirmed.values():
            for address_id in lost:
                before.pop(address_id, None)
        self.tell_lost(lost)

    def tell_lost(self, lost: dict[int, Seen]) -> None:
        """Tell watchers, a few at a time; who is there again by then stays."""
        if lost:
            self._context.spawn(self._show_lost(lost))

    def _is_back(self, address_id: int, resource: str) -> bool:
        user = self._context.actors.get(address_id)
        session = user.sessions.get(resource) if user is not None else None
        return self._shown.has(address_id, resource) or (session is not None and session.available)

    async def _show_lost(self, lost: dict[int, Seen]) -> None:
        written = 0
        for address_id, seen in lost.items():
            step = max(1, STANZAS_AT_ONCE // len(seen.resources))
            for start in range(0, len(seen.watchers), step):
                part = seen.watchers[start : start + step]
                gone = [one for one in seen.resources if not self._is_back(address_id, one)]
                written = await _breathe(written + self._show_gone(seen, gone, part))
        event("presence_lost", people=len(lost))

    def _show_gone(self, seen: Seen, resources: Iterable[str], watchers: Sequence[int]) -> int:
        """Tell watchers that these resources are unavailable; returns how many stanzas that were."""
        sent = 0
        for resource in resources:
            try:
                sender = parse(seen.bare).with_resource(resource)
            except JidError:
                continue
            head = fanout.head(sender)
            for address_id in watchers:
                watcher = self._context.actors.get(address_id)
                if watcher is None or not (watcher.policy is None or watcher.policy.allows(sender)):
                    continue
                data = fanout.addressed(head, watcher.jid, fanout.UNAVAILABLE)
                for session in watcher.sessions.values():
                    if session.available:
                        session.send_presence(sender.text, data)
                        sent += 1
        return sent


async def _breathe(written: int) -> int:
    """Let others have the loop now and then; returns what was written since."""
    if written < STANZAS_AT_ONCE:
        return written
    await asyncio.sleep(0)
    return 0
