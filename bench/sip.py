"""What parsing and printing SIP messages costs: `python -m bench.sip`.

Three messages as a Microsoft server sends them, and their answers. Figures are microseconds of CPU for
one message, the median of several rounds in this process, and how many a second one core would do.

* cut: the message in a stream is found, its head cut into lines (nothing typed is read)
* received: what the server does with each: cut, then every value that must be there is read and checked
* printed: a request of that kind made anew, with its Via, and printed
* answered: the 200 to it made and printed
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

from ubiety.sip.framing import StreamFraming
from ubiety.sip.headers import Via
from ubiety.sip.message import Request, make_request, make_response, parse_message
from ubiety.sip.uri import NameAddr

_VIA = (
    "Via: SIP/2.0/TLS 192.0.2.20:5061;branch=z9hG4bK5C7D0A11.4F2E81A5{number:08X};branched=FALSE\r\n"
    "Via: SIP/2.0/TLS 192.0.2.91:52103;ms-received-port=52103;ms-received-cid=3D0200\r\n"
)
_ALICE = '"Alice Example" <sip:alice{person}@example.com>;tag=6b1c8f1d0f;epid=3f1e9a7b21'
_GRUU = "<sip:alice{person}@example.com;opaque=user:epid:3A_k3K1e5VmC5Yh7kA8iCgAA;gruu>"
_SUBSCRIBE = (
    "SUBSCRIBE sip:bob{person}@example.com SIP/2.0\r\n" + _VIA + "Max-Forwards: 69\r\n"
    f"From: {_ALICE}\r\n"
    "To: <sip:bob{person}@example.com>\r\n"
    "Call-ID: 8bd0c5a2b6f74f2d9c6f4a3a{number:08x}\r\n"
    "CSeq: 1 SUBSCRIBE\r\n"
    f"Contact: {_GRUU}\r\n"
    "User-Agent: UCCAPI/4.0.7577.0 OC/4.0.7577.0 (Microsoft Lync 2010)\r\n"
    "Event: presence\r\n"
    "Accept: application/msrtc-event-categories+xml, text/xml+msrtc.pidf, application/pidf+xml\r\n"
    "Supported: com.microsoft.autoextend, ms-benotify, ms-piggyback-first-notify\r\n"
    "Expires: 6300\r\n"
    "Content-Length: 0\r\n\r\n"
)
_MESSAGE = (
    "MESSAGE sip:bob{person}@192.0.2.20:5061;transport=tls SIP/2.0\r\n" + _VIA + "Max-Forwards: 69\r\n"
    f"From: {_ALICE}\r\n"
    "To: <sip:bob{person}@example.com>;tag=77d1e0\r\n"
    "Call-ID: c0ffee{number:08x}\r\n"
    "CSeq: 4 MESSAGE\r\n"
    f"Contact: {_GRUU}\r\n"
    "User-Agent: UCCAPI/4.0.7577.0 OC/4.0.7577.0 (Microsoft Lync 2010)\r\n"
    "Content-Type: text/plain; charset=UTF-8;msgr=WAAtAE0ATQBTAC0ASQBNAC0ARgBvAHIAbQBhAHQAOgA\r\n"
    "Content-Length: 34\r\n\r\n"
    "Shall we meet at ten, in the lobby"
)
_PIDF = (
    "<?xml version='1.0' encoding='UTF-8'?><presence xmlns='urn:ietf:params:xml:ns:pidf' "
    "xmlns:ep='urn:ietf:params:xml:ns:pidf:status:rpid-status' entity='sip:bob@example.com'><tuple id='0'>"
    "<status><basic>open</basic><ep:activities><ep:activity>away</ep:activity></ep:activities></status>"
    "</tuple></presence>"
)
_NOTIFY = (
    "NOTIFY sip:group.example.com:5061;transport=tls SIP/2.0\r\n" + _VIA + "Max-Forwards: 69\r\n"
    f"From: {_ALICE}\r\n"
    "To: <sip:bob{person}@example.com>;tag=77d1e0\r\n"
    "Call-ID: 8bd0c5a2b6f74f2d9c6f4a3a{number:08x}\r\n"
    "CSeq: 2 NOTIFY\r\n"
    f"Contact: {_GRUU}\r\n"
    "Event: presence\r\n"
    "Subscription-State: active;expires=6300\r\n"
    "Content-Type: application/pidf+xml\r\n"
    f"Content-Length: {len(_PIDF)}\r\n\r\n{_PIDF}"
)
_KINDS = {"SUBSCRIBE": _SUBSCRIBE, "MESSAGE": _MESSAGE, "NOTIFY": _NOTIFY}
_BRANCH = (("branch", "z9hG4bK5C7D0A114F2E81A5"),)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.sip", description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=5000, help="messages in a round")
    parser.add_argument("--people", type=int, default=1000, help="among how many people")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(
        f"{'':12}{'bytes':>7}{'cut':>9}{'received':>9}{'printed':>9}{'answered':>9}   received/s  printed/s"
    )
    for kind, text in _KINDS.items():
        data = [
            text.replace("{person}", str(number % options.people))
            .replace("{number:08X}", f"{number:08X}")
            .replace("{number:08x}", f"{number:08x}")
            .encode()
            for number in range(options.messages)
        ]
        costs = [_cost(run, options.messages, options.rounds) for run in _runs(data)]
        row = "".join(f"{cost * 1e6:9.1f}" for cost in costs)
        print(f"{kind:12}{len(data[0]):7}{row}{1 / costs[1]:13,.0f}{1 / costs[2]:11,.0f}")


def _runs(data: list[bytes]) -> list[Callable[[], None]]:
    requests = [message for part in data if isinstance(message := parse_message(part), Request)]

    def cut() -> None:
        for part in data:
            parse_message(part)

    def receive() -> None:
        framing = StreamFraming()
        for part in data:
            if len(framing.receive(part)) != 1:
                raise SystemExit("a message was not read")

    def show() -> None:
        for request in requests:
            _made_like(request).to_bytes()

    def answer() -> None:
        for request in requests:
            make_response(request, 200, to_tag="a1b2c3d4", headers=[("Expires", "6300")]).to_bytes()

    return [cut, receive, show, answer]


def _made_like(request: Request) -> Request:
    made = make_request(
        request.method,
        request.uri,
        request.from_,
        NameAddr("", request.to.uri, (("tag", "77d1e0"),)),
        request.call_id,
        request.cseq.number,
        contact="<sip:group.example.com:5061;transport=tls>",
        headers=[("User-Agent", "Ubiety"), ("Event", "presence"), ("Expires", "6300")],
        content_type=request.content_type,
        body=request.body,
    )
    via = Via("TLS", "group.example.com", 5061, _BRANCH)
    return made.replace(headers=made.headers.first("Via", str(via)))


def _cost(run: Callable[[], None], operations: int, rounds: int) -> float:
    """Seconds of CPU for one operation."""
    samples = []
    for _ in range(rounds):
        began = time.process_time()
        run()
        samples.append((time.process_time() - began) / operations)
    return median(samples)


if __name__ == "__main__":
    main()
