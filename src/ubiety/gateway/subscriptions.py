"""What the subscriptions of both directions share: their means, their tables and whom they belong to.

One is found by its dialog and belongs to the home of its person: whoever is moved or deleted takes it along.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ubiety.gateway.deadlines import CallLater, Deadlines
from ubiety.gateway.pace import Pace
from ubiety.gateway.rows import Row, Rows
from ubiety.gateway.sending import Sender
from ubiety.gateway.stack import Stack, Ways
from ubiety.routing.homes import Person
from ubiety.users.context import Context

Tag = tuple[str, str]
"""Call-ID and the tag that is ours: it names a dialog before it has both tags."""


@dataclass(frozen=True, slots=True)
class Means:
    """What there is to watch and to be watched with."""

    context: Context
    stack: Stack
    sender: Sender
    ways: Ways
    rows: Rows
    call_later: CallLater
    token: Callable[[], str]
    pace: Pace
    """At which those that were kept are taken up."""


class Subscribed(Hashable, Protocol):
    """One subscription."""

    @property
    def person(self) -> Person:
        """Which of our people."""

    @property
    def row(self) -> Row:
        """Where it is kept."""

    @property
    def tag(self) -> Tag:
        """By which it is found."""


S = TypeVar("S", bound=Subscribed)


class Subscriptions(ABC, Generic[S]):
    """All subscriptions of one direction of the people of this node."""

    def __init__(self, means: Means) -> None:
        self._context = means.context
        self._stack = means.stack
        self._sender = means.sender
        self._ways = means.ways
        self._rows = means.rows
        self._token = means.token
        self._pace = means.pace
        self._now = means.context.clock.monotonic
        self._deadlines: Deadlines[S] = Deadlines(self._now, means.call_later, self._tick)
        self._by_tag: dict[Tag, S] = {}

    def __len__(self) -> int:
        return len(self._by_tag)

    @property
    def timers(self) -> int:
        """How many of them wait for something to be due."""
        return len(self._deadlines)

    def release(self, is_gone: Callable[[Person], bool]) -> None:
        """Forget those whose person is served by another node from now on; nobody is told."""
        for one in [one for one in self._by_tag.values() if is_gone(one.person)]:
            self._release(one)

    def _release(self, one: S) -> None:
        self._forget(one)
        self._rows.forget(one.row)

    def _is_served(self, one: S) -> bool:
        """Tell whether the person is here; else it is forgotten."""
        homes, person = self._context.homes, one.person
        if homes.user(person.user_id) is person and homes.is_here(person):
            return True
        self._release(one)
        return False

    def _is_kept(self, one: S) -> bool:
        return self._by_tag.get(one.tag) is one

    def _forget(self, one: S) -> None:
        self._deadlines.set(one, None)
        if self._is_kept(one):
            del self._by_tag[one.tag]
        self._unpair(one)

    @abstractmethod
    def _unpair(self, one: S) -> None:
        """Do not find it any more by the two it is between."""

    @abstractmethod
    def _tick(self, one: S) -> None:
        """Do what is due."""
