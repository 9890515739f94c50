"""Says which transaction a message belongs to (RFC 3261 §17.1.3, §17.2.3, §8.2.2.2)."""

from ubiety.sip.message import Request, Response

COOKIE = "z9hG4bK"
"""Branches that begin so are unique (RFC 3261 §8.1.1.7)."""

ClientKey = tuple[str, str]
"""Branch and method."""

ServerKey = tuple[str | int | None, ...]

MergeKey = tuple[str, str, int, str]

AckKey = tuple[str, str, str, int]


def client_key(response: Response) -> ClientKey | None:
    """Return which of our requests a response answers; None if its Via is not of our making."""
    branch = response.via.branch
    return (branch, response.cseq.method) if branch else None


def server_key(request: Request) -> ServerKey:
    """Return what a request and its repetitions share; an ACK and a CANCEL have the key of their INVITE."""
    method = "INVITE" if request.method in ("ACK", "CANCEL") else request.method
    via = request.via
    branch = via.branch
    # RFC 4475 §3.2.1 has a branch with nothing behind the cookie: it is no more unique than one without.
    if branch and branch.startswith(COOKIE) and len(branch) > len(COOKIE):
        return (branch, via.host.lower(), via.port, method)
    # COMPAT: RFC 2543 had no unique branches (RFC 3261 §17.2.3).
    to_tag = None if method == "INVITE" else request.to.tag
    return (
        request.uri,
        request.from_.tag,
        to_tag,
        request.call_id,
        request.cseq.number,
        str(via),
        method,
    )


def merge_key(request: Request) -> MergeKey | None:
    """Return what the copies of a request share that came over several ways; None inside of dialogs."""
    if request.to.tag is not None:
        return None
    return (request.from_.tag or "", request.call_id, request.cseq.number, request.method)


def ack_key(message: Request | Response) -> AckKey:
    """Return what a 2xx and its ACK share."""
    return (message.call_id, message.from_.tag or "", message.to.tag or "", message.cseq.number)
