"""Ubiety itself, started with this interpreter on SQLite; people written through its own store."""

from __future__ import annotations

import itertools
import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, insert

from bench import process
from bench.people import DOMAIN, ITERATIONS, PASSWORD, SALT, Person, Population, history_times, pairs
from bench.servers.base import Server
from ubiety.directory.passwords import dump_keys, hash_password
from ubiety.store import addresses, domains, roster, schema, settings, users
from ubiety.store.database import Database

#: No rate limits in this comparison, and no TLS demanded where the row is a plain one.
_SETTINGS: Mapping[str, object] = {
    "c2s.tls_required": False,
    "c2s.accept_rate": 100_000,
    "c2s.login_rate": 100_000,
    "c2s.connections_per_address": 100_000,
    "c2s.negotiating_per_address": 100_000,
    # The peers ask the contact; so that all carry the same stanzas, Ubiety shall too.
    "presence.auto_authorize": False,
}


#: `direction` of an archive row.
_RECEIVED, _SENT = 0, 1


class Ubiety(Server):
    """A single node with its default settings but for `settings` and the archive."""

    name = "ubiety"
    settings: Mapping[str, object] = _SETTINGS

    def install(self) -> None:
        """Nothing to install: it is the package beside this one."""
        self.version = f"{version('ubiety')} (Python {platform.python_version()} {_build()})"

    def provision(self) -> None:
        """Make the database and write everybody into it."""
        self.template.mkdir(mode=0o700)
        database = Database(f"sqlite:///{self.template / 'ubiety.db'}")
        try:
            database.migrate()
            database.write_now(write_people, self.fixture.population, time.time())
            database.write_now(write_histories, self.fixture.population, time.time())
        finally:
            database.close()

    def configure(self, archive: bool) -> None:
        """Store the settings."""
        database = Database(f"sqlite:///{self.data / 'ubiety.db'}")
        try:
            database.write_now(write_settings, {**self.settings, "archive.enabled": archive})
        finally:
            database.close()

    def launch(self) -> int:
        """Serve from the data directory."""
        command = [sys.executable, "-m", "ubiety.cli.main", "serve"]
        command += ["--data", str(self.data), "--domain", DOMAIN]
        return process.spawn(command, self.log, self._environment())

    def _environment(self) -> dict[str, str]:
        certificate = self.fixture.certificate
        return {
            "UBIETY_LISTEN": "127.0.0.1",
            "UBIETY_C2S_PORT": str(self.port),
            "UBIETY_C2S_TLS_PORT": str(self.tls_port),
            "UBIETY_API_PORT": "0",
            "UBIETY_CERTIFICATE": str(certificate.chain),
            "UBIETY_PRIVATE_KEY": str(certificate.key),
        }


def write_people(conn: Connection, population: Population, now: float) -> None:
    """Accounts and contact lists, in one transaction."""
    domain = domains.add(conn, DOMAIN, now, is_default=True)
    scram = dump_keys(hash_password(PASSWORD, ITERATIONS, (SALT, SALT)))
    people = population.everybody
    ids = addresses.intern_many(conn, [person.jid for person in people])
    for person in people:
        user_id = users.create(conn, person.jid, person.name, domain.id, now)
        users.set_scram(conn, user_id, scram)
        for contact in person.contacts:
            contact_id = ids[f"{contact}@{DOMAIN}"]
            roster.set_subscription(conn, user_id, contact_id, roster.BOTH)


def write_histories(conn: Connection, population: Population, now: float) -> None:
    """What people wrote to their partners before: one message, and a row of the archive for each owner."""
    number = itertools.count(1)
    for one, other in pairs(population):
        one_ids, other_ids = _ids(conn, one), _ids(conn, other)
        times = [(next(number), when) for when in history_times(now)]
        rows = [_message(one, other, one_ids, other_ids, *time) for time in times]
        conn.execute(insert(schema.messages), rows)
        conn.execute(insert(schema.archive), [_kept(one_ids, other_ids, n, _SENT) for n, _ in times])
        conn.execute(insert(schema.archive), [_kept(other_ids, one_ids, n, _RECEIVED) for n, _ in times])


class _Ids(NamedTuple):
    user: int
    address: int


def _ids(conn: Connection, person: Person) -> _Ids:
    found = users.load_login(conn, person.jid)
    assert found is not None
    return _Ids(found.user_id, found.address_id)


def _message(
    one: Person, other: Person, sender: _Ids, recipient: _Ids, number: int, when: int
) -> dict[str, object]:
    text = (
        f"<message to='{other.jid}' from='{one.jid}/bench' id='m1' type='chat' xml:lang='en'>"
        "<body>See you at ten by the lifts, with the figures.</body>"
        f"<stanza-id xmlns='urn:xmpp:sid:0' by='{other.jid}' id='{number}'/></message>"
    )
    return {
        "id": number,
        "sender_id": sender.address,
        "recipient_id": recipient.user,
        "stamp": float(when),
        "stanza": text.encode(),
    }


def _kept(owner: _Ids, peer: _Ids, number: int, direction: int) -> dict[str, object]:
    return {
        "owner_id": owner.user,
        "number": number,
        "message_id": number,
        "peer_id": peer.address,
        "direction": direction,
    }


def write_settings(conn: Connection, values: Mapping[str, object]) -> None:
    """Settings as the node reads them at its start."""
    for name, value in values.items():
        settings.put(conn, name, json.dumps(value))


def _build() -> str:
    """Which interpreter: Debian's is built with PGO and LTO and parses faster than one built without."""
    return "Debian" if Path(os.path.realpath(sys.executable)).parent == Path("/usr/bin") else "other build"
