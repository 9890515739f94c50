"""What goes into the SIP agent besides messages, and what comes out of it. `sip/agent.py` hands them on."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from ubiety.sip.message import Request, Response
from ubiety.sip.uri import SipUri

DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}  # RFC 3261 §19.1.2


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a message goes next."""

    transport: str
    """`udp`, `tcp` or `tls`."""
    host: str
    """An IP address, without brackets, or a name."""
    port: int
    name: str = ""
    """The name that a TLS peer must prove."""

    @property
    def is_reliable(self) -> bool:
        """Whether the transport delivers what it takes."""
        return self.transport != "udp"

    def replace(self, **changes: Any) -> "Hop":
        """Return it with some fields changed."""
        return replace(self, **changes)


def hop_to(uri: SipUri, transport: str = "tcp") -> Hop:
    """Return the hop that a URI names, without asking the DNS; `transport` is used where it names none."""
    transport = "tls" if uri.scheme == "sips" else uri.transport or transport
    host = uri.host.strip("[]")
    port = uri.port or DEFAULT_PORTS.get(transport, 5060)
    return Hop(transport, host, port, host if transport == "tls" else "")


@dataclass(frozen=True, slots=True)
class Peer:
    """Who sent a message."""

    flow: int
    """The connection, or for UDP whatever sends from the same socket to the same address."""
    transport: str
    address: str
    """The IP address, without brackets."""
    port: int
    listener: str = ""
    """The name of our listener; "" for a connection that we opened."""
    names: tuple[str, ...] = ()
    """The names that its verified certificate proves."""


class Cause(Enum):
    """Why there will be no answer, or no ACK."""

    TIMEOUT = "time-out"
    TRANSPORT = "transport"
    OVERLOAD = "overload"
    """We have too many transactions already: nothing was sent."""


class Dropped(Enum):
    """What the agent counts and does nothing more about."""

    STRAY_RESPONSE = "response that nobody waits for"
    STRAY_ACK = "ACK of no INVITE"
    LATE_ANSWER = "answer of the user to a request that is over"
    FORK = "second callee of a forked INVITE hung up on"
    MERGED = "copy of a request refused"
    LOOP = "request of ours that came back refused"
    OVERLOAD = "request refused because there are too many"


@dataclass(frozen=True, slots=True)
class Transmit:
    """Order: send these bytes over `flow`; where it is None or gone, to `hop`.

    If that fails, tell `Agent.transmit_failed(key, now)`.
    """

    data: bytes
    key: int
    """The transaction; 0 if nobody has to be told of a failure."""
    hop: Hop | None
    flow: int | None


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """A request came, for the first and only time. `Agent.respond(key, ...)` answers it."""

    key: int
    request: Request
    peer: Peer


@dataclass(frozen=True, slots=True)
class ResponseReceived:
    """An answer to the request that `Agent.send` gave this key; one final answer at most."""

    key: int
    response: Response


@dataclass(frozen=True, slots=True)
class Failed:
    """There will be no answer to our request; or nobody acknowledged our 2xx, or our user was too slow.

    The second and third are of requests that we received: after an unacknowledged 2xx to an INVITE the user
    should send a BYE (RFC 3261 §13.3.1.4); what the user answers too late goes nowhere.
    """

    key: int
    cause: Cause


@dataclass(frozen=True, slots=True)
class AckReceived:
    """The ACK of our 2xx came, for the first and only time; `key` is that of the INVITE.

    `key` 0: an ACK of no INVITE that this agent knows. It may be for another one that is found by our name.
    """

    request: Request
    peer: Peer
    key: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The INVITE was cancelled and the CANCEL was answered: the user answers the INVITE with 487."""

    key: int


Output = Transmit | RequestReceived | ResponseReceived | Failed | AckReceived | Cancelled
