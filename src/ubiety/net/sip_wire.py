"""What the SIP transports see of the stack that they belong to."""

from typing import Protocol

from ubiety.net.sip_socket import in_uri
from ubiety.sip.framing import Malformed
from ubiety.sip.message import Request, Response
from ubiety.sip.outputs import Hop, Peer


class Wire(Protocol):
    """What transports see of the stack."""

    def new_flow(self) -> int:
        """The next free name of a flow."""

    def received(self, message: Request | Response, peer: Peer) -> None:
        """A message came."""

    def malformed(self, item: Malformed, peer: Peer) -> None:
        """Something came that is no message."""

    def sent(self, data: bytes, peer: Peer) -> None:
        """A message went out."""

    def sent_over(self, key: int, flow: int) -> None:
        """The message of a transaction took this connection."""

    def transmit_failed(self, key: int, reason: str) -> None:
        """A message of a transaction could not be sent."""

    def flow_closed(self, flow: int) -> None:
        """Nothing more comes or goes on a flow."""


def shown_hop(hop: Hop) -> str:
    """A next hop for the log."""
    name = f" as {hop.name}" if hop.name not in ("", hop.host) else ""
    return f"{hop.host}{name} port {hop.port or 'of its service'} over {hop.transport.upper()}"


def shown_peer(peer: Peer) -> str:
    """A peer's address and port, for the administrator."""
    return f"{in_uri(peer.address)}:{peer.port}"
