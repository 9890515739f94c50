"""What a person wants kept in their history (XEP-0313 §5)."""

from sqlalchemy import Connection

from ubiety.conditions import StanzaError
from ubiety.element import Element, escape_text
from ubiety.jid import JidError, parse
from ubiety.store import addresses
from ubiety.store import archive_prefs as rows
from ubiety.store.archive_prefs import Prefs
from ubiety.users.iq import Answer, Asked, Handler, Request
from ubiety.xmpp import ns

DEFAULTS = ("always", "never", "roster")
MAX_ENTRIES = 1000

_EVERYTHING = Prefs("always", {}, {})


def prefs_handlers() -> list[Handler]:
    """The queries answered here."""
    return [
        Handler(Asked.OWN, "get", ns.MAM, "prefs", _get),
        Handler(Asked.OWN, "set", ns.MAM, "prefs", _set),
    ]


def _get(request: Request) -> Answer:
    return _render(request.account.archive_prefs or _EVERYTHING)


async def _set(request: Request) -> Answer:
    asked = request.stanza.child(ns.MAM, "prefs")
    default = (asked.get("default") if asked is not None else None) or ""
    if asked is None or default not in DEFAULTS:
        raise StanzaError("bad-request", f"The default is one of {', '.join(DEFAULTS)}.")
    always, never = _people(asked.find("always")), _people(asked.find("never"))
    user = request.account
    stored = await request.context.database.write(_store, user.person.user_id, default, always, never)
    user.archive_prefs = None if stored == _EVERYTHING else stored
    return _render(stored)


def _store(conn: Connection, user_id: int, default: str, always: list[str], never: list[str]) -> Prefs:
    ids = addresses.intern_many(conn, [*always, *never])
    rows.store(conn, user_id, default, [ids[jid] for jid in always], [ids[jid] for jid in never])
    stored = rows.load(conn, user_id)
    assert stored is not None
    return stored


def _people(entries: Element | None) -> list[str]:
    found = entries.findall("jid") if entries is not None else []
    if len(found) > MAX_ENTRIES:
        raise StanzaError("not-acceptable", f"A list has at most {MAX_ENTRIES} entries.")
    try:
        return list(dict.fromkeys(parse(entry.text.strip()).bare for entry in found))
    except JidError as error:
        raise StanzaError("jid-malformed", error.reason) from None


def _render(prefs: Prefs) -> bytes:
    always, never = (
        "".join(f"<jid>{escape_text(jid)}</jid>" for jid in sorted(entries.values()))
        for entries in (prefs.always, prefs.never)
    )
    head = f"<prefs xmlns='{ns.MAM}' default='{prefs.default_action}'>"
    return f"{head}<always>{always}</always><never>{never}</never></prefs>".encode()
