"""The services of a node: their names, what they need of each other, and what an order to one means (pure).

The names are those of Cisco's Control Center, so that known runbooks work (facts §3); only services that do
something here are listed. ``ORDERS`` is the whole of the semantics: what is stopped and started, in order,
when one service is told to stop, start or restart.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

ROUTER = "Cisco XCP Router"
CONNECTION_MANAGER = "Cisco XCP Connection Manager"
AUTHENTICATION = "Cisco XCP Authentication Service"
SIP_PROXY = "Cisco SIP Proxy"
SIP_FEDERATION = "Cisco XCP SIP Federation Connection Manager"
PRESENCE_ENGINE = "Cisco Presence Engine"
RECOVERY_MANAGER = "Cisco Server Recovery Manager"
DATA_MONITOR = "Cisco IM and Presence Data Monitor"
CONFIG_MANAGER = "Cisco XCP Config Manager"
ADMIN = "Cisco IM and Presence Admin"
DATABASE = "A Cisco DB"

DATABASE_GROUP = "Database and Admin Services"
PRESENCE_GROUP = "IM and Presence Services"


class Kind(Enum):
    """Who decides that a service runs."""

    FEATURE = "feature"
    """Activated node by node; waits for the data monitor when the node starts."""
    NETWORK = "network"
    """Always active."""
    OUTSIDE = "outside"
    """Runs beside the node: its state is shown, nothing else."""


class State(Enum):
    """What a service does now; the values are those that the original prints."""

    STARTED = "STARTED"
    STARTING = "STARTING"
    STOPPED = "STOPPED"
    STOPPING = "STOPPING"


@dataclass(frozen=True, slots=True)
class Declared:
    """One service, as it is declared."""

    name: str
    aliases: tuple[str, ...]
    kind: Kind
    group: str
    sentence: str
    """What it does here."""
    requires: tuple[str, ...] = ()
    """What must run before it starts; it stops when one of these is stopped."""
    is_critical: bool = False
    """Whether its end makes the node fail over."""


SERVICES = (
    Declared(
        DATABASE, ("database", "db"), Kind.OUTSIDE, DATABASE_GROUP,
        "The database of the cluster. It runs outside of the node, which cannot stop it.",
    ),
    Declared(
        ADMIN, ("admin",), Kind.NETWORK, DATABASE_GROUP,
        "The administration interface on the network (HTTPS). The commands on the node itself always work.",
    ),
    Declared(
        DATA_MONITOR, ("data-monitor", "monitor"), Kind.NETWORK, PRESENCE_GROUP,
        "Watches database, replication and directory; holds feature services back until they are well.",
    ),
    Declared(
        CONFIG_MANAGER, ("config-manager", "config"), Kind.NETWORK, PRESENCE_GROUP,
        "Takes over what is changed on other nodes: settings, domains, people, the nodes themselves.",
    ),
    Declared(
        RECOVERY_MANAGER, ("recovery-manager", "srm"), Kind.NETWORK, PRESENCE_GROUP,
        "Watches the other node of the redundancy group; fails over, falls back, recovers.",
    ),
    Declared(
        ROUTER, ("router", "xcp-router"), Kind.NETWORK, PRESENCE_GROUP,
        "Carries every stanza. Without it nobody is signed in.", is_critical=True,
    ),
    Declared(
        PRESENCE_ENGINE, ("presence-engine", "pe"), Kind.FEATURE, PRESENCE_GROUP,
        "Shows people's presence to those who may see it.", is_critical=True,
    ),
    Declared(
        AUTHENTICATION, ("authentication", "auth"), Kind.FEATURE, PRESENCE_GROUP,
        "Checks passwords. Without it nobody signs in anew; who is signed in stays.", (ROUTER,),
    ),
    Declared(
        CONNECTION_MANAGER, ("connection-manager", "cm"), Kind.FEATURE, PRESENCE_GROUP,
        "Listens for XMPP clients and keeps their connections.", (ROUTER,),
    ),
    Declared(
        SIP_PROXY, ("sip-proxy", "sip"), Kind.FEATURE, PRESENCE_GROUP,
        "Listens for SIP peers and keeps their connections.",
    ),
    Declared(
        SIP_FEDERATION, ("sip-federation", "sip-cm"), Kind.FEATURE, PRESENCE_GROUP,
        "Translates between SIP and XMPP: presence and messages of people on other servers.",
        (ROUTER, SIP_PROXY),
    ),
)  # fmt: skip
"""In the order in which they are started; they are stopped the other way round."""

XCP = "Cisco XCP "


class ServiceError(Exception):
    """An order to a service cannot be carried out. `cure` says what to do about it."""

    def __init__(self, detail: str, cure: str = "", *, is_unknown: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.cure = cure
        self.is_unknown = is_unknown
        """There is no service of that name."""


class Step(NamedTuple):
    """One thing to do."""

    is_start: bool
    name: str


class Situation(NamedTuple):
    """What an order is decided on."""

    services: Mapping[str, Declared]
    """In the order of starting."""
    running: Collection[str]
    deactivated: Collection[str] = ()


def find(services: Mapping[str, Declared], wanted: str) -> Declared:
    """Find a service by its full name or a short alias. Raises ServiceError."""
    text = " ".join(wanted.split()).lower()
    for service in services.values():
        if text == service.name.lower() or text in service.aliases:
            return service
    words = text.replace("-", " ").split()
    near = [one.name for one in services.values() if all(word in one.name.lower() for word in words)]
    hint = f" Did you mean {' or '.join(near[:3])}?" if near else ""
    raise ServiceError(
        f"There is no service {wanted!r}.{hint}", "See: ubiety utils service list", is_unknown=True
    )


def dependents(situation: Situation, name: str) -> list[str]:
    """Return the running services that need this one, directly or not, in the order of starting."""
    needy = {name}
    for service in situation.services.values():  # whatever is required stands before what requires it
        if needy & set(service.requires):
            needy.add(service.name)
    return [one for one in situation.services if one in needy and one != name and one in situation.running]


def stop(situation: Situation, name: str) -> list[Step]:
    """Stop a service, before it those that need it. A later start does not bring those back (facts §3.2)."""
    return [Step(False, one) for one in reversed([name, *dependents(situation, name)])]


def start(situation: Situation, name: str) -> list[Step]:
    """Start a service and nothing else. Raises ServiceError when what it needs does not run."""
    service = situation.services[name]
    if name in situation.deactivated:
        raise ServiceError(
            f"{name} is not activated on this node.", f'Run: ubiety utils service activate "{name}"'
        )
    for required in service.requires:
        if required not in situation.running:
            raise ServiceError(
                f"{name} needs {required}, which is stopped.",
                f'Run first: ubiety utils service start "{required}"',
            )
    return [Step(True, name)]


def restart(situation: Situation, name: str) -> list[Step]:
    """Stop and start a service; those that need it and ran before come back (facts §3.2)."""
    again = [Step(True, one) for one in dependents(situation, name)]
    return [*stop(situation, name), *start(situation, name), *again]


Order = Callable[[Situation, str], list[Step]]
ORDERS: Mapping[str, Order] = {"stop": stop, "start": start, "restart": restart}


def check_order(service: Declared, order: str) -> None:
    """Refuse what this kind of service cannot be told. Raises ServiceError."""
    if service.kind is Kind.OUTSIDE:
        raise ServiceError(
            f"{service.name} runs outside of the node, which cannot {order} it.",
            "Use what the database itself brings, for instance: systemctl restart postgresql",
        )
    if order in ("activate", "deactivate") and service.kind is not Kind.FEATURE:
        raise ServiceError(
            f"{service.name} is a network service: it is always active.",
            f'To have it not run: ubiety utils service stop "{service.name}"',
        )


def names(services: Sequence[Declared] = SERVICES) -> list[str]:
    """Return the full names."""
    return [service.name for service in services]
