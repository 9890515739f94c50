"""What a simulated client has seen and heard, in order, and how a script waits for more."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ubiety.lab.availability import Shown

Item = TypeVar("Item")


class NothingCameError(AssertionError):
    """What a script waited for did not come in time. The text lists what came instead."""


@dataclass(frozen=True, slots=True)
class MessageSeen:
    """An IM came."""

    peer: str
    text: str
    content_type: str = "text/plain"

    def __str__(self) -> str:
        return f"{self.peer}: {self.text}"


@dataclass(frozen=True, slots=True)
class TypingSeen:
    """The other side types, or has stopped."""

    peer: str
    is_typing: bool

    def __str__(self) -> str:
        return f"{self.peer} {'is typing' if self.is_typing else 'has stopped typing'}"


@dataclass(frozen=True, slots=True)
class PresenceSeen:
    """A contact's presence changed."""

    peer: str
    shown: Shown

    def __str__(self) -> str:
        return f"{self.peer} is {self.shown}"


@dataclass(frozen=True, slots=True)
class SubscriptionSeen:
    """A subscription to a contact changed its state: active, pending, terminated or failed, and why."""

    peer: str
    state: str
    reason: str = ""

    def __str__(self) -> str:
        return f"subscription to {self.peer}: {self.state} {self.reason}".rstrip()


@dataclass(frozen=True, slots=True)
class PromptSeen:
    """Somebody wants to see this user's presence: the pop-up."""

    peer: str

    def __str__(self) -> str:
        return f"{self.peer} wants to see your presence"


@dataclass(frozen=True, slots=True)
class ConversationSeen:
    """A conversation was opened or ended, by us or by them, or could not be."""

    peer: str
    state: str
    """opened, ended or failed"""
    status: int = 0

    def __str__(self) -> str:
        return f"conversation with {self.peer} {self.state}{f' ({self.status})' if self.status else ''}"


@dataclass(frozen=True, slots=True)
class AnswerSeen:
    """The final answer to something that this user sent in a conversation."""

    peer: str
    method: str
    status: int

    def __str__(self) -> str:
        return f"{self.method} to {self.peer}: {self.status}"


Entry = (
    MessageSeen | TypingSeen | PresenceSeen | SubscriptionSeen | PromptSeen | ConversationSeen | AnswerSeen
)


class Journal:
    """All entries of one user, oldest first."""

    def __init__(self, on_entry: Callable[[Entry], None] = lambda _entry: None) -> None:
        self.entries: list[Entry] = []
        self._more = asyncio.Event()
        self._on_entry = on_entry

    def add(self, entry: Entry) -> None:
        """Writes down, and wakes whoever waits."""
        self.entries.append(entry)
        self._more.set()
        self._more = asyncio.Event()
        self._on_entry(entry)

    def of(self, kind: type[Item]) -> list[Item]:
        """All entries of one kind."""
        return [entry for entry in self.entries if isinstance(entry, kind)]

    def clear(self) -> None:
        """Forgets what was, so that a script can wait for what comes next."""
        self.entries.clear()

    async def wait(
        self,
        kind: type[Item],
        check: Callable[[Item], bool] = lambda _item: True,
        *,
        seconds: float = 5.0,
        after: int = 0,
    ) -> Item:
        """Returns the first entry of a kind that `check` accepts, from index `after` on.

        Raises NothingCameError.
        """
        try:
            async with asyncio.timeout(seconds):
                while True:
                    for entry in self.entries[after:]:
                        if isinstance(entry, kind) and check(entry):
                            return entry
                    await self._more.wait()
        except TimeoutError:
            listed = "; ".join(str(entry) for entry in self.entries[-12:]) or "nothing"
            raise NothingCameError(f"no {kind.__name__} within {seconds:g} s. What came: {listed}") from None
