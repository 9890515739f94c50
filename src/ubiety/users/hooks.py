"""Where features join in what the spine does, without the spine knowing them."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ubiety.routing.sessions import Session
from ubiety.routing.verdict import Verdict
from ubiety.stanza import ChildName, Stanza
from ubiety.users.actor import User

AvailableHook = Callable[[User, Session, Stanza], None]
"""Called after one of a person's clients has sent available presence."""
AnswerHook = Callable[[Stanza], None]
"""Called with the answer to a query that the server asked a client."""

MessageHook = Callable[[Stanza, Session | None], Verdict]
"""Takes a message to the server itself."""


@dataclass
class Hooks:
    """One per node, a part of ``Context``; filled while the features are composed."""

    available: list[AvailableHook] = field(default_factory=list)
    answers: dict[str, AnswerHook] = field(default_factory=dict)
    """By the id of the query; whoever asks bounds how many there are."""

    messages: dict[ChildName, MessageHook] = field(default_factory=dict)
    """By the child that says what the message is."""

    def message(self, stanza: Stanza) -> MessageHook | None:
        """Return who takes a message to the server itself, if anybody does."""
        return next((self.messages[child] for child in stanza.children if child in self.messages), None)

    def answered(self, stanza: Stanza) -> None:
        """Give an answer to whoever asked for it; nothing happens to one that nobody waits for."""
        hook = self.answers.get(stanza.id or "")
        if hook is not None:
            hook(stanza)
