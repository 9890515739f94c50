"""Where an answer goes, and what every answer must have (RFC 3261 §8.2.6, §18.2; RFC 3581)."""

from hashlib import blake2s

from ubiety.sip.headers import Headers, Via
from ubiety.sip.message import Request, Response, make_response
from ubiety.sip.outputs import DEFAULT_PORTS, Hop, Peer
from ubiety.sip.syntax import split_list


def stamped(request: Request, peer: Peer) -> Request:
    """Return the request with its topmost Via saying where it came from (RFC 3261 §18.2.1, RFC 3581 §4)."""
    via = request.via
    wants_port = via.has("rport")
    if via.host.strip("[]").lower() == peer.address.lower() and not wants_port and not via.has("received"):
        return request
    via = via.with_param("received", peer.address)
    if wants_port:
        via = via.with_param("rport", str(peer.port))
    return request.replace(headers=_with_top_via(request.headers, via))


def _with_top_via(headers: Headers, via: Via) -> Headers:
    first = headers.all("via")[0]
    rest = split_list(first)[1:]
    items = list(headers)
    place = next(i for i, (_, value) in enumerate(items) if value == first)
    items[place] = (items[place][0], ", ".join([str(via), *rest]))
    return Headers(items)


def route_of_answers(request: Request, peer: Peer) -> tuple[Hop, int | None]:
    """Return where the answers to a stamped request go if its flow is gone, and the flow that they go over.

    They only ever go to the address that the request came from: `maddr` (RFC 3261 §18.2.2) is not followed,
    for with it a stranger could aim our answers at somebody else.
    """
    via = request.via
    port = via.port or DEFAULT_PORTS.get(peer.transport, 5060)
    if peer.transport != "udp":
        name = peer.names[0] if peer.names else via.host
        return Hop(peer.transport, peer.address, port, name if peer.transport == "tls" else ""), peer.flow
    if via.has("rport"):
        port = peer.port
    return Hop("udp", peer.address, port), peer.flow if port == peer.port else None


def completed(response: Response, request: Request, tag: str) -> Response:
    """Return the answer with the Vias of its request, and with a tag in To where one must be."""
    vias = request.headers.all("via")
    headers = response.headers
    if headers.all("via") != vias:
        headers = headers.without("via")
        for via in reversed(vias):
            headers = headers.first("Via", via)
    if response.status > 100 and response.to.tag is None:
        headers = headers.with_("To", str(response.to.with_param("tag", tag)))
    return response if headers is response.headers else response.replace(headers=headers)


def stateless_answer(request: Request, status: int, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """Return an answer that is kept nowhere; its tag is the same each time (RFC 3261 §8.2.7)."""
    seen = f"{request.call_id}\n{request.via.branch}\n{request.cseq}\n{request.from_.tag}"
    tag = blake2s(seen.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return make_response(request, status, to_tag=tag, headers=headers).to_bytes()
