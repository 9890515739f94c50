"""No room and no database: messages are refused in clear words, and service comes back by itself.

Promises 1 and 5: what was not written is not acknowledged, and nothing half-applies.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.harness.client import Client, log_in
from tests.harness.tags import Tag
from tests.node import Node, NodeFactory
from tests.postgres import Postgres

PAGE_BYTES = 4096
SPARE_BYTES = 256 * 1024
DISK_BYTES = 48 * 1024 * 1024
REFUSALS = {"resource-constraint", "internal-server-error"}


@dataclass
class Writer:
    """Sends numbered messages to somebody absent and sorts them by what became of each."""

    client: Client
    to: str
    accepted: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    _sent: int = 0

    async def write(self, seconds: float = 30.0) -> str | None:
        """Send one message; returns the condition of its refusal, or None once it is acknowledged."""
        self._sent += 1
        number = f"m{self._sent}"
        body = f"<body>{number}</body><padding xmlns='urn:example:padding'>{'x' * 8000}</padding>"
        self.client.send(f"<message id='{number}' to='{self.to}' type='chat'>{body}</message>")
        self.client.request()
        deadline = time.monotonic() + seconds
        # An error comes before the acknowledgement: a refusal settles the message (promise 1).
        while self.client.ledger.unacked:
            assert time.monotonic() < deadline, f"{number} was neither accepted nor refused"
            await asyncio.sleep(0.01)
        error = self._error(number)
        if error is None:
            self.accepted.append(number)
            return None
        assert error.get("type") == "error"
        self.refused[number] = error.condition() or "?"
        return self.refused[number]

    def _error(self, number: str) -> Tag | None:
        for item in self.client.wire.inbox:
            if isinstance(item, Tag) and item.get("id") == number:
                return item
        return None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that is soon full."""
    mount = tmp_path / "disk"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(mount)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"this test mounts a tmpfs and must run as root (package mount): {done.stderr}")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.mark.timeout(180)
async def test_disk_full(small_disk: Path, start_node: NodeFactory) -> None:
    node = start_node(data=small_disk / "data")
    node.add_users("alice", "bob", "absent")
    alice, bob = await log_in(node.place, "alice", "bob")
    await alice.enable()
    await bob.enable()
    writer = Writer(alice, "absent@example.org")
    assert await writer.write() is None
    filler = small_disk / "filler"
    fill(filler)
    while len(writer.refused) < 3:
        assert len(writer.accepted) < 3000, "a full disk takes everything"
        await writer.write()
    assert set(writer.refused.values()) <= REFUSALS
    await assert_goes_on(alice, bob)
    filler.unlink()
    await recovered(writer)
    await assert_nothing_is_half_done(node, writer)


@pytest.mark.timeout(180)
async def test_database_locked_by_another_process(start_node: NodeFactory) -> None:
    node = start_node()
    node.add_users("alice", "bob", "absent")
    alice, bob = await log_in(node.place, "alice", "bob")
    await alice.enable()
    await bob.enable()
    writer = Writer(alice, "absent@example.org")
    assert await writer.write() is None
    other = sqlite3.connect(node.data / "ubiety.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert await writer.write() in REFUSALS
    await assert_goes_on(alice, bob)
    other.execute("ROLLBACK")
    other.close()
    await recovered(writer)
    await assert_nothing_is_half_done(node, writer)


async def test_database_locked_for_a_moment_is_not_noticed(start_node: NodeFactory) -> None:
    node = start_node()
    node.add_users("alice", "absent")
    (alice,) = await log_in(node.place, "alice")
    await alice.enable()
    writer = Writer(alice, "absent@example.org")
    other = sqlite3.connect(node.data / "ubiety.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    asyncio.get_running_loop().call_later(0.5, other.execute, "ROLLBACK")
    assert await writer.write() is None
    other.close()
    await assert_nothing_is_half_done(node, writer)


@pytest.mark.timeout(180)
async def test_database_server_away_for_a_while(start_node: NodeFactory, own_postgres: Postgres) -> None:
    """Nothing is acknowledged until PostgreSQL is back, and then everything is."""
    node = start_node(own_postgres.make_database())
    node.add_users("alice", "bob", "absent")
    alice, bob = await log_in(node.place, "alice", "bob")
    await alice.enable()
    await bob.enable()
    writer = Writer(alice, "absent@example.org")
    assert await writer.write() is None
    await asyncio.to_thread(own_postgres.stop, "immediate")
    waiting = asyncio.create_task(writer.write(60))
    await assert_goes_on(bob, bob)
    done, _ = await asyncio.wait([waiting], timeout=1.0)
    assert not done, "acknowledged or refused without a database"
    await asyncio.to_thread(own_postgres.start)
    assert await waiting is None
    await assert_nothing_is_half_done(node, writer)


def fill(file: Path) -> None:
    """Leave no room on the file system of a file."""
    with file.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        while True:  # what is said to be free need not be all there, or all of it
            room = max(PAGE_BYTES, shutil.disk_usage(file.parent).free - SPARE_BYTES)
            os.posix_fallocate(out.fileno(), file.stat().st_size, room)


async def assert_goes_on(sender: Client, recipient: Client) -> None:
    """See that what needs no storage is done as ever: answers, and messages between people online."""
    assert await sender.is_served(5)
    assert await recipient.is_served(5)
    recipient.send(f"<message to='{recipient.jid}' type='chat'><body>to myself</body></message>")
    await recipient.expect_message("to myself", 5)


async def recovered(writer: Writer, seconds: float = 30.0) -> None:
    """Wait until messages are accepted again, without any help."""
    deadline = time.monotonic() + seconds
    while await writer.write() is not None:
        assert time.monotonic() < deadline, "the node does not recover"
        await asyncio.sleep(0.2)


async def assert_nothing_is_half_done(node: Node, writer: Writer) -> None:
    """See that the absent one gets all that was accepted, in order, and nothing that was refused."""
    absent = Client(node.place, writer.to.partition("@")[0])
    await absent.login()
    got: list[str] = []
    absent.on_stanza = lambda tag: got.append(tag.body() or "") if tag.name == "message" else None
    absent.send("<presence/>")
    deadline = time.monotonic() + 30
    while len(got) < len(writer.accepted) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    await absent.is_served()
    assert got == writer.accepted
    absent.abort()
