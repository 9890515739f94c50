"""A dialog as a value: who talks to whom, over which route, with which number next (RFC 3261 §12).

Nothing here sends: `Dialog.request` builds the next request, the agent adds its Via and sends it to the hop
that `Dialog.next_uri` names. A dialog is stored as a record when it is made. A node that takes it over does
not know how many requests were sent since, so it uses `jumped` first: the peer only asks that numbers grow.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ubiety.sip.headers import MAX_CSEQ
from ubiety.sip.message import Message, Request, Response, make_request
from ubiety.sip.syntax import SipSyntaxError
from ubiety.sip.uri import NameAddr, SipUri, Uri, parse_uri

TARGET_REFRESHES = frozenset({"INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER"})
"""Requests whose Contact is where the peer is from now on (RFC 3261 §12.2, RFC 6665 §4.4.1)."""

TRANSPORTS = frozenset({"udp", "tcp", "tls"})
DEFAULT_TRANSPORT = "tcp"

DialogId = tuple[str, str, str]
"""Call-ID, our tag, the peer's tag."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that does not fit the dialog, and what it is answered."""

    status: int
    """481: it is not of this dialog. 500: it is older than what came already (RFC 3261 §12.2.2)."""


@dataclass(frozen=True, slots=True)
class Dialog:
    """What both sides agreed on. Every method returns a new value."""

    call_id: str
    local_tag: str
    remote_tag: str
    """"" for a peer of RFC 2543, which sends none."""
    local_uri: str
    """Our address, without name and tag."""
    remote_uri: str
    """The peer's address, without name and tag."""
    remote_target: str
    """Where the peer is: the URI of its last Contact."""
    route_set: tuple[str, ...] = ()
    """The Route values of our requests, as they were written."""
    local_cseq: int = 0
    """The number of our last request."""
    remote_cseq: int | None = None
    """The number of the peer's last request; None before the first."""
    is_caller: bool = False
    """Whether our request made the dialog."""
    transport: str = DEFAULT_TRANSPORT
    """What it was made over: `udp`, `tcp` or `tls`. It stays there where the peer's URIs name none."""

    @property
    def id(self) -> DialogId:
        """What it is found by; see `id_of`."""
        return (self.call_id, self.local_tag, self.remote_tag)

    @property
    def next_uri(self) -> str:
        """The URI of the hop that requests go to: the first router, or else the peer (RFC 3261 §8.1.2)."""
        return str(NameAddr.parse(self.route_set[0]).uri) if self.route_set else self.remote_target

    @staticmethod
    def from_response(request: Request, response: Response) -> "Dialog":
        """Return the dialog that an answer to our request makes (RFC 3261 §12.1.2); raises SipSyntaxError.

        An answer without a Contact leaves the target where the request went.
        """
        contact = response.contact
        return Dialog(
            call_id=request.call_id,
            local_tag=request.from_.tag or "",
            remote_tag=response.to.tag or "",
            local_uri=str(request.from_.uri),
            remote_uri=str(request.to.uri),
            remote_target=_as_target(request.target if contact is None else contact.uri),
            route_set=tuple(str(route) for route in reversed(response.record_routes)),
            local_cseq=request.cseq.number,
            is_caller=True,
            transport=_transport_of(response),
        )

    @staticmethod
    def from_request(request: Request, local_tag: str) -> "Dialog":
        """Return the dialog that our answer makes (RFC 3261 §12.1.1); raises SipSyntaxError."""
        contact = request.contact
        return Dialog(
            call_id=request.call_id,
            local_tag=local_tag,
            remote_tag=request.from_.tag or "",
            local_uri=str(request.to.uri),
            remote_uri=str(request.from_.uri),
            remote_target=_as_target((request.from_ if contact is None else contact).uri),
            route_set=tuple(str(route) for route in request.record_routes),
            remote_cseq=request.cseq.number,
            transport=_transport_of(request),
        )

    @staticmethod
    def from_notify(notify: Request, subscribe: Request) -> "Dialog":
        """Return the dialog of our SUBSCRIBE that its first NOTIFY makes (RFC 6665 §4.4.1)."""
        made = Dialog.from_request(notify, notify.to.tag or "")
        return replace(made, local_cseq=subscribe.cseq.number, is_caller=True)

    def request(
        self,
        method: str,
        *,
        contact: str | NameAddr | None = None,
        headers: Iterable[tuple[str, str]] = (),
        content_type: str = "",
        body: bytes = b"",
        max_forwards: int = 70,
    ) -> tuple[Request, "Dialog"]:
        """Return our next request, without a Via, and the dialog after it (RFC 3261 §12.2.1.1)."""
        number = self.local_cseq + 1
        uri, routes = self._route()
        made = make_request(
            method,
            uri,
            _address(self.local_uri, self.local_tag),
            _address(self.remote_uri, self.remote_tag),
            self.call_id,
            number,
            max_forwards,
            contact,
            (*routes, *headers),
            content_type,
            body,
        )
        return made, replace(self, local_cseq=number)

    def ack(self, invite: Request, *, content_type: str = "", body: bytes = b"") -> Request:
        """Return the ACK for a 2xx to `invite`, without a Via (RFC 3261 §13.2.2.4)."""
        uri, routes = self._route()
        credentials = [
            (name, value)
            for name in ("Authorization", "Proxy-Authorization")
            for value in invite.headers.all(name)
        ]
        return make_request(
            "ACK",
            uri,
            _address(self.local_uri, self.local_tag),
            _address(self.remote_uri, self.remote_tag),
            self.call_id,
            invite.cseq.number,
            headers=(*routes, *credentials),
            content_type=content_type,
            body=body,
        )

    def _route(self) -> tuple[str, list[tuple[str, str]]]:
        """Return the Request-URI and the Route fields of our requests."""
        if not self.route_set:
            return self.remote_target, []
        first = NameAddr.parse(self.route_set[0]).uri
        if isinstance(first, SipUri) and first.has("lr"):
            return self.remote_target, [("Route", route) for route in self.route_set]
        # COMPAT: routers of RFC 2543 are strict: the Request-URI names the router, the last Route the peer.
        routes = (*self.route_set[1:], f"<{self.remote_target}>")
        return _as_target(first), [("Route", route) for route in routes]

    def accepts(self, request: Request) -> "Dialog | Refusal":
        """Return the dialog after a request of the peer, or why it is refused (RFC 3261 §12.2.2)."""
        if (request.call_id, request.to.tag or "", request.from_.tag or "") != self.id:
            return Refusal(481)
        if request.method in ("ACK", "CANCEL"):  # they carry the number of the INVITE
            return self
        number = request.cseq.number
        # The RFC asks this of lower numbers; an equal one in a new transaction is a repetition.
        if self.remote_cseq is not None and number <= self.remote_cseq:
            return Refusal(500)
        dialog = replace(self, remote_cseq=number)
        return dialog._moved(request) if request.method in TARGET_REFRESHES else dialog

    def learned(self, response: Response) -> "Dialog":
        """Return the dialog after an answer to our request: a 2xx may tell where the peer is now."""
        is_refresh = 200 <= response.status < 300 and response.cseq.method in TARGET_REFRESHES
        return self._moved(response) if is_refresh else self

    def _moved(self, message: Message) -> "Dialog":
        """Return the dialog with the peer where its Contact says, unless no request can go there."""
        contact = message.contact
        if contact is None or not isinstance(contact.uri, SipUri):
            return self
        return self.refreshed(_as_target(contact.uri))

    def refreshed(self, target: str) -> "Dialog":
        """Return the dialog with the peer at another place; the route stays (RFC 3261 §12.2)."""
        return self if target == self.remote_target else replace(self, remote_target=target)

    def jumped(self, by: int = 1000) -> "Dialog":
        """Return the dialog as a node takes it over that may have missed our last requests."""
        return replace(self, local_cseq=min(self.local_cseq + by, MAX_CSEQ - 1))

    def to_record(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        record = {field.name: getattr(self, field.name) for field in fields(self)}
        return record | {"route_set": list(self.route_set)}

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> "Dialog":
        """Return the dialog of a record; raises ValueError for anything that `to_record` did not make."""
        if set(record) != {field.name for field in fields(Dialog)}:
            raise ValueError("not the fields of a dialog")
        if not isinstance(record["route_set"], list) or not isinstance(record["is_caller"], bool):
            raise ValueError("a field of the dialog is of another kind")
        dialog = Dialog(**{**record, "route_set": tuple(record["route_set"])})
        addresses = (dialog.local_uri, dialog.remote_uri, dialog.remote_target)
        texts = (*dialog.id, *addresses, *dialog.route_set, dialog.transport)
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a field of the dialog is not a text")
        if not _is_number(dialog.local_cseq) or not (
            dialog.remote_cseq is None or _is_number(dialog.remote_cseq)
        ):
            raise ValueError("a CSeq of the dialog is not a number")
        for uri in (dialog.local_uri, dialog.remote_uri):
            parse_uri(uri)
        SipUri.parse(dialog.remote_target)
        for route in dialog.route_set:
            NameAddr.parse(route)
        return dialog


def id_of(request: Request) -> DialogId:
    """Return the id of the dialog that a received request is for; our tag is "" outside of dialogs."""
    return (request.call_id, request.to.tag or "", request.from_.tag or "")


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_CSEQ


def _address(uri: str, tag: str) -> str:
    return f"<{uri}>;tag={tag}" if tag else f"<{uri}>"


def _transport_of(message: Message) -> str:
    """Return what a message came over: the top Via says it, of a request the peer's, of an answer ours."""
    if message.headers.find("via") is None:  # one that never travelled
        return DEFAULT_TRANSPORT
    transport = message.via.transport.lower()
    return transport if transport in TRANSPORTS else DEFAULT_TRANSPORT


def _as_target(uri: Uri) -> str:
    """Return a URI without the parts that a Request-URI may not have (RFC 3261 §19.1.1)."""
    if not isinstance(uri, SipUri):
        raise SipSyntaxError("no request can be sent to an address that is not a SIP address")
    params = tuple(param for param in uri.params if param[0].lower() != "method")
    if params == uri.params and not uri.headers:
        return str(uri)
    return str(uri.replace(params=params, headers=""))
