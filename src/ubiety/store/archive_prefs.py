"""What each person wants kept in the history (XEP-0313 §5)."""

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection

from ubiety.store.sql import Sql

DEFAULT = Sql("SELECT default_action FROM archive_prefs WHERE user_id = :user_id")
ENTRIES = Sql(
    "SELECT e.action, e.address_id, a.jid FROM archive_pref_entries e JOIN addresses a ON a.id = e.address_id"
    " WHERE e.user_id = :user_id ORDER BY e.address_id"
)
PUT = Sql(
    "INSERT INTO archive_prefs (user_id, default_action) VALUES (:user_id, :action)"
    " ON CONFLICT (user_id) DO UPDATE SET default_action = excluded.default_action"
)
CLEAR = Sql("DELETE FROM archive_pref_entries WHERE user_id = :user_id")
ADD = Sql(
    "INSERT INTO archive_pref_entries (user_id, address_id, action) VALUES (:user_id, :address_id, :action)"
)


class Prefs(NamedTuple):
    """``default_action`` is always, never or roster; the lists hold address id -> bare JID."""

    default_action: str
    always: dict[int, str]
    never: dict[int, str]


def load(conn: Connection, user_id: int) -> Prefs | None:
    """Return a person's wishes, None if there are none of their own."""
    default = DEFAULT.value(conn, user_id=user_id)
    if default is None:
        return None
    prefs = Prefs(default, {}, {})
    for action, address_id, jid in ENTRIES.rows(conn, user_id=user_id):
        (prefs.always if action == "always" else prefs.never)[address_id] = jid
    return prefs


def store(
    conn: Connection, user_id: int, default_action: str, always: Iterable[int], never: Iterable[int]
) -> None:
    """Replace a person's wishes; the lists are address ids, and never wins."""
    actions = dict.fromkeys(always, "always") | dict.fromkeys(never, "never")
    PUT.run(conn, user_id=user_id, action=default_action)
    CLEAR.run(conn, user_id=user_id)
    ADD.run_many(
        conn, [{"user_id": user_id, "address_id": own, "action": action} for own, action in actions.items()]
    )
