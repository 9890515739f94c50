"""The server half of the SIP agent: requests and our answers (RFC 3261 §17.2, §8.2, §9.2, §13.3)."""

from collections import Counter
from collections.abc import Callable

from ubiety.sip.answering import completed, route_of_answers, stamped, stateless_answer
from ubiety.sip.matching import AckKey, MergeKey, ServerKey, ack_key, merge_key, server_key
from ubiety.sip.message import Request, Response, make_response
from ubiety.sip.outputs import (
    AckReceived,
    Cancelled,
    Cause,
    Dropped,
    Failed,
    Output,
    Peer,
    RequestReceived,
    Transmit,
)
from ubiety.sip.register import Register
from ubiety.sip.transaction import INVITE_SERVER, SERVER, Action, Event, Schedule, State, Transaction

RETRY_AFTER = 10
"""Seconds after which a request that was one too many may come again (RFC 3261 §21.5.4)."""


class ServerTransaction(Transaction):
    """One request of a peer."""

    __slots__ = ("ack_key", "branch_key", "is_cancelled", "last", "merge_key", "peer", "request", "tag")

    def __init__(
        self, request: Request, peer: Peer, key: ServerKey, tag: str, schedule: Schedule, now: float
    ) -> None:
        machine = INVITE_SERVER if request.method == "INVITE" else SERVER
        super().__init__(machine, schedule, peer.transport != "udp", now)
        self.request = request
        """As it came, stamped with where it came from."""
        self.peer = peer
        self.tag = tag
        """The tag that our answers have unless the user gives one."""
        self.branch_key = key
        self.merge_key: MergeKey | None = merge_key(request)
        self.ack_key: AckKey | None = None
        """Of the 2xx to an INVITE: what its ACK is found by."""
        self.last: bytes | None = None
        """The answer that was sent last."""
        self.is_cancelled = False


class Servers:
    """The server transactions of one agent."""

    __slots__ = (
        "_accepted",
        "_by_key",
        "_dropped",
        "_is_ours",
        "_merged",
        "_register",
        "_schedule",
        "_token",
        "maximum",
    )

    def __init__(
        self,
        token: Callable[[], str],
        is_ours: Callable[[Request], bool],
        schedule: Schedule,
        register: Register,
        dropped: Counter[Dropped],
        maximum: int,
    ) -> None:
        self._token = token
        self._is_ours = is_ours
        self._schedule = schedule
        self._register = register
        self._dropped = dropped
        self.maximum = maximum
        self._by_key: dict[ServerKey, ServerTransaction] = {}
        self._merged: dict[MergeKey, ServerTransaction] = {}
        self._accepted: dict[AckKey, ServerTransaction] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    @property
    def held(self) -> int:
        """How many entries all tables have."""
        return len(self._by_key) + len(self._merged) + len(self._accepted)

    def count_invites(self) -> int:
        """How many of them are INVITEs."""
        return sum(each.machine is INVITE_SERVER for each in self._by_key.values())

    # From the network.

    def receive(self, request: Request, peer: Peer, now: float) -> list[Output]:
        """Take a request."""
        key = server_key(request)
        transaction = self._by_key.get(key)
        if request.method == "ACK":
            return self._receive_ack(request, peer, transaction, now)
        if request.method == "CANCEL":
            return self._receive_cancel(request, peer, transaction)
        if transaction is not None:
            return self._receive_again(transaction, request, peer, now)
        request = stamped(request, peer)
        refusal = self._refuse(request)
        if refusal is not None:
            status, reason = refusal
            self._dropped[reason] += 1
            headers = (("Retry-After", str(RETRY_AFTER)),) if status == 503 else ()
            return [_reply(stateless_answer(request, status, headers), request, peer)]
        transaction = ServerTransaction(request, peer, key, self._token(), self._schedule, now)
        self._by_key[key] = transaction
        if transaction.merge_key is not None:
            self._merged[transaction.merge_key] = transaction
        self._register.add(transaction)
        return [RequestReceived(transaction.key, request, peer)]

    def _refuse(self, request: Request) -> tuple[int, Dropped] | None:
        """Return how a new request is answered that the user must not see."""
        merged = merge_key(request)
        if merged is not None and merged in self._merged:
            return 482, Dropped.MERGED  # RFC 3261 §8.2.2.2
        if self._is_ours(request):
            return 482, Dropped.LOOP  # RFC 5393 §4.2
        if len(self._by_key) >= self.maximum:
            return 503, Dropped.OVERLOAD
        return None

    def _receive_again(
        self, transaction: ServerTransaction, request: Request, peer: Peer, now: float
    ) -> list[Output]:
        # It may come over another connection or from another port of the same machine: so goes the answer.
        ours = transaction.peer
        if peer.flow != ours.flow and (peer.transport, peer.address) == (ours.transport, ours.address):
            transaction.peer = peer
            transaction.request = stamped(request, peer)
        return self._step(transaction, Event.REQUEST, now)

    def _receive_ack(
        self, request: Request, peer: Peer, transaction: ServerTransaction | None, now: float
    ) -> list[Output]:
        if transaction is None:
            transaction = self._accepted.get(ack_key(request))
        if transaction is None:
            self._dropped[Dropped.STRAY_ACK] += 1
            return [AckReceived(stamped(request, peer), peer, 0)]
        actions = transaction.step(Event.ACK, now)
        is_passed = Action.PASS_ACK in actions
        outputs = self._perform(transaction, actions, now)
        if is_passed:
            outputs.append(AckReceived(stamped(request, peer), peer, transaction.key))
        return outputs

    def _receive_cancel(
        self, request: Request, peer: Peer, transaction: ServerTransaction | None
    ) -> list[Output]:
        """Answer a CANCEL (RFC 3261 §9.2). The answer is always the same, so it needs no transaction."""
        request = stamped(request, peer)
        if transaction is None:
            return [_reply(stateless_answer(request, 481), request, peer)]
        answer = make_response(request, 200, to_tag=transaction.tag).to_bytes()
        outputs: list[Output] = [_reply(answer, request, peer)]
        if transaction.state is State.PROCEEDING and not transaction.is_cancelled:
            transaction.is_cancelled = True
            outputs.append(Cancelled(transaction.key))
        return outputs

    # From the user.

    def respond(self, transaction: ServerTransaction, response: Response, now: float) -> list[Output]:
        """Answer a request; an answer behind the final one goes nowhere."""
        event = Event.ANSWER_PROVISIONAL
        if response.status >= 200:
            event = Event.ANSWER_SUCCESS if response.status < 300 else Event.ANSWER_FAILURE
        if (transaction.state, event) not in transaction.machine.rows:
            self._dropped[Dropped.LATE_ANSWER] += 1
            return []
        response = completed(response, transaction.request, transaction.tag)
        transaction.last = response.to_bytes()
        if event is Event.ANSWER_SUCCESS and transaction.machine is INVITE_SERVER:
            transaction.ack_key = ack_key(response)
            self._accepted[transaction.ack_key] = transaction
        return self._step(transaction, event, now)

    def fire(self, transaction: ServerTransaction, now: float) -> list[Output]:
        """Do what the timers ask for."""
        return self._perform(transaction, transaction.fire(now), now)

    # What the tables ask for.

    def _step(self, transaction: ServerTransaction, event: Event, now: float) -> list[Output]:
        return self._perform(transaction, transaction.step(event, now), now)

    def _perform(
        self, transaction: ServerTransaction, actions: tuple[Action, ...], now: float
    ) -> list[Output]:
        outputs: list[Output] = []
        for action in actions:
            match action:
                case Action.SEND | Action.RESEND if transaction.last is not None:
                    outputs.append(self._transmit(transaction, transaction.last))
                case Action.SEND_TRYING if transaction.last is None:
                    transaction.last = make_response(transaction.request, 100).to_bytes()
                    outputs.append(self._transmit(transaction, transaction.last))
                case Action.FAIL_TIMEOUT:
                    outputs.append(Failed(transaction.key, Cause.TIMEOUT))
                case Action.GIVE_UP:
                    outputs.append(Failed(transaction.key, Cause.TIMEOUT))
                    outputs += self.respond(transaction, make_response(transaction.request, 408), now)
        if self._register.settle(transaction):
            self._forget(transaction)
        return outputs

    def _transmit(self, transaction: ServerTransaction, data: bytes) -> Transmit:
        return _reply(data, transaction.request, transaction.peer, transaction.key)

    def _forget(self, transaction: ServerTransaction) -> None:
        self._by_key.pop(transaction.branch_key, None)
        if transaction.merge_key is not None:
            self._merged.pop(transaction.merge_key, None)
        # A peer that uses a number twice has its second INVITE in the place of the first.
        if transaction.ack_key is not None and self._accepted.get(transaction.ack_key) is transaction:
            del self._accepted[transaction.ack_key]


def _reply(data: bytes, request: Request, peer: Peer, key: int = 0) -> Transmit:
    hop, flow = route_of_answers(request, peer)
    return Transmit(data, key, hop, flow)
