"""The dialogs of simulated clients and of the presence server (RFC 3261 §12), kept as small as they go."""

from dataclasses import dataclass, field

from ubiety.sip.headers import Headers
from ubiety.sip.message import Request, Response
from ubiety.sip.uri import NameAddr, SipUri


def address_of(name: NameAddr) -> str:
    """The bare address in a From or To, in small letters."""
    return (name.uri.aor if isinstance(name.uri, SipUri) else str(name.uri)).lower()


@dataclass(slots=True)
class Dialog:
    """One side's view. `local` and `remote` are texts of From and To with their tags."""

    call_id: str
    local: str
    remote: str
    target: str
    routes: list[str] = field(default_factory=list)
    local_cseq: int = 0
    remote_cseq: int = -1

    @property
    def local_tag(self) -> str:
        """Our tag."""
        return NameAddr.parse(self.local).tag or ""

    @property
    def remote_tag(self) -> str:
        """Their tag."""
        return NameAddr.parse(self.remote).tag or ""

    def request(self, method: str, headers: tuple[tuple[str, str], ...] = (), body: bytes = b"") -> Request:
        """Makes the next request; Via and Max-Forwards come with the sending."""
        if method != "ACK":
            self.local_cseq += 1
        rows = [
            *(("Route", route) for route in self.routes),
            ("From", self.local),
            ("To", self.remote),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self.local_cseq} {method}"),
            ("Max-Forwards", "70"),
            *headers,
        ]
        return Request(method, self.target, Headers(tuple(rows)), body)

    def is_in_order(self, request: Request) -> bool:
        """Whether a request of the other side is newer than the last; notes it if so (RFC 3261 §12.2.2)."""
        if request.cseq.number <= self.remote_cseq:
            return False
        self.remote_cseq = request.cseq.number
        if request.contact is not None:
            self.target = str(request.contact.uri)
        return True


def accepted(request: Request, local_tag: str) -> Dialog:
    """The dialog of a request that we answer (RFC 3261 §12.1.1)."""
    to = request.to if request.to.tag else request.to.with_param("tag", local_tag)
    target = str(request.contact.uri) if request.contact is not None else str(request.from_.uri)
    return Dialog(
        request.call_id,
        str(to),
        str(request.from_),
        target,
        list(request.headers.values("Record-Route")),
        remote_cseq=request.cseq.number,
    )


def opened(request: Request, response: Response | Request) -> Dialog:
    """The dialog of a request of ours, by its 2xx or by the NOTIFY that overtook it (RFC 3261 §12.1.2)."""
    is_answer = isinstance(response, Response)
    remote = response.to if is_answer else response.from_
    routes = list(response.headers.values("Record-Route"))
    return Dialog(
        request.call_id,
        str(request.from_),
        str(remote),
        str(response.contact.uri) if response.contact is not None else request.uri,
        routes[::-1] if is_answer else routes,
        local_cseq=request.cseq.number,
        remote_cseq=-1 if is_answer else response.cseq.number,
    )
