"""Whom the gateway lets name whom as sender, and who may publish: it and a peer, as SIP agents in memory."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from tests.unit.gateway.rig import ROUTE, THEIR_PEER, Rig
from tests.unit.users.place import DOMAIN
from ubiety.gateway.federation import FederationCopy
from ubiety.gateway.im import Conversations
from ubiety.gateway.relay import Relay
from ubiety.gateway.service import Gateway
from ubiety.gateway.settings import MICROSOFT
from ubiety.gateway.ways import Name, StaticWays
from ubiety.presence.model import State
from ubiety.sip import pidf
from ubiety.sip.message import Response, make_request
from ubiety.sip.outputs import Peer
from ubiety.sip.pidf import SipPresence
from ubiety.store import acl, federated_domains, presence_gateways
from ubiety.store.presence_gateways import CUCM, PresenceGateway
from ubiety.users.outsiders import composed_of

ANN = f"ann@{DOMAIN}"
NAME = "fe1.example.org"
TALKING = SipPresence(True, frozenset({"on-the-phone"}))


class Border:
    """Our gateway, whole; the peer has the address 192.0.2.2, to which the DNS gives a name."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.peer = Peer(1, "tcp", THEIR_PEER.address, 5060, "sip")
        self.federation = FederationCopy()
        self.looked_up: list[str] = []
        place, ours, numbers = rig.place, rig.ours, itertools.count()
        self._calls = itertools.count()
        name = Name(lambda: "imp.example.org", dict)
        ways = StaticWays(self.federation, place.context.homes, place.settings, place.clock, name)
        relay = Relay(ours, place.spawn)
        conversations = Conversations(
            place.context,
            relay,
            ours.sender,
            ways,
            place.users.take_promised,
            rig.timeline.call_later,
            rig.sleep,
            lambda: f"c{next(numbers)}",
            lambda: 0.5,
        )
        self.gateway = Gateway(
            place.context,
            self.federation,
            ways,
            relay,
            ours.sender,
            ours.presence,
            conversations,
            self._names_of,
            lambda: f"g{next(numbers)}",
        )
        ours.request_received = lambda key, request: (  # type: ignore[method-assign]
            self.gateway.request_received(key, request, self.peer)
        )

    async def _names_of(self, address: str) -> list[str]:
        self.looked_up.append(address)
        return [NAME]

    @property
    def refused(self) -> int:
        """How many requests were refused for want of trust."""
        return self.rig.place.context.counters.sip_untrusted

    async def trust(self, value: str, *domains: str, kind: str = "ip") -> None:
        """Add an entry to the access control list."""
        await self.rig.place.database.write(acl.add, kind, value, "", domains)
        await self.federation.refresh(self.rig.place.database)

    async def list_gateway(self, address: str) -> None:
        """Add a presence gateway."""
        row = PresenceGateway(0, CUCM, address, 5060, "tcp", False, "")
        await self.rig.place.database.write(presence_gateways.add, row)
        await self.federation.refresh(self.rig.place.database)

    async def answer(self, method: str, sender: str, body: bytes = b"", kind: str = "") -> Response:
        """Have the peer send a request to Ann; the answer."""
        if method == "SUBSCRIBE":
            key = self.rig.theirs.subscribe(ANN, sender=sender)
        else:
            number = next(self._calls)
            request = make_request(
                method,
                f"sip:{ANN}",
                f"<sip:{sender}>;tag=f{number}",
                f"<sip:{ANN}>",
                f"call{number}",
                1,
                contact=f"<sip:{NAME}:5060>" if method == "INVITE" else None,
                headers=[("Event", "presence"), ("Expires", "600")] if method == "PUBLISH" else [],
                body=body,
                content_type=kind,
            )
            key = self.rig.theirs.send(request, ROUTE)
        await self.rig.settle()
        answer = self.rig.theirs.responses[key]
        assert isinstance(answer, Response)
        return answer

    async def publish(self) -> Response:
        """Have the peer say that Ann is on the phone."""
        kind, body = pidf.write(f"sip:{ANN}", TALKING)
        return await self.answer("PUBLISH", ANN, body, kind)


@pytest.fixture
async def border(rig: Rig) -> Border:
    """Our domain is shared; two other organisations are federated."""
    await rig.place.sign_in("ann")
    rig.place.set(MICROSOFT, True)
    for domain in ("partner.example", "other.example"):
        await rig.place.database.write(federated_domains.add, domain, federated_domains.SIP, "")
    return Border(rig)


@dataclass(frozen=True)
class Case:
    """What one request is answered, by the domains to which the peer's entry is limited."""

    domains: tuple[str, ...]
    method: str
    sender: str
    is_taken: bool


CASES = [
    Case((), "MESSAGE", "bob@partner.example", True),
    Case((), "MESSAGE", f"ysam@{DOMAIN}", True),
    Case(("partner.example",), "MESSAGE", "bob@partner.example", True),
    Case(("partner.example",), "MESSAGE", "bob@Partner.Example", True),
    Case(("partner.example",), "MESSAGE", "bob@other.example", False),
    Case(("partner.example",), "MESSAGE", f"ysam@{DOMAIN}", False),
    Case(("partner.example",), "SUBSCRIBE", "bob@partner.example", True),
    Case(("partner.example",), "SUBSCRIBE", "bob@other.example", False),
    Case(("partner.example",), "INVITE", "bob@other.example", False),
    Case(("partner.example",), "OPTIONS", "bob@partner.example", True),
    Case(("partner.example",), "OPTIONS", "bob@other.example", False),
    Case((DOMAIN,), "MESSAGE", f"ysam@{DOMAIN}", True),
    Case((DOMAIN,), "MESSAGE", "bob@partner.example", False),
    Case((DOMAIN, "partner.example"), "MESSAGE", "bob@partner.example", True),
]


@pytest.mark.parametrize("case", CASES, ids=lambda one: f"{one.method} {one.sender} for {one.domains}")
async def test_a_peer_names_senders_of_its_domains(border: Border, case: Case) -> None:
    await border.trust("192.0.2.2", *case.domains)
    body, kind = (b"hello", "text/plain") if case.method == "MESSAGE" else (b"", "")
    with capture_logs() as log:
        answer = await border.answer(case.method, case.sender, body, kind)
    refusals = [one for one in log if one["event"] == "sip_peer_refused"]
    if case.is_taken:
        assert answer.status in (200, 202) and not refusals and border.refused == 0
        return
    domain = case.sender.partition("@")[2]
    assert answer.status == 403 and border.refused == 1
    assert f"may not speak for people of {domain}" in (answer.headers.get("warning") or "")
    (refusal,) = refusals
    assert refusal["reason"].endswith(f"only, not of {domain}.")
    assert refusal["cure"].endswith(f"--for {','.join((*case.domains, domain))}")


async def test_all_entries_that_match_count(border: Border) -> None:
    """By address for one organisation, by name for another: the DNS is asked only when it matters."""
    await border.trust("192.0.2.2", "partner.example")
    await border.trust(NAME, "other.example", kind="fqdn")
    assert (await border.answer("MESSAGE", "bob@partner.example", b"hello", "text/plain")).status == 200
    assert border.looked_up == []
    assert (await border.answer("MESSAGE", "bob@other.example", b"hello", "text/plain")).status == 200
    assert border.looked_up == ["192.0.2.2"]
    assert (await border.answer("MESSAGE", f"ysam@{DOMAIN}", b"hello", "text/plain")).status == 403


async def test_a_dialog_goes_on_when_its_peer_is_limited(border: Border) -> None:
    """What it speaks for was decided when it began; no other peer knows its tags."""
    await border.trust("192.0.2.2")
    theirs = border.rig.theirs
    theirs.subscribe(ANN, sender="bob@partner.example", call_id="watch")
    await border.rig.settle()
    await border.rig.place.database.write(acl.delete, 1)
    await border.trust("192.0.2.2", "other.example")
    key = theirs.subscribe(ANN, sender="bob@partner.example", call_id="watch")
    await border.rig.settle()
    answer = theirs.responses[key]
    assert isinstance(answer, Response) and answer.status == 200


@pytest.mark.parametrize(
    ("gateway", "status"), [("", 403), ("192.0.2.9", 403), ("192.0.2.2", 200), (NAME, 200)]
)
async def test_only_presence_gateways_publish(border: Border, gateway: str, status: int) -> None:
    await border.trust("192.0.2.2", "other.example")  # for whom it speaks is nothing to phones
    if gateway:
        await border.list_gateway(gateway)
    with capture_logs() as log:
        answer = await border.publish()
    assert answer.status == status
    person = border.rig.place.context.homes.find(ANN)
    assert person is not None
    state = composed_of(border.rig.place.context, person).state
    if status == 200:
        assert state is not State.AVAILABLE and border.refused == 0
        return
    assert state is State.AVAILABLE and border.refused == 1
    (refusal,) = [one for one in log if one["event"] == "sip_peer_refused"]
    assert "no presence gateway" in refusal["reason"]
    assert refusal["cure"] == "If it is a phone system: ubiety gateway add 192.0.2.2"


async def test_a_gateway_that_is_not_trusted_may_not_publish(border: Border) -> None:
    await border.list_gateway("192.0.2.2")
    answer = await border.publish()
    assert answer.status == 403 and "access control list" in (answer.headers.get("warning") or "")
