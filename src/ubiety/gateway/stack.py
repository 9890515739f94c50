"""What the gateway needs of the SIP stack and of whoever knows the ways, as protocols.

`net/sip.py` is the stack. `Ways` is filled by the gateway's service: from the static routes, the health of
their next hops, and this node's names.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from ubiety.jid import Jid
from ubiety.sip.message import Request, Response
from ubiety.sip.outputs import Hop

MARK: Final = "Ubiety-Partitioned"
"""The product token of `User-Agent` in all that the gateway sends of itself.

It marks a request as gone out from here: one that comes back with it was returned by the other side, which
does not know its recipient either (facts §5.2).
"""


class Stack(Protocol):
    """Sends and answers. What comes of it is told to the gateway later, never before the call returns."""

    def send(self, request: Request, hop: Hop) -> int:
        """Send a request without a Via of ours; return the key under which its answers come."""

    def ack(self, request: Request, hop: Hop) -> None:
        """Send the ACK of a 2xx."""

    def respond(self, key: int, response: Response) -> None:
        """Answer the request that was received under this key."""

    def cancel(self, key: int) -> None:
        """Cancel the INVITE that was sent under this key."""


class Ways(Protocol):
    """Knows where requests go, and where we are."""

    def hops(self, sender: Jid, recipient: Jid) -> Sequence[Hop]:
        """Return the next hops for a new request of one of our people, in the order to be tried.

        Never empty: raises StanzaError when there is no way, with the reason.
        """

    def contact(self, transport: str) -> str:
        """Return our Contact for requests over a transport, "<sip:imp.example.org:5061;transport=tls>".

        It carries the name of the group of nodes, never the address of one.
        """

    def is_microsoft(self, address: Jid) -> bool:
        """Tell whether somebody outside is reached at the Microsoft side of one of our own domains."""

    def answered(self, hop: Hop, status: int, retry_after: float | None) -> None:
        """Note that a next hop gave a final answer."""

    def failed(self, hop: Hop, reason: str) -> None:
        """Note that a next hop could not be reached or did not answer."""
