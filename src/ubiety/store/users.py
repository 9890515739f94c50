"""People: the rows, what a login needs, the listing from which the directory in memory is built."""

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from ubiety.store import addresses, changes
from ubiety.store.archive_prefs import Prefs
from ubiety.store.archive_prefs import load as load_prefs
from ubiety.store.errors import Conflict, Stale
from ubiety.store.roster import PACKED_TEXT, PENDING_IN
from ubiety.store.sql import Sql

#: What an administrator, a file or a directory may set.
PROFILE = (
    "display_name",
    "given_name",
    "surname",
    "mail",
    "sip_uri",
    "directory_uri",
    "department",
    "title",
    "phone",
)
COLUMNS = (
    "u.id, u.address_id, a.jid, u.userid, u.domain_id, d.name, "
    + ", ".join(f"u.{name}" for name in PROFILE)
    + ", u.enabled, u.set_id, u.auth, u.roster_version, u.revision, u.created, u.last_login, u.last_seen,"
    " u.last_status"
)
TABLES = "users u JOIN addresses a ON a.id = u.address_id JOIN domains d ON d.id = u.domain_id"
BY_ID = Sql(f"SELECT {COLUMNS} FROM {TABLES} WHERE u.id = :id")
BY_USERID = Sql(f"SELECT {COLUMNS} FROM {TABLES} WHERE u.domain_id = :domain_id AND u.userid = :userid")
BY_ADDRESS = Sql(f"SELECT {COLUMNS} FROM {TABLES} WHERE u.address_id = :address_id")
PAGE = Sql(
    f"SELECT {COLUMNS} FROM {TABLES} WHERE u.id > :after"
    " AND (:domain = '' OR d.name = :domain)"
    " AND (:department = '' OR u.department = :department)"
    " AND (:text = '' OR LOWER(u.userid) LIKE :pattern ESCAPE '!'"
    " OR LOWER(u.display_name) LIKE :pattern ESCAPE '!' OR LOWER(u.mail) LIKE :pattern ESCAPE '!')"
    " ORDER BY u.id LIMIT :limit"
)
PEOPLE = Sql(
    "SELECT u.address_id, a.jid, u.id, u.enabled, u.set_id, u.revision FROM users u"
    " JOIN addresses a ON a.id = u.address_id WHERE u.id > :after ORDER BY u.id LIMIT :limit"
)
PERSON = Sql(
    "SELECT u.address_id, a.jid, u.id, u.enabled, u.set_id, u.revision FROM users u"
    " JOIN addresses a ON a.id = u.address_id WHERE u.address_id = :address_id"
)
IDS_BY_SET = Sql("SELECT set_id, id FROM users ORDER BY id")
INSERT = Sql(
    f"INSERT INTO users (address_id, userid, domain_id, {', '.join(PROFILE)}, set_id, auth, created)"
    f" VALUES (:address_id, :userid, :domain_id, {', '.join(':' + name for name in PROFILE)}, :set_id, :auth,"
    " :created) RETURNING id"
)
SET_ENABLED = Sql("UPDATE users SET enabled = :enabled, revision = revision + 1 WHERE id = :id")
SET_SCRAM = Sql("UPDATE users SET scram = :scram, revision = revision + 1 WHERE id = :id")
ASSIGN = Sql(
    "UPDATE users SET set_id = :to_set, revision = revision + 1 WHERE id = :id AND set_id = :from_set"
)
SET_LOGIN = Sql("UPDATE users SET last_login = :at WHERE id = :id")
SET_SEEN = Sql("UPDATE users SET last_seen = :at, last_status = :status WHERE id = :id")
REVISION = Sql("SELECT revision FROM users WHERE id = :id")
COUNT = Sql("SELECT COUNT(*), COALESCE(SUM(CASE WHEN enabled THEN 1 ELSE 0 END), 0) FROM users")
CREDENTIALS = Sql(
    "SELECT u.id, u.enabled, u.scram, u.auth, u.userid FROM addresses a"
    " JOIN users u ON u.address_id = COALESCE(a.merged_into, a.id) WHERE a.jid = :jid"
)
DELETE = Sql("DELETE FROM users WHERE id = :id")
DELETE_DELIVERIES = Sql("DELETE FROM deliveries WHERE user_id = :id")
DELETE_STREAMS = Sql("DELETE FROM sm_streams WHERE user_id = :id")

_LOGIN = (
    "SELECT u.id, u.address_id, b.jid, u.userid, u.display_name, u.enabled, u.set_id, u.auth, u.scram,"
    " u.roster_version, u.revision, u.last_seen, u.last_status, p.default_action,"
    " EXISTS (SELECT 1 FROM deliveries WHERE user_id = u.id),"
    " EXISTS (SELECT 1 FROM sm_streams WHERE user_id = u.id),"
    " EXISTS (SELECT 1 FROM policy_entries WHERE user_id = u.id),"
    " EXISTS (SELECT 1 FROM archive_prefs WHERE user_id = u.id), "
)
_BY_JID = (
    " FROM addresses a JOIN users u ON u.address_id = COALESCE(a.merged_into, a.id)"
    " JOIN addresses b ON b.id = u.address_id LEFT JOIN policies p ON p.user_id = u.id WHERE a.jid = :who"
)
_BY_ADDRESS = (
    " FROM users u JOIN addresses b ON b.id = u.address_id LEFT JOIN policies p ON p.user_id = u.id"
    " WHERE u.address_id = :who"
)
LOGIN_BY_JID = Sql(*(_LOGIN + packed + _BY_JID for packed in PACKED_TEXT))
LOGIN_BY_ADDRESS = Sql(*(_LOGIN + packed + _BY_ADDRESS for packed in PACKED_TEXT))
LOGIN_POLICY = Sql(
    "SELECT e.action, e.address_id, a.jid, e.domain FROM policy_entries e"
    " LEFT JOIN addresses a ON a.id = e.address_id WHERE e.user_id = :user_id"
)


_LIKE_SPECIAL = re.compile(r"[!%_]")
_ESCAPED = r"!\g<0>"


class User(NamedTuple):
    """One person with everything that an administrator sees."""

    id: int
    address_id: int
    jid: str
    userid: str
    domain_id: int
    domain: str
    display_name: str
    given_name: str
    surname: str
    mail: str
    sip_uri: str
    directory_uri: str
    department: str
    title: str
    phone: str
    enabled: bool
    set_id: int
    auth: str
    roster_version: int
    revision: int
    created: float
    last_login: float | None
    last_seen: float | None
    last_status: str


class Person(NamedTuple):
    """What the directory in memory keeps of each person."""

    address_id: int
    jid: str
    user_id: int
    enabled: bool
    set_id: int
    revision: int


class Credentials(NamedTuple):
    """What authentication needs; ``scram`` is the text that ``set_scram`` stored, None without a password."""

    user_id: int
    enabled: bool
    scram: str | None
    auth: str
    userid: str


class PolicyRule(NamedTuple):
    """One entry of a person's lists: an address (id and text) or a domain, the other is None."""

    action: str
    address_id: int | None
    jid: str | None
    domain: str | None


class Login(NamedTuple):
    """All that an actor needs when it is loaded, except names and groups of contacts."""

    user_id: int
    address_id: int
    jid: str
    userid: str
    display_name: str
    enabled: bool
    set_id: int
    auth: str
    scram: str | None
    roster_version: int
    revision: int
    last_seen: float | None
    last_status: str
    default_action: str | None
    has_backlog: bool
    has_streams: bool
    rules: list[PolicyRule]
    contacts: "array[int]"
    flags: bytes
    archive_prefs: Prefs | None

    @property
    def has_pending_in(self) -> bool:
        """Whether somebody's subscription request waits for an answer."""
        return any(flag & PENDING_IN for flag in self.flags)


def load_login(conn: Connection, who: str | int) -> Login | None:
    """Load a person by bare JID or address id in one query, one more for policy entries or wishes
    about the history if there are any.

    ``contacts`` and ``flags`` run in parallel, by address id: see ``roster`` for the bits. None: no such
    person. The row with the revision is read first, so what follows is never older than the revision says.
    """
    row = (LOGIN_BY_ADDRESS if isinstance(who, int) else LOGIN_BY_JID).one(conn, who=who)
    if row is None:
        return None
    user_id = row[0]
    rules = [PolicyRule(*rule) for rule in LOGIN_POLICY.rows(conn, user_id=user_id)] if row[16] else []
    prefs = load_prefs(conn, user_id) if row[17] else None
    packed = list(map(int, (row[18] or "").split()))
    found = Login._make((*row[:16], rules, array("q", packed[0::2]), bytes(packed[1::2]), prefs))
    return found._replace(
        enabled=bool(found.enabled), has_backlog=bool(found.has_backlog), has_streams=bool(found.has_streams)
    )


def load_credentials(conn: Connection, jid: str) -> Credentials | None:
    """Return what authentication needs, None if there is no such person."""
    row = CREDENTIALS.one(conn, jid=jid)
    return Credentials(row[0], bool(row[1]), *row[2:]) if row else None


def all_people(conn: Connection, page: int = 10_000) -> Iterator[Person]:
    """Yield everybody, disabled people too, reading by key in pages; use it inside one read."""
    after = 0
    while rows := PEOPLE.rows(conn, after=after, limit=page):
        yield from (Person(a, jid, u, bool(enabled), s, r) for a, jid, u, enabled, s, r in rows)
        after = rows[-1][2]


def ids_by_set(conn: Connection) -> dict[int, list[int]]:
    """Return set -> ids of the people assigned to it, by id."""
    found: dict[int, list[int]] = {}
    for set_id, user_id in IDS_BY_SET.rows(conn):
        found.setdefault(set_id, []).append(user_id)
    return found


def find_people(conn: Connection, address_ids: Sequence[int]) -> list[Person]:
    """Return what the directory in memory keeps of these people; those who are gone are left out."""
    found = [PERSON.one(conn, address_id=address_id) for address_id in address_ids]
    return [Person(row[0], row[1], row[2], bool(row[3]), row[4], row[5]) for row in found if row]


def create(
    conn: Connection,
    jid: str,
    userid: str,
    domain_id: int,
    now: float,
    profile: Mapping[str, str] | None = None,
    *,
    set_id: int = 1,
    auth: str = "local",
) -> int:
    """Add a person and return the id. Raises ``Conflict`` when the user id or the address is taken."""
    values = dict.fromkeys(PROFILE, "") | _checked(profile or {})
    address_id = addresses.intern(conn, jid)
    made: int = INSERT.value(
        conn,
        address_id=address_id,
        userid=userid,
        domain_id=domain_id,
        set_id=set_id,
        auth=auth,
        created=now,
        **values,
    )
    changes.note(conn, changes.PEOPLE, address_id)
    return made


def load(conn: Connection, user_id: int) -> User | None:
    """Return a person by ``users.id``."""
    return _user(BY_ID.one(conn, id=user_id))


def find(conn: Connection, userid: str, domain_id: int) -> User | None:
    """Return a person by user id."""
    return _user(BY_USERID.one(conn, userid=userid, domain_id=domain_id))


def find_by_address(conn: Connection, address_id: int) -> User | None:
    """Return the person who has this address."""
    return _user(BY_ADDRESS.one(conn, address_id=address_id))


def list_page(
    conn: Connection,
    *,
    after: int = 0,
    limit: int = 100,
    domain: str = "",
    department: str = "",
    text: str = "",
) -> list[User]:
    """Return up to ``limit`` people with an id above ``after``; ``text``: part of user id, name or mail."""
    pattern = f"%{_LIKE_SPECIAL.sub(_ESCAPED, text.lower())}%"
    rows = PAGE.rows(
        conn, after=after, limit=limit, domain=domain, department=department, text=text, pattern=pattern
    )
    return [user for row in rows if (user := _user(row))]


def count(conn: Connection) -> tuple[int, int]:
    """Return (people, enabled people)."""
    row = COUNT.one(conn)
    assert row is not None
    return int(row[0]), int(row[1])


def update(conn: Connection, user_id: int, profile: Mapping[str, str]) -> bool:
    """Change columns named in ``PROFILE`` and bump the revision; False if there is no such person."""
    checked = _checked(profile)
    sets = "".join(f"{name} = :{name}, " for name in checked)
    statement = Sql(f"UPDATE users SET {sets}revision = revision + 1 WHERE id = :id")
    changes.note_user(conn, changes.PEOPLE, user_id)
    return statement.run(conn, id=user_id, **checked) > 0


def set_enabled(conn: Connection, user_id: int, enabled: bool) -> bool:
    """Let a person in or out and bump the revision; False if there is no such person."""
    changes.note_user(conn, changes.PEOPLE, user_id)
    return SET_ENABLED.run(conn, id=user_id, enabled=enabled) > 0


def set_scram(conn: Connection, user_id: int, scram: str | None) -> bool:
    """Store the SCRAM keys (see ``credentials``) and bump the revision."""
    changes.note_user(conn, changes.PEOPLE, user_id)
    return SET_SCRAM.run(conn, id=user_id, scram=scram) > 0


def assign(conn: Connection, user_id: int, from_set: int, to_set: int) -> bool:
    """Move a person from one set to another; False when they were not in the first one any more."""
    changes.note_user(conn, changes.PEOPLE, user_id)
    return ASSIGN.run(conn, id=user_id, from_set=from_set, to_set=to_set) > 0


def set_last_login(conn: Connection, user_id: int, at: float) -> None:
    """Note when the person logged in."""
    SET_LOGIN.run(conn, id=user_id, at=at)


def set_last_seen(conn: Connection, user_id: int, at: float, status: str) -> None:
    """Note when the person's last session ended, and its status (XEP-0012)."""
    SET_SEEN.run(conn, id=user_id, at=at, status=status)


def note_presence(
    conn: Connection, logins: Mapping[int, float], seen: Mapping[int, tuple[float, str]]
) -> None:
    """Note when many people logged in, and when and with which words they left, by user id."""
    SET_LOGIN.run_many(conn, [{"id": user_id, "at": at} for user_id, at in logins.items()])
    SET_SEEN.run_many(
        conn, [{"id": user_id, "at": at, "status": status} for user_id, (at, status) in seen.items()]
    )


def require_revision(conn: Connection, user_id: int, revision: int) -> None:
    """Raise ``Stale`` unless the row still has this revision; call it first in an actor's write."""
    if REVISION.value(conn, id=user_id) != revision:
        raise Stale(f"user {user_id} is no longer at revision {revision}")


def delete(conn: Connection, user_id: int) -> bool:
    """Delete a person with contact list, policy, vCard and undelivered messages; the address stays.

    Delete the history first, in steps (``archive.delete_some``). False if there was no such person.
    """
    changes.note_user(conn, changes.PEOPLE, user_id)
    DELETE_DELIVERIES.run(conn, id=user_id)
    DELETE_STREAMS.run(conn, id=user_id)
    return DELETE.run(conn, id=user_id) > 0


def _checked(values: Mapping[str, str]) -> dict[str, str]:
    unknown = set(values) - set(PROFILE)
    if unknown:
        raise Conflict(f"no such property: {', '.join(sorted(unknown))}")
    return dict(values)


def _user(row: tuple[Any, ...] | None) -> User | None:
    return None if row is None else User._make((*row[:15], bool(row[15]), *row[16:]))
