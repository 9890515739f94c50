"""What operations need of the node; `app.py` provides it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ubiety.clock import Clock
from ubiety.cluster.alarms import Alarms
from ubiety.cluster.control import ControlCenter
from ubiety.cluster.health import Health
from ubiety.cluster.monitor import DataMonitor
from ubiety.cluster.moving import Moving
from ubiety.cluster.recovery import Recovery
from ubiety.cluster.topology import TopologyCopy
from ubiety.config import Config
from ubiety.gateway.federation import FederationCopy
from ubiety.jid import Jid
from ubiety.routing.homes import Homes
from ubiety.routing.links import Links
from ubiety.settings import Settings
from ubiety.store.database import Database
from ubiety.store.digests import Vault
from ubiety.store.users import User
from ubiety.telemetry import Metrics


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One session of a person as an administrator sees it."""

    address: str
    """Full JID."""
    since: float
    """When it was bound: seconds since 1970."""
    remote: str
    """The client's network address, empty while suspended."""
    transport: str
    """For instance "TLSv1.3" or "plain"."""
    state: str
    """`online`, `inactive` (XEP-0352) or `suspended` (waits to be resumed, XEP-0198)."""
    presence: str
    """What the client shows: `available`, `away`, `chat`, `dnd`, `xa` or `unavailable`."""
    priority: int
    queued: int
    """Stanzas that the client has not acknowledged."""


class Sessions(Protocol):
    """The sessions of this node, and what is done to those of all nodes."""

    def list(self) -> Sequence[SessionInfo]:
        """All of this node."""

    async def count(self, address: str) -> int:
        """How many sessions a person has, wherever they are; 0 when their node does not answer."""

    async def totals(self) -> Mapping[int, int]:
        """How many sessions each node has that answers, by its id."""

    async def online(self) -> Sequence[str]:
        """The bare addresses of everybody who has a session, on any node that answers."""

    async def end(self, address: str, reason: str) -> int:
        """Ends the session of a full JID, or all of a bare one, telling the clients why; returns how many.

        Raises Problem when the node that has them does not answer.
        """


class Policies(Protocol):
    """Changes people's privacy policies; whoever is signed in sees the effects at once."""

    @property
    def default(self) -> str:
        """What the system's setting says: `allow` or `block`."""

    async def set_default(self, user: User, action: str | None) -> None:
        """Sets what holds for those on neither list; None: what the setting says."""

    async def put(self, user: User, action: str, target: Jid) -> None:
        """Allows or blocks a person or a domain. Raises StanzaError when the lists are full."""

    async def remove(self, user: User, target: Jid) -> None:
        """Takes a person or a domain off both lists."""


class Certificate(Protocol):
    """The certificate in use."""

    @property
    def path(self) -> Path:
        """Where it was read from."""

    @property
    def is_local(self) -> bool:
        """Whether the local authority made it."""

    @property
    def names(self) -> tuple[str, ...]:
        """Domains, host names and addresses for which it is valid."""

    @property
    def subject(self) -> str:
        """Common name of its owner."""

    @property
    def issuer(self) -> str:
        """Common name of the authority."""

    @property
    def not_before(self) -> float:
        """Seconds since 1970."""

    @property
    def not_after(self) -> float:
        """Seconds since 1970."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hexadecimal."""

    def covers(self, domain: str) -> bool:
        """Whether clients of `domain` find it in the certificate."""


class Certificates(Protocol):
    """The node's certificates. Its methods raise ValueError, whose text names cause and cure."""

    @property
    def current(self) -> Certificate:
        """The certificate that new connections use."""

    @property
    def ca_path(self) -> Path | None:
        """The local authority's certificate, if it issued the one in use."""

    def cover(self, domains: Sequence[str]) -> Certificate:
        """Has the local authority issue a new one if these domains need it."""

    def reload(self) -> Certificate:
        """Reads the files again."""


class Drain(Protocol):
    """Empties this node before it is stopped."""

    @property
    def step(self) -> str:
        """How far it is: serving, handing over, closing clients, drained, failed."""

    @property
    def problem(self) -> str:
        """Why it failed."""

    @property
    def clients(self) -> int:
        """How many clients are connected here."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens by itself."""

    def start(self, rate: float | None = None) -> None:
        """Begins, or follows another rate: clients a second."""

    async def cancel(self) -> None:
        """Lets clients in again."""


class SipTrace(Protocol):
    """The newest SIP messages of this node."""

    @property
    def last(self) -> int:
        """The number of the newest one; 0 before the first."""

    def records(
        self, number: int = 0, text: str = "", most: int = 1000, with_text: bool = False
    ) -> list[dict[str, Any]]:
        """Those after a number that have a text in them; what people wrote only `with_text`."""


class Sip(Protocol):
    """The SIP stack of this node."""

    @property
    def trace(self) -> SipTrace:
        """What went over the wire."""

    def status(self) -> dict[str, Any]:
        """Ports, connections and counts."""


class Node(Protocol):
    """The node as operations see it."""

    @property
    def drain(self) -> Drain:
        """Empties this node."""

    @property
    def config(self) -> Config:
        """The bootstrap configuration."""

    @property
    def clock(self) -> Clock:
        """The clocks."""

    @property
    def settings(self) -> Settings:
        """The settings of the cluster."""

    @property
    def database(self) -> Database:
        """The database."""

    @property
    def metrics(self) -> Metrics:
        """Counters and gauges."""

    @property
    def homes(self) -> Homes:
        """Who is assigned to which set, and who serves it."""

    @property
    def topology(self) -> TopologyCopy:
        """The nodes of the cluster."""

    @property
    def federation(self) -> FederationCopy:
        """Static routes, trusted peers and domains of others."""

    @property
    def vault(self) -> Vault:
        """The secrets of people for SIP."""

    @property
    def sip(self) -> Sip | None:
        """The SIP stack; None where SIP is not listened for."""

    @property
    def links(self) -> Links | None:
        """The way to the other nodes; None where there is but one."""

    @property
    def bus_problem(self) -> str:
        """Why the bus between the nodes cannot be used, and what to do; empty: it can, or there is none."""

    @property
    def services(self) -> ControlCenter:
        """The services of this node."""

    @property
    def monitor(self) -> DataMonitor:
        """What feature services wait for, and how the database is."""

    @property
    def alarms(self) -> Alarms:
        """What is wrong on this node."""

    @property
    def health(self) -> Health:
        """Whether clients may be sent here."""

    @property
    def recovery(self) -> Recovery | None:
        """The recovery manager of this node; None where there is but one."""

    @property
    def moving(self) -> Moving:
        """Moves people from one node to another."""

    @property
    def sessions(self) -> Sessions:
        """The sessions of this node."""

    @property
    def policies(self) -> Policies:
        """People's privacy policies."""

    @property
    def certificates(self) -> Certificates:
        """The certificates."""

    @property
    def started(self) -> float:
        """When the node started: seconds since 1970."""

    @property
    def ports(self) -> Mapping[str, int]:
        """The ports that the listeners really got: `c2s`, `c2s_tls`, `api`."""

    @property
    def domains(self) -> Sequence[str]:
        """The domains served here, the default one first."""

    async def people_changed(self, address_ids: Sequence[int]) -> None:
        """Takes over from the database who was added, changed or deleted. Called after the commit."""

    async def domains_changed(self) -> None:
        """Reads the table of domains again. Called after the commit."""

    async def announce(self, recipients: Sequence[str], subject: str, text: str) -> int:
        """Sends a message of the server to bare addresses; returns to how many."""
