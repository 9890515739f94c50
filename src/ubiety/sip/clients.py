"""The client half of the SIP agent: our requests and their answers (RFC 3261 §17.1, §9.1, §13.2.2)."""

from collections import Counter
from collections.abc import Callable

from ubiety.sip.dialog import Dialog
from ubiety.sip.headers import Headers, Via
from ubiety.sip.matching import COOKIE, ClientKey, client_key
from ubiety.sip.message import Request, Response
from ubiety.sip.outputs import Cause, Dropped, Failed, Hop, Output, ResponseReceived, Transmit
from ubiety.sip.register import Register
from ubiety.sip.syntax import SipSyntaxError
from ubiety.sip.transaction import (
    CLIENT,
    INVITE_CLIENT,
    Action,
    Event,
    Schedule,
    State,
    Timer,
    Transaction,
)

MAX_DATAGRAM = 1300
"""A longer request goes over TCP (RFC 3261 §18.1.1)."""

ViaOf = Callable[[Hop], tuple[str, int]]


class ClientTransaction(Transaction):
    """One request of ours."""

    __slots__ = (
        "accepted_tag",
        "acks",
        "data",
        "datagram_hop",
        "flow",
        "hop",
        "is_silent",
        "request",
        "wants_cancel",
    )

    def __init__(self, request: Request, hop: Hop, flow: int | None, schedule: Schedule, now: float) -> None:
        machine = INVITE_CLIENT if request.method == "INVITE" else CLIENT
        super().__init__(machine, schedule, hop.is_reliable, now)
        self.request = request
        """As it is sent, our Via on top."""
        self.data = request.to_bytes()
        self.hop = hop
        self.flow = flow
        self.is_silent = False
        """Whether it is the agent's own: the user hears nothing of it."""
        self.datagram_hop: Hop | None = None
        """Where it was to go over UDP before it turned out to be too long."""
        self.wants_cancel = False
        self.accepted_tag: str | None = None
        """The tag of the first 2xx to an INVITE."""
        self.acks: dict[str, Transmit] = {}
        """The ACKs of an INVITE's 2xx, by the tag of the 2xx."""

    @property
    def branch_key(self) -> ClientKey:
        """What its answers are found by."""
        return (self.request.via.branch or "", self.request.method)


class Clients:
    """The client transactions of one agent."""

    __slots__ = (
        "_by_branch",
        "_by_flow",
        "_dropped",
        "_invites",
        "_register",
        "_schedule",
        "_token",
        "_via_of",
        "maximum",
    )

    def __init__(
        self,
        token: Callable[[], str],
        via_of: ViaOf,
        schedule: Schedule,
        register: Register,
        dropped: Counter[Dropped],
        maximum: int,
    ) -> None:
        self._token = token
        self._via_of = via_of
        self._schedule = schedule
        self._register = register
        self._dropped = dropped
        self.maximum = maximum
        self._by_branch: dict[ClientKey, ClientTransaction] = {}
        self._by_flow: dict[int, set[int]] = {}
        self._invites: dict[
            tuple[str, str, int], ClientTransaction
        ] = {}  # accepted ones, by what an ACK shares

    def __len__(self) -> int:
        return len(self._by_branch)

    @property
    def held(self) -> int:
        """How many entries all tables have."""
        return len(self._by_branch) + len(self._by_flow) + len(self._invites)

    def count_invites(self) -> int:
        """How many of them are INVITEs."""
        return sum(method == "INVITE" for _, method in self._by_branch)

    # From the user.

    def send(self, request: Request, hop: Hop, now: float, flow: int | None) -> tuple[int, list[Output]]:
        """Send a request with our Via on top of those that it has."""
        if len(self._by_branch) >= self.maximum:
            key = self._register.new_key()
            return key, [Failed(key, Cause.OVERLOAD)]
        datagram_hop = None
        branch = COOKIE + self._token()
        sent = self._with_via(request, hop, branch)
        if not hop.is_reliable and flow is None and len(sent.to_bytes()) > MAX_DATAGRAM:
            datagram_hop, hop = hop, hop.replace(transport="tcp")
            sent = self._with_via(request, hop, branch)
        transaction = ClientTransaction(sent, hop, flow, self._schedule, now)
        transaction.datagram_hop = datagram_hop
        outputs = self._start(transaction)
        return transaction.key, outputs

    def _with_via(self, request: Request, hop: Hop, branch: str) -> Request:
        host, port = self._via_of(hop)
        params: tuple[tuple[str, str | None], ...] = (("branch", branch),)
        if not hop.is_reliable:
            params += (("rport", None),)  # RFC 3581 §3
        via = Via(
            hop.transport.upper(), f"[{host}]" if ":" in host and host[0] != "[" else host, port, params
        )
        return request.replace(headers=request.headers.first("Via", str(via)))

    def _start(self, transaction: ClientTransaction) -> list[Output]:
        self._register.add(transaction)
        self._by_branch[transaction.branch_key] = transaction
        if transaction.flow is not None:
            self._by_flow.setdefault(transaction.flow, set()).add(transaction.key)
        return [_transmit(transaction)]

    def ack(self, request: Request, hop: Hop, flow: int | None) -> list[Output]:
        """Send the ACK of a 2xx, and again whenever the 2xx comes again (RFC 3261 §13.2.2.4)."""
        data = self._with_via(request, hop, COOKIE + self._token()).to_bytes()
        transmit = Transmit(data, 0, hop, flow)
        invite = self._invites.get(_invite_key(request))
        if invite is not None:
            invite.acks[request.to.tag or ""] = transmit
        return [transmit]

    def cancel(self, transaction: ClientTransaction, now: float) -> list[Output]:
        """Cancel an INVITE, as soon as it was answered at all (RFC 3261 §9.1); other requests cannot be."""
        transaction.wants_cancel = True
        return self._step(transaction, Event.CANCEL, now)

    # From the network.

    def receive(self, response: Response, now: float) -> list[Output]:
        """Take a response."""
        key = client_key(response)
        transaction = self._by_branch.get(key) if key is not None else None
        if transaction is None:
            self._dropped[Dropped.STRAY_RESPONSE] += 1
            return []
        if response.status < 200:
            event = Event.PROVISIONAL
        else:
            event = Event.SUCCESS if response.status < 300 else Event.FAILURE
        outputs = self._step(transaction, event, now, response)
        if transaction.wants_cancel and transaction.state is State.PROCEEDING:
            outputs += self._step(transaction, Event.CANCEL, now)
        return outputs

    def fail(self, transaction: ClientTransaction, now: float) -> list[Output]:
        """Note that the transport could not send the request."""
        hop = transaction.datagram_hop
        if hop is None or transaction.state not in (State.CALLING, State.TRYING):
            return self._step(transaction, Event.TRANSPORT_ERROR, now)
        # RFC 3261 §18.1.1: a peer that does not take TCP gets the long datagram after all.
        via = transaction.request.via.replace(transport="UDP")
        headers = transaction.request.headers.without("via")
        for below in reversed(transaction.request.headers.all("via")[1:]):
            headers = headers.first("Via", below)
        transaction.request = transaction.request.replace(headers=headers.first("Via", str(via)))
        transaction.data = transaction.request.to_bytes()
        transaction.hop, transaction.datagram_hop = hop, None
        transaction.is_reliable = False
        transaction.start(Timer.A if transaction.state is State.CALLING else Timer.E, now)
        self._register.settle(transaction)
        return [_transmit(transaction)]

    def sent_over(self, transaction: ClientTransaction, flow: int) -> None:
        """Note which flow a request went over."""
        self._leave_flow(transaction)
        transaction.flow = flow
        self._by_flow.setdefault(flow, set()).add(transaction.key)

    def close_flow(self, flow: int, now: float) -> list[Output]:
        """Note that no answer will come over this flow any more."""
        outputs: list[Output] = []
        for key in sorted(self._by_flow.pop(flow, ())):
            transaction = self._register.get(key)
            if isinstance(transaction, ClientTransaction):
                transaction.flow = None  # what is still to be sent goes by hop
                outputs += self._step(transaction, Event.TRANSPORT_ERROR, now)
        return outputs

    def fire(self, transaction: ClientTransaction, now: float) -> list[Output]:
        """Do what the timers ask for."""
        return self._perform(transaction, transaction.fire(now), now, None)

    def has_sent(self, request: Request) -> bool:
        """Whether a received request is one of ours that went round in a circle (RFC 5393 §4.2)."""
        for via in request.vias[1:]:
            sent = self._by_branch.get((via.branch or "", request.method))
            if sent is not None and sent.request.uri == request.uri:
                return True
        return False

    # What the tables ask for.

    def _step(
        self, transaction: ClientTransaction, event: Event, now: float, response: Response | None = None
    ) -> list[Output]:
        return self._perform(transaction, transaction.step(event, now), now, response)

    def _perform(
        self,
        transaction: ClientTransaction,
        actions: tuple[Action, ...],
        now: float,
        response: Response | None,
    ) -> list[Output]:
        outputs: list[Output] = []
        for action in actions:
            match action:
                case Action.RESEND:
                    outputs.append(_transmit(transaction))
                case Action.PASS if response is not None:
                    outputs += self._pass(transaction, response, now)
                case Action.SEND_ACK if response is not None:
                    outputs.append(_transmit(transaction, _make_ack(transaction.request, response)))
                case Action.SEND_CANCEL:
                    outputs += self._send_cancel(transaction, now)
                case Action.EXTEND:
                    transaction.start(Timer.C, now)
                case Action.FAIL_TIMEOUT if not transaction.is_silent:
                    outputs.append(Failed(transaction.key, Cause.TIMEOUT))
                case Action.FAIL_TRANSPORT if not transaction.is_silent:
                    outputs.append(Failed(transaction.key, Cause.TRANSPORT))
        if self._register.settle(transaction):
            self._forget(transaction)
        return outputs

    def _forget(self, transaction: ClientTransaction) -> None:
        self._by_branch.pop(transaction.branch_key, None)
        self._leave_flow(transaction)
        if transaction.accepted_tag is not None:
            self._invites.pop(_invite_key(transaction.request), None)

    def _leave_flow(self, transaction: ClientTransaction) -> None:
        keys = self._by_flow.get(transaction.flow) if transaction.flow is not None else None
        if keys is not None:
            keys.discard(transaction.key)
            if not keys:
                del self._by_flow[transaction.flow or 0]

    def _pass(self, transaction: ClientTransaction, response: Response, now: float) -> list[Output]:
        if transaction.is_silent or response.status == 100:
            return []
        passed: list[Output] = [ResponseReceived(transaction.key, response)]
        if transaction.machine is not INVITE_CLIENT or not 200 <= response.status < 300:
            return passed
        tag = response.to.tag or ""
        if transaction.accepted_tag is None:
            transaction.accepted_tag = tag
            self._invites[_invite_key(transaction.request)] = transaction
            return passed
        if tag in transaction.acks:
            return [transaction.acks[tag]]
        if tag == transaction.accepted_tag:
            return []  # the user is about to acknowledge it
        return self._hang_up(transaction, response, now)

    def _hang_up(self, transaction: ClientTransaction, response: Response, now: float) -> list[Output]:
        """End the call of a second callee who answered a forked INVITE (RFC 3261 §13.2.2.4)."""
        self._dropped[Dropped.FORK] += 1
        try:
            dialog = Dialog.from_response(transaction.request, response)
            bye, _ = dialog.request("BYE")
            outputs = self.ack(dialog.ack(transaction.request), transaction.hop, transaction.flow)
        except SipSyntaxError:
            return []
        sent = self._with_via(bye, transaction.hop, COOKIE + self._token())
        return outputs + self._start_silent(sent, transaction, now)

    def _send_cancel(self, transaction: ClientTransaction, now: float) -> list[Output]:
        return self._start_silent(_make_cancel(transaction.request), transaction, now)

    def _start_silent(self, request: Request, along: ClientTransaction, now: float) -> list[Output]:
        transaction = ClientTransaction(request, along.hop, along.flow, self._schedule, now)
        transaction.is_silent = True
        return self._start(transaction)


def _transmit(transaction: ClientTransaction, data: bytes | None = None) -> Transmit:
    return Transmit(
        transaction.data if data is None else data, transaction.key, transaction.hop, transaction.flow
    )


def _invite_key(request: Request) -> tuple[str, str, int]:
    return (request.call_id, request.from_.tag or "", request.cseq.number)


def _make_ack(invite: Request, response: Response) -> bytes:
    """Return the ACK of a final answer that is not a 2xx (RFC 3261 §17.1.1.3)."""
    return _make_sibling(invite, "ACK", response.headers.get("to") or "").to_bytes()


def _make_cancel(invite: Request) -> Request:
    """Return the CANCEL of an INVITE (RFC 3261 §9.1)."""
    return _make_sibling(invite, "CANCEL", invite.headers.get("to") or "")


def _make_sibling(invite: Request, method: str, to: str) -> Request:
    """Return a request that goes the way of the INVITE, with its topmost Via alone."""
    headers = invite.headers
    items = [
        ("Via", str(invite.via)),
        ("Max-Forwards", "70"),
        *(("Route", route) for route in headers.all("route")),
        ("From", headers.get("from") or ""),
        ("To", to),
        ("Call-ID", invite.call_id),
        ("CSeq", f"{invite.cseq.number} {method}"),
    ]
    return Request(method, invite.uri, Headers(items))
