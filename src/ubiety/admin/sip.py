"""Operations on the SIP stack of a node: what it does, and what goes over the wire."""

from typing import Annotated, Any, Literal

from pydantic import Field

from ubiety.admin.context import Node, Sip
from ubiety.admin.operation import After, Arguments, Line, OnNode, Operation, PageSize, Result
from ubiety.admin.problems import UNAVAILABLE, Problem
from ubiety.admin.rbac import Caller
from ubiety.store import sip_subscriptions as rows


class Connection(Result):
    """A connection of a SIP peer."""

    transport: str
    peer: str
    names: list[str] = Field(description="What its certificate says it is.")
    listener: str = Field(description="Which took it; empty: it was made from here.")
    secured_by: str | None
    seconds: float
    idle_seconds: float
    received: int
    sent: int


class SipStatus(Result):
    """What the SIP stack of a node does."""

    is_listening: bool
    ports: dict[str, int]
    connections: list[Connection]
    transactions: dict[str, int] = Field(description="How many are under way, by kind.")
    dropped: dict[str, int] = Field(description="What came and was of no use, since the start.")


class TraceFrom(OnNode):
    """Which messages to show."""

    after: int = Field(0, ge=0, description="The `last` of the call before; 0: all that are kept.")
    text: Line = Field("", description="Only those with this in them, or in the peer's address or name.")
    limit: Annotated[int, Field(ge=1, le=1000, description="Most messages to return: the newest.")] = 100


class TracedMessage(Result):
    """A SIP message that went over the wire."""

    number: int
    at: float
    direction: str = Field(description="received or sent.")
    transport: str
    peer: str
    names: list[str]
    text: str


class TraceView(Result):
    """The newest SIP messages."""

    messages: list[TracedMessage]
    last: int


class SubscriptionsOf(Arguments):
    """Which subscriptions to show."""

    address: Line = Field("", description="Only those of this person of ours, or with this one outside.")
    after: After = 0
    limit: PageSize = 100


class SubscriptionView(Result):
    """A subscription to presence between one of our people and somebody outside."""

    id: int
    person: str
    peer: str
    direction: Literal["in", "out"] = Field(description="in: the peer watches the person; out: the reverse.")
    state: str
    expires: float = Field(description="Seconds since 1970: when it ends unless it is refreshed.")


class SubscriptionViews(Result):
    """A page of subscriptions."""

    subscriptions: list[SubscriptionView]
    next: int | None = Field(description="Pass it as `after` to get the next page; null on the last one.")
    counts: dict[str, int] = Field(description="How many there are in all, by direction and state.")


async def subscriptions(node: Node, caller: Caller, arguments: SubscriptionsOf) -> SubscriptionViews:
    """Shows who outside watches whom of our people, and the reverse."""
    database, limit = node.database, arguments.limit
    address = arguments.address.removeprefix("sip:").lower()
    found = await database.read(rows.list_page, arguments.after, limit, address)
    counts = await database.read(rows.count)
    return SubscriptionViews(
        subscriptions=[SubscriptionView.model_validate(one._asdict()) for one in found],
        next=found[-1].id if len(found) == limit else None,
        counts={f"{direction} {state}": number for (direction, state), number in sorted(counts.items())},
    )


async def status(node: Node, caller: Caller, arguments: OnNode) -> SipStatus:
    """Shows what the SIP stack of a node does."""
    return SipStatus.model_validate(_sip(node).status())


async def trace(node: Node, caller: Caller, arguments: TraceFrom) -> TraceView:
    """Shows the newest SIP messages of a node, without what people wrote."""
    return _trace(node, arguments, with_text=False)


async def trace_text(node: Node, caller: Caller, arguments: TraceFrom) -> TraceView:
    """Shows the newest SIP messages of a node with what people wrote."""
    return _trace(node, arguments, with_text=True)


def _trace(node: Node, arguments: TraceFrom, *, with_text: bool) -> TraceView:
    found = _sip(node).trace
    records = found.records(arguments.after, arguments.text, arguments.limit, with_text)
    return TraceView(messages=[TracedMessage.model_validate(one) for one in records], last=found.last)


def _sip(node: Node) -> Sip:
    if node.sip is None:
        raise Problem(
            UNAVAILABLE,
            "This node does not speak SIP.",
            "Set sip_port and sip_tls_peer_port under [listen] in ubiety.toml, and restart the node.",
        )
    return node.sip


OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation(
        "sip.status",
        "Shows what the SIP stack of a node does.",
        OnNode,
        SipStatus,
        "federation.read",
        False,
        status,
        place="node",
    ),
    Operation(
        "sip.subscriptions",
        "Shows who outside watches whom of our people, and the reverse.",
        SubscriptionsOf,
        SubscriptionViews,
        "federation.read",
        False,
        subscriptions,
    ),
    Operation(
        "sip.trace",
        "Shows the newest SIP messages of a node, without what people wrote.",
        TraceFrom,
        TraceView,
        "federation.read",
        False,
        trace,
        place="node",
    ),
    Operation(
        "sip.trace_text",
        "Shows the newest SIP messages of a node with what people wrote; audited.",
        TraceFrom,
        TraceView,
        "messages.trace",
        True,
        trace_text,
        place="node",
    ),
)
