"""Software version (XEP-0092)."""

from ubiety import __version__
from ubiety.users.disco import Feature
from ubiety.users.iq import Answer, Asked, Handler, Request
from ubiety.xmpp import ns


def version() -> Feature:
    """The server says what it is; the operating system is nobody's business."""
    return Feature((Handler(Asked.HOST, "get", ns.VERSION, "query", _version),), server=(ns.VERSION,))


def _version(_request: Request) -> Answer:
    return f"<query xmlns='{ns.VERSION}'><name>Ubiety</name><version>{__version__}</version></query>".encode()
