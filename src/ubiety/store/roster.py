"""Contact lists: one row per person and contact, the groups beside it (RFC 6121 §2).

A row also exists for a contact that the person has not put into the list (``listed`` 0) but who watches them,
has asked to (``pending_in``) or was approved in advance. Callers compose these functions in one write: both
sides of a subscription, the version, the item.
"""

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from ubiety.store.sql import Row, Sql

#: Values of ``subscription``, also the lowest two bits of the packed flags (RFC 6121 §2.1.2.5).
NONE, TO, FROM, BOTH = range(4)
#: The other bits of the packed flags.
ASK, PENDING_IN, APPROVED, LISTED = 4, 8, 16, 32
#: Any of them shows the row in the contact list; of ``LISTED`` only the person's own acts make one: with
#: ``FROM`` alone it is there because somebody else watches the person, and goes when they do not any more.
SHOWN = LISTED | BOTH | ASK

FLAGS = "subscription + 4 * ask + 8 * pending_in + 16 * approved + 32 * listed"
ITEM = f"i.contact_id, a.jid, i.name, {FLAGS}, i.state"

PACKED = Sql(f"SELECT contact_id, {FLAGS} FROM roster_items WHERE user_id = :user_id ORDER BY contact_id")
#: The same for ``u.id`` in one text, "contact flags contact flags ...": for SQLite each row is a step, and
#: a step costs more than what is in it (see ``writer_sqlite``).
PACKED_TEXT = (
    f"(SELECT group_concat(contact_id || ' ' || ({FLAGS}), ' ') FROM roster_items WHERE user_id = u.id)",
    f"(SELECT string_agg(contact_id || ' ' || ({FLAGS}), ' ' ORDER BY contact_id)"
    " FROM roster_items WHERE user_id = u.id)",
)
#: All contacts with their groups as one JSON text, in one step for the same reason.
ITEMS = Sql(
    "SELECT json_group_array(json_array(contact_id, jid, name, flags, state, json(names))) FROM"
    f" (SELECT i.contact_id, a.jid, i.name, {FLAGS} AS flags, i.state,"
    " (SELECT json_group_array(g.name) FROM roster_groups g"
    " WHERE g.user_id = i.user_id AND g.contact_id = i.contact_id) AS names"
    " FROM roster_items i JOIN addresses a ON a.id = i.contact_id"
    " WHERE i.user_id = :user_id ORDER BY i.contact_id)",
    f"SELECT json_agg(json_build_array(i.contact_id, a.jid, i.name, {FLAGS}, i.state,"
    " (SELECT COALESCE(json_agg(g.name), '[]') FROM roster_groups g"
    " WHERE g.user_id = i.user_id AND g.contact_id = i.contact_id)) ORDER BY i.contact_id)::text"
    " FROM roster_items i JOIN addresses a ON a.id = i.contact_id WHERE i.user_id = :user_id",
)
_NAMES_OF = (
    "(SELECT json_group_array(g.name) FROM roster_groups g"
    " WHERE g.user_id = {row}.user_id AND g.contact_id = {row}.contact_id)",
    "(SELECT json_agg(g.name)::text FROM roster_groups g"
    " WHERE g.user_id = {row}.user_id AND g.contact_id = {row}.contact_id)",
)
_FLAGS_OF = (
    "{row}.subscription + 4 * {row}.ask + 8 * {row}.pending_in + 16 * {row}.approved + 32 * {row}.listed"
)


def _row(row: str, names: str) -> str:
    return f"{row}.name, {_FLAGS_OF.format(row=row)}, {row}.state, {names.format(row=row)}"


#: A person's row about a contact, and how many contacts the person has: in one step.
ROW_AND_COUNT = Sql(
    *(
        f"SELECT {_row('i', names)}, (SELECT COALESCE(SUM(CASE WHEN listed = 1"
        " AND (subscription <> 2 OR ask = 1) THEN 1 ELSE 0 END), 0)"
        " FROM roster_items WHERE user_id = :user_id) FROM (SELECT 1 AS one) AS o LEFT JOIN roster_items i"
        " ON i.user_id = :user_id AND i.contact_id = :contact_id"
        for names in _NAMES_OF
    )
)
#: Both rows of a relation in one step.
BOTH_ROWS = Sql(
    *(
        f"SELECT {_row('i', names)}, {_row('j', names)} FROM (SELECT 1 AS one) AS o"
        " LEFT JOIN roster_items i ON i.user_id = :user_id AND i.contact_id = :contact_id"
        " LEFT JOIN roster_items j ON j.user_id = :peer_id AND j.contact_id = :address_id"
        for names in _NAMES_OF
    )
)
ITEM_OF = Sql(
    f"SELECT {ITEM} FROM roster_items i JOIN addresses a ON a.id = i.contact_id"
    " WHERE i.user_id = :user_id AND i.contact_id = :contact_id"
)
GROUPS_OF = Sql(
    "SELECT name FROM roster_groups WHERE user_id = :user_id AND contact_id = :contact_id ORDER BY name"
)
PUT = Sql(
    "INSERT INTO roster_items (user_id, contact_id, name, listed)"
    " VALUES (:user_id, :contact_id, :name, :listed)"
    " ON CONFLICT (user_id, contact_id) DO UPDATE SET name = excluded.name, listed = excluded.listed"
)
SET_SUBSCRIPTION = Sql(
    "INSERT INTO roster_items (user_id, contact_id, subscription, ask, approved, listed)"
    " VALUES (:user_id, :contact_id, :subscription, :ask, :approved, :listed)"
    " ON CONFLICT (user_id, contact_id) DO UPDATE SET subscription = excluded.subscription,"
    " ask = excluded.ask, approved = excluded.approved, listed = excluded.listed"
)
_WRITE_FIELDS = tuple(
    tuple(
        f"{name}{n}" for name in ("user", "contact", "sub", "ask", "pending", "approved", "listed", "stanza")
    )
    for n in (1, 2)
)
_WRITE_HEAD = (
    "INSERT INTO roster_items"
    " (user_id, contact_id, subscription, ask, pending_in, approved, listed, pending_stanza) VALUES "
)
_WRITE_TAIL = (
    " ON CONFLICT (user_id, contact_id) DO UPDATE SET subscription = excluded.subscription,"
    " ask = excluded.ask, pending_in = excluded.pending_in, approved = excluded.approved,"
    " listed = excluded.listed, pending_stanza = CASE WHEN excluded.pending_in = 0 THEN NULL"
    " ELSE COALESCE(excluded.pending_stanza, roster_items.pending_stanza) END"
)


def _writing(rows: Sequence[tuple[str, ...]]) -> Sql:
    values = ", ".join(f"({', '.join(f':{name}' for name in names)})" for names in rows)
    return Sql(f"{_WRITE_HEAD}{values}{_WRITE_TAIL}")


#: One row as a whole, or two at once; a request that waits already keeps its stanza.
WRITE_ONE, WRITE_TWO = _writing(_WRITE_FIELDS[:1]), _writing(_WRITE_FIELDS)
SET_PENDING = Sql(
    "INSERT INTO roster_items (user_id, contact_id, pending_in, pending_stanza, listed)"
    " VALUES (:user_id, :contact_id, 1, :stanza, 0)"
    " ON CONFLICT (user_id, contact_id)"
    " DO UPDATE SET pending_in = 1, pending_stanza = excluded.pending_stanza"
)
CLEAR_PENDING = Sql(
    "UPDATE roster_items SET pending_in = 0, pending_stanza = NULL"
    " WHERE user_id = :user_id AND contact_id = :contact_id"
)
SET_STATE = Sql(
    "UPDATE roster_items SET state = :state WHERE user_id = :user_id AND contact_id = :contact_id"
)
PENDING = Sql(
    "SELECT i.contact_id, a.jid, i.pending_stanza FROM roster_items i JOIN addresses a ON a.id = i.contact_id"
    " WHERE i.user_id = :user_id AND i.pending_in = 1 ORDER BY i.contact_id"
)
DELETE_ITEM = Sql("DELETE FROM roster_items WHERE user_id = :user_id AND contact_id = :contact_id")
DELETE_GROUPS = Sql("DELETE FROM roster_groups WHERE user_id = :user_id AND contact_id = :contact_id")
ADD_GROUP = Sql("INSERT INTO roster_groups (user_id, contact_id, name) VALUES (:user_id, :contact_id, :name)")
COUNTS = Sql(
    # As in ``Item.is_contact``.
    "SELECT COALESCE(SUM(CASE WHEN listed = 1 AND (subscription <> 2 OR ask = 1) THEN 1 ELSE 0 END), 0),"
    " COALESCE(SUM(CASE WHEN subscription >= 2 THEN 1 ELSE 0 END), 0)"
    " FROM roster_items WHERE user_id = :user_id"
)
HOLDERS = Sql(f"SELECT user_id, {FLAGS} FROM roster_items WHERE contact_id = :contact_id ORDER BY user_id")
BUMP = Sql("UPDATE users SET roster_version = roster_version + 1 WHERE id = :user_id")
#: On SQLite RETURNING costs more than reading the row once more, on PostgreSQL less than a round trip.
BUMP_AND_TELL = Sql(f"{BUMP.text} RETURNING roster_version")
VERSION = Sql("SELECT roster_version FROM users WHERE id = :user_id")
#: Held before the rows of a relation, in the order of ids: another node may write the same ones.
LOCK = Sql("SELECT id FROM users WHERE id IN (:one, :other) ORDER BY id FOR NO KEY UPDATE")
PRUNE = Sql(
    "DELETE FROM roster_items WHERE user_id = :user_id AND contact_id = :contact_id AND subscription = 0"
    " AND ask = 0 AND pending_in = 0 AND approved = 0 AND listed = 0"
)


class Item(NamedTuple):
    """One contact of one person, ready to be rendered."""

    contact_id: int
    jid: str
    name: str
    flags: int
    state: int
    groups: tuple[str, ...]

    @property
    def subscription(self) -> int:
        """``NONE``, ``TO``, ``FROM`` or ``BOTH``."""
        return self.flags & 3

    @property
    def is_listed(self) -> bool:
        """Whether the person sees it in the contact list."""
        return bool(self.flags & SHOWN)

    @property
    def is_contact(self) -> bool:
        """Whether it counts towards the size of the contact list: not those who only watch the person."""
        return self.is_listed and (self.subscription != FROM or bool(self.flags & ASK))


class Change(NamedTuple):
    """A row as it is to be; ``stanza`` is a request that has come just now."""

    user_id: int
    contact_id: int
    flags: int
    stanza: bytes | None = None


class Pending(NamedTuple):
    """A subscription request that waits for an answer; ``stanza`` is canonical bytes (RFC 6121 §3.1.3)."""

    contact_id: int
    jid: str
    stanza: bytes


class Counts(NamedTuple):
    """How long a contact list is, and how many people watch its owner."""

    contacts: int
    watchers: int


def load_packed(conn: Connection, user_id: int) -> list[tuple[int, int]]:
    """Return (contact's address id, flags) of all rows, by address id."""
    return PACKED.rows(conn, user_id=user_id)


def load_items(conn: Connection, user_id: int) -> list[Item]:
    """Return all rows with names and groups in one query; unlisted ones too (see ``Item.is_listed``)."""
    text = ITEMS.value(conn, user_id=user_id)
    if not text:
        return []
    return [
        Item(contact_id, jid, name, flags, state, tuple(sorted(groups)))
        for contact_id, jid, name, flags, state, groups in json.loads(text)
    ]


def load_item(conn: Connection, user_id: int, contact_id: int) -> Item | None:
    """Return one row with its groups."""
    row = ITEM_OF.one(conn, user_id=user_id, contact_id=contact_id)
    if row is None:
        return None
    names = GROUPS_OF.rows(conn, user_id=user_id, contact_id=contact_id)
    return Item._make((*row, tuple(name for (name,) in names)))


def load_with_count(conn: Connection, user_id: int, contact_id: int, jid: str) -> tuple[Item | None, int]:
    """Return a person's row about a contact, and how many contacts the person has."""
    row = ROW_AND_COUNT.one(conn, user_id=user_id, contact_id=contact_id)
    assert row is not None
    return _item(contact_id, jid, row[:4]), int(row[4])


def load_both(
    conn: Connection, ours: tuple[int, int, str], theirs: tuple[int, int, str]
) -> tuple[Item | None, Item | None]:
    """Return both rows of a relation; each is asked for with (user id, contact's address id and address)."""
    row = BOTH_ROWS.one(conn, user_id=ours[0], contact_id=ours[1], peer_id=theirs[0], address_id=theirs[1])
    assert row is not None
    return _item(*ours[1:], row[:4]), _item(*theirs[1:], row[4:])


def _item(contact_id: int, jid: str, row: Row) -> Item | None:
    name, flags, state, names = row
    if flags is None:
        return None
    groups = tuple(sorted(json.loads(names))) if names is not None and names != "[]" else ()
    return Item(contact_id, jid, name, flags, state, groups)


def lock(conn: Connection, one: int, other: int) -> None:
    """Have other nodes wait before they change the contact lists of these two. SQLite has one node only."""
    if conn.dialect.name != "sqlite":
        LOCK.rows(conn, one=one, other=other)


def write_rows(conn: Connection, changes: Sequence[Change]) -> None:
    """Write the subscription state of one or two rows; a row that says nothing any more goes away."""
    params: dict[str, object] = {}
    kept = 0
    for user_id, contact_id, flags, stanza in changes:
        if not flags:
            DELETE_ITEM.run(conn, user_id=user_id, contact_id=contact_id)
            continue
        values = (
            user_id,
            contact_id,
            flags & 3,
            flags >> 2 & 1,
            flags >> 3 & 1,
            flags >> 4 & 1,
            flags >> 5 & 1,
            stanza,
        )
        params.update(zip(_WRITE_FIELDS[kept], values, strict=True))
        kept += 1
    if kept:
        (WRITE_ONE if kept == 1 else WRITE_TWO).run(conn, **params)


def put_item(
    conn: Connection,
    user_id: int,
    contact_id: int,
    name: str,
    groups: Iterable[str] = (),
    *,
    listed: bool = True,
    had_groups: bool = True,
) -> None:
    """Add a contact or change name and groups; the subscription stays as it is (RFC 6121 §2.3).

    ``had_groups`` is False when the caller knows that there are none yet.
    """
    PUT.run(conn, user_id=user_id, contact_id=contact_id, name=name, listed=int(listed))
    if had_groups:
        DELETE_GROUPS.run(conn, user_id=user_id, contact_id=contact_id)
    ADD_GROUP.run_many(
        conn,
        [{"user_id": user_id, "contact_id": contact_id, "name": g} for g in dict.fromkeys(groups)],
    )


def remove_item(conn: Connection, user_id: int, contact_id: int) -> bool:
    """Delete the row with all that it says; False if there was none (RFC 6121 §2.5)."""
    DELETE_GROUPS.run(conn, user_id=user_id, contact_id=contact_id)
    return DELETE_ITEM.run(conn, user_id=user_id, contact_id=contact_id) > 0


def set_subscription(
    conn: Connection,
    user_id: int,
    contact_id: int,
    subscription: int,
    *,
    ask: bool = False,
    approved: bool = False,
    listed: bool = True,
) -> None:
    """Store one side of a subscription; a waiting request is untouched. An empty, unlisted row goes away."""
    SET_SUBSCRIPTION.run(
        conn,
        user_id=user_id,
        contact_id=contact_id,
        subscription=subscription,
        ask=int(ask),
        approved=int(approved),
        listed=int(listed),
    )
    if not listed:
        PRUNE.run(conn, user_id=user_id, contact_id=contact_id)


def set_pending(conn: Connection, user_id: int, contact_id: int, stanza: bytes) -> None:
    """Remember that the contact asked to subscribe; the newest request counts."""
    SET_PENDING.run(conn, user_id=user_id, contact_id=contact_id, stanza=stanza)


def clear_pending(conn: Connection, user_id: int, contact_id: int) -> bool:
    """Forget the contact's request; False if there was no row."""
    had = CLEAR_PENDING.run(conn, user_id=user_id, contact_id=contact_id) > 0
    PRUNE.run(conn, user_id=user_id, contact_id=contact_id)
    return had


def load_pending(conn: Connection, user_id: int) -> list[Pending]:
    """Return the requests that wait for this person's answer."""
    return [Pending(*row) for row in PENDING.rows(conn, user_id=user_id)]


def set_state(conn: Connection, user_id: int, contact_id: int, state: int) -> None:
    """Store the opaque number that contact list files carry along."""
    SET_STATE.run(conn, user_id=user_id, contact_id=contact_id, state=state)


def count(conn: Connection, user_id: int) -> Counts:
    """Count contacts and watchers."""
    row = COUNTS.one(conn, user_id=user_id)
    assert row is not None
    return Counts(int(row[0]), int(row[1]))


def load_holders(conn: Connection, contact_id: int) -> list[tuple[int, int]]:
    """Return (user id, flags) of everybody who has a row for this address."""
    return HOLDERS.rows(conn, contact_id=contact_id)


def bump_version(conn: Connection, user_id: int) -> int:
    """Give the contact list its next version and return it (RFC 6121 §2.6)."""
    telling = BUMP_AND_TELL
    if conn.dialect.name == "sqlite":
        BUMP.run(conn, user_id=user_id)
        telling = VERSION
    version: int = telling.value(conn, user_id=user_id)
    return version
