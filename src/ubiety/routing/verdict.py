"""What routing a stanza came to.

``Router.route`` returns at once with one of three values; only ``Pending`` is followed by a
callback (design.md §5).
"""

from collections.abc import Callable
from dataclasses import dataclass

from ubiety.conditions import StanzaError


@dataclass(frozen=True, slots=True)
class Delivered:
    """The stanza is settled: delivered, committed, or not of a durable kind."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The stanza was refused; ``error`` goes back to the sender in the sender's own protocol."""

    error: StanzaError


Settled = Delivered | Refused
DELIVERED = Delivered()


def refuse(condition: str, text: str = "") -> Refused:
    """Return a refusal with a stanza error condition of RFC 6120 §8.3.3."""
    return Refused(StanzaError(condition, text=text))


UNSERVED = refuse("resource-constraint", "The recipient is served by another node now. Try again.")
"""Nothing was done because this node serves the recipient no more: another one may take the stanza."""


class Pending:
    """A verdict still to come. It is settled once; later verdicts are ignored."""

    __slots__ = ("_callbacks", "verdict")

    def __init__(self) -> None:
        self.verdict: Settled | None = None
        self._callbacks: list[Callable[[Settled], None]] = []

    def then(self, callback: Callable[[Settled], None]) -> None:
        """Call ``callback`` with the verdict, at once if it is known already."""
        if self.verdict is not None:
            callback(self.verdict)
        else:
            self._callbacks.append(callback)

    def settle(self, verdict: Settled) -> None:
        """Give the verdict."""
        if self.verdict is not None:
            return
        self.verdict = verdict
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(verdict)


Verdict = Delivered | Refused | Pending
