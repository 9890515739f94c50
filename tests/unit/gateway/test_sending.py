"""Requests are tried at one hop after the other, and their end is told once."""

from collections.abc import Iterator, Sequence

import pytest

from ubiety.conditions import StanzaError
from ubiety.gateway.addresses import NoAddress, jid_of, sip_of
from ubiety.gateway.sending import MAX_HOPS, Sender, hops_of, next_hop, retry_after_of
from ubiety.jid import Jid, parse
from ubiety.sip.dialog import Dialog
from ubiety.sip.message import Request, Response, make_request, make_response
from ubiety.sip.outputs import Cause, Hop
from ubiety.sip.uri import parse_uri

ANN, YSAM = parse("ann@example.org"), parse("ysam@example.org")
REQUEST = make_request(
    "MESSAGE", "sip:b@example.org", "<sip:a@example.org>;tag=1", "<sip:b@example.org>", "c", 1
)
HOPS = [Hop("tls", f"fe{number}.example.org", 5061, f"fe{number}.example.org") for number in range(1, 4)]


class Net:
    """A stack and the ways, both of which only take notes."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, Hop]] = []
        self.cancelled: list[int] = []
        self.health: list[tuple[str, object]] = []
        self.routes: Sequence[Hop] = HOPS

    def send(self, request: Request, hop: Hop) -> int:
        self.sent.append((len(self.sent) + 1, hop))
        return len(self.sent)

    def ack(self, request: Request, hop: Hop) -> None: ...

    def respond(self, key: int, response: Response) -> None: ...

    def cancel(self, key: int) -> None:
        self.cancelled.append(key)

    def hops(self, sender: Jid, recipient: Jid) -> Sequence[Hop]:
        if not self.routes:
            raise StanzaError("remote-server-not-found")
        return self.routes

    def contact(self, transport: str) -> str:
        return f"<sip:imp.example.org:5061;transport={transport}>"

    def is_microsoft(self, address: Jid) -> bool:
        return True

    def answered(self, hop: Hop, status: int, retry_after: float | None) -> None:
        self.health.append((hop.host, status))

    def failed(self, hop: Hop, reason: str) -> None:
        self.health.append((hop.host, reason))


def answer(status: int, *headers: tuple[str, str]) -> Response:
    return make_response(REQUEST, status, headers=headers)


def test_the_first_that_serves() -> None:
    net, ends = Net(), list[Response | None]()
    sender = Sender(net, net)
    sender.send(REQUEST, HOPS, ends.append)
    assert sender.failed(1, Cause.TRANSPORT)
    assert sender.response_received(2, answer(503, ("Retry-After", "30")))
    assert sender.response_received(3, answer(100))
    assert not ends
    assert sender.response_received(3, answer(202))
    assert [end.status for end in ends if end] == [202]
    assert [hop for _, hop in net.sent] == HOPS
    assert net.health == [
        ("fe1.example.org", "transport"),
        ("fe2.example.org", 503),
        ("fe3.example.org", 202),
    ]
    assert len(sender) == 0
    assert not sender.response_received(3, answer(200))
    assert not sender.failed(1, Cause.TIMEOUT)


def test_when_none_serves_the_last_answer_counts() -> None:
    net, ends = Net(), list[Response | None]()
    sender = Sender(net, net)
    sender.send(REQUEST, HOPS[:2], ends.append)
    sender.response_received(1, answer(503))
    sender.failed(2, Cause.TIMEOUT)
    assert [end.status for end in ends if end] == [503]
    sender.send(REQUEST, HOPS[:1], ends.append)
    sender.failed(3, Cause.TIMEOUT)
    assert ends[1] is None


def test_a_refusal_is_an_answer() -> None:
    net, ends = Net(), list[Response | None]()
    sender = Sender(net, net)
    sender.send(REQUEST, HOPS, ends.append)
    sender.response_received(1, answer(486))
    assert [end.status for end in ends if end] == [486]
    assert len(net.sent) == 1


def test_overload_here_is_nobodys_fault() -> None:
    net, ends = Net(), list[Response | None]()
    sender = Sender(net, net)
    sender.send(REQUEST, HOPS, ends.append)
    sender.failed(1, Cause.OVERLOAD)
    assert (ends, net.health, len(net.sent)) == ([None], [], 1)


def test_cancelling_tries_no_further() -> None:
    net, ends, told = Net(), list[Response | None](), list[Response]()
    sender = Sender(net, net)
    sending = sender.send(REQUEST, HOPS, ends.append, told.append)
    sender.response_received(1, answer(180))
    sender.cancel(sending)
    sender.failed(1, Cause.TIMEOUT)
    assert ([one.status for one in told], net.cancelled, ends, len(net.sent)) == ([180], [1], [None], 1)


def test_what_is_forgotten_is_told_nobody() -> None:
    net, ends = Net(), list[Response | None]()
    sender = Sender(net, net)
    sender.forget(sender.send(REQUEST, HOPS, ends.append))
    assert not sender.response_received(1, answer(200))
    assert not ends


def test_not_endlessly_many_are_tried() -> None:
    def endless() -> Iterator[Hop]:
        while True:
            yield HOPS[0]

    net, ends = Net(), list[Response | None]()
    sender = Sender(net, net)
    sender.send(REQUEST, endless(), ends.append)
    for key in range(1, MAX_HOPS + 1):
        assert not ends
        sender.failed(key, Cause.TRANSPORT)
    assert ends == [None]


@pytest.mark.parametrize(
    ("target", "routes", "hop"),
    [
        ("sip:fe.example.org:5061;transport=tls", (), Hop("tls", "fe.example.org", 5061, "fe.example.org")),
        ("sip:fe.example.org:5061", (), Hop("tls", "fe.example.org", 5061, "fe.example.org")),
        ("sip:10.0.0.1;transport=TCP", (), Hop("tcp", "10.0.0.1", 5060)),
        ("sip:10.0.0.1", ("<sip:edge:5070;lr>",), Hop("tcp", "edge", 5070)),
        ("sip:ysam@example.org;opaque=user:epid:AbC;gruu", (), None),
        ("sip:ysam@EXAMPLE.org", (), None),
        ("tel:123", (), None),
    ],
)
def test_where_dialogs_lead(target: str, routes: tuple[str, ...], hop: Hop | None) -> None:
    dialog = Dialog("c", "1", "2", "sip:ann@example.org", "sip:ysam@example.org", target, routes)
    assert next_hop(dialog, "example.org") == hop
    net = Net()
    assert list(hops_of(dialog, net, ANN, YSAM)) == [*([hop] if hop else []), *HOPS]
    net.routes = ()
    with pytest.raises(StanzaError):
        list(hops_of(dialog, net, ANN, YSAM))


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_a_route_without_a_transport_is_that_of_the_dialog(transport: str) -> None:
    """What a proxy writes for UDP names none; what came over TLS is not sent in the clear."""
    target = "sip:ysam@10.0.0.1;transport=tcp"
    routes = ("<sip:10.0.0.2:5070;lr>",)
    dialog = Dialog(
        "c", "1", "2", "sip:ann@x.org", "sip:ysam@example.org", target, routes, transport=transport
    )
    name = "10.0.0.2" if transport == "tls" else ""
    assert next_hop(dialog, "example.org") == Hop(transport, "10.0.0.2", 5070, name)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 30.0), ("18000;duration=3600", 18000.0), ("5 (busy)", 5.0), ("soon", None), ("", None)],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after_of(answer(503, ("Retry-After", text))) == seconds


@pytest.mark.parametrize(
    ("jid", "uri"),
    [
        ("ann@example.org", "sip:ann@example.org"),
        ("ann.able+x@example.org", "sip:ann.able+x@example.org"),
        (r"d\27artagnan@example.org", "sip:d'artagnan@example.org"),
        (r"a\20b@example.org", "sip:a%20b@example.org"),
        (r"a\40b.com@example.org", "sip:a%40b.com@example.org"),
        ("jörg@bücher.example", "sip:j%C3%B6rg@xn--bcher-kva.example"),
        ("example.org", "sip:example.org"),
    ],
)
def test_addresses(jid: str, uri: str) -> None:
    assert sip_of(parse(jid)) == uri
    assert sip_of(parse(jid + "/phone")) == uri
    assert jid_of(parse_uri(uri)) == parse(jid)


def test_addresses_as_others_write_them() -> None:
    assert jid_of(parse_uri("sip:Ann%2EAble@Example.ORG:5061;user=phone")) == parse("ann.able@example.org")
    for uri in ("tel:+123", "sip:a%00b@example.org"):
        with pytest.raises(NoAddress):
            jid_of(parse_uri(uri))
