"""Where features join in what the spine does, without the spine knowing them."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ubiety.routing.sessions import Session
from ubiety.stanza import Stanza
from ubiety.users.actor import User

AvailableHook = Callable[[User, Session, Stanza], None]
"""Called after one of a person's clients has sent available presence."""
AnswerHook = Callable[[Stanza], None]
"""Called with the answer to a query that the server asked a client."""


@dataclass
class Hooks:
    """One per node, a part of ``Context``; filled while the features are composed."""

    available: list[AvailableHook] = field(default_factory=list)
    answers: dict[str, AnswerHook] = field(default_factory=dict)
    """By the id of the query; whoever asks bounds how many there are."""

    def answered(self, stanza: Stanza) -> None:
        """Give an answer to whoever asked for it; nothing happens to one that nobody waits for."""
        hook = self.answers.get(stanza.id or "")
        if hook is not None:
            hook(stanza)
