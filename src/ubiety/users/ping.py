"""XMPP ping (XEP-0199): the server and accounts answer."""

from ubiety.users.iq import Answer, Asked, Handler, Request
from ubiety.xmpp import ns


def ping_handlers() -> list[Handler]:
    """The queries answered here."""
    return [Handler(asked, "get", ns.PING, "ping", _pong) for asked in (Asked.OWN, Asked.HOST)]


def _pong(_request: Request) -> Answer:
    return None
