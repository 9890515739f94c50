"""A message to somebody outside, from its sender's client until the other side has taken it (design §2).

Its row in `outgoing_messages` settles it; the row goes when the other side takes the message, and if that is
within the ledger's window none is ever written. A final failure deletes the row and tells the sender. What is
left after a crash is sent again.
"""

from collections.abc import Callable

from ubiety.conditions import StanzaError
from ubiety.routing.verdict import DELIVERED, UNSERVED, Pending, Refused
from ubiety.stanza import Stanza
from ubiety.store.errors import Fenced, StoreError
from ubiety.store.ledger import Entry, Ledger
from ubiety.telemetry import event
from ubiety.users.offline import TROUBLES

Fail = Callable[[Stanza, StanzaError], None]
"""Tells the sender of a message that was acknowledged to them that it will not arrive."""


class Outgoing:
    """One message. It ends in `sent`, `failed` or `abandon`."""

    __slots__ = (
        "_fail",
        "_is_submitted",
        "_ledger",
        "entry",
        "is_committed",
        "is_done",
        "number",
        "pending",
        "stanza",
        "user_id",
    )

    def __init__(self, ledger: Ledger, fail: Fail, user_id: int, number: int, stanza: Stanza) -> None:
        """Of one that is no row yet, set `entry` and call `submit`."""
        self._ledger = ledger
        self._fail = fail
        self._is_submitted = False
        self.user_id = user_id
        self.number = number
        self.stanza = stanza
        self.entry: Entry | None = None
        self.pending: Pending | None = None
        """Who waits for the verdict; None: nobody any more."""
        self.is_committed = False
        self.is_done = False

    def submit(self) -> None:
        """Have the ledger write it."""
        if self.entry is not None:
            self._is_submitted = True
            self._ledger.submit(self.entry)

    def settled(self, entry: Entry, error: StoreError | None) -> None:
        """Take the ledger's word."""
        if error is None:
            self.is_committed = True
            self.entry = None
            self._settle()
        elif isinstance(error, Fenced):
            self.abandon()
        elif self.is_done:
            return
        elif isinstance(error, TROUBLES):
            self._ledger.retry(entry)  # meanwhile the other side may take it
        else:
            self._is_submitted = False
            event("message_not_stored", level="error", number=self.number, reason=str(error))

    def sent(self) -> None:
        """The other side has it."""
        if self._finish():
            self._settle()

    def failed(self, error: StanzaError) -> None:
        """The other side will not get it."""
        if not self._finish():
            return
        pending, self.pending = self.pending, None
        if pending is not None:
            self._ledger.unarchive(self.number)
            pending.settle(Refused(error))
        else:
            self._fail(self.stanza, error)

    def abandon(self) -> None:
        """Another node serves the sender: write nothing and promise nothing."""
        self.is_done = True
        if self.entry is not None and self._is_submitted:
            self._ledger.cancel(self.entry)
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.settle(UNSERVED)

    def _finish(self) -> bool:
        """Note the end; False if it has come already."""
        if self.is_done:
            return False
        self.is_done = True
        if self.is_committed:
            self._ledger.forget(self.user_id, self.number, is_outgoing=True)
        elif self._is_submitted and self.entry is not None and not self._ledger.cancel(self.entry):
            self._ledger.forget(
                self.user_id, self.number, is_outgoing=True
            )  # on its way: deleted behind itself
        return True

    def _settle(self) -> None:
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.settle(DELIVERED)
