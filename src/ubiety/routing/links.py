"""What travels between nodes, and the way there as everything below ``cluster`` sees it.

``cluster/links.py`` implements ``Links``: per node one flow in each direction, in order, resent from the
first gap (design.md "Between nodes"). Items of one turn of the loop travel as one message.
"""

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum, IntEnum
from typing import Any, Protocol

Item = tuple[Any, ...]
"""A kind, then its fields: int, str, bytes, bool, None, lists and tuples of them."""


class Kind(IntEnum):
    """The items. In brackets: the fields after the kind. ``conn`` numbers a connection at its edge."""

    # Stanzas for people whom another node serves (routing/remote.py).
    STANZA = 1  # (token: 0 when no verdict is awaited, flags: remote_home.py, origin address id or 0, packed)
    VERDICT = 2  # (token, condition: "" delivered, "not-home", or a stanza error's, type, text)
    STORED = 3  # (token, recipient address id, epoch to go on in, [numbers], [the messages' tokens]): rows
    # that the sender's home has inserted; number 0: the message had a row. A VERDICT says that it was heard.

    # Presence and what goes with it (users/remote_presence.py).
    PRESENCE = 10  # (sender address id, full address, is available, tail, [watchers' address ids],
    # whether these are all who may see the sender)
    PROBE = 11  # (watcher full or bare address, watcher address id, [watched address ids]);
    # ("", 0, [round]): show all your people anew, each with all watchers here
    SHOWN = 12  # (watcher full or bare address, watcher address id, [(seen address id, full address, tail)]);
    # ("", 0, [round]): that was everybody
    EVENT = 13  # (owner address id, bare address, node, content, [watchers' address ids])
    ROSTER = 14  # (address id of whose list changed, contact's address id, 1: show yourself to the contact,
    # -1: not any more, 0: neither; (subscription, version, item or None, waits, [stanzas]) or ())
    UNWATCH = 16  # (address id of who looks no more, address id of who was looked at)

    # A client's connection at another node than its home: from the edge (net/remote_homes.py) ...
    EDGE_BIND = 30  # (conn, address id, resource, remote address, secured by)
    EDGE_STANZA = 31  # (conn, packed stanza without its sender: see routing/packing.py)
    EDGE_ACK = 32  # (conn, h)
    EDGE_REQUEST = 33  # (conn)
    EDGE_ANSWERED = 34  # (conn, data)
    EDGE_STATE = 35  # (conn, inactive: bool)
    EDGE_ENABLE = 36  # (conn, smid, seconds)
    EDGE_RESUME = 37  # (conn, address id, smid, h, remote address, secured by)
    EDGE_CONGESTED = 38  # (conn, congested: bool)
    EDGE_LOST = 39  # (conn): no more of this connection; always the last word but for EDGE_ENDED
    EDGE_ENDED = 40  # (conn): the client closed its stream properly
    EDGE_SENT = 41  # (bytes so far): a mark, to be answered by HOME_TOOK
    EDGE_TOOK = 42  # (bytes so far): the answer to HOME_SENT
    # ... and from the home (users/remote_edge.py).
    HOME_BOUND = 50  # (conn, full address or "", condition: "not-home" or a stanza error's, text)
    HOME_WRITE = 51  # (conn, data)
    HOME_CLOSE = 52  # (conn, condition or None, text, further element of the stream error)
    HOME_READING = 53  # (conn, or 0 for all of this home, on: bool)
    HOME_RESUMED = 54  # (conn, full address or "", inbound h, else the settled h or None, "not-home" or "")
    HOME_SENT = 55  # (bytes so far)
    HOME_TOOK = 56  # (bytes so far)

    # The cluster itself.
    ASK = 70  # (number, name, value)
    ANSWER = 71  # (number, is_ok, value or error text)
    HEARTBEAT = 72  # see cluster/recovery.py
    CHANGED = 73  # (revision): look into the table of changes
    SERVING = 75  # ([(set id, epoch)], ...): what a node serves now


class LinkEvent(Enum):
    """What happens to the link to another node."""

    UP = "up"
    DOWN = "down"
    RESTARTED = "restarted"  # the other process is a new one: all that it held is gone
    GAP = "gap"  # presence was shed or lost on the way: both sides show each other anew


class NodeUnreachable(Exception):
    """A node did not answer in time."""


class Links(Protocol):
    """The way to the other nodes. All of it is called in the loop."""

    def send(self, node_id: int, item: Item, *, sheddable: bool = False) -> None:
        """Queue an item. Never waits. ``sheddable``: it may be dropped, then the other side gets a GAP."""

    def handle(self, kind: Kind, receive: Callable[[int, Item], None]) -> None:
        """Have ``receive(node_id, item)`` called for each item of a kind, in the order of sending."""

    async def ask(self, node_id: int, name: str, value: Any, seconds: float = 5.0) -> Any:
        """Ask a node and return its answer. Raises NodeUnreachable, or ValueError with the other's words."""

    def answer(self, name: str, fn: Callable[[int, Any], Awaitable[Any]]) -> None:
        """Answer what others ask under a name with ``await fn(node_id, value)``."""

    def is_up(self, node_id: int) -> bool:
        """Tell whether a node was heard of lately."""

    def watch(self, notice: Callable[[int, LinkEvent], None]) -> None:
        """Have ``notice(node_id, event)`` called when a link changes."""

    def watch_lost(self, notice: Callable[[int, Sequence[Item]], None]) -> None:
        """Have ``notice(node_id, items)`` called when items were given up: perhaps delivered, else never."""
