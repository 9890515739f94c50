"""Last activity (XEP-0012): how long the server runs, when a person was last signed in."""

from ubiety.element import escape_text
from ubiety.store import users
from ubiety.users import farewell
from ubiety.users.disco import Feature
from ubiety.users.iq import Answer, Asked, Handler, Request
from ubiety.users.permissions import require_watcher
from ubiety.xmpp import ns


def last(started: float) -> Feature:
    """The server says since when it runs (``started``), accounts when somebody was last there."""

    def uptime(request: Request) -> Answer:
        return _seconds(request.context.clock.now() - started)

    return Feature(
        (
            Handler(Asked.HOST, "get", ns.LAST, "query", uptime),
            Handler(Asked.OWN, "get", ns.LAST, "query", _last_seen),
            Handler(Asked.OTHER, "get", ns.LAST, "query", _last_seen),
        ),
        server=(ns.LAST,),
        account=(ns.LAST,),
    )


async def _last_seen(request: Request) -> Answer:
    # XEP-0012 §6: only for those who may see the person's presence.
    user = require_watcher(request)
    if user.sessions:
        return _seconds(0)
    row = await request.context.database.read(users.load, user.person.user_id)
    now = request.context.clock.now()
    if row is None:
        return _seconds(0)
    # Somebody who left a moment ago may not be written down yet.
    moments = [row.last_seen or 0.0, row.last_login or 0.0, user.left_at]
    return _seconds(now - (max(moments) or row.created), farewell.words(user.left_with))


def _seconds(seconds: float, status: str = "") -> bytes:
    start = f"<query xmlns='{ns.LAST}' seconds='{max(0, int(seconds))}'"
    return (f"{start}>{escape_text(status)}</query>" if status else f"{start}/>").encode()
