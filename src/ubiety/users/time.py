"""Entity time (XEP-0202): the server's clock, in UTC."""

from ubiety.users.disco import Feature
from ubiety.users.iq import Answer, Asked, Handler, Request
from ubiety.users.stamps import format_stamp
from ubiety.xmpp import ns


def time() -> Feature:
    """The server tells the time."""
    return Feature((Handler(Asked.HOST, "get", ns.TIME, "time", _time),), server=(ns.TIME,))


def _time(request: Request) -> Answer:
    utc = format_stamp(request.context.clock.now())
    return f"<time xmlns='{ns.TIME}'><tzo>+00:00</tzo><utc>{utc}</utc></time>".encode()
