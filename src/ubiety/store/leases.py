"""Leases: which node serves which set, on the database's clock (design.md §1, "Who serves").

Plain functions on a psycopg connection of one's own in autocommit mode, because the thread that renews must
wait for nobody. A row names its owner (a node's id; empty: nobody serves the set), the epoch in which it
serves, when the lease runs out, and the *successor*: the only other node that may take the set then.

Whoever writes for a set reads its row first (``FENCE``) and keeps it locked until the commit. The lock is
``FOR KEY SHARE``: a renewal passes; only a take, which locks ``FOR UPDATE``, waits for such writes to end.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy.engine import make_url
from sqlalchemy.engine.url import URL

from ubiety.store import driver
from ubiety.store.epochs import COUNTER_SET

LEASE_SECONDS = 2.5
STATEMENT_SECONDS = 1.0
CONNECT_SECONDS = 2
"""The least that libpq understands."""
LOCK_SECONDS = 0.5
STUCK_SECONDS = 1.0
"""A write of a node whose lease has run out is broken off after so long."""

APPLICATION = "ubiety "
"""In the database a node's connections are called by this and its name."""

Conn: TypeAlias = "driver.Connection[Any]"
Held = tuple[int, int]
"""A set and the epoch in which it is served."""

NOW = "extract(epoch FROM clock_timestamp())"

RENEW = f"""
WITH wanted AS (
    SELECT * FROM unnest(%(sets)s::int[], %(epochs)s::bigint[], %(successors)s::int[])
        AS wanted (set_id, epoch, successor)
), kept AS (
    UPDATE leases SET expires = {NOW} + %(seconds)s, successor = wanted.successor FROM wanted
    WHERE leases.set_id = wanted.set_id AND leases.epoch = wanted.epoch AND leases.owner = %(owner)s
    RETURNING leases.set_id
)
SELECT set_id, owner, epoch, successor, expires - {NOW}, set_id IN (SELECT set_id FROM kept)
FROM leases WHERE set_id <> {COUNTER_SET}
"""
SHOW = f"""
SELECT set_id, owner, epoch, successor, expires - {NOW}, false FROM leases WHERE set_id <> {COUNTER_SET}
"""
ADD = "INSERT INTO leases (set_id, owner, epoch, expires) VALUES (%s, '', 0, 0) ON CONFLICT DO NOTHING"
LOOK = f"SELECT owner, successor, expires - {NOW} FROM leases WHERE set_id = %s"
LOCK = f"{LOOK} FOR UPDATE"
NEXT_EPOCH = f"""
INSERT INTO leases (set_id, owner, epoch, expires) VALUES ({COUNTER_SET}, '', 1, 0)
ON CONFLICT (set_id) DO UPDATE SET epoch = leases.epoch + 1 RETURNING epoch
"""
TAKE = f"UPDATE leases SET owner = %s, epoch = %s, successor = %s, expires = {NOW} + %s WHERE set_id = %s"
GIVE = """
UPDATE leases SET owner = '', expires = 0, successor = 0 WHERE set_id = %s AND epoch = %s AND owner = %s
"""
FENCE = """
SELECT 1 / (count(*) = %s)::int FROM (
    SELECT leases.set_id FROM leases
    JOIN unnest(%s::int[], %s::bigint[]) AS held (set_id, epoch)
        ON leases.set_id = held.set_id AND leases.epoch = held.epoch
    WHERE leases.owner <> '' FOR KEY SHARE OF leases
) AS ours
"""
END_STUCK = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = %s || (SELECT name FROM nodes WHERE id = %s)
    AND datname = current_database() AND pid <> pg_backend_pid()
    AND xact_start < clock_timestamp() - make_interval(secs => %s)
"""


class Lease(NamedTuple):
    """A row as it was read; ``owner`` 0: nobody serves the set."""

    set_id: int
    owner: int
    epoch: int
    successor: int
    left: float
    """Seconds until it runs out; below 0 it has."""
    is_renewed: bool = False

    @property
    def is_live(self) -> bool:
        """Tell whether its owner serves the set, as far as the database knows."""
        return self.owner != 0 and (self.left > 0 or self.successor == 0)


def connect(url: URL | str) -> Conn:
    """Open a connection that gives up early. Raises psycopg.Error."""
    url = make_url(url)
    arguments, options = url.get_dialect()().create_connect_args(url)
    limits = {
        "autocommit": True,
        "connect_timeout": CONNECT_SECONDS,
        "application_name": "ubiety leases",
        "tcp_user_timeout": int(STATEMENT_SECONDS * 1000),
        "keepalives_idle": 1,
        "keepalives_interval": 1,
        "keepalives_count": 2,
        "options": f"-c statement_timeout={int(STATEMENT_SECONDS * 1000)}"
        f" -c lock_timeout={int(LOCK_SECONDS * 1000)} -c idle_in_transaction_session_timeout=2000",
    }
    return driver.connect(*arguments, **{**options, **limits})


def renew(conn: Conn, owner: int, rows: Sequence[tuple[int, int, int]]) -> list[Lease]:
    """Renew what is ours of (set, epoch, successor), run out or not, and return the leases of all sets."""
    if not rows:
        return [_lease(row) for row in conn.execute(SHOW)]
    sets, epochs, successors = (list(column) for column in zip(*rows, strict=True))
    found = conn.execute(
        RENEW,
        {
            "sets": sets,
            "epochs": epochs,
            "successors": successors,
            "owner": str(owner),
            "seconds": LEASE_SECONDS,
        },
    )
    return [_lease(row) for row in found]


def show(conn: Conn) -> list[Lease]:
    """Return the leases of all sets."""
    return [_lease(row) for row in conn.execute(SHOW)]


def _lease(row: tuple[Any, ...]) -> Lease:
    set_id, owner, epoch, successor, left, is_renewed = row
    number = int(owner) if owner.isdecimal() else 0
    # The statement reads the rows as they were before it renewed them.
    return Lease(set_id, number, epoch, successor, LEASE_SECONDS if is_renewed else float(left), is_renewed)


def take(conn: Conn, set_id: int, owner: int, successor: int, *, has_waited: bool) -> int | None:
    """Begin a new epoch of a set that nobody serves and return it; None when it is not ours to take.

    It is when its row is free, or has run out and is our own or, if we have waited, names us as successor.
    ``LockNotAvailable`` is raised when it is ours, and writes of its former owner are still under way.
    """

    def is_ours(row: tuple[Any, ...] | None) -> bool:
        assert row is not None
        holder, named, left = row
        may_have = holder == str(owner) or (named == owner and has_waited)
        return not holder.isdecimal() or (left < 0 and may_have)

    conn.execute(ADD, [set_id])
    if not is_ours(conn.execute(LOOK, [set_id]).fetchone()):
        return None  # without a lock: whoever serves it must not wait for us
    with conn.transaction():
        if not is_ours(conn.execute(LOCK, [set_id]).fetchone()):
            return None
        found = conn.execute(NEXT_EPOCH).fetchone()
        assert found is not None
        epoch: int = found[0]
        conn.execute(TAKE, [str(owner), epoch, successor, LEASE_SECONDS, set_id])
    return epoch


def end_stuck(conn: Conn, node_id: int) -> int:
    """Break off writes of a node that was to stop and keeps rows locked; return how many there were."""
    return conn.execute(END_STUCK, [APPLICATION, node_id, STUCK_SECONDS]).rowcount


def give(conn: Conn, set_id: int, owner: int, epoch: int) -> bool:
    """Free a set; False when it was not ours any more."""
    return conn.execute(GIVE, [set_id, epoch, str(owner)]).rowcount > 0


def fence(held: Iterable[Held]) -> tuple[str, list[Any]]:
    """Return statement and values that fail unless all these sets are still served in these epochs."""
    rows = sorted(held)
    return FENCE, [len(rows), [set_id for set_id, _ in rows], [epoch for _, epoch in rows]]
