"""What a node changes in a request that it passes on to another (RFC 3261 §16.3, §16.6)."""

from ubiety.sip.message import Request

MAX_FORWARDS = 70


def passed_on(request: Request) -> Request | None:
    """Return the request with one hop less to go; None if it has none left: answer 483 (RFC 3261 §16.3).

    The agent puts our Via on top of the others, and `Agent.respond` takes the other side's answer as it is.
    """
    left = MAX_FORWARDS + 1 if request.max_forwards is None else request.max_forwards
    if left <= 0:
        return None
    return request.replace(headers=request.headers.with_("Max-Forwards", str(left - 1)))
