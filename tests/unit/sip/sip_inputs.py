"""Bytes that SIP peers might send: ordinary ones, attacks, mutations of both, and what must hold for all."""

import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from ubiety.sip.framing import Item, Malformed, StreamFraming
from ubiety.sip.message import Request, Response

TORTURE = [
    path.read_bytes() for path in sorted((Path(__file__).parents[2] / "data" / "rfc4475").glob("*.dat"))
]

SUBSCRIBE = (
    b"SUBSCRIBE sip:bob@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/TLS 192.0.2.1:5061;branch=z9hG4bK5C7D0A11.4F2;branched=FALSE\r\n"
    b"Via: SIP/2.0/TLS 192.0.2.9:2103;ms-received-port=2103;ms-received-cid=3D0200\r\n"
    b"Max-Forwards: 69\r\n"
    b'From: "Alice Example" <sip:alice@example.com>;tag=6b1c8f1d0f;epid=3f1e9a7b21\r\n'
    b"To: <sip:bob@example.com>\r\n"
    b"Call-ID: 8bd0c5a2b6f74f2d9c6f4a3a9d3ac0f1\r\n"
    b"CSeq: 1 SUBSCRIBE\r\n"
    b"Contact: <sip:alice@example.com;opaque=user:epid:3A_k3K1e5VmC5Yh7kA8iCgAA;gruu>\r\n"
    b"User-Agent: UCCAPI/4.0.7577.0 OC/4.0.7577.0 (Microsoft Lync 2010)\r\n"
    b"Event: presence\r\n"
    b"Accept: application/msrtc-event-categories+xml, application/xpidf+xml, application/pidf+xml\r\n"
    b"Supported: ms-benotify, ms-piggyback-first-notify\r\n"
    b"Expires: 6300\r\n"
    b"Content-Length: 0\r\n"
    b"\r\n"
)
MESSAGE = (
    b"MESSAGE sip:alice@example.com;opaque=user:epid:3A_k3K1e5VmC5Yh7kA8iCgAA;gruu SIP/2.0\r\n"
    b"Via: SIP/2.0/TLS 192.0.2.7:5061;branch=z9hG4bKf00d;rport\r\n"
    b"Max-Forwards: 70\r\n"
    b"From: <sip:bob@example.com>;tag=9a\r\n"
    b'To: "Alice Example" <sip:alice@example.com>;tag=6b1c8f1d0f;epid=3f1e9a7b21\r\n'
    b"Call-ID: c0ffee\r\n"
    b"CSeq: 4 MESSAGE\r\n"
    b"Content-Type: text/plain; charset=UTF-8\r\n"
    b"Content-Length: 34\r\n"
    b"\r\n"
    b"Shall we meet at ten? \xe2\x98\x95 I bring\n"
)
_PIDF = (
    b"<?xml version='1.0' encoding='UTF-8'?><presence xmlns='urn:ietf:params:xml:ns:pidf' "
    b"xmlns:ep='urn:ietf:params:xml:ns:pidf:status:rpid-status' entity='sip:bob@example.com'><tuple id='0'>"
    b"<status><basic>open</basic><ep:activities><ep:activity>away</ep:activity></ep:activities></status>"
    b"</tuple></presence>"
)
NOTIFY = (
    b"NOTIFY sip:alice@example.com;opaque=user:epid:3A_k3K1e5VmC5Yh7kA8iCgAA;gruu SIP/2.0\r\n"
    b"Via: SIP/2.0/TLS 192.0.2.7:5061;branch=z9hG4bKb33f\r\n"
    b"Max-Forwards: 70\r\n"
    b"Route: <sip:pool.example.com:5061;transport=tls;lr;ms-key-info=AAAA>\r\n"
    b"From: <sip:bob@example.com>;tag=77\r\n"
    b'To: "Alice Example" <sip:alice@example.com>;tag=6b1c8f1d0f;epid=3f1e9a7b21\r\n'
    b"Call-ID: 8bd0c5a2b6f74f2d9c6f4a3a9d3ac0f1\r\n"
    b"CSeq: 2 NOTIFY\r\n"
    b"Contact: <sip:group.example.com:5061;transport=tls>\r\n"
    b"Event: presence\r\n"
    b"Subscription-State: active;expires=6300\r\n"
    b"Content-Type: application/pidf+xml\r\n"
    b"Content-Length: " + str(len(_PIDF)).encode() + b"\r\n\r\n" + _PIDF
)
OK = (
    b"SIP/2.0 200 OK\r\n"
    b"Via: SIP/2.0/TLS 192.0.2.7:5061;branch=z9hG4bKb33f;received=2001:db8::7;rport=4000\r\n"
    b"From: <sip:bob@example.com>;tag=77\r\n"
    b"To: <sip:alice@example.com>;tag=6b1c8f1d0f\r\n"
    b"Call-ID: 8bd0c5a2b6f74f2d9c6f4a3a9d3ac0f1\r\n"
    b"CSeq: 2 NOTIFY\r\n"
    b"Content-Length: 0\r\n"
    b"\r\n"
)
ORDINARY = [SUBSCRIBE, MESSAGE, NOTIFY, OK]

_HEAD = (
    b"OPTIONS sip:a@example.com SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:b@h>;tag=1\r\n"
)
_REST = b"Call-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n"

# Each is far too long, unbalanced, or meant to be read as something else.
ATTACKS = [
    _HEAD + b"To: " + b'"\\' * 8000 + b"\r\n" + _REST + b"\r\n",
    _HEAD + b'To: "' + b"\\" * 16_001 + b'" <sip:a@h>\r\n' + _REST + b"\r\n",
    _HEAD + b"To: <sip:a@h>" + b";x" * 8000 + b"\r\n" + _REST + b"\r\n",
    _HEAD + b"To: <sip:a@h>" + b" ; x = y" * 3000 + b"\r\n" + _REST + b"\r\n",
    _HEAD + b"To: <sip:a@h" + b";x=" * 8000 + b">\r\n" + _REST + b"\r\n",
    _HEAD + b"To: <sip:" + b"a" * 20_000 + b"\r\n" + _REST + b"\r\n",
    _HEAD + b"To: " + b"a " * 10_000 + b"\r\n" + _REST + b"\r\n",
    _HEAD + b"To: " + b"<" * 20_000 + b"\r\n" + _REST + b"\r\n",
    _HEAD + b"To: sip:" + b"-" * 20_000 + b"\r\n" + _REST + b"\r\n",
    _HEAD + b"To: sip:" + b"%41" * 7000 + b"@h\r\n" + _REST + b"\r\n",
    _HEAD + b"To: <sip:a@h>\r\nVia: " + b"SIP/2.0/UDP h," * 2000 + b"\r\n" + _REST + b"\r\n",
    _HEAD + b"To: <sip:a@h>\r\nVia: " + b"," * 20_000 + b"\r\n" + _REST + b"\r\n",
    _HEAD + b"To: <sip:a@h>\r\nVia: SIP" + b" " * 20_000 + b"\r\n" + _REST + b"\r\n",
    _HEAD + b"To: <sip:a@h>\r\nContact: " + b'",' * 10_000 + b"\r\n" + _REST + b"\r\n",
    _HEAD + b"To: <sip:a@h>\r\n" + b"x: y\r\n" * 4000 + _REST + b"\r\n",
    _HEAD + b"To: <sip:a@h>\r\nX:" + b"\r\n " * 10_000 + b"y\r\n" + _REST + b"\r\n",
    _HEAD + b"To: <sip:a@h>\r\nX:" + b" " * 30_000 + b"\r\n" + _REST + b"\r\n",
    _HEAD + b"To: <sip:a@h>\r\nX: a\nTo: <sip:evil@h>\r\n" + _REST + b"\r\n",
    _HEAD + b"To: <sip:a@h>\r\nX: a\rTo: <sip:evil@h>\r\n" + _REST + b"\r\n",
    _HEAD + b"To: <sip:a@h>\r\nExpires: " + b"9" * 20_000 + b"\r\n" + _REST + b"\r\n",
    _HEAD + b"To: <sip:a@h>\r\nMax-Forwards: \xd9\xa1\r\n" + _REST + b"\r\n",
    _HEAD + b"To: <sip:a@h>\r\n" + _REST + b"Content-Length: 5\r\n\r\nHELLO",
    _HEAD + b"To: <sip:a@h>\r\n" + _REST.replace(b"0\r\n", b"4294967297\r\n") + b"\r\n",
    _HEAD + b"To: <sip:a@h>\r\n" + _REST.replace(b"0\r\n", b"+5\r\n") + b"\r\nHELLO",
    _HEAD + b"To: <sip:a@h>\r\n" + _REST.replace(b"0\r\n", b"5, 5\r\n") + b"\r\nHELLO",
    b"\r\n" * 3000,
    b"\r" * 100,
    b"\n\n\n\n",
    b"\0" * 100,
    b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100 + b"\r\n\r\n",
    b"x" * 40_000,
    b"SIP/2.0 200" + b" " * 30_000 + b"\r\n\r\n",
    b"SIP/2.0 200 OK\r\n\r\n",
    b"OPTIONS sip:a@h SIP/2.0\r\n\r\n",
]

TOKENS = [
    *b"< > ; : , = \" ' \\ @ % ? & [ ] ( ) / * \0 \r \n \t \xff \xc3 1 a".split(b" "),
    *b'sip: sips: tel: SIP/2.0 ;tag= ;lr ;branch=z9hG4bK %00 %zz \\" "" <> ;; ,, :: [::1] :99999 *'.split(
        b" "
    ),
    *b"Via: To: From: Call-ID: CSeq: l: Content-Length: m: Contact: o: Expires: c: Max-Forwards:".split(b" "),
    *b"INVITE ACK CANCEL 200 0 99 -1 4294967296 99999999999999999999 \xe2\x98\x95".split(b" "),
    b"\r\n",
    b"\r\n\r\n",
    b"\r\n ",
    b"\r\n\t",
    b" ",
    b"   ",
    b"\r\nContent-Length: 3\r\n",
    b"\r\nContent-Length: 0\r\n\r\n",
]


def mutations(seed: int) -> Iterator[bytes]:
    """Yield changed and joined messages without end, the same ones for the same seed."""
    rng = random.Random(seed)
    # Long ones are tried once each in a test of their own.
    bases = ORDINARY * 8 + TORTURE + [attack for attack in ATTACKS if len(attack) < 5000]
    while True:
        parts = [_mutated(rng.choice(bases), rng) for _ in range(rng.choice((1, 1, 2, 3)))]
        yield b"".join(parts)


def _mutated(data: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.choice((0, 1, 1, 2, 5, 15))):
        place = rng.randrange(len(data) + 1)
        end = min(len(data), place + rng.choice((0, 0, 1, 1, 3, 20)))
        new = rng.choice((rng.choice(TOKENS), bytes([rng.randrange(256)]), b"", data[place:end] * 2))
        data = data[:place] + new + data[end:]
    return data


def receive_pieces(data: bytes, places: list[int]) -> list[Item]:
    """Return the items of a new stream that gets the bytes cut at these places."""
    framing = StreamFraming()
    ends = sorted({0, len(data), *(place for place in places if 0 <= place <= len(data))})
    return [item for start, end in pairwise(ends) for item in framing.receive(data[start:end])]


def view(items: list[Item]) -> list[object]:
    """Return the items in a form that can be compared."""
    return [
        (item.error.text, item.error.status, item.error.method, item.error.head, item.answer, item.is_fatal)
        if isinstance(item, Malformed)
        else item
        for item in items
    ]


def ask_everything(message: Request | Response) -> list[object]:
    """Return all that a message says in typed form."""
    return [
        *(
            [message.method, message.target]
            if isinstance(message, Request)
            else [message.status, message.reason]
        ),
        message.via,
        message.vias,
        message.from_,
        message.to,
        message.call_id,
        message.cseq,
        message.max_forwards,
        message.contacts,
        message.expires,
        message.content_type,
        message.content_params,
        message.event,
        message.body,
    ]
